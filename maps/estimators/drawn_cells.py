"""The cells that variances are learned from: all of them, or a bounded number of rows drawn by chance.

Restricted likelihood needs every row of a cell at once and all cells at every step. What it tells of two variances does
not get better without end: a few hundred thousand rows give them to a percent. So at most about ``BIOME_ROWS`` rows of
a biome are held. Cells are taken in the order of a hash of their number until there are as many: a sample that is
random with regard to what is measured, yet the same in every run, whatever the parts the cells come in. Of a cell of
more than ``CELL_ROWS`` rows, whole observers are taken, likewise by a hash, until there are as many: which observers
are left out says nothing of their effects, so that the rows left follow the same model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from maps.estimators.cell_moments import CellMoments
from maps.estimators.crossed_effects import BoolArray
from plant_traits.grid import FloatArray, IntArray

BIOME_ROWS = 1 << 18
"""Rows after which no further cell of a biome is taken."""

CELL_ROWS = 1 << 14
"""Rows after which no further observer of a cell is taken."""

_Hash = npt.NDArray[np.uint64]
_LAST = np.uint64(2**64 - 1)
_STEP = np.uint64(0x9E3779B97F4A7C15)  # of SplitMix64


@dataclass(frozen=True)
class DrawnCells:
    """Rows of the drawn cells, cells in the order they came in.

    Attributes:
        place: (drawn,) place of each drawn cell among all cells, ascending.
        of_row: (rows,) place of each row's cell among the drawn ones, ascending.
        species: (rows,) number of the row's species, nested in cells.
        observer: (rows,) likewise.
        weight: (rows,) sum of 1 / v.
        y: (rows,) mean, sum wy / sum w.
        in_common: (drawn,) whether a cell belongs to the sample of all biomes together, in which each has its share.
    """

    place: IntArray
    of_row: IntArray
    species: IntArray
    observer: IntArray
    weight: FloatArray
    y: FloatArray
    in_common: BoolArray


class CellDraw:
    """Draws cells as they come by; what it holds is bounded for each biome."""

    def __init__(self, biome_rows: int = BIOME_ROWS, cell_rows: int = CELL_ROWS) -> None:
        """Take the bounds on rows of a biome, and of a cell."""
        self._biome_rows = biome_rows
        self._cell_rows = cell_rows
        self._cells = 0
        self._limit = np.empty(0, dtype=np.uint64)  # of every biome: cells of this hash and above are left out
        self._rows = np.empty(0, dtype=np.int64)  # held of every biome
        self._held: list[_Lot] = []

    def add(self, cells: CellMoments, biome: IntArray) -> None:
        """Take in whole cells of the trait, with the number of each one's biome, (cells,) from 0."""
        more = int(biome.max(initial=-1)) + 1 - len(self._limit)
        if more > 0:
            self._limit = np.append(self._limit, np.full(more, _LAST))
            self._rows = np.append(self._rows, np.zeros(more, dtype=np.int64))
        lot = _Lot.of(cells, biome, self._cells, self._cell_rows).below(self._limit)
        self._cells += cells.size
        self._held.append(lot)
        self._rows += np.bincount(lot.biome, lot.rows, len(self._rows)).astype(np.int64)
        if (self._rows > 2 * self._biome_rows).any():
            self._trim()

    def drawn(self) -> DrawnCells:
        """Return the cells drawn so far."""
        self._trim()
        lot = self._held[0]
        common = lot.hash < self._limit.min(initial=_LAST)
        y = lot.sum_wy / lot.weight
        return DrawnCells(lot.place, lot.of_row, lot.species, lot.observer, lot.weight, y, common)

    def _trim(self) -> None:
        """Leave out the cells of every biome that come after enough rows of others."""
        lot = _Lot.joined(self._held)
        order = np.lexsort((lot.hash, lot.biome))
        biome, rows = lot.biome[order], lot.rows[order]
        before = np.cumsum(rows) - rows
        of_biome = np.searchsorted(biome, np.arange(len(self._limit)))
        first = before[np.minimum(of_biome, max(len(before) - 1, 0))] if len(before) else of_biome
        enough = np.flatnonzero(before - first[biome] >= self._biome_rows)
        # Of equal biomes the first, of the smallest hash, is the one that counts.
        over, at = np.unique(biome[enough], return_index=True)
        self._limit[over] = lot.hash[order[enough[at]]]
        lot = lot.below(self._limit)
        self._held = [lot]
        self._rows = np.bincount(lot.biome, lot.rows, len(self._rows)).astype(np.int64)


@dataclass(frozen=True)
class _Lot:
    """Some cells and their rows; see ``DrawnCells``."""

    place: IntArray
    hash: _Hash
    biome: IntArray
    rows: IntArray
    of_row: IntArray
    species: IntArray
    observer: IntArray
    weight: FloatArray
    sum_wy: FloatArray

    @classmethod
    def of(cls, cells: CellMoments, biome: IntArray, first: int, cell_rows: int) -> _Lot:
        """Take all cells, the first of which has this place, and of a crowded cell some observers."""
        lot = cls(
            first + np.arange(cells.size),
            _hash(cells.cell),
            biome,
            np.bincount(cells.of_row, minlength=cells.size),
            cells.of_row,
            cells.species_of_row,
            cells.observer_of_row,
            cells.rows["sum_w"],
            cells.rows["sum_wy"],
        )
        crowded = lot.rows > cell_rows
        if not crowded.any():
            return lot
        rows = np.bincount(lot.observer)
        cell = cells.cell_of(lot.observer)
        # The number within its cell, by name, tells an observer apart whatever else was read along with the cell.
        number = np.arange(len(rows)) - np.searchsorted(cell, np.arange(cells.size))[cell]
        order = np.lexsort((_hash(number), cell))
        before = np.cumsum(rows[order]) - rows[order]
        first_of_cell = before[np.searchsorted(cell, np.arange(cells.size))]
        taken = np.ones(len(rows), dtype=bool)
        taken[order] = ~crowded[cell[order]] | (before - first_of_cell[cell[order]] < cell_rows)
        return lot._with_rows(taken[lot.observer])

    @classmethod
    def joined(cls, lots: Iterable[_Lot]) -> _Lot:
        """Put lots one after the other."""
        parts = [_nothing(), *lots]
        first = np.cumsum([0, *(len(part.place) for part in parts)])
        of_row = [part.of_row + start for part, start in zip(parts, first, strict=False)]
        groups: dict[str, IntArray] = {}
        for name in ("species", "observer"):
            of_parts = [getattr(part, name) for part in parts]
            start = np.cumsum([0, *(int(group.max(initial=-1)) + 1 for group in of_parts)])
            groups[name] = np.concatenate([group + k for group, k in zip(of_parts, start, strict=False)])
        return cls(
            of_row=np.concatenate(of_row),
            species=groups["species"],
            observer=groups["observer"],
            place=np.concatenate([part.place for part in parts]),
            hash=np.concatenate([part.hash for part in parts]),
            biome=np.concatenate([part.biome for part in parts]),
            rows=np.concatenate([part.rows for part in parts]),
            weight=np.concatenate([part.weight for part in parts]),
            sum_wy=np.concatenate([part.sum_wy for part in parts]),
        )

    def below(self, limit: _Hash) -> _Lot:
        """Return the cells whose hash is below the limit of their biome."""
        taken = self.hash < limit[self.biome]
        if taken.all():
            return self
        kept = self._with_rows(taken[self.of_row])
        number = np.cumsum(taken) - 1
        return _Lot(
            self.place[taken],
            self.hash[taken],
            self.biome[taken],
            kept.rows[taken],
            number[kept.of_row],
            kept.species,
            kept.observer,
            kept.weight,
            kept.sum_wy,
        )

    def _with_rows(self, taken: BoolArray) -> _Lot:
        species, observer = (
            np.unique(group[taken], return_inverse=True)[1].astype(np.int64) for group in (self.species, self.observer)
        )
        of_row = self.of_row[taken]
        return _Lot(
            self.place,
            self.hash,
            self.biome,
            np.bincount(of_row, minlength=len(self.place)),
            of_row,
            species,
            observer,
            self.weight[taken],
            self.sum_wy[taken],
        )


def _nothing() -> _Lot:
    none, no_sums = np.empty(0, dtype=np.int64), np.empty(0)
    return _Lot(none, none.astype(np.uint64), none, none, none, none, none, no_sums, no_sums)


def _hash(numbers: IntArray) -> _Hash:
    """Scatter numbers, each to one of its own below 2^64 - 1 (SplitMix64, Steele et al. 2014, as pandas hashes)."""
    return pd.util.hash_array(numbers.astype(np.uint64) + _STEP, categorize=False)
