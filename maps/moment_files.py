"""Moments on disk: merged from any number of files, and read again, a block of whole cells at a time."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maps.moments import merge_tables, subtract_tables
from plant_traits.errors import TableError
from plant_traits.grid import IntArray
from plant_traits.schemas import MOMENTS

BLOCK_ROWS = 1 << 18
"""Rows of moments held at a time; a cell with more of them is held whole all the same."""

_BINS = 1 << 16


@dataclass(frozen=True)
class MergeCount:
    """What a merge read and wrote.

    Attributes:
        rows_in: rows of moments read, those to take out included.
        rows_out: rows written.
        cells: number of cells with moments, by kind of evidence.
        imprecise: cells with a row of which so much was taken out that its sums are not sure to nine digits, ascending.
    """

    rows_in: int
    rows_out: int
    cells: dict[str, int]
    imprecise: IntArray


def merge_files(
    sources: Sequence[Path], destination: Path, *, retracted: Sequence[Path] = (), block_rows: int = BLOCK_ROWS
) -> MergeCount:
    """Merge files of moments into one, sorted by its keys, in memory that does not grow with them.

    The cells are cut into ranges of about ``block_rows`` rows. The sources are read once, a row group at a time, and
    their rows laid aside on disk by range; then each range is merged (``maps.moments.merge_tables``) and becomes one
    row group. Any grid and any split of the rows over the sources will do: shards of one tile each touch few ranges.
    The same rows give the same bits whatever the order of the sources and the size of the ranges.

    Args:
        sources: Parquet files of ``schemas.MOMENTS``, rows in any order.
        destination: the file to write; the rows laid aside lie in a temporary folder next to it.
        retracted: files of moments to take out of the merged sources, see ``maps.moments.subtract``.
        block_rows: rows held at a time.

    Returns:
        Counts of rows and cells.

    Raises:
        TableError: a source is not a file of moments, or rows are to be taken out that the sources do not hold.
    """
    limits = _range_limits([*sources, *retracted], block_rows)
    rows_out = 0
    cells: dict[str, int] = defaultdict(int)
    imprecise = [np.empty(0, dtype=np.int64)]
    with (
        tempfile.TemporaryDirectory(dir=destination.parent, prefix="ranges-") as folder,
        pq.ParquetWriter(destination, MOMENTS, compression="zstd") as writer,
    ):
        added = _Aside(Path(folder) / "added", limits, block_rows)
        taken = _Aside(Path(folder) / "taken", limits, block_rows)
        rows_in = added.read(sources) + taken.read(retracted)
        for k in range(len(limits) + 1):
            merged, weak = subtract_tables(merge_tables(added.pop(k)), merge_tables(taken.pop(k)))
            if len(merged) == 0:
                continue
            rows_out += len(merged)
            imprecise.append(np.unique(merged["cell"].to_numpy()[weak]))
            for evidence, count in count_cells(merged).items():
                cells[evidence] += count
            writer.write_table(merged, row_group_size=len(merged))
    return MergeCount(rows_in, rows_out, dict(cells), np.concatenate(imprecise))


def moment_blocks(path: Path, *, block_rows: int = BLOCK_ROWS) -> Iterator[pa.Table]:
    """Read moments sorted by cell, block after block; all rows of a cell are in one block.

    Args:
        path: a file that ``merge_files`` wrote.
        block_rows: least number of rows in a block, except in the last.

    Yields:
        Tables of ``schemas.MOMENTS``, none of them empty.

    Raises:
        TableError: the file is not one of moments, or its cells are not sorted.
    """
    held = MOMENTS.empty_table()
    for rows in _row_groups(path):
        held = pa.concat_tables([held, rows])
        cell = held["cell"].to_numpy()
        if (np.diff(cell) < 0).any():
            raise TableError(f"{path}: expected moments sorted by cell; merge the file first, even alone")
        end = int(np.searchsorted(cell, cell[-1])) if len(cell) else 0
        if end >= block_rows:
            yield held.slice(0, end)
            held = held.slice(end)
    if len(held):
        yield held


def read_moments(path: Path, trait: str, evidence: str) -> pd.DataFrame:
    """Read the moments of one trait and kind of evidence.

    Raises:
        TableError: the file is not one of moments.
    """
    rows = [_of(group, trait, evidence) for group in _row_groups(path)]
    frame: pd.DataFrame = pa.concat_tables([MOMENTS.empty_table(), *rows]).to_pandas()
    return frame


def count_cells(rows: pa.Table) -> dict[str, int]:
    """Count the different cells of each kind of evidence."""
    counted = rows.group_by("evidence").aggregate([("cell", "count_distinct")])
    return dict(zip(counted["evidence"].to_pylist(), counted["cell_count_distinct"].to_pylist(), strict=True))


def _of(rows: pa.Table, trait: str, evidence: str) -> pa.Table:
    return rows.filter(pc.and_(pc.equal(rows["trait"], trait), pc.equal(rows["evidence"], evidence)))


class _Aside:
    """Rows laid aside on disk by ranges of cells."""

    def __init__(self, folder: Path, limits: IntArray, most: int) -> None:
        """Take the first cell of every range but the first, ascending, and the number of rows held in memory."""
        folder.mkdir()
        self._folder = folder
        self._limits = limits
        self._most = most
        self._held: list[pa.Table] = []
        self._size = 0
        self._ranges: dict[int, pa.Table] = {}
        self._files: dict[int, list[Path]] = defaultdict(list)

    def read(self, sources: Sequence[Path]) -> int:
        """Lay aside the rows of files, but for the last ones, and return how many there are in all."""
        rows_in = 0
        for source in sources:
            for rows in _row_groups(source):
                rows_in += len(rows)
                self._held.append(rows)
                self._size += len(rows)
                if self._size >= self._most and len(self._limits):
                    self._write()
        self._ranges = self._split()
        self._held = []
        return rows_in

    def pop(self, k: int) -> list[pa.Table]:
        """Return the rows of a range and forget them."""
        tables = [self._ranges.pop(k)] if k in self._ranges else []
        for path in self._files.pop(k, []):
            with pa.ipc.open_file(path) as reader:
                tables.append(reader.read_all())
            path.unlink()
        return tables

    def _write(self) -> None:
        for k, part in self._split().items():
            path = self._folder / f"{k}-{len(self._files[k])}.arrow"
            with pa.ipc.new_file(path, MOMENTS, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
                writer.write_table(part)
            self._files[k].append(path)
        self._held, self._size = [], 0

    def _split(self) -> dict[int, pa.Table]:
        rows = pa.concat_tables([MOMENTS.empty_table(), *self._held])
        of_row = np.searchsorted(self._limits, rows["cell"].to_numpy(), side="right")
        order = np.argsort(of_row, kind="stable")
        rows, of_row = rows.take(order), of_row[order]
        found, start = np.unique(of_row, return_index=True)
        length = np.diff(start, append=len(order))
        return {int(k): rows.slice(int(a), int(n)) for k, a, n in zip(found, start, length, strict=True)}


def _range_limits(sources: Sequence[Path], block_rows: int) -> IntArray:
    """Return the first cell of every range but the first, so that each has about ``block_rows`` rows."""
    last, total = -1, 0
    for source in sources:
        with _open(source) as file:
            total += file.metadata.num_rows
            last = max(last, _last_cell(file))
    if total <= block_rows:
        return np.empty(0, dtype=np.int64)
    width = -(-(last + 1) // _BINS)
    count = np.zeros(_BINS, dtype=np.int64)
    for source in sources:
        for rows in _row_groups(source, ["cell"]):
            count += np.bincount(rows["cell"].to_numpy() // width, minlength=_BINS)
    range_of_bin = (np.cumsum(count) - count) // block_rows
    return (1 + np.flatnonzero(np.diff(range_of_bin))) * width


def _last_cell(file: pq.ParquetFile) -> int:
    last = -1
    for k in range(file.num_row_groups):
        statistics = file.metadata.row_group(k).column(0).statistics
        if statistics is not None and statistics.has_min_max:
            last = max(last, int(statistics.max))
        elif file.metadata.row_group(k).num_rows:
            last = max(last, pc.max(file.read_row_group(k, columns=["cell"])["cell"]).as_py())
    return last


def _row_groups(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    with _open(path) as file:
        for k in range(file.num_row_groups):
            try:
                rows = file.read_row_group(k, columns=columns)
            except (pa.ArrowInvalid, OSError) as error:
                raise TableError(f"{path}: row group {k} is damaged ({error}); reduce its shard again") from error
            yield rows.replace_schema_metadata(None)


def _open(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a readable Parquet file ({error}); reduce its shard again") from error
    found = file.schema_arrow.remove_metadata()
    if found != MOMENTS:
        file.close()
        raise TableError(f"{path}: expected columns {MOMENTS}, found {found}; reduce its shard again")
    return file
