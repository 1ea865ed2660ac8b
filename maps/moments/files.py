"""Files of moments, read a block of cells at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maps.moments.key_sums import run_starts
from plant_traits.errors import TableError
from plant_traits.grid import IntArray
from plant_traits.schemas import MOMENTS

BLOCK_ROWS = 1 << 16
"""Rows of moments held at a time."""


def moment_blocks(path: Path, *, block_rows: int = BLOCK_ROWS) -> Iterator[pa.Table]:
    """Read moments sorted by cell, block after block; all rows of a cell and trait are in one block.

    A block holds whole cells, but for a crowded one: of more than ``block_rows`` rows, it comes by itself, one trait at
    a time.

    Args:
        path: a file that ``maps.moments.merging.merge_files`` wrote.
        block_rows: least number of rows in a block, except in the last and before a crowded cell.

    Yields:
        Tables of ``schemas.MOMENTS``, none of them empty.

    Raises:
        TableError: the file is not one of moments, or its cells are not sorted.
    """
    rows_of_cell = _rows_of_cells(path)
    with open_moments(path) as file:
        stretches = _Stretches(path, file)
        for first, end, apart in _blocks(rows_of_cell, block_rows):
            if not apart:
                yield pa.concat_tables(stretches.read(first, end))
                continue
            traits = {name for rows in stretches.read(first, end, ["trait"]) for name in _distinct(rows["trait"])}
            for trait in sorted(traits):
                yield pa.concat_tables(
                    rows.filter(pc.equal(rows["trait"], trait)) for rows in stretches.read(first, end)
                )


def count_rows_and_cells(path: Path) -> tuple[int, dict[str, int]]:
    """Count the rows of moments sorted by cell, and the different cells of each kind of evidence.

    Raises:
        TableError: the file is not one of moments.
    """
    total = 0
    cells: dict[str, int] = defaultdict(int)
    last: dict[str, int] = {}
    for rows in row_groups(path, ["cell", "evidence"]):
        total += len(rows)
        for evidence in _distinct(rows["evidence"]):
            found = np.unique(rows.filter(pc.equal(rows["evidence"], evidence))["cell"].to_numpy())
            # A cell may go on in the next row group.
            cells[evidence] += len(found) - int(found[0] == last.get(evidence))
            last[evidence] = int(found[-1])
    return total, dict(cells)


def row_groups(path: Path, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Read a file of moments, one row group after the other.

    Raises:
        TableError: the file is not one of moments, or damaged.
    """
    with open_moments(path) as file:
        for k in range(file.num_row_groups):
            yield _row_group(path, file, k, columns)


def open_moments(path: Path) -> pq.ParquetFile:
    """Open a file of moments.

    Raises:
        TableError: it is none.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a readable Parquet file ({error}); reduce its shard again") from error
    found = file.schema_arrow.remove_metadata()
    if found != MOMENTS:
        file.close()
        raise TableError(f"{path}: expected columns {MOMENTS}, found {found}; reduce its shard again")
    return file


class _Stretches:
    """Stretches of the rows of a file; the row group read last is kept, since the next stretch may go on in it."""

    def __init__(self, path: Path, file: pq.ParquetFile) -> None:
        self._path = path
        self._file = file
        sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self._kept: tuple[int, pa.Table] | None = None

    def read(self, first: int, end: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows from first to end, those of one row group at a time."""
        k = int(np.searchsorted(self._ends, first, side="right"))
        while first < end:
            start, stop = int(self._ends[k - 1]) if k else 0, min(int(self._ends[k]), end)
            yield self._rows(k, columns).slice(first - start, stop - first)
            first, k = stop, k + 1

    def _rows(self, k: int, columns: list[str] | None) -> pa.Table:
        if columns is not None:
            return _row_group(self._path, self._file, k, columns)
        if self._kept is None or self._kept[0] != k:
            self._kept = None
            self._kept = k, _row_group(self._path, self._file, k, None)
        return self._kept[1]


class _Block(NamedTuple):
    first: int
    end: int
    apart: bool


def _blocks(rows_of_cell: IntArray, block_rows: int) -> Iterator[_Block]:
    """Cut the rows of cells into blocks; a crowded cell comes apart."""
    ends = np.cumsum(rows_of_cell)
    crowded = np.flatnonzero(rows_of_cell > block_rows)
    cell = 0
    while cell < len(ends):
        first = int(ends[cell - 1]) if cell else 0
        ahead = crowded[np.searchsorted(crowded, cell) :]
        apart = len(ahead) > 0 and int(ahead[0]) == cell
        last = cell if apart else int(np.searchsorted(ends, first + block_rows))
        if not apart:
            last = min(last, len(ends) - 1, *((ahead[:1] - 1).tolist()))
        yield _Block(first, int(ends[last]), apart)
        cell = last + 1


def _rows_of_cells(path: Path) -> IntArray:
    """Return the number of rows of each cell, in the order of the file."""
    cells, counts = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for rows in row_groups(path, ["cell"]):
        cell = rows["cell"].to_numpy()
        if len(cell) == 0:
            continue
        before = cells[-1][-1:]
        if (np.diff(np.concatenate([before, cell])) < 0).any():
            raise TableError(f"{path}: expected moments sorted by cell; merge the file first, even alone")
        starts = run_starts(cell)
        cells.append(cell[starts])
        counts.append(np.diff(starts, append=len(cell)))
    cell, count = np.concatenate(cells), np.concatenate(counts)
    return np.add.reduceat(count, run_starts(cell)) if len(cell) else count


def _distinct(names: pa.ChunkedArray) -> list[str]:
    found: list[str] = names.unique().to_pylist()
    return found


def _row_group(path: Path, file: pq.ParquetFile, k: int, columns: list[str] | None) -> pa.Table:
    try:
        rows = file.read_row_group(k, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: row group {k} is damaged ({error}); reduce its shard again") from error
    return rows.replace_schema_metadata(None)
