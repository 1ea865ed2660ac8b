"""Readers of photo bytes, by the reader id that run profiles use."""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from plant_traits.errors import InputError, MissingInputError, PhotoError
from plant_traits.sources.archives import ArchiveLimits, open_archive
from plant_traits.sources.photo_ids import photo_ids
from plant_traits.sources.photo_store.identity import photos_identity
from plant_traits.sources.photo_store.reader import PhotoStoreReader
from plant_traits.sources.photo_table import photo_table

PHOTO_LIMIT_BYTES = 25 * 1024**2
_MEMBER = re.compile(r"(?:^|/)photos/([^/]+)/(original|large|medium)\.(?:jpe?g|png|webp)$", re.IGNORECASE)
_SIZES = ("original", "large", "medium")  # the largest is taken
_PHOTO_ARCHIVE = ArchiveLimits(ratio=1000.0)  # rendered photos of plain colour compress well; each is bounded anyway


class PhotoReader(Protocol):
    """A closable set of photos; use it in a ``with`` block."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __contains__(self, photo_id: object) -> bool: ...

    def read(self, photo_id: str) -> bytes:
        """Return the bytes of a photo file.

        Raises:
            PhotoError: ``missing``, ``unreadable`` or ``too_large``; a photo store tells why it could not be fetched.
        """
        ...

    def identity(self, photo_ids: Sequence[str]) -> str:
        """Return a hash of the state of exactly these photos, in any order; it changes where one of them does."""
        ...


class BucketZip:
    """Photos of a zip that mirrors iNaturalist's bucket: members ``photos/<photo_id>/original.jpg``.

    Raises:
        ArchiveError: on entering, when the file is no honest zip.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._archive: zipfile.ZipFile | None = None
        self._members: dict[str, zipfile.ZipInfo] = {}

    def __enter__(self) -> Self:
        self._archive = self._stack.enter_context(open_archive(self._path, _PHOTO_ARCHIVE))
        best: dict[str, int] = {}
        for member in self._archive.infolist():
            match = _MEMBER.search(member.filename)
            if match is not None:
                rank = _SIZES.index(match[2].lower())
                if rank < best.get(match[1], len(_SIZES)):
                    best[match[1]], self._members[match[1]] = rank, member
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive = None
        self._stack.close()

    def __contains__(self, photo_id: object) -> bool:
        return photo_id in self._members

    def read(self, photo_id: str) -> bytes:
        """Return the bytes of a photo file (see ``PhotoReader.read``)."""
        member = self._members.get(photo_id)
        if member is None or self._archive is None:
            raise PhotoError("missing", f"photo {photo_id} is not in {self._path.name}")
        if member.file_size > PHOTO_LIMIT_BYTES:
            raise PhotoError("too_large", f"photo {photo_id} has {member.file_size} bytes, over {PHOTO_LIMIT_BYTES}")
        try:
            data = self._archive.read(member)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError) as error:
            raise PhotoError("unreadable", f"photo {photo_id} of {self._path.name}: {error}") from error
        if not data:
            raise PhotoError("unreadable", f"photo {photo_id} of {self._path.name} is empty")
        return data

    def identity(self, photo_ids: Sequence[str]) -> str:
        """Return a hash of the checksums and sizes of these photos (see ``PhotoReader.identity``)."""
        members = {photo_id: self._members[photo_id] for photo_id in photo_ids if photo_id in self._members}
        states = {photo_id: f"{member.CRC:08x} {member.file_size}" for photo_id, member in members.items()}
        return photos_identity(photo_ids, states)


class PhotoFolder:
    """Photos of a folder, named by the table ``<folder>.csv`` beside it (column ``img_name``).

    Raises:
        MissingInputError: on entering, when the folder or its table is not there.
        TableError: on entering, when the table lacks a column.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, str] = {}

    def __enter__(self) -> Self:
        if not self._path.is_dir():
            raise MissingInputError(f"photo folder {self._path} is not there: correct its path in the profile")
        table = photo_table(self._path.with_name(self._path.name + ".csv"))
        named = table.assign(photo_id=photo_ids(table["image_url"])).dropna(subset=["photo_id", "img_name"])
        self._files = dict(zip(named["photo_id"], named["img_name"], strict=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files = {}

    def __contains__(self, photo_id: object) -> bool:
        return photo_id in self._files

    def read(self, photo_id: str) -> bytes:
        """Return the bytes of a photo file (see ``PhotoReader.read``)."""
        name = self._files.get(photo_id)
        if name is None:
            raise PhotoError("missing", f"photo {photo_id} is not in the table of {self._path.name}")
        file = self._path / name
        # The name comes from a table: it must be a plain name, and no link that leads elsewhere.
        if Path(name).name != name or "\\" in name or "\0" in name or file.is_symlink():
            raise PhotoError("unreadable", f"photo {photo_id}: {name!r} is not a file name inside {self._path.name}")
        if not file.is_file():
            raise PhotoError("missing", f"photo {photo_id}: {name!r} is not in {self._path.name}")
        size = file.stat().st_size
        if size > PHOTO_LIMIT_BYTES:
            raise PhotoError("too_large", f"photo {photo_id} has {size} bytes, over {PHOTO_LIMIT_BYTES}")
        try:
            data = file.read_bytes()
        except OSError as error:
            raise PhotoError("unreadable", f"photo {photo_id}: {error}") from error
        if not data:
            raise PhotoError("unreadable", f"photo {photo_id}: {name!r} is empty")
        return data

    def identity(self, photo_ids: Sequence[str]) -> str:
        """Return a hash of the names, sizes and times of these photos' files (see ``PhotoReader.identity``)."""
        named = {photo_id: self._files[photo_id] for photo_id in photo_ids if photo_id in self._files}
        return photos_identity(photo_ids, {photo_id: self._state(name) for photo_id, name in named.items()})

    def _state(self, name: str) -> str:
        # A name that is no plain file name is refused on reading, whatever lies there.
        if Path(name).name != name or "\0" in name:
            return f"{name} refused"
        try:
            found = (self._path / name).lstat()
        except OSError:
            return f"{name} missing"
        return f"{name} {found.st_size} {found.st_mtime_ns}"


PHOTO_READERS: Mapping[str, Callable[[Path], PhotoReader]] = {
    "bucket-zip": BucketZip,
    "folder": PhotoFolder,
    "photo-store": PhotoStoreReader,
}


def open_photos(reader: str, path: Path) -> PhotoReader:
    """Return the photo reader of that id for that file or folder; enter it to use it.

    Raises:
        InputError: no such reader.
    """
    if reader not in PHOTO_READERS:
        raise InputError(
            f"no photo reader is called {reader!r}; known readers: {', '.join(sorted(PHOTO_READERS))}. "
            "Correct `reader` in the profile's inputs"
        )
    return PHOTO_READERS[reader](path)
