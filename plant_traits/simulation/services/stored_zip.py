"""Reads members of a zip that are stored uncompressed, by offset, from one open file."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

from plant_traits.errors import ArchiveError

_LOCAL_HEADER = 30  # bytes before the name of a member


class StoredZip:
    """The members of one or more zips, later ones first; safe for threads."""

    def __init__(self, *paths: Path) -> None:
        """Open the zips and list their members.

        Raises:
            ArchiveError: a member is compressed.
        """
        self._place: dict[str, tuple[int, int, int]] = {}
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        for path, file in zip(paths, self._files, strict=True):
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if member.compress_type != zipfile.ZIP_STORED:
                        raise ArchiveError(f"{path}: {member.filename} is compressed; expected stored members")
                    self._place[member.filename] = (file, member.header_offset, member.file_size)

    def __contains__(self, name: str) -> bool:
        return name in self._place

    def names(self) -> list[str]:
        """Return the names of the members."""
        return list(self._place)

    def size(self, name: str) -> int:
        """Return the bytes of a member."""
        return self._place[name][2]

    def read(self, name: str) -> bytes:
        """Return a member's content."""
        file, offset, size = self._place[name]
        name_size, extra_size = struct.unpack_from("<HH", os.pread(file, _LOCAL_HEADER, offset), 26)
        return os.pread(file, size, offset + _LOCAL_HEADER + name_size + extra_size)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            os.close(file)
