"""The list of the wanted photos and what became of each."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PHOTO_LIST = "photos.parquet"
POSTPONED = "postponed"
PHOTO_STATE = pa.schema(
    [
        pa.field("photo_id", pa.string()),
        pa.field("status", pa.string()),  # ok; failed; refused, without asking; postponed, to a later run
        pa.field("reason", pa.string()),  # null where ok
        pa.field("sha256", pa.string()),  # of the file; null where the store has none
        pa.field("width", pa.int32()),  # pixels
        pa.field("height", pa.int32()),
        pa.field("size_bytes", pa.int64()),
        pa.field("photo_url", pa.string()),  # where it was fetched from
        pa.field("licence", pa.string()),
        pa.field("attribution", pa.string()),
    ]
)
_BATCH = 50_000
_STATE = f"""
    SELECT w.photo_id, coalesce(p.status, '{POSTPONED}'),
        CASE WHEN p.photo_id IS NULL THEN '{POSTPONED}' ELSE p.reason END,
        CASE p.status WHEN 'ok' THEN p.sha256 END, width, height, size, w.url, w.licence, w.attribution
    FROM wanted.wanted AS w LEFT JOIN photo AS p USING (photo_id)
    LEFT JOIN picture ON p.status = 'ok' AND picture.sha256 = p.sha256
    ORDER BY w.photo_id
"""  # noqa: S608 - a constant of this module


def count_states(index: sqlite3.Connection) -> dict[str, int]:
    """Return how many wanted photos are ``ok`` and how many are not, by reason."""
    rows = index.execute(
        f"SELECT CASE WHEN p.photo_id IS NULL THEN '{POSTPONED}' WHEN p.status = 'ok' THEN 'ok' ELSE p.reason END, "  # noqa: S608
        "count(*) FROM wanted.wanted AS w LEFT JOIN photo AS p USING (photo_id) GROUP BY 1 ORDER BY 1"
    )
    return {str(reason): int(n) for reason, n in rows}


def write_photo_list(index: sqlite3.Connection, path: Path) -> dict[str, int]:
    """Write the state of every wanted photo, columns ``PHOTO_STATE``, in the order of their ids.

    Returns:
        ``rows``, and ``rejected: <reason>`` for photos that the store does not have.
    """
    counts: Counter[str] = Counter()
    rows = index.execute(_STATE)
    with pq.ParquetWriter(path, PHOTO_STATE, compression="zstd") as writer:
        while batch := rows.fetchmany(_BATCH):
            columns = list(zip(*batch, strict=True))
            arrays = [pa.array(x, field.type) for x, field in zip(columns, PHOTO_STATE, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=PHOTO_STATE))
            counts.update(str(reason) for reason in columns[2] if reason is not None)
            counts["ok"] += sum(status == "ok" for status in columns[1])
    total = sum(counts.values())
    del counts["ok"]
    return {"rows": total, **{f"rejected: {reason}": n for reason, n in sorted(counts.items())}}
