"""The files of folders as the objects of a bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from plant_traits.simulation.services.bucket import StoredObject


class FolderObjects:
    """Files under a folder, by their path below it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _files(self) -> Mapping[str, Path]:
        paths = (path for path in self._folder.rglob("*") if path.is_file())
        return {path.relative_to(self._folder).as_posix(): path for path in paths}

    @cached_property
    def _keys(self) -> list[str]:
        return sorted(self._files)

    def keys(self) -> list[str]:
        """Return all keys in order."""
        return self._keys

    def size(self, key: str) -> int:
        """Return the bytes of an object."""
        return self._files[key].stat().st_size

    def read(self, key: str) -> StoredObject | None:
        """Return an object, or None where there is none."""
        path = self._files.get(key)
        if path is None:
            return None
        content = path.read_bytes()
        return StoredObject(content, hashlib.md5(content, usedforsecurity=False).hexdigest())
