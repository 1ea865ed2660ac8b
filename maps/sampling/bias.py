"""The error of a mean over plants that were not chosen at random, after Meng (2018, Ann. Appl. Stat. 12, 685-726).

For n of N plants recorded, f = n / N, whatever chose them,

    mean of the recorded - mean of all = data defect correlation x ((1 - f) / f) ** 1/2 x sd of all,

an identity, where the data defect correlation is that between being recorded and the trait, over all plants. Under
random sampling its mean square is 1 / (N - 1). People with cameras choose, so theirs is larger, and as it is multiplied
by about (N / n) ** 1/2, a tiny one costs most of what a large sample seems to be worth.

Where a population is known, as in a simulation, the realised correlation of a cell can be stated. Over a real cell
nobody counted the plants, and N and the correlation cannot be told apart. What plots can tell is their product: the
bias in standard deviations of the plants. If people choose alike however many of them come, that product stays the same
as n grows (the correlation grows with f ** 1/2), as long as n is far below N. So one ratio per biome is estimated from
cells with plots and carried over to cells without: an assumption, not a finding.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from maps.small_area.plots import plot_variance, plots_by_cell
from plant_traits.errors import InputError
from plant_traits.grid import FloatArray, Grid

ALL = ""
"""Name of the group of all cells together."""

ENOUGH_CELLS = 20
"""Cells with plots without which there is no ratio, and as how many the ratio of all counts in that of a group."""


def error_of_mean(
    defect_correlation: npt.ArrayLike,
    n: npt.ArrayLike,
    population: npt.ArrayLike,
    standard_deviation: npt.ArrayLike,
) -> FloatArray:
    """Return the error of the mean of n of N plants: mean of the recorded less mean of all.

    Args:
        defect_correlation: correlation between being recorded and the value, over all plants.
        n: plants recorded.
        population: plants there are, N.
        standard_deviation: of the value over all plants, denominator N.

    Returns:
        The errors, in the unit of the standard deviation; the arguments broadcast.

    Raises:
        InputError: n is not between 1 and N.
    """
    fraction = _fraction(n, population)
    correlation, deviation = (np.asarray(x, dtype=np.float64) for x in (defect_correlation, standard_deviation))
    return np.asarray(correlation * np.sqrt((1 - fraction) / fraction) * deviation)


def data_defect_correlation(
    error: npt.ArrayLike, n: npt.ArrayLike, population: npt.ArrayLike, standard_deviation: npt.ArrayLike
) -> FloatArray:
    """Return the realised data defect correlation behind a known error: the inverse of ``error_of_mean``.

    Returns:
        Correlations; NaN where all plants are recorded or do not differ, since then there is no error to explain.

    Raises:
        InputError: n is not between 1 and N.
    """
    fraction = _fraction(n, population)
    reach = np.sqrt((1 - fraction) / fraction) * np.asarray(standard_deviation, dtype=np.float64)
    explained = np.asarray(error, dtype=np.float64) / np.where(reach > 0, reach, np.nan)
    return np.asarray(explained)


def effective_sample_size(defect_correlation: npt.ArrayLike, n: npt.ArrayLike, population: npt.ArrayLike) -> FloatArray:
    """Return the size of the simple random sample whose mean errs as much: f / (1 - f) / correlation ** 2.

    The random sample is taken to be small beside the population. A correlation of 0.005 makes 2.3 million of the 231.6
    million voters of the United States worth about 400 (Meng's example of 2016).

    Args:
        defect_correlation: correlation between being recorded and the value, over all plants.
        n: plants recorded.
        population: plants there are.

    Returns:
        Sizes; infinite where the correlation is 0.

    Raises:
        InputError: n is not between 1 and N.
    """
    fraction = _fraction(n, population)
    with np.errstate(divide="ignore"):
        return np.asarray(fraction / (1 - fraction) / np.square(np.asarray(defect_correlation, float)))


def bias_ratios(
    error: FloatArray,
    error_variance: FloatArray,
    standard_deviation: FloatArray,
    group: npt.NDArray[np.object_],
    *,
    enough: int = ENOUGH_CELLS,
) -> dict[str, float]:
    """Estimate the root mean square bias of cells' means in standard deviations of their plants, by group.

    The square of a ratio is the mean over cells of (error ** 2 - error variance) / sd ** 2: what the errors against
    plots have beyond their own uncertainty, not below 0. In a group's mean the mean of all cells counts as ``enough``
    cells more, since few cells tell little of it. One over that square is the simple random sample that a cell's photos
    are worth, however many they are (Meng's effective sample size, where N need not be known).

    All that photos' means share against plots is in it: the choice of plants and places, the model's own bias, and what
    the plots themselves miss. It is a ceiling of the bias of sampling rather than an estimate of it alone.

    Args:
        error: (cells,) mean of the photos less mean of the plots, working space.
        error_variance: (cells,) variance of that difference by chance: squared standard errors of both.
        standard_deviation: (cells,) among the cell's plants, working space.
        group: (cells,) names, such as biomes; None is of no group.
        enough: cells that are needed in all.

    Returns:
        The ratio of every group, and of all cells together under ``ALL``; nothing where there are too few cells. Cells
        where a number is missing or the standard deviation is not positive do not count.

    Raises:
        InputError: the arrays are not equally long.
    """
    if not len(error) == len(error_variance) == len(standard_deviation) == len(group):
        raise InputError(
            f"bias ratios: expected arrays of one length, found {len(error)}, {len(error_variance)}, "
            f"{len(standard_deviation)} and {len(group)}; align them by cell"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        square = (error**2 - error_variance) / standard_deviation**2
    usable = np.isfinite(square) & (standard_deviation > 0)
    if usable.sum() < max(enough, 1):
        return {}
    of_all = float(square[usable].mean())
    means = {ALL: of_all}
    for name in sorted({str(name) for name in group[usable] if name is not None}):
        own = square[usable & (group == name)]
        means[name] = float(own.sum() + enough * of_all) / (len(own) + enough)
    return {name: float(np.sqrt(max(mean, 0.0))) for name, mean in means.items()}


def expected_bias(
    standard_deviation: FloatArray, group: npt.NDArray[np.object_], ratios: Mapping[str, float]
) -> FloatArray:
    """Return how far off the mean of a cell's photos is to be expected to be, beyond its standard error.

    This is a size, not a correction: the root mean square of a bias whose sign is unknown, under the assumption that
    the photos of this cell are chosen (and predicted) as those of the cells with plots in its group. It does not
    shrink with more photos. It is no part of the standard error.

    Args:
        standard_deviation: (cells,) among the cell's plants, working space; NaN where unknown.
        group: (cells,) names; None is of no group.
        ratios: from ``bias_ratios``; a group without one takes that of all cells.

    Returns:
        (cells,) at least 0, working space; NaN where the standard deviation or the ratio is unknown.
    """
    everywhere = ratios.get(ALL, np.nan)
    codes, names = pd.factorize(group)
    of_name = np.array([*(ratios.get(str(name), everywhere) for name in names), everywhere], dtype=np.float64)
    ratio = of_name[codes]  # no group is the last of them, -1
    return np.where(standard_deviation >= 0, ratio * standard_deviation, np.nan)


def expected_bias_of_cells(
    estimates: pd.DataFrame, plots: pd.DataFrame, biome: Mapping[int, str] | pd.Series, grid: Grid
) -> pd.DataFrame:
    """Return the expected bias of every cell with photos, from the cells that have vegetation plots as well.

    The mean of a cell's plots errs by the scatter of plots within cells over their number (``maps.small_area.plots``).

    Args:
        estimates: ``schemas.ESTIMATE`` from photos, of one estimator.
        plots: one row per plot and trait: latitude, longitude, trait, value (working space).
        biome: biome by cell; cells that are not in it are of none.
        grid: the cells.

    Returns:
        A row per row of the estimates: ``cell``, ``trait``, ``bias_ratio``, in standard deviations of the plants of the
        cell, and ``expected_bias``, working space; NaN for a trait with too few cells with plots.

    Raises:
        TableError: the plots lack a column.
        GridError: a plot's coordinate is missing or out of range.
    """
    rows = estimates.merge(plots_by_cell(plots, grid), on=["cell", "trait"], how="left")
    names = pd.Series(biome, dtype=object).reindex(rows["cell"]).to_numpy(dtype=object)
    group = np.full(len(rows), None, dtype=object)
    group[pd.notna(names)] = names[pd.notna(names)]
    spread = np.sqrt(rows["variance_among_plants"].to_numpy(dtype=np.float64))
    ratio, expected = np.full((2, len(rows)), np.nan)
    for trait in rows["trait"].unique():
        own = (rows["trait"] == trait).to_numpy()
        of = rows[own]
        codes, known = pd.factorize(group[own])
        n_plots = of["n_plots"].to_numpy(dtype=np.float64)
        of_plot = plot_variance(of["scatter"].to_numpy(dtype=np.float64), n_plots, codes + 1, len(known) + 1)
        error = (of["location"] - of["plot_mean"]).to_numpy(dtype=np.float64)
        variance = of["standard_error"].to_numpy(dtype=np.float64) ** 2 + of_plot[codes + 1] / n_plots
        ratios = bias_ratios(error, variance, spread[own], group[own])
        ratio[own] = expected_bias(np.ones(len(of)), group[own], ratios)
        expected[own] = expected_bias(spread[own], group[own], ratios)
    return rows[["cell", "trait"]].assign(bias_ratio=ratio, expected_bias=expected)


def _fraction(n: npt.ArrayLike, population: npt.ArrayLike) -> FloatArray:
    recorded, there = np.asarray(n, dtype=np.float64), np.asarray(population, dtype=np.float64)
    if not ((recorded >= 1) & (recorded <= there)).all():
        raise InputError(
            f"sampling bias: expected between 1 and N plants recorded, found n from {np.min(recorded)} to "
            f"{np.max(recorded)} and N from {np.min(there)}; leave out cells without photos"
        )
    return recorded / there
