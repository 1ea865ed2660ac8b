"""A photo store being filled: every photo is committed on its own, and a kill at any moment costs none of them."""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from plant_traits.errors import WorkspaceError
from plant_traits.sources.photo_store.bounds import Picture
from plant_traits.sources.photo_store.index import INDEX, last_place, open_index, transaction
from plant_traits.sources.photo_store.pack import Member, PackWriter, Place, pack_numbers, pack_path, read_members

_LOCK = "store.lock"
_TORN_BYTES = 32 * 1024**2  # one photo, its header and the mark of the end


@dataclass(frozen=True)
class WantedPhoto:
    """A photo to fetch.

    Attributes:
        photo_id: its id.
        url: its address, of the wanted size.
        licence: as stated.
        attribution: as stated.
    """

    photo_id: str
    url: str
    licence: str | None
    attribution: str | None


class PhotoStore:
    """The writer of a store; safe for threads, one process at a time. Use it in a ``with`` block.

    Bytes go to the pack first, then the index names them. When the store is opened again after a kill, a whole photo
    without an entry gets one, and a torn one is cut off.

    Attributes:
        folder: the store's folder.
        index: connection to the index; use it under ``lock``.
        lock: held while the store changes.
    """

    index: sqlite3.Connection

    def __init__(self, folder: Path, pack_bytes: int) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self._pack_bytes = pack_bytes
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(_alone(self.folder))
            self.index = _open_or_rebuild(self.folder)
            stack.callback(self.index.close)
            _forget_lost(self.folder, self.index)
            _adopt_unnamed(self.folder, self.index)
            pack, end = _mended(self.folder, last_place(self.index))
            self._packs = PackWriter(self.folder, pack, end, self._pack_bytes)
            stack.callback(self._packs.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def keep(self, photo: WantedPhoto, data: bytes, picture: Picture, fetch_round: int) -> None:
        """Keep a photo that was found whole; bytes that are here already are not kept twice.

        Raises:
            WorkspaceError: it cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        facts = {
            "photo_id": photo.photo_id,
            "url": photo.url,
            "licence": photo.licence,
            "attribution": photo.attribution,
            "sha256": digest,
            "width": picture.width,
            "height": picture.height,
            "format": picture.format,
        }
        with self.lock:
            try:
                known = self.index.execute("SELECT 1 FROM picture WHERE sha256 = ?", (digest,)).fetchone()
                place = None if known else self._packs.append(photo.photo_id, picture.format, data, facts)
                with transaction(self.index):
                    if place is not None:
                        self.index.execute(
                            "INSERT INTO picture VALUES (?, ?, ?, ?, ?, ?, ?)",
                            (
                                digest,
                                place.pack,
                                place.offset,
                                place.size,
                                picture.width,
                                picture.height,
                                picture.format,
                            ),
                        )
                    self._note(photo, "ok", None, None, digest, fetch_round)
            except (OSError, sqlite3.Error) as error:
                raise WorkspaceError(
                    f"photo store {self.folder} cannot be written: {error}; free space and run again, what came is kept"
                ) from error

    def fail(self, photo: WantedPhoto, reason: str, http_status: int | None, fetch_round: int) -> None:
        """Note why a photo could not be had.

        Raises:
            WorkspaceError: it cannot be written.
        """
        with self.lock:
            try:
                with transaction(self.index):
                    self._note(photo, "failed", reason, http_status, None, fetch_round)
            except sqlite3.Error as error:
                raise WorkspaceError(f"photo store {self.folder} cannot be written: {error}") from error

    def _note(
        self,
        photo: WantedPhoto,
        status: str,
        reason: str | None,
        http_status: int | None,
        digest: str | None,
        fetch_round: int,
    ) -> None:
        self.index.execute(
            "INSERT INTO photo VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?) ON CONFLICT (photo_id) DO UPDATE SET "
            "status = excluded.status, reason = excluded.reason, http_status = excluded.http_status, "
            "attempts = CASE WHEN photo.url IS excluded.url THEN attempts + 1 ELSE 1 END, sha256 = excluded.sha256, "
            "url = excluded.url, licence = excluded.licence, attribution = excluded.attribution, "
            "round = excluded.round",
            (
                photo.photo_id,
                status,
                reason,
                http_status,
                digest,
                photo.url,
                photo.licence,
                photo.attribution,
                fetch_round,
            ),
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WorkspaceError(f"photo store {folder} is being filled by another process; wait for it") from error
        yield


def _open_or_rebuild(folder: Path) -> sqlite3.Connection:
    try:
        index = open_index(folder)
        # Damage is found here, not by a later photo.
        if index.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok":
            return index
        index.close()
    except sqlite3.DatabaseError:
        pass  # it is made anew from the packs
    for name in (INDEX, f"{INDEX}-journal"):
        (folder / name).unlink(missing_ok=True)
    return open_index(folder)


def _forget_lost(folder: Path, index: sqlite3.Connection) -> None:
    """Forget photos whose bytes are not there, as after a power cut, so that they are asked for again."""
    sizes = {pack: pack_path(folder, pack).stat().st_size for pack in pack_numbers(folder)}
    packs = [int(row[0]) for row in index.execute("SELECT DISTINCT pack FROM picture").fetchall()]
    with transaction(index):
        lost = sum(
            index.execute("DELETE FROM picture WHERE pack = ? AND offset + size > ?", (x, sizes.get(x, 0))).rowcount
            for x in packs
        )
        if lost:
            index.execute("DELETE FROM photo WHERE sha256 IS NOT NULL AND sha256 NOT IN (SELECT sha256 FROM picture)")


def _mended(folder: Path, last: Place | None) -> tuple[int, int]:
    """Return the pack to go on with and the offset in it; remove packs of which only a torn photo was written.

    More bytes behind the last known photo than a kill can leave are damage of another kind: they are left alone, in
    case somebody can mend them, and a new pack is begun.
    """
    pack, end = (1, 0) if last is None else (last.pack, last.end)
    numbers = pack_numbers(folder)
    for number in numbers:
        if number >= pack:
            path = pack_path(folder, number)
            known = end if number == pack else 0
            if path.stat().st_size - known > _TORN_BYTES:
                return numbers[-1] + 1, 0
            if number > pack:
                path.unlink()
    return pack, end


def _adopt_unnamed(folder: Path, index: sqlite3.Connection) -> None:
    """Name whole photos that lie behind the last one the index knows; all photos of all packs where it is new."""
    last = last_place(index)
    with transaction(index):
        for pack in pack_numbers(folder):
            if last is None or pack >= last.pack:
                start = last.end if last is not None and pack == last.pack else 0
                for member in read_members(folder, pack, start):
                    _adopt(index, member)


def _adopt(index: sqlite3.Connection, member: Member) -> None:
    facts, place = member.facts, member.place
    photo_id, width, height, name = (facts.get(x) for x in ("photo_id", "width", "height", "format"))
    if facts.get("sha256") != member.sha256 or None in (photo_id, width, height, name):
        return
    index.execute(
        "INSERT OR IGNORE INTO picture VALUES (?, ?, ?, ?, ?, ?, ?)",
        (member.sha256, place.pack, place.offset, place.size, width, height, name),
    )
    index.execute(
        "INSERT OR REPLACE INTO photo VALUES (?, 'ok', NULL, 1, NULL, ?, ?, ?, ?, 0)",
        (photo_id, member.sha256, facts.get("url"), facts.get("licence"), facts.get("attribution")),
    )
