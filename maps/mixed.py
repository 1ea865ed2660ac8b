"""Cell means by generalised least squares, with species and observer effects whose variances are pooled over cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maps.crossed_effects import CellBlock, CellCovariances, cell_blocks
from maps.variance_components import VarianceComponents, estimate_components
from plant_traits.grid import FloatArray, IntArray

MINIMUM_CELLS = 10
"""Cells of two species or more, and of two observers or more, that a biome needs for variances of its own."""


@dataclass(frozen=True)
class MixedMeans:
    """Means of cells and the variance components behind them.

    Attributes:
        location: (cells,) working space.
        standard_error: (cells,).
        degrees_of_freedom: (cells,) of Student's t; infinite where the variances are as good as known.
        group: (cells,) the biome whose variances the cell took; the last group is all cells together.
        components: (biomes + 1,) variances of each group, NaN where a group was not needed.
        informative: (biomes + 1, 2) cells of each group with two species, and with two observers, or more.
    """

    location: FloatArray
    standard_error: FloatArray
    degrees_of_freedom: FloatArray
    group: IntArray
    components: VarianceComponents
    informative: IntArray


def mixed_means(
    weight: FloatArray,
    y: FloatArray,
    species: IntArray,
    observer: IntArray,
    cell: IntArray,
    biome: IntArray,
    photo_variance: float,
) -> MixedMeans:
    """Estimate the mean of every cell of one trait under y = cell + species + observer + error.

    The variances of species and observers are estimated by REML over the cells of a biome; a biome of fewer than
    ``MINIMUM_CELLS`` informative cells takes those of all cells together. Where no cell at all has two species,
    nothing says how species differ, and ``photo_variance`` stands in; where none has two observers, theirs is 0.

    Args:
        weight: (rows,) sum of 1 / v of a row's photos.
        y: (rows,) sum wy / sum w.
        species: (rows,) group of the species effect, nested in cells.
        observer: (rows,) likewise.
        cell: (rows,) 0 and up, ascending, none left out.
        biome: (cells,) 0 and up, or -1 where unknown.
        photo_variance: mean v of a photo.

    Returns:
        The means of all cells.
    """
    blocks = list(cell_blocks(weight, species, observer, cell))
    n_cells, n_biomes = len(biome), int(biome.max(initial=-1)) + 1
    several = np.zeros((n_cells, 2), dtype=bool)
    for block in blocks:
        several[block.cells] = block.group_counts() >= 2
    own = np.stack([np.bincount(biome[several[:, k] & (biome >= 0)], minlength=n_biomes) for k in (0, 1)], axis=-1)
    enough = (own >= MINIMUM_CELLS).all(axis=1)
    group = np.where(np.append(enough, False)[biome], biome, n_biomes)
    informative = np.concatenate([own, several.sum(axis=0)[None]])
    components = _components(blocks, y, group, informative, photo_variance)
    location, error, freedom = generalised_least_squares(blocks, y, group, components)
    return MixedMeans(location, error, freedom, group, components, informative)


def generalised_least_squares(
    blocks: Sequence[CellBlock], y: FloatArray, group: IntArray, components: VarianceComponents
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return each cell's mean 1'V^-1 y / 1'V^-1 1, its standard error (1'V^-1 1)^-1/2 and its degrees of freedom.

    The degrees of freedom are Satterthwaite's, as in Fai & Cornelius (1996): they carry what is not known
    of the variances into the interval, which matters where few cells were pooled.

    Args:
        blocks: the cells.
        y: (rows,) means of the rows.
        group: (cells,) group of each cell among the components.
        components: variances of each group.

    Returns:
        Three arrays (cells,).
    """
    location, variance, freedom = np.empty((3, len(group)))
    for block in blocks:
        at = group[block.cells]
        covariances = CellCovariances(block, components.variance[at, 0], components.variance[at, 1])
        own = y[block.rows]
        rough = block.by_cell(block.weight * own) / block.by_cell(block.weight)
        centred = own - rough[block.cell_of_row]
        ones, solved = covariances.solve(np.stack([np.ones_like(own), centred], axis=-1)).T
        precision = block.by_cell(ones)
        location[block.cells] = rough + block.by_cell(solved) / precision
        variance[block.cells] = 1.0 / precision
        slope = block.squares(ones) / precision[:, None] ** 2
        spread = np.einsum("ci,cij,cj->c", slope, components.covariance[at], slope)
        with np.errstate(divide="ignore"):
            freedom[block.cells] = np.maximum(2.0 / (precision**2 * spread), 1.0)
    return location, np.sqrt(variance), freedom


def _components(
    blocks: Sequence[CellBlock], y: FloatArray, group: IntArray, informative: IntArray, photo_variance: float
) -> VarianceComponents:
    """Estimate the groups that stand on their own, and all cells together where some cell needs it."""
    together = len(informative) - 1
    start = _start(blocks, y, group, informative, photo_variance)
    apart = estimate_components(blocks, y, np.where(group < together, group, -1), start, informative > 0)
    taken = np.bincount(group, minlength=len(informative)) > 0
    apart.variance[~taken], apart.covariance[~taken] = np.nan, np.nan
    if taken[together]:
        pooled = estimate_components(blocks, y, np.zeros_like(group), start[-1:], informative[-1:] > 0)
        for name in VarianceComponents.__dataclass_fields__:
            getattr(apart, name)[together] = getattr(pooled, name)[0]
    return apart


def _start(
    blocks: Sequence[CellBlock], y: FloatArray, group: IntArray, informative: IntArray, photo_variance: float
) -> FloatArray:
    """Guess the variances of each group from the scatter of rows within cells, in excess of their own variance."""
    together = len(informative) - 1
    total = np.zeros((len(informative), 4))  # squares, degrees of freedom, variance of the rows, rows
    for block in blocks:
        own = y[block.rows]
        n = np.bincount(block.cell_of_row)
        residual = own - (block.by_cell(own) / n)[block.cell_of_row]
        of_cell = np.stack([block.by_cell(residual**2), n - 1.0, block.by_cell(1 / block.weight), n], axis=-1)
        np.add.at(total, group[block.cells], of_cell)
        total[together] += of_cell[group[block.cells] < together].sum(axis=0)
    scatter = total[:, 0] / np.maximum(total[:, 1], 1.0)
    excess = np.maximum(scatter - total[:, 2] / np.maximum(total[:, 3], 1.0), 0.1 * scatter)
    guess = excess[:, None] * np.array([0.75, 0.25])
    return np.where(informative > 0, guess, np.array([photo_variance, 0.0]))
