"""The covariance of a cell's photos under crossed species and observer effects, solved for many cells at once.

Within a cell, row i of the moments has the mean y_i of its photos' predictions and their weight w_i, the sum of 1 / v:

    V = diag(1 / w) + species variance * Zs Zs' + observer variance * Zo Zo'

V is never formed. The effect with more groups in the cell is eliminated by hand, since its part of the mixed-model
equations is diagonal (Henderson 1953); what is left is a dense system as wide as the other effect has groups.
Cells of similar width are solved together, padded to the widest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from plant_traits.grid import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]

_ENTRIES = 2_000_000  # of the padded systems that are solved together: 16 MB
_ROWS = 200_000  # that are solved together
_WIDENING = 1.2  # cells solved together differ in width by less than this factor


@dataclass(frozen=True)
class CellBlock:
    """Cells that are solved together. Groups of the narrower effect are kept, those of the wider one eliminated.

    Attributes:
        cells: (cells,) numbers of the cells.
        rows: (rows,) where the cells' rows stand in the arrays that the block was cut from.
        weight: (rows,) sum of 1 / v.
        cell_of_row: (rows,) place in ``cells``.
        species_is_kept: (cells,) which effect is kept.
        kept_of_row: (rows,) numbered within the block, as are the eliminated groups.
        cell_of_kept: (kept,) place in ``cells``.
        place_of_kept: (kept,) place within the cell.
        eliminated_of_row: (rows,).
        cell_of_eliminated: (eliminated,) place in ``cells``.
        width: kept groups of the widest cell.
    """

    cells: IntArray
    rows: IntArray
    weight: FloatArray
    cell_of_row: IntArray
    species_is_kept: BoolArray
    kept_of_row: IntArray
    cell_of_kept: IntArray
    place_of_kept: IntArray
    eliminated_of_row: IntArray
    cell_of_eliminated: IntArray
    width: int

    def by_cell(self, values: FloatArray) -> FloatArray:
        """Sum values of rows, (rows,), by cell."""
        return np.bincount(self.cell_of_row, values, len(self.cells)).astype(np.float64)

    def by_kept(self, values: FloatArray) -> FloatArray:
        """Sum values of rows, (rows,), by kept group."""
        return np.bincount(self.kept_of_row, values, len(self.cell_of_kept)).astype(np.float64)

    def by_eliminated(self, values: FloatArray) -> FloatArray:
        """Sum values of rows, (rows,), by eliminated group."""
        return np.bincount(self.eliminated_of_row, values, len(self.cell_of_eliminated)).astype(np.float64)

    def group_counts(self) -> IntArray:
        """Return the numbers of species and of observers of every cell, (cells, 2)."""
        kept, eliminated = (
            _count(of_group, len(self.cells)) for of_group in (self.cell_of_kept, self.cell_of_eliminated)
        )
        return self.swapped(kept, eliminated).astype(np.int64)

    def swapped(self, of_kept: FloatArray, of_eliminated: FloatArray) -> FloatArray:
        """Order values of the two effects, each (cells,), as species and observer: (cells, 2)."""
        species = np.where(self.species_is_kept, of_kept, of_eliminated)
        return np.stack([species, np.where(self.species_is_kept, of_eliminated, of_kept)], axis=-1)

    def squares(self, values: FloatArray) -> FloatArray:
        """Return the squares of the values' sums by species and by observer, summed by cell: (cells, 2)."""
        kept = np.bincount(self.cell_of_kept, self.by_kept(values) ** 2, len(self.cells))
        eliminated = np.bincount(self.cell_of_eliminated, self.by_eliminated(values) ** 2, len(self.cells))
        return self.swapped(kept.astype(np.float64), eliminated.astype(np.float64))

    def spread(self, values: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return Zs Zs' x and Zo Zo' x for values x of rows, (rows,)."""
        kept = self.by_kept(values)[self.kept_of_row]
        eliminated = self.by_eliminated(values)[self.eliminated_of_row]
        species_is_kept = self.species_is_kept[self.cell_of_row]
        return np.where(species_is_kept, kept, eliminated), np.where(species_is_kept, eliminated, kept)


def cell_blocks(weight: FloatArray, species: IntArray, observer: IntArray, cell: IntArray) -> Iterator[CellBlock]:
    """Cut rows into blocks of cells that are solved together.

    Args:
        weight: (rows,) sum of 1 / v of the row's photos, positive.
        species: (rows,) group of the species effect, nested in cells: no two cells share one.
        observer: (rows,) likewise.
        cell: (rows,) number of the cell, 0 and up, ascending, none left out.

    Yields:
        Blocks; every cell is in one.
    """
    n_cells = int(cell[-1]) + 1 if len(cell) else 0
    n_species, n_observers = (_groups_per_cell(group, cell, n_cells) for group in (species, observer))
    species_is_kept = n_species <= n_observers
    width = np.minimum(n_species, n_observers)
    n_rows = np.bincount(cell, minlength=n_cells)
    starts = np.cumsum(n_rows) - n_rows
    width_class = np.ceil(np.log(np.maximum(width, 1)) / np.log(_WIDENING)).astype(np.int64)
    order = np.argsort(width_class, kind="stable")
    widest = np.ceil(_WIDENING ** width_class[order])
    cost = np.maximum(widest**2 / _ENTRIES, n_rows[order] / _ROWS)
    block = np.cumsum(cost).astype(np.int64)
    new = (np.diff(block) != 0) | (np.diff(width_class[order]) != 0)
    for cells in np.split(order, np.flatnonzero(new) + 1):
        if len(cells) == 0:
            continue
        length = n_rows[cells]
        cell_of_row = np.repeat(np.arange(len(cells)), length)
        rows = np.arange(len(cell_of_row)) + np.repeat(starts[cells] - (np.cumsum(length) - length), length)
        is_kept = species_is_kept[cells][cell_of_row]
        kept_of_row, cell_of_kept = _renumber(np.where(is_kept, species[rows], observer[rows]), cell_of_row)
        eliminated_of_row, cell_of_eliminated = _renumber(np.where(is_kept, observer[rows], species[rows]), cell_of_row)
        first_of_cell = np.searchsorted(cell_of_kept, np.arange(len(cells)))
        yield CellBlock(
            cells=cells,
            rows=rows,
            weight=weight[rows],
            cell_of_row=cell_of_row,
            species_is_kept=species_is_kept[cells],
            kept_of_row=kept_of_row,
            cell_of_kept=cell_of_kept,
            place_of_kept=np.arange(len(cell_of_kept)) - first_of_cell[cell_of_kept],
            eliminated_of_row=eliminated_of_row,
            cell_of_eliminated=cell_of_eliminated,
            width=int(width[cells].max()),
        )


class CellCovariances:
    """V of every cell of a block, for given variances of the effects.

    Args:
        block: the cells.
        species_variance: (cells,) not negative.
        observer_variance: (cells,) not negative.
    """

    def __init__(self, block: CellBlock, species_variance: FloatArray, observer_variance: FloatArray) -> None:
        self.block = block
        self._kept_variance = np.where(block.species_is_kept, species_variance, observer_variance)
        eliminated = np.where(block.species_is_kept, observer_variance, species_variance)
        self._total = block.by_eliminated(block.weight)
        self._scale = 1.0 + eliminated[block.cell_of_eliminated] * self._total
        self._shrink = eliminated[block.cell_of_eliminated] / self._scale
        self._incidence = sparse.csr_array(
            (block.weight, (block.kept_of_row, block.eliminated_of_row)),
            shape=(len(block.cell_of_kept), len(block.cell_of_eliminated)),
        )
        # With the eliminated effect alone, V_e = diag(1 / w) + its part; the kept effect sees Zk' V_e^-1 Zk.
        self._precision = -self._product(self._shrink)
        at = (block.cell_of_kept, block.place_of_kept, block.place_of_kept)
        self._precision[at] += block.by_kept(block.weight)
        self._system = self._kept_variance[:, None, None] * self._precision
        diagonal = np.arange(block.width)
        self._system[:, diagonal, diagonal] += 1.0
        self._inverse = np.linalg.inv(self._system)  # its smallest eigenvalue is 1 or more

    def _product(self, factor: FloatArray) -> FloatArray:
        """Return C diag(factor) C' of every cell, (cells, width, width), C the weights by kept and eliminated group."""
        block = self.block
        scaled = self._incidence.copy()
        scaled.data *= factor[scaled.indices]
        product = sparse.coo_array(scaled @ self._incidence.T)
        dense = np.zeros((len(block.cells), block.width, block.width))
        row, column = product.coords
        dense[block.cell_of_kept[row], block.place_of_kept[row], block.place_of_kept[column]] = product.data
        return dense

    def log_determinants(self) -> FloatArray:
        """Return log det V of every cell, (cells,)."""
        block = self.block
        eliminated = np.bincount(block.cell_of_eliminated, np.log(self._scale), len(block.cells))
        kept = np.linalg.slogdet(self._system).logabsdet
        return np.asarray(eliminated + kept - block.by_cell(np.log(block.weight)))

    def traces(self) -> FloatArray:
        """Return the traces of V^-1 Zs Zs' and V^-1 Zo Zo' of every cell, (cells, 2)."""
        block = self.block
        kept = np.einsum("cij,cji->c", self._precision, self._inverse)
        alone = np.bincount(block.cell_of_eliminated, self._total / self._scale, len(block.cells))
        shared = np.einsum("cij,cji->c", self._product(self._scale**-2), self._inverse)
        return block.swapped(kept, alone - self._kept_variance * shared)

    def solve(self, values: FloatArray) -> FloatArray:
        """Return V^-1 x for vectors of rows, (rows, vectors)."""
        block = self.block
        partly = self._solve_eliminated(values)
        right = np.zeros((len(block.cells), block.width, values.shape[1]))
        right[block.cell_of_kept, block.place_of_kept] = _columns(block.by_kept, partly)
        effect = (self._inverse @ right) * self._kept_variance[:, None, None]
        of_kept = effect[block.cell_of_kept, block.place_of_kept]
        return self._solve_eliminated(values - of_kept[block.kept_of_row])

    def _solve_eliminated(self, values: FloatArray) -> FloatArray:
        block = self.block
        weighted = block.weight[:, None] * values
        effect = self._shrink[:, None] * _columns(block.by_eliminated, weighted)
        return np.asarray(weighted - block.weight[:, None] * effect[block.eliminated_of_row])


def _columns(total: Callable[[FloatArray], FloatArray], values: FloatArray) -> FloatArray:
    return np.stack([total(values[:, k]) for k in range(values.shape[1])], axis=-1)


def _count(of_group: IntArray, n: int) -> FloatArray:
    return np.bincount(of_group, minlength=n).astype(np.float64)


def _groups_per_cell(group: IntArray, cell: IntArray, n_cells: int) -> IntArray:
    cell_of_group = np.full(int(group.max(initial=-1)) + 1, -1, dtype=np.int64)
    cell_of_group[group] = cell
    return np.bincount(cell_of_group[cell_of_group >= 0], minlength=n_cells)


def _renumber(group: IntArray, cell: IntArray) -> tuple[IntArray, IntArray]:
    """Number the groups from 0, those of a cell in a row; return each row's number and each group's cell."""
    order = np.lexsort((group, cell))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(group[order]) != 0) | (np.diff(cell[order]) != 0)
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.cumsum(new) - 1
    return number, cell[order][new]
