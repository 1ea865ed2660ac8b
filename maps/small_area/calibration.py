"""Conformal factors of cells, learned where vegetation plots look at them.

A score is |mean of the plots - location| / (standard error² + V)^(1/2), where V is the error variance of the plots'
mean: the plots' own error is in the score, so a factor tells by how much the errors of cells and plots together are
misjudged, and where V is the larger part it says little of the cell. A cell's interval at a level reaches its
conformal quantile of these scores times the cell's raw standard error; the standard error is scaled by the quantile at
95 % over that of a normal.

Cells of one spatial block err together, so what is known of the scale of their errors is known from as many places as
there are blocks, however many cells these hold. The quantile is therefore widened as a normal's is to Student's t with
one degree of freedom less than the blocks that it was learned on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student

from plant_traits.grid import FloatArray, IntArray
from plant_traits.model.calibration import EVERYTHING, LEVELS, conformal_quantile, smallest_group

PUBLISHED_LEVEL = 0.95
RICH_PHOTOS = 20
LEAST_BLOCKS = 5
"""Spatial blocks that a group needs for a factor of its own."""
KINDS = ("rich", "sparse", "none")
"""Cells of ``RICH_PHOTOS`` photos or more, of fewer, and without photos."""


@dataclass(frozen=True)
class CellFactors:
    """By how much raw standard errors are multiplied, by group and level.

    Attributes:
        groups: names; the first is ``all``.
        n: (g,) cells scored.
        blocks: (g,) spatial blocks that these lie in.
        factor: (g, l) conformal quantile over that of a normal, widened for the number of blocks, by ``LEVELS``; 1
            where too few cells tell.
    """

    groups: tuple[str, ...]
    n: IntArray
    blocks: IntArray
    factor: FloatArray

    def of(self, group: npt.NDArray[np.object_], level: float = PUBLISHED_LEVEL) -> FloatArray:
        """Return the factor of each cell's group, that of all cells where the group has none, (n,)."""
        codes, names = pd.factorize(group)
        at = [self.groups.index(name) if name in self.groups else 0 for name in names]
        return np.asarray(self.factor[np.asarray(at, dtype=np.int64)[codes], LEVELS.index(level)])


def kind_of_cell(n_photos: FloatArray) -> npt.NDArray[np.object_]:
    """Return each cell's kind by its number of photos, one of ``KINDS``."""
    at = np.select([n_photos >= RICH_PHOTOS, n_photos > 0], [0, 1], default=2)
    return np.asarray(np.array(KINDS, dtype=object)[at])


def group_of_cell(biome: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Return each cell's group of calibration: its biome, or ``all`` where that is unknown."""
    return np.array([name if isinstance(name, str) else EVERYTHING for name in biome], dtype=object)


def scores(plot: FloatArray, plot_error: FloatArray, location: FloatArray, variance: FloatArray) -> FloatArray:
    """Return |plot - location| / (variance + plot_error)^(1/2); NaN where something is missing."""
    return np.asarray(np.abs(plot - location) / np.sqrt(variance + plot_error))


def fit_factors(
    score: FloatArray, group: npt.NDArray[np.object_], block: IntArray, weight: FloatArray | None = None
) -> CellFactors:
    """Fit a factor by group and level: the conformal quantile of its scores over that of a normal, widened.

    It is widened by the quantile of Student's t with B - 1 degrees of freedom over that of a normal, B the spatial
    blocks of the group's scores. A group of fewer than ⌈1/α⌉ - 1 cells or ``LEAST_BLOCKS`` blocks takes the factor of
    all cells; where all cells are too few as well, lie in one block, or have scores of 0, it is 1.

    Args:
        score: (n,) from ``scores``; NaN is left out.
        group: (n,) from ``group_of_cell``.
        block: (n,) number of the spatial block of each cell.
        weight: (n,) how many cells each stands for; all the same by default.
    """
    known = np.isfinite(score)
    score, group, block = score[known], group[known], block[known]
    weight = np.ones(len(score)) if weight is None else weight[known]
    groups = (EVERYTHING, *sorted(set(pd.unique(group)) - {EVERYTHING}))
    normal = norm.ppf(0.5 + np.asarray(LEVELS) / 2)
    factor = np.ones((len(groups), len(LEVELS)))
    n, blocks = (np.zeros(len(groups), dtype=np.int64) for _ in range(2))
    for index, name in enumerate(groups):
        own = np.ones(len(score), dtype=bool) if index == 0 else group == name
        n[index], blocks[index] = own.sum(), len(np.unique(block[own]))
        least = 2 if index == 0 else LEAST_BLOCKS
        for at, level in enumerate(LEVELS):
            factor[index, at] = factor[0, at]
            if n[index] >= smallest_group(level) and blocks[index] >= least:
                widened = student.ppf(0.5 + level / 2, blocks[index] - 1) / normal[at]
                factor[index, at] = widened * _quantile(score[own], weight[own], level) / normal[at]
    return CellFactors(groups, n, blocks, np.where(np.isfinite(factor) & (factor > 0), factor, 1.0))


def _quantile(score: FloatArray, weight: FloatArray, level: float) -> float:
    """Return the smallest score that, with all smaller ones, holds the level of the weight and of a mean one besides.

    With equal weights it is the conformal quantile. The weights say how many of the places that it is used for a score
    stands for [weighted conformal prediction, Tibshirani et al. 2019, with the mean weight for the new place's].
    """
    if not len(score) or (weight == weight[0]).all():
        return conformal_quantile(score, level)
    order = np.argsort(score, kind="stable")
    held = np.cumsum(weight[order])
    at = int(np.searchsorted(held, level * (held[-1] + held[-1] / len(held)) - 1e-9 * held[-1]))
    return float(score[order[at]]) if at < len(held) else math.inf
