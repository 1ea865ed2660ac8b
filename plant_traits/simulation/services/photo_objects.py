"""Photos and monthly tables as the objects of iNaturalist's open-data bucket."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from functools import cached_property

from PIL import Image, ImageOps

from plant_traits.simulation.services.bucket import Objects, StoredObject
from plant_traits.simulation.services.stored_zip import StoredZip

LONGER_SIDE = {"large": 1024, "medium": 500, "small": 240, "thumb": 100, "square": 75}
_PHOTO = re.compile(r"photos/(\d+)/([a-z]+)\.jpg$")


class PhotoObjects:
    """Photos of zips in the sizes of iNaturalist, and the objects of another store."""

    def __init__(self, photos: StoredZip, tables: Objects) -> None:
        """Join them.

        Args:
            photos: members ``photos/<id>/original.jpg``.
            tables: whatever else the bucket holds.
        """
        self._photos = photos
        self._tables = tables

    @cached_property
    def _keys(self) -> Sequence[str]:
        return sorted([*self._photos.names(), *self._tables.keys()])

    def keys(self) -> Sequence[str]:
        """Return the keys of originals and tables, in order; smaller sizes are given but not listed."""
        return self._keys

    def size(self, key: str) -> int:
        """Return the bytes of an object."""
        return self._photos.size(key) if key in self._photos else self._tables.size(key)

    def read(self, key: str) -> StoredObject | None:
        """Return a photo in a size, or a table; a size that is not smaller is the original."""
        found = _PHOTO.match(key)
        if found is None:
            return self._tables.read(key)
        number, size = found.groups()
        name = f"photos/{number}/original.jpg"
        if name not in self._photos or (size != "original" and size not in LONGER_SIDE):
            return None
        content = self._photos.read(name)
        if size != "original":
            content = smaller(content, LONGER_SIDE[size], square=size == "square")
        return StoredObject(content, hashlib.md5(content, usedforsecurity=False).hexdigest(), "image/jpeg")


def smaller(photo: bytes, longer_side: int, *, square: bool = False) -> bytes:
    """Return a photo with at most so many pixels a side; the same bytes where it is no larger or cannot be read."""
    try:
        with Image.open(io.BytesIO(photo)) as image:
            if max(image.size) <= longer_side:
                return photo
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except OSError:
        return photo
    side = (longer_side, longer_side)
    upright = ImageOps.fit(upright, side) if square else ImageOps.contain(upright, side)
    out = io.BytesIO()
    upright.save(out, "JPEG", quality=85)
    return out.getvalue()
