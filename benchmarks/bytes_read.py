"""Which bytes of data a command reads: what its system calls return from files below a folder, told by ``strace``.

The reading calls (``read``, ``pread64``, ``readv``, ``preadv``, ``copy_file_range``, ``sendfile``) of a process and of
all that it starts are noted with the path of their file, whether the bytes come from a disk or from the page cache; a
file that is mapped into memory counts with the length of the mapping. Libraries, modules of Python, pipes and sockets
lie outside the folder and are not counted. The tracer is no ancestor of the traced process, so that its own processor
time is not counted among the latter's children.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

CALLS = ("read", "pread64", "readv", "preadv", "preadv2", "copy_file_range", "sendfile", "mmap")
_LINE = re.compile(r"^(\d+) +(\d+\.\d+) (.*)$")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
_PATH = re.compile(r"\d+<(/[^>]*)>")
_RETURNED = re.compile(r"= (\d+|0x[0-9a-f]+)\)?$")
_LENGTH = re.compile(r"^mmap\([^,]*, (\d+)")


def tracing(log: Path) -> list[str]:
    """Return the words to put before a command, so that its reads are written to a file.

    Raises:
        FileNotFoundError: strace is not installed.
    """
    if shutil.which("strace") is None:
        raise FileNotFoundError(
            "bytes read are told by strace, which is not installed: install it, or leave --bytes out"
        )
    words = ["strace", "-D", "-f", "--seccomp-bpf", "-qqq", "-y", "-s", "0", "-ttt", "-e", "signal=none"]
    return [*words, "-e", f"trace={','.join(CALLS)}", "-o", str(log)]


def tracer() -> int:
    """Return the id of the process that traces this one, 0 where none does."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return int(status["TracerPid"])


def await_tracer(process: int) -> None:
    """Wait until a tracer has written its last line."""
    while psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.1)


def reads(log: Path, folder: Path) -> Iterator[tuple[float, str, int]]:
    """Yield time (seconds of the epoch), path below the folder and bytes of each read of a file below it."""
    root, waiting = f"{folder.resolve()}/", dict[str, str]()
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            found = _LINE.match(line)
            if found is None:
                continue
            thread, moment, call = found.groups()
            resumed = _RESUMED.match(call)
            if resumed is not None:
                call = waiting.pop(thread, "") + resumed[1]
            elif call.endswith("<unfinished ...>"):
                waiting[thread] = call.removesuffix("<unfinished ...>")
                continue
            size = _size(call)
            paths = _PATH.findall(call)
            if not (size and paths):
                continue
            path = paths[1] if call.startswith("sendfile") and len(paths) > 1 else paths[0]
            if path.startswith(root):
                yield float(moment), path.removeprefix(root), size


def _size(call: str) -> int:
    """Return the bytes that a finished call read, 0 where it failed."""
    returned = _RETURNED.search(call.rstrip())
    if returned is None:
        return 0
    if not call.startswith("mmap"):
        return int(returned[1])
    length = _LENGTH.match(call)
    return int(length[1]) if length else 0
