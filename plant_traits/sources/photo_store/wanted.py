"""The photos that a table of observations asks for, one entry each, kept in a file beside the store's index."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from plant_traits.errors import MissingInputError, TableError, WorkspaceError
from plant_traits.sources.licences import normalise_licence
from plant_traits.sources.photo_store.index import transaction
from plant_traits.sources.photo_store.settings import KNOWN_LICENCES, PhotoSettings
from plant_traits.sources.stable_hash import row_hashes

WANTED = "wanted.sqlite"
COLUMNS = ("photo_id", "photo_url", "licence", "attribution")
_BATCH = 50_000
_CACHE_KIB = 128 * 1024
_PHOTO_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}"  # it becomes a file name
_SIZED = r"^(https://inaturalist-open-data\.s3[a-z0-9.-]*\.amazonaws\.com/photos/\d+/)(?:original|large|medium)(\.\w+)$"
_HOST = r"^https://(?P<host>[^/?#@\\\s]+?)\.?(?::443)?(?:[/?#]|$)"
_SCHEMA = """
CREATE TABLE wanted.wanted (
    photo_id TEXT PRIMARY KEY, url TEXT, licence TEXT, attribution TEXT, host TEXT, refusal TEXT
) WITHOUT ROWID;
"""


def wanted_batches(table: Path) -> Iterator[pd.DataFrame]:
    """Yield the rows of a table that have a photo, columns ``COLUMNS`` as text, some at a time.

    Raises:
        MissingInputError: the table is not there.
        TableError: it is not Parquet, or lacks a column.
    """
    if not table.is_file():
        raise MissingInputError(f"table of observations {table} is not there: run the stage that writes it")
    try:
        with pq.ParquetFile(table) as file:
            missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
            if missing:
                raise TableError(f"{table}: columns {missing} are missing; found {file.schema_arrow.names}")
            for batch in file.iter_batches(_BATCH, columns=list(COLUMNS)):
                frame: pd.DataFrame = pa.Table.from_batches([batch]).select(list(COLUMNS)).to_pandas()
                yield frame.dropna(subset=["photo_id"]).astype("str")
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{table}: not a readable Parquet file: {error}") from error


def wanted_hash(table: Path) -> str:
    """Return a hash of the photos that a table asks for, whatever the order of its rows.

    Raises:
        MissingInputError: the table is not there.
        TableError: it is not Parquet, or lacks a column.
    """
    total = np.zeros(2, dtype=np.uint64)
    rows = 0
    for frame in wanted_batches(table):
        total += row_hashes(frame, COLUMNS).sum(axis=0, dtype=np.uint64)
        rows += len(frame)
    return hashlib.sha256(f"{rows} {total[0]} {total[1]}".encode()).hexdigest()[:32]


def attach_wanted(index: sqlite3.Connection, folder: Path) -> None:
    """Attach the file of wanted photos to the index as ``wanted``."""
    index.execute("ATTACH DATABASE ? AS wanted", (str(folder / WANTED),))


def stage_wanted(
    index: sqlite3.Connection, folder: Path, table: Path, key: str, settings: PhotoSettings, hosts: Collection[str]
) -> None:
    """Attach the file of wanted photos to the index as ``wanted``; fill it unless it holds these already.

    A photo of several rows is wanted once; if one of them refuses it, it is refused.

    Args:
        index: the store's index.
        folder: the store's folder.
        table: the table of observations.
        key: what tells these photos, settings and hosts from others.
        settings: which are accepted, in which size.
        hosts: hosts that may be asked.

    Raises:
        MissingInputError: the table is not there.
        TableError: it is not Parquet, or lacks a column.
        WorkspaceError: the file cannot be written, or is damaged.
    """
    try:
        attach_wanted(index, folder)
        index.execute("PRAGMA wanted.synchronous = OFF")  # a kill loses nothing; a power cut, what is made anew
        index.execute(f"PRAGMA wanted.cache_size = -{_CACHE_KIB}")
        index.execute("CREATE TABLE IF NOT EXISTS wanted.done (key TEXT)")
        if index.execute("SELECT 1 FROM wanted.done WHERE key = ?", (key,)).fetchone() is None:
            _fill(index, table, key, settings, hosts)
    except sqlite3.DatabaseError as error:
        raise WorkspaceError(
            f"photo store {folder}: {WANTED} cannot be used ({error}); free space or remove that file, and run again"
        ) from error


def _fill(index: sqlite3.Connection, table: Path, key: str, settings: PhotoSettings, hosts: Collection[str]) -> None:
    with transaction(index):
        index.execute("DELETE FROM wanted.done")
        index.execute("DROP TABLE IF EXISTS wanted.wanted")
        index.execute(_SCHEMA)
        for frame in wanted_batches(table):
            rows = _judged(frame, settings, hosts).sort_values("photo_id", kind="stable")
            index.executemany(
                "INSERT INTO wanted.wanted VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (photo_id) DO UPDATE SET "
                "url = excluded.url, licence = excluded.licence, attribution = excluded.attribution, "
                "host = excluded.host, refusal = excluded.refusal "
                "WHERE refusal IS NULL AND excluded.refusal IS NOT NULL",
                rows.itertuples(index=False, name=None),
            )
        index.execute("CREATE INDEX wanted.by_host ON wanted (host, photo_id)")
        index.execute("INSERT INTO wanted.done VALUES (?)", (key,))


def _judged(frame: pd.DataFrame, settings: PhotoSettings, hosts: Collection[str]) -> pd.DataFrame:
    """Add the address to ask, its host, and why a photo is refused without asking."""
    given = pa.array(frame["photo_url"], pa.string(), from_pandas=True)
    sized = pc.replace_substring_regex(given, pattern=_SIZED, replacement=rf"\1{settings.size}\2")
    found = pc.utf8_lower(pc.struct_field(pc.extract_regex(sized, pattern=_HOST), "host"))
    url, host = (pd.Series(x.to_pandas(), index=frame.index, dtype="str") for x in (sized, found))
    names = {text: _family(text) for text in frame["licence"].dropna().unique()}
    family = frame["licence"].map(names)
    refusal = pd.Series(None, index=frame.index, dtype="object")
    # The last reason that holds is the one that is told.
    for holds, reason in (
        (~family.isin(settings.licences), "licence_not_allowed"),
        (~family.isin(KNOWN_LICENCES), "licence_unknown"),
        (~host.isin(list(hosts)), "refused_address"),
        (url.isna(), "no_address"),
        (~frame["photo_id"].str.fullmatch(_PHOTO_ID), "bad_photo_id"),
    ):
        refusal[holds] = reason
    judged = pd.DataFrame(
        {
            "photo_id": frame["photo_id"],
            "url": url,
            "licence": frame["licence"],
            "attribution": frame["attribution"],
            "host": host,
            "refusal": refusal,
        }
    )
    return judged.astype(object).where(judged.notna(), None)


def _family(licence: str) -> str:
    return re.sub(r"-\d\.\d$", "", normalise_licence(licence))
