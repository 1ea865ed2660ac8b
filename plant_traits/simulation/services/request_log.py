"""What the stand-ins were asked: one JSON line per request, so that tests can count."""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

LOG_NAME = "requests.jsonl"


@dataclass(frozen=True)
class Asked:
    """One request and what came of it.

    Attributes:
        at: seconds since the epoch when it came in.
        host: the real host that was stood in for.
        method: of HTTP.
        path: with its query; never headers, so no credentials.
        range: the Range header, or empty.
        status: answered, 0 for a connection that was reset before an answer.
        fault: kind of the fault that was injected, or empty.
        size: bytes of body that were sent.
        whole: the body went out to its end and was what it said to be.
        over_rate: refused because the host's rate was exceeded.
    """

    at: float
    host: str
    method: str
    path: str
    range: str = ""
    status: int = 0
    fault: str = ""
    size: int = 0
    whole: bool = True
    over_rate: bool = False

    @property
    def url(self) -> str:
        """The real address that was asked for."""
        return f"https://{self.host}{self.path}"


class LogWriter:
    """Appends requests to a file; each is on its way to the disk before the next is answered."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, asked: Asked) -> None:
        """Append one request."""
        os.write(self._file, json.dumps(asdict(asked), separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@dataclass(frozen=True)
class RequestLog:
    """Reads the log of a stand-in, also while it runs.

    Attributes:
        path: file of JSON lines.
    """

    path: Path

    def entries(self, host: str | None = None) -> Iterator[Asked]:
        """Yield the requests in the order of their ends, all of them or those to one host."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as lines:
            for line in lines:
                if not line.endswith("\n"):  # being written, or cut off by a kill
                    return
                asked = Asked(**json.loads(line))
                if host is None or asked.host == host:
                    yield asked

    def requests(self, host: str | None = None) -> Counter[str]:
        """Count requests by address (https, with query)."""
        return Counter(asked.url for asked in self.entries(host))

    def completed(self, host: str | None = None) -> Counter[str]:
        """Count by address the requests whose answer was 200 and went out whole."""
        return Counter(a.url for a in self.entries(host) if a.status == 200 and a.whole)

    def faults(self, host: str | None = None) -> Counter[str]:
        """Count injected faults by kind."""
        return Counter(a.fault for a in self.entries(host) if a.fault)

    def sent(self, host: str | None = None) -> int:
        """Return the bytes of body that were sent."""
        return sum(a.size for a in self.entries(host))

    def busiest(self, host: str, window_s: float = 60.0) -> int:
        """Return the most requests to a host that fell within any window of so many seconds."""
        recent: deque[float] = deque()
        most = 0
        for at in sorted(a.at for a in self.entries(host)):
            recent.append(at)
            while recent[0] <= at - window_s:
                recent.popleft()
            most = max(most, len(recent))
        return most

    def over_rate(self) -> list[Asked]:
        """Return the requests that exceeded a declared rate."""
        return [a for a in self.entries() if a.over_rate]
