"""How much a photo counts: what its calibrated variance says of its prediction, and what not.

A variance v says how far a plant's true value may be from what was predicted of it. Of predictions that are themselves
conditional means, as a network's are, that error is independent of the prediction (Berkson 1950), so predictions of
one species by several photos scatter by less than v, and 1 / v is no measure of what a photo adds to a cell's mean. Two
things are therefore learned from the moments of a trait and biome:

*Noise*: the scatter of photos of one species in one cell over what their variances would have it, 1 where it is not
clearly less. Photos enter with noise * v.

*Slope*: of log v on the prediction within cells. A network that predicts logarithms is less sure of some values than of
others, and weights 1 / v make the cell's mean lean towards the surer ones. Each row is given the variance that it would
have at its cell's mean, so that weights keep only what they know of a photo apart from its value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.stats import chi2

from maps.estimators.cell_moments import CellMoments
from plant_traits.grid import FloatArray, IntArray

_LEAST_NOISE = 0.01
_CHANCE = 0.025  # of as little scatter where the variances are right


@dataclass(frozen=True)
class PhotoVariances:
    """Sums of every cell, (cells,) each, from which noise and slope are pooled.

    Attributes:
        scatter: squares of predictions about the mean of their species in the cell.
        expected: of these, by the photos' variances.
        freedom: photos less species.
        product: deviations of log v and of predictions from their cell's means, over photos.
        square: squares of the predictions' deviations.
    """

    scatter: FloatArray
    expected: FloatArray
    freedom: FloatArray
    product: FloatArray
    square: FloatArray

    @classmethod
    def of(cls, cells: CellMoments) -> PhotoVariances:
        """Gather the sums; for the slope, photos of one row count at the row's means."""
        n, y, v = (cells.rows[name] for name in ("n", "sum_y", "sum_v"))
        centre = (cells.total("sum_y") / cells.n)[cells.of_row]
        of_species = cells.species_of_row
        count, sum_v = np.bincount(of_species, n).astype(np.float64), np.bincount(of_species, v).astype(np.float64)
        shifted = np.bincount(of_species, y - n * centre)  # about the cell's mean, which keeps the digits
        squares = np.bincount(of_species, cells.rows["sum_y2"] - 2 * centre * y + n * centre**2)
        cell = cells.cell_of(of_species)

        def by_cell(values: FloatArray) -> FloatArray:
            return np.bincount(cell, values, cells.size).astype(np.float64)

        deviation = y / n - centre
        return cls(
            by_cell(np.maximum(squares - shifted**2 / count, 0.0)),
            by_cell(sum_v * (count - 1) / count),
            by_cell(count - 1.0),
            cells.by_cell(n * deviation * np.log(v / n)),
            cells.by_cell(n * deviation**2),
        )

    @classmethod
    def joined(cls, parts: Iterable[PhotoVariances]) -> PhotoVariances:
        """Return the sums of several lots of cells, in order."""
        found = [*parts]
        return cls(*(np.concatenate([np.empty(0), *(getattr(x, field.name) for x in found)]) for field in fields(cls)))

    def noise(self, group: IntArray, n_groups: int) -> FloatArray:
        """Return the noise of each group of cells, (groups,), at most 1; 1 where nothing tells or it is not clear."""
        scatter, expected, freedom = (
            np.bincount(group, values, n_groups) for values in (self.scatter, self.expected, self.freedom)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = scatter / expected
            clear = ratio * freedom < chi2.ppf(_CHANCE, freedom)
        return np.asarray(np.where(clear, np.maximum(ratio, _LEAST_NOISE), 1.0))

    def slope(self, group: IntArray, n_groups: int) -> FloatArray:
        """Return the slope of each group of cells, (groups,); 0 where predictions do not differ within cells."""
        product, square = (np.bincount(group, values, n_groups) for values in (self.product, self.square))
        return np.asarray(np.where(square > 0, product / np.where(square > 0, square, 1.0), 0.0))


def with_noise(cells: CellMoments, noise: FloatArray) -> CellMoments:
    """Return moments of one trait in which photos have noise * v for a variance, noise being (cells,)."""
    return _scaled(cells, 1.0 / noise[cells.of_row])


def with_level_weights(cells: CellMoments, noise: FloatArray, slope: FloatArray) -> CellMoments:
    """Return moments of one trait in which photos have noise * v at the mean of their cell for a variance.

    Args:
        cells: the moments; within a row, photos keep their weights.
        noise: (cells,).
        slope: (cells,) of log v on the prediction.

    Returns:
        The same moments, ``sum_w``, ``sum_wy``, ``sum_wy2`` and ``sum_w2`` changed.
    """
    centre = (cells.total("sum_y") / cells.n)[cells.of_row]
    deviation = cells.rows["sum_y"] / cells.rows["n"] - centre
    return _scaled(cells, np.exp(slope[cells.of_row] * deviation) / noise[cells.of_row])


def _scaled(cells: CellMoments, scale: FloatArray) -> CellMoments:
    changed = {name: cells.rows[name] * scale for name in ("sum_w", "sum_wy", "sum_wy2")}
    return replace(cells, rows={**cells.rows, **changed, "sum_w2": cells.rows["sum_w2"] * scale**2})
