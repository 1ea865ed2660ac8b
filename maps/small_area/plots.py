"""Vegetation plots by cell: their mean, their number and the error variance of that mean."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.grid import FloatArray, Grid
from plant_traits.needed_columns import need_columns

IntArray = npt.NDArray[np.int64]

PLOT_COLUMNS = ("latitude", "longitude", "trait", "value")
CELLS_OF_PRIOR = 20.0
LIMIT = 3.0  # a deviation of more standard deviations counts as this many
_WITHIN_LIMIT = 0.99500728  # E min(u², LIMIT²) of a standard normal u
_ROUNDS = 20


def plots_by_cell(plots: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Average plots by cell and trait, each plot counting the same, and measure their scatter within cells.

    Args:
        plots: one row per plot and trait: latitude, longitude (degrees, EPSG:4326), trait, value (working space). Rows
            without a value are left out.
        grid: the cells.

    Returns:
        One row per cell and trait: ``cell``, ``trait``, ``plot_mean``, ``n_plots``, and ``scatter``, the variance of
        the cell's plots about their mean with n - 1 degrees of freedom, deviations of more than ``LIMIT`` standard
        deviations of all the trait's plots counting as that many; NaN for one plot.

    Raises:
        TableError: a column is missing.
        GridError: a coordinate is missing or out of range.
    """
    need_columns(plots, "plots", PLOT_COLUMNS)
    rows = plots[np.isfinite(plots["value"].to_numpy(dtype=np.float64))]
    cell = grid.cell_of(rows["latitude"].to_numpy(), rows["longitude"].to_numpy())
    code, names = pd.factorize(rows["trait"], sort=True)
    slot, of_row = np.unique(cell * max(len(names), 1) + code, return_inverse=True)
    value = rows["value"].to_numpy(dtype=np.float64)
    n = np.bincount(of_row, minlength=len(slot))
    mean = np.bincount(of_row, value, len(slot)) / np.maximum(n, 1)
    # Scaled so that every deviation has the variance of a plot, whatever the number of plots of its cell.
    deviation = (value - mean[of_row]) / np.sqrt(1 - 1 / np.maximum(n, 2)[of_row])
    squares = _limited_squares(deviation, (1 - 1 / n[of_row]), code, len(names))
    total = np.bincount(of_row, squares * (1 - 1 / n[of_row]), len(slot))
    return pd.DataFrame(
        {
            "cell": slot // max(len(names), 1),
            "trait": np.asarray(names, dtype=object)[slot % max(len(names), 1)] if len(names) else [],
            "plot_mean": mean,
            "n_plots": n,
            "scatter": np.where(n > 1, total / np.maximum(n - 1, 1), np.nan),
        }
    )


def plot_variance(scatter: FloatArray, n_plots: FloatArray, group: IntArray, groups: int) -> FloatArray:
    """Pool the scatter of plots within cells, and return the variance of a single plot about its cell by group.

    A group's own variance is drawn towards that of all cells as by ``CELLS_OF_PRIOR`` degrees of freedom; group 0 holds
    all cells. Where no cell has two plots it is 0: what plots err by then counts as an error, common to both, of the
    photos and of the geospatial prediction, which makes their errors too large and leaves their weights as they are.

    Args:
        scatter: (n,) of ``plots_by_cell``.
        n_plots: (n,) likewise; 0 or NaN where a cell has none.
        group: (n,) from 1, or 0 where unknown.
        groups: how many there are, group 0 included.

    Returns:
        (groups,) variances.
    """
    several = np.isfinite(scatter) & (n_plots > 1)
    freedom = np.where(several, n_plots - 1, 0.0)
    squares = np.where(several, scatter, 0.0) * freedom
    of_all, freedom_of_all = float(squares.sum()), float(freedom.sum())
    if freedom_of_all == 0:
        return np.zeros(groups)
    pooled = of_all / freedom_of_all
    own = np.bincount(group, squares, groups) + CELLS_OF_PRIOR * pooled
    found = own / (np.bincount(group, freedom, groups) + CELLS_OF_PRIOR)
    found[0] = pooled
    return np.asarray(found)


def _limited_squares(deviation: FloatArray, weight: FloatArray, code: IntArray, traits: int) -> FloatArray:
    """Return squared deviations, those beyond the limit reduced to it, scaled to keep a normal's variance."""
    total = np.maximum(np.bincount(code, weight, traits), 1e-300)
    squares = deviation**2
    variance = np.bincount(code, weight * squares, traits) / total
    limited = squares
    for _ in range(_ROUNDS):
        limited = np.minimum(squares, LIMIT**2 * variance[code]) / _WITHIN_LIMIT
        variance = np.bincount(code, weight * limited, traits) / total
    return np.asarray(limited)
