"""Read photos of a store."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from plant_traits.errors import PhotoError
from plant_traits.sources.photo_store.identity import photos_identity
from plant_traits.sources.photo_store.index import read_index
from plant_traits.sources.photo_store.pack import pack_path

_AT_ONCE = 500


class PhotoStoreReader:
    """Photos of a store that the photo plug-in filled.

    Raises:
        MissingInputError: on entering, when there is no store.
        WorkspaceError: its index is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._index: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        self._index = self._stack.enter_context(read_index(self._path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._index = None
        self._stack.__exit__(kind, error, trace)  # an error of the index is told as such

    def __contains__(self, photo_id: object) -> bool:
        """Say whether the store knows the photo, be it that it holds it or why it does not."""
        return isinstance(photo_id, str) and self._row(photo_id) is not None

    def read(self, photo_id: str) -> bytes:
        """Return the bytes of a photo file, as they were fetched.

        Raises:
            PhotoError: ``missing``, ``unreadable``, or the reason for which it could not be had.
        """
        row = self._row(photo_id)
        if row is None:
            raise PhotoError("missing", f"photo {photo_id} is not in the store {self._path.name}")
        status, reason, digest, pack, offset, size = row
        if status != "ok":
            raise PhotoError(str(reason), f"photo {photo_id} could not be had ({status})")
        file = pack_path(self._path, int(pack))
        try:
            with file.open("rb") as stream:
                stream.seek(int(offset))
                data = stream.read(int(size))
        except OSError as error:
            raise PhotoError("unreadable", f"photo {photo_id} of {file.name}: {error}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise PhotoError("unreadable", f"photo {photo_id}: {file.name} does not hold what the index says")
        return data

    def identity(self, photo_ids: Sequence[str]) -> str:
        """Return a hash of the state of these photos (see ``PhotoReader.identity``)."""
        ids = sorted(set(photo_ids))
        states: dict[str, str] = {}
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"SELECT photo_id, coalesce(reason, sha256) FROM photo WHERE photo_id IN ({marks})"  # noqa: S608
            states.update(self._open().execute(query, some).fetchall())
        return photos_identity(ids, states)

    def _row(self, photo_id: str) -> tuple[str, str | None, str | None, int, int, int] | None:
        row: tuple[str, str | None, str | None, int, int, int] | None = (
            self._open()
            .execute(
                "SELECT status, reason, photo.sha256, pack, offset, size "
                "FROM photo LEFT JOIN picture USING (sha256) WHERE photo_id = ?",
                (photo_id,),
            )
            .fetchone()
        )
        return row

    def _open(self) -> sqlite3.Connection:
        if self._index is None:
            raise PhotoError("unreadable", f"photo store {self._path} is not open: use it in a `with` block")
        return self._index
