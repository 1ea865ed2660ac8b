"""Open zip archives from outside only after checking that they are what they say and harmless."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

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


class ArchiveFiles(Protocol):
    """The files of an archive, packed or not."""

    def names(self) -> set[str]:
        """Return the files' names, relative to the archive, with forward slashes."""
        ...

    def size(self, name: str) -> int:
        """Return the unpacked bytes of a file."""
        ...

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading."""
        ...


class _Packed:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def names(self) -> set[str]:
        return set(self._archive.namelist())

    def size(self, name: str) -> int:
        return self._archive.getinfo(name).file_size

    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, self._archive.open(name))


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> set[str]:
        files = (file for file in self._path.rglob("*") if file.is_file() and not file.is_symlink())
        return {file.relative_to(self._path).as_posix() for file in files}

    def size(self, name: str) -> int:
        return (self._path / name).stat().st_size

    def open(self, name: str) -> BinaryIO:
        return (self._path / name).open("rb")


@contextmanager
def open_files(path: Path, limits: ArchiveLimits | None = None) -> Iterator[ArchiveFiles]:
    """Open the files of a zip archive, with the checks of ``open_archive``, or of a folder that one was unpacked into.

    Links in a folder are not files of it.

    Raises:
        MissingInputError: there is no such file or folder.
        ArchiveError: as ``open_archive``.
    """
    if path.is_dir():
        yield _Folder(path)
        return
    with open_archive(path, limits) as archive:
        yield _Packed(archive)


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
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
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
