"""Packs: plain, uncompressed tar files to which photos are appended, each with its licence and attribution beside it.

Any tar program reads a pack. What the index knows of a photo is also written as a comment (a pax header) before it, so
that the index can be made anew from the packs.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

PACKS = "packs"
_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
_BLOCK = tarfile.BLOCKSIZE
_END = b"\0" * (2 * _BLOCK)


@dataclass(frozen=True)
class Place:
    """Where a photo's bytes lie.

    Attributes:
        pack: number of the pack.
        offset: of the first byte in the pack.
        size: bytes.
    """

    pack: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Offset at which the next member begins."""
        return self.offset + -(-self.size // _BLOCK) * _BLOCK


@dataclass(frozen=True)
class Member:
    """A photo found in a pack, for making the index anew.

    Attributes:
        place: where it lies.
        sha256: of its bytes.
        facts: what was written beside it.
    """

    place: Place
    sha256: str
    facts: Mapping[str, JsonValue]


def pack_path(store: Path, pack: int) -> Path:
    """Return the file of a pack."""
    return store / PACKS / f"photos-{pack:06d}.tar"


def pack_numbers(store: Path) -> list[int]:
    """Return the numbers of the packs that are there, in order."""
    return sorted(int(path.stem.removeprefix("photos-")) for path in (store / PACKS).glob("photos-[0-9]*.tar"))


class PackWriter:
    """Appends photos to the packs of a store, and begins a new pack where one is full. One writer, one thread.

    Args:
        store: the store's folder.
        pack: number of the pack to go on with.
        end: offset in it up to which its photos are known; what lies behind was torn off by a kill and is cut off.
        full_bytes: size at which a pack is full.
    """

    def __init__(self, store: Path, pack: int, end: int, full_bytes: int) -> None:
        self._store = store
        self._full = full_bytes
        self._pack = pack
        self._end = end
        self._stream = self._opened()

    def append(self, name: str, image_format: str, data: bytes, facts: Mapping[str, JsonValue]) -> Place:
        """Write a photo behind the last one.

        Raises:
            OSError: the disk is full, or the like; what was written of it is cut off.
        """
        if self._end >= self._full:
            self.close()
            self._pack, self._end = self._pack + 1, 0
            self._stream = self._opened()
        head = tarfile.TarInfo(f"{name}.{_SUFFIXES[image_format]}")
        head.size = len(data)
        head.pax_headers = {"comment": json.dumps(facts, sort_keys=True)}
        header = head.tobuf(tarfile.PAX_FORMAT)
        place = Place(self._pack, self._end + len(header), len(data))
        try:
            self._write(header + data + b"\0" * (place.end - place.offset - place.size))
        except OSError:
            self._stream.seek(self._end)
            self._stream.truncate()
            raise
        self._end = place.end
        return place

    def close(self) -> None:
        """End the pack as a tar file ends, and hand it to the disk."""
        if self._stream.closed:
            return
        self._write(_END)
        os.fsync(self._stream.fileno())
        self._stream.close()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._stream.write(rest) :]

    def _opened(self) -> io.FileIO:
        path = pack_path(self._store, self._pack)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        stream = io.FileIO(path, "r+")
        stream.truncate(self._end)
        stream.seek(self._end)
        return stream


def read_members(store: Path, pack: int, start: int = 0) -> Iterator[Member]:
    """Yield the photos of a pack that are whole, from an offset up to where it was torn off."""
    with pack_path(store, pack).open("rb") as stream:
        stream.seek(start)
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for head in archive:
                    member = _member(pack, head, archive)
                    if member is None:
                        return
                    yield member
        except tarfile.ReadError:
            return


def _member(pack: int, head: tarfile.TarInfo, archive: tarfile.TarFile) -> Member | None:
    content = archive.extractfile(head) if head.isreg() else None
    if content is None:
        return None
    data = content.read()
    try:
        facts = json.loads(head.pax_headers.get("comment", ""))
    except ValueError:
        return None
    if len(data) != head.size or not isinstance(facts, dict):
        return None
    return Member(Place(pack, head.offset_data, head.size), hashlib.sha256(data).hexdigest(), facts)
