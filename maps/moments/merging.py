"""Files of moments merged into one, sorted by its keys, in memory that does not grow with them."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maps.moments.addition import merge_tables, subtract_tables
from maps.moments.files import BLOCK_ROWS, open_moments, row_groups
from plant_traits.grid import IntArray
from plant_traits.schemas import MOMENTS

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
    their rows laid aside on disk by range; then each range is merged (``maps.moments.addition.merge_tables``) and
    becomes one row group. A cell with many more rows is merged some species at a time. Any grid and any split of the
    rows over the sources will do; shards of one tile each touch few ranges. The same rows give the same bits whatever
    the order of the sources and the size of the ranges.

    Args:
        sources: Parquet files of ``schemas.MOMENTS``, rows in any order.
        destination: the file to write; the rows laid aside lie in a temporary folder next to it.
        retracted: files of moments to take out of the merged sources, see ``maps.moments.addition.subtract``.
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
        added = _Aside(Path(folder) / "added", limits, 4 * block_rows)
        taken = _Aside(Path(folder) / "taken", limits, 4 * block_rows)
        rows_in = added.read(sources) + taken.read(retracted)
        for k in range(len(limits) + 1):
            kinds: set[tuple[int, str]] = set()
            for part in _parts(chain(added.tables(k), taken.tables(k)), block_rows):
                state, out = (merge_tables(part.of(aside.tables(k))) for aside in (added, taken))
                merged, weak = subtract_tables(state, out)
                if len(merged) == 0:
                    continue
                rows_out += len(merged)
                imprecise.append(merged["cell"].to_numpy()[weak])
                found = merged.group_by(["cell", "evidence"]).aggregate([])
                kinds.update(zip(found["cell"].to_pylist(), found["evidence"].to_pylist(), strict=True))
                writer.write_table(merged, row_group_size=len(merged))
            for _, evidence in kinds:
                cells[evidence] += 1
            added.drop(k)
            taken.drop(k)
    return MergeCount(rows_in, rows_out, dict(cells), np.unique(np.concatenate(imprecise)))


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
            for rows in row_groups(source):
                rows_in += len(rows)
                self._held.append(rows)
                self._size += len(rows)
                if self._size >= self._most and len(self._limits):
                    self._write()
        self._ranges = self._split()
        self._held = []
        return rows_in

    def tables(self, k: int) -> Iterator[pa.Table]:
        """Yield the rows of a range, those laid aside together at a time."""
        if k in self._ranges:
            yield self._ranges[k]
        for path in self._files.get(k, []):
            with pa.ipc.open_file(path) as reader:
                yield reader.read_all()

    def drop(self, k: int) -> None:
        """Forget the rows of a range."""
        self._ranges.pop(k, None)
        for path in self._files.pop(k, []):
            path.unlink()

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
        with open_moments(source) as file:
            total += file.metadata.num_rows
            last = max(last, _last_cell(file))
    if total <= block_rows:
        return np.empty(0, dtype=np.int64)
    width = -(-(last + 1) // _BINS)
    count = np.zeros(_BINS, dtype=np.int64)
    for source in sources:
        for rows in row_groups(source, ["cell"]):
            count += np.bincount(rows["cell"].to_numpy() // width, minlength=_BINS)
    return np.array([start for start, _ in _cut(count, block_rows)][1:], dtype=np.int64) * width


class _Part(NamedTuple):
    """Some neighbouring cells, or some species of one cell; None is all of them."""

    first: int
    last: int
    species: pa.Array | None

    def of(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            mine = pc.and_(pc.greater_equal(table["cell"], self.first), pc.less_equal(table["cell"], self.last))
            if self.species is not None:
                mine = pc.and_(mine, pc.is_in(table["species"], value_set=self.species))
            yield table.filter(mine)


def _parts(tables: Iterable[pa.Table], block_rows: int) -> Iterator[_Part]:
    """Cut a range into parts of about ``block_rows`` rows, in canonical order."""
    counts = [
        table.group_by(["cell", "species"]).aggregate([([], "count_all")])
        for table in chain([MOMENTS.empty_table()], tables)  # one after the other: a crowded cell has many
    ]
    found = pa.concat_tables(counts).group_by(["cell", "species"]).aggregate([("count_all", "sum")])
    found = found.sort_by([("cell", "ascending"), ("species", "ascending")])
    rows = found["count_all_sum"].to_numpy()
    cell, first = np.unique(found["cell"].to_numpy(), return_index=True)
    if len(cell) == 0:
        return
    if int(rows.sum()) <= 2 * block_rows:
        yield _Part(int(cell[0]), int(cell[-1]), None)
        return
    rows_of_cell = np.add.reduceat(rows, first)
    limits = [*first.tolist(), len(rows)]
    for a, b in _cut(rows_of_cell, block_rows):
        if b - a > 1 or int(rows_of_cell[a]) <= 2 * block_rows:
            yield _Part(int(cell[a]), int(cell[b - 1]), None)
            continue
        of_cell = slice(limits[a], limits[a + 1])
        species = found["species"].combine_chunks()[of_cell]
        for c, d in _cut(rows[of_cell], block_rows):
            yield _Part(int(cell[a]), int(cell[a]), species[c:d])


def _cut(rows: IntArray, most: int) -> list[tuple[int, int]]:
    """Cut a sequence into stretches of about ``most`` rows, entries with more of them apart; return their ends."""
    part = (np.cumsum(rows) - rows) // most
    large = rows > most
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (part[1:] != part[:-1]) | large[1:] | large[:-1]
    starts = np.flatnonzero(new).tolist()
    return list(pairwise([*starts, len(rows)]))


def _last_cell(file: pq.ParquetFile) -> int:
    last = -1
    for k in range(file.num_row_groups):
        statistics = file.metadata.row_group(k).column(0).statistics
        if statistics is not None and statistics.has_min_max:
            last = max(last, int(statistics.max))
        elif file.metadata.row_group(k).num_rows:
            last = max(last, pc.max(file.read_row_group(k, columns=["cell"])["cell"]).as_py())
    return last
