"""Shards: immutable portions of the observations, of one 10-degree tile each, named by the hash of their rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from plant_traits.errors import InputError, PhotoError, TableError
from plant_traits.grid import Grid
from plant_traits.needed_columns import need_columns
from plant_traits.observations.ledger import CONTENT
from plant_traits.schemas import PHOTO, SHARD_ROW, read_table, write_table
from plant_traits.sources.photos import PhotoReader
from plant_traits.sources.stable_hash import row_hashes, table_hash

TILES = Grid(Fraction(10))
OBSERVATIONS_FILE = "observations.parquet"
PHOTOS_FILE = "photos.parquet"
SEVERAL = "several"
ROW_GROUP = 64
_HASH_BITS = 64


@dataclass(frozen=True)
class Shard:
    """An immutable portion of the observations.

    Attributes:
        tile: south-west corner of its 10-degree tile, such as ``N40W130``; or ``SEVERAL``.
        name: hash of its rows' content, 32 hexadecimal digits. Month and flags, which change without the content, are
            no part of a shard.
        size: number of rows.
        photos: number of distinct photos.
    """

    tile: str
    name: str
    size: int
    photos: int


@dataclass(frozen=True)
class StoredShard:
    """A shard read back: its observations, and its photos on demand.

    Attributes:
        path: the shard's folder.
        observations: columns ``SHARD_ROW``.
    """

    path: Path
    observations: pd.DataFrame

    def photo_batches(self) -> Iterator[pd.DataFrame]:
        """Yield the photos, columns ``PHOTO``, one row group at a time.

        Raises:
            TableError: the photos' file is not there or not what it should be.
        """
        file = self.path / PHOTOS_FILE
        try:
            with pq.ParquetFile(file) as parquet:
                if parquet.schema_arrow.remove_metadata() != PHOTO:
                    raise TableError(f"{file}: expected columns {PHOTO}, found {parquet.schema_arrow}")
                for k in range(parquet.num_row_groups):
                    yield parquet.read_row_group(k).to_pandas()
        except (pa.ArrowInvalid, OSError) as error:
            raise TableError(f"{file}: not a readable Parquet file ({error}); make the shard again") from error

    def photos(self) -> pd.DataFrame:
        """Return all photos, columns ``PHOTO``; up to some hundred megabytes."""
        batches = list(self.photo_batches())
        return pd.concat(batches, ignore_index=True) if batches else PHOTO.empty_table().to_pandas()


def plan_shards(observations: pd.DataFrame, size: int) -> list[tuple[Shard, pd.DataFrame]]:
    """Divide observations into shards of at most ``size`` rows of one tile, see ``divide_rows``.

    Returns:
        Shards and their rows (sorted by observation and photo), sorted by tile and name.
    """
    return [
        (shard, observations.iloc[rows][SHARD_ROW.names].reset_index(drop=True))
        for shard, rows in divide_rows(observations, size)
    ]


def divide_rows(
    observations: pd.DataFrame, size: int, *, pool_below: float = 0.0
) -> list[tuple[Shard, npt.NDArray[np.int64]]]:
    """Divide observations into shards of at most ``size`` rows of one tile.

    Within a tile, rows are divided by the leading bits of a hash of their ids, with as many bits as the sizes demand.
    So the order of the rows does not matter, and a new or retracted row touches one shard, not all that follow.

    Args:
        observations: columns ``SHARD_ROW``, one row per observation and photo.
        size: most rows of a shard, at least 1.
        pool_below: rows of tiles that have fewer of them than this are put together, in the order of their tiles, in
            shards of the tile ``SEVERAL``.

    Returns:
        Shards and the positions of their rows (sorted by observation and photo), sorted by tile and name.

    Raises:
        InputError: the size is not positive, or rows are repeated.
        GridError: a coordinate is missing or out of range.
        TableError: a column is missing.
    """
    if size < 1:
        raise InputError(f"a shard needs a size of at least 1, found {size}")
    need_columns(observations, "observations", SHARD_ROW.names)
    if observations.duplicated(["observation_id", "photo_id"]).any():
        raise InputError(
            "observations: a row per observation and photo is expected, some are repeated; clean them first"
        )
    tiles = tiles_of(observations)
    places = row_hashes(observations, ["observation_id", "photo_id"])[:, 0]
    order = np.lexsort((places, tiles))
    tiles, places = tiles[order], places[order]
    content = content_hashes(observations)
    starts = np.flatnonzero(np.r_[True, tiles[1:] != tiles[:-1]]) if len(order) else np.empty(0, dtype=np.int64)
    parts: list[tuple[str, npt.NDArray[np.int64]]] = []
    pool = []
    for start, stop in zip(starts, np.r_[starts[1:], len(order)], strict=False):
        if stop - start < pool_below:
            pool.append(order[start:stop])
            continue
        tile = tile_name(int(tiles[start]))
        parts += [(tile, order[first:last]) for first, last in _divide(places, int(start), int(stop), size)]
    if pool:
        pooled = np.concatenate(pool)
        parts += [(SEVERAL, part) for part in np.array_split(pooled, -(-len(pooled) // size))]
    result: list[tuple[Shard, npt.NDArray[np.int64]]] = []
    for tile, part in parts:
        ids = observations.iloc[part][["observation_id", "photo_id"]].reset_index(drop=True)
        rows = part[ids.sort_values(["observation_id", "photo_id"]).index.to_numpy()]
        shard = Shard(tile, table_hash(content[rows]), len(rows), int(ids["photo_id"].nunique()))
        result.append((shard, rows.astype(np.int64)))
    return sorted(result, key=lambda pair: (pair[0].tile, pair[0].name))


def tiles_of(observations: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the number of each row's tile, see ``tile_name``."""
    return TILES.cell_of(observations["latitude"].to_numpy(), observations["longitude"].to_numpy())


def content_hashes(observations: pd.DataFrame) -> npt.NDArray[np.uint64]:
    """Return a 128-bit hash of each row as a shard keeps it, (rows, 2); the shard's name is made of these."""
    return row_hashes(observations, [*CONTENT, "growth_form"])


def tile_name(tile: int) -> str:
    """Return the south-west corner of a tile as ``N40W130``."""
    lat, lon = (float(centre) - 5.0 for centre in TILES.centre_of(tile))
    return f"{'S' if lat < 0 else 'N'}{abs(lat):02.0f}{'W' if lon < 0 else 'E'}{abs(lon):03.0f}"


def write_shard(rows: pd.DataFrame, photos: Sequence[PhotoReader], destination: Path) -> dict[str, int]:
    """Write a shard: its observations and, in one file of small row groups, the bytes of its photos.

    A photo is taken from the first reader that has it. One that cannot be read is written without bytes, its status
    saying why. Photos are stored as they are: whether they can be decoded is the model's to see.

    Args:
        rows: the shard's rows, columns ``SHARD_ROW``.
        photos: open photo readers, the preferred first.
        destination: the shard's folder, made where absent.

    Returns:
        Number of photos by status: ok, missing, unreadable, too_large.
    """
    destination.mkdir(parents=True, exist_ok=True)
    write_table(rows, destination / OBSERVATIONS_FILE, SHARD_ROW)
    ids = sorted(rows["photo_id"].dropna().unique())
    counts: Counter[str] = Counter()
    # Photos are compressed already.
    with pq.ParquetWriter(destination / PHOTOS_FILE, PHOTO, compression="none", use_dictionary=False) as writer:
        for start in range(0, len(ids), ROW_GROUP):
            batch = [photo_row(photo_id, photos) for photo_id in ids[start : start + ROW_GROUP]]
            counts.update(str(photo["status"]) for photo in batch)
            writer.write_table(pa.Table.from_pylist(batch, schema=PHOTO), row_group_size=ROW_GROUP)
    return dict(sorted(counts.items()))


def photo_row(photo_id: str, readers: Sequence[PhotoReader]) -> dict[str, object]:
    """Return a photo as a shard keeps it, a row of ``PHOTO``: from the first reader that has it, or why from none."""
    failure = "missing"
    for reader in readers:
        if photo_id in reader:
            try:
                data = reader.read(photo_id)
            except PhotoError as error:
                failure = error.reason
                continue
            digest = hashlib.sha256(data).hexdigest()
            return {"photo_id": photo_id, "image": data, "status": "ok", "sha256": digest}
    return {"photo_id": photo_id, "image": None, "status": failure, "sha256": None}


def read_shard(path: Path) -> StoredShard:
    """Read a shard's observations; its photos are read when asked for.

    Raises:
        TableError: the observations' file is not there or not what it should be.
    """
    return StoredShard(path, read_table(path / OBSERVATIONS_FILE, SHARD_ROW))


def _divide(places: npt.NDArray[np.uint64], start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of sorted hashes that share as many leading bits as bring them down to the size."""
    open_ranges = [(start, stop, 0, 0)]  # first, last, number of leading bits, their value
    while open_ranges:
        first, last, bits, value = open_ranges.pop()
        if first == last:
            continue
        if last - first <= size or bits == _HASH_BITS:
            yield first, last
            continue
        middle = (2 * value + 1) << (_HASH_BITS - bits - 1)
        cut = first + int(np.searchsorted(places[first:last], np.uint64(middle)))
        open_ranges += [(first, cut, bits + 1, 2 * value), (cut, last, bits + 1, 2 * value + 1)]
