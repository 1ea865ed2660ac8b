"""Check that a store's index and packs agree."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

from plant_traits.errors import ArchiveError
from plant_traits.sources.photo_store.index import open_index, read_meta, transaction, write_meta
from plant_traits.sources.photo_store.pack import pack_path

_VERIFIED = "verified"  # pack and offset up to which bytes were found right


def verify_store(folder: Path) -> int:
    """Check that no photos overlap, that each has its bytes or a reason, and that the bytes are those it came with.

    Bytes that an earlier call found right are not read again.

    Returns:
        Number of pictures whose bytes were read.

    Raises:
        ArchiveError: something does not agree.
    """
    with closing(open_index(folder)) as index:
        overlap = index.execute(
            "SELECT pack, offset FROM (SELECT pack, offset, "
            "lag(offset + size) OVER (PARTITION BY pack ORDER BY offset) AS free FROM picture) "
            "WHERE offset < free LIMIT 1"
        ).fetchone()
        if overlap is not None:
            raise _contradiction(folder, f"two photos overlap in pack {overlap[0]} at byte {overlap[1]}")
        orphan = index.execute(
            "SELECT photo_id FROM photo WHERE (sha256 IS NOT NULL AND sha256 NOT IN (SELECT sha256 FROM picture)) "
            "OR (status = 'ok' AND sha256 IS NULL) OR (status <> 'ok' AND reason IS NULL) LIMIT 1"
        ).fetchone()
        if orphan is not None:
            raise _contradiction(folder, f"photo {orphan[0]} has neither bytes nor a reason")
        start = [int(x) for x in (read_meta(index, _VERIFIED) or "0 0").split()]
        packs = index.execute("SELECT DISTINCT pack FROM picture WHERE pack >= ? ORDER BY pack", start[:1]).fetchall()
        checked = 0
        for (pack,) in packs:
            after = start[1] if pack == start[0] else 0
            rows = index.execute(
                "SELECT offset, size, sha256 FROM picture WHERE pack = ? AND offset > ? ORDER BY offset", (pack, after)
            ).fetchall()
            _verify_pack(folder, int(pack), rows)
            checked += len(rows)
            if rows:
                with transaction(index):
                    write_meta(index, _VERIFIED, f"{pack} {rows[-1][0]}")
    return checked


def _verify_pack(folder: Path, pack: int, rows: list[tuple[int, int, str]]) -> None:
    path = pack_path(folder, pack)
    try:
        with path.open("rb") as stream:
            for offset, size, digest in rows:
                stream.seek(offset)
                if hashlib.sha256(stream.read(size)).hexdigest() != digest:
                    raise _contradiction(folder, f"{path.name} holds other bytes at {offset} than came")
    except OSError as error:
        raise _contradiction(folder, f"{path.name} cannot be read ({error})") from error


def _contradiction(folder: Path, what: str) -> ArchiveError:
    return ArchiveError(
        f"photo store {folder}: {what}; check the disk, then remove index.sqlite (it is made anew from what is whole) "
        "and fetch again"
    )
