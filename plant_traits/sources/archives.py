"""Open zip archives from outside only after checking that they are what they say and harmless."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from plant_traits.errors import ArchiveError, MissingInputError


@dataclass(frozen=True)
class ArchiveLimits:
    """Bounds that an archive's own declarations must respect before anything is unpacked.

    Attributes:
        total_bytes: declared uncompressed bytes of all members together.
        members: number of members.
        ratio: uncompressed over compressed bytes of one member; judged on members above ``ratio_from_bytes``.
        ratio_from_bytes: smaller members cannot hurt and may compress as they like.
    """

    total_bytes: int = 400 * 1024**3
    members: int = 5_000_000
    ratio: float = 250.0
    ratio_from_bytes: int = 1024**2


@contextmanager
def open_archive(path: Path, limits: ArchiveLimits | None = None) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive whose table of contents has passed the checks.

    A member cannot yield more bytes than it declares, and its checksum is verified while it is read, so that bounding
    the declarations bounds the reading. Damage met while reading inside the ``with`` block becomes an ``ArchiveError``.

    Raises:
        MissingInputError: the file is not there.
        ArchiveError: not a zip, truncated, damaged, encrypted, or with dishonest names, links or sizes.
    """
    if not path.is_file():
        raise MissingInputError(f"archive {path} is not there: fetch it, or correct its path in the profile")
    with path.open("rb") as stream:
        start = stream.read(512)
    if start[:2] != b"PK":
        kind = "an HTML page" if start.lstrip()[:1] == b"<" else f"a file that starts with {start[:8]!r}"
        raise ArchiveError(
            f"{path.name}: expected a zip archive, found {kind}; download it again and check the address"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            _check(path, archive.infolist(), limits or ArchiveLimits())
            yield archive
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ArchiveError(
            f"{path.name}: the zip archive of {path.stat().st_size} bytes is truncated or damaged ({error}); "
            "download it again"
        ) from error


def _check(path: Path, members: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    refuse = f"{path.name}: refused, "
    if len(members) > limits.members:
        raise ArchiveError(f"{refuse}{len(members)} members, at most {limits.members} are expected")
    for member in members:
        name = member.filename
        parts = PurePosixPath(name).parts
        if name.startswith("/") or "\\" in name or ".." in parts or (parts and ":" in parts[0]) or "\0" in name:
            raise ArchiveError(f"{refuse}member {name!r} points outside the archive; do not use this file")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ArchiveError(f"{refuse}member {name!r} is a link; do not use this file")
        if member.flag_bits & 0x1:
            raise ArchiveError(f"{refuse}member {name!r} is encrypted; ask for it without a password")
        if member.file_size > limits.ratio_from_bytes and member.file_size > limits.ratio * max(
            member.compress_size, 1
        ):
            raise ArchiveError(
                f"{refuse}member {name!r} declares {member.file_size} bytes out of {member.compress_size} compressed, "
                f"more than {limits.ratio:g} to 1: a decompression bomb"
            )
    total = sum(member.file_size for member in members)
    if total > limits.total_bytes:
        raise ArchiveError(f"{refuse}its members declare {total} bytes, at most {limits.total_bytes} are accepted")
    packed = sum(member.compress_size for member in members)
    if packed > path.stat().st_size:
        raise ArchiveError(
            f"{refuse}its members declare {packed} compressed bytes in a file of {path.stat().st_size}: they overlap"
        )
