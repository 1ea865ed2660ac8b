"""How often intervals of cells hold what plots show, errors and factors learned on other regions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from maps.small_area.calibration import KINDS, CellFactors, fit_factors, group_of_cell, kind_of_cell, scores
from maps.small_area.fit import PlotFit, enough_plots, fit_on_plots
from maps.small_area.trait_cells import TraitCells
from plant_traits.grid import FloatArray
from plant_traits.model.calibration import LEVELS

MOST_WEIGHT = 10.0
LOOKS = ("rmse", "rmse_direct", "rmse_geospatial")
EVERY_KIND = "all"
COVERAGE_COLUMNS = (
    "trait",
    "biome",
    "kind",
    "n",
    *LOOKS,
    *(f"{what}_{round(100 * level)}" for level in LEVELS for what in ("raw", "calibrated")),
)


@dataclass(frozen=True)
class HeldOut:
    """What was said of each cell with plots while its fold was held out; NaN elsewhere.

    Attributes:
        location: (n,).
        score: (n,) of ``maps.small_area.calibration.scores``, with the raw standard error.
        factor: (n, l) by ``LEVELS``, learned on the plots of the other folds from errors learned there.
    """

    location: FloatArray
    score: FloatArray
    factor: FloatArray


def hold_out(cells: TraitCells, published: PlotFit) -> HeldOut:
    """Learn lines, errors and factors without each fold in turn, and apply them to it.

    The forms of the lines are those of the published fit, which were chosen by comparing them on held-out folds.
    A fold without which too few cells have plots to learn from is not scored.
    """
    location, score = np.full(cells.size, np.nan), np.full(cells.size, np.nan)
    factor = np.full((cells.size, len(LEVELS)), np.nan)
    group = group_of_cell(cells.biome)
    for number in np.unique(cells.fold[cells.seen]):
        held, others = cells.seen & (cells.fold == number), cells.seen & (cells.fold != number)
        if not enough_plots(cells, others):
            continue
        fitted = fit_on_plots(cells, others, published)
        found = score_cells(cells, fitted)
        factors = fit_factors(np.where(others, found, np.nan), group, cells.block, stands_for(cells, others))
        location[held], score[held] = fitted.combined.location[held], found[held]
        factor[held] = np.stack([factors.of(group[held], level) for level in LEVELS], axis=1)
    return HeldOut(location, score, factor)


def calibrate(cells: TraitCells, held_out: HeldOut) -> CellFactors:
    """Fit the factors of the published cells on the scores of every cell with plots, each from when it was held out."""
    weight = stands_for(cells, np.isfinite(held_out.score))
    return fit_factors(held_out.score, group_of_cell(cells.biome), cells.block, weight)


def score_cells(cells: TraitCells, fitted: PlotFit) -> FloatArray:
    """Return the score of every cell with plots, (n,)."""
    return scores(cells["plot_mean"], fitted.plot_error, fitted.combined.location, fitted.combined.variance)


def stands_for(cells: TraitCells, chosen: npt.NDArray[np.bool_]) -> FloatArray:
    """Return how many mapped cells of its block and biome each chosen cell stands for, (n,).

    Plots are dense in some regions and absent from others; weights bring the calibration nearer to the cells that are
    mapped. They are at most ``MOST_WEIGHT`` times the median. Regions without any plots stay unheard.
    """
    stratum = np.unique(cells.block * cells.groups + cells.group, return_inverse=True)[1]
    count = np.maximum(np.bincount(stratum, chosen), 1)
    weight = (np.bincount(stratum) / count)[stratum]
    return np.minimum(weight, MOST_WEIGHT * np.median(weight[chosen])) if chosen.any() else weight


def coverage_table(cells: TraitCells, held_out: HeldOut) -> pd.DataFrame:
    """Return the share of held-out cells whose interval, widened by the plots' own error, holds the plots' mean.

    Returns:
        Columns ``COVERAGE_COLUMNS``, one row per biome (null: all together) and kind of cell (``rich``, ``sparse``,
        ``none``, ``all``) with plots: ``n`` cells, root mean squared differences of the location, the direct
        estimate and the geospatial prediction from the plots' mean (working space, the plots' own errors
        included), and coverage at each level by raw and by calibrated errors. The three differences of a row are of
        the same cells: those that have all three, or both that a cell without photos can have in kind ``none``.
    """
    frame = pd.DataFrame({"biome": cells.biome, "kind": kind_of_cell(cells["n_photos"])})
    looks = np.stack([held_out.location, cells["location"], cells["mean"]])
    seen_by_all = np.isfinite(looks).all(axis=0)
    without_photos = (frame["kind"] == KINDS[-1]).to_numpy() & np.isfinite(looks[[0, 2]]).all(axis=0)
    squares = (cells["plot_mean"] - looks) ** 2
    frame[list(LOOKS)] = np.where(seen_by_all | without_photos, squares, np.nan).T
    for at, level in enumerate(LEVELS):
        reach = norm.ppf(0.5 + level / 2)
        frame[f"raw_{round(100 * level)}"] = held_out.score <= reach
        frame[f"calibrated_{round(100 * level)}"] = held_out.score <= reach * held_out.factor[:, at]
    scored = np.isfinite(held_out.score)
    if not scored.any():
        return pd.DataFrame(columns=list(COVERAGE_COLUMNS))
    every = frame.assign(kind=EVERY_KIND)
    every[list(LOOKS)] = np.where(seen_by_all, squares, np.nan).T
    rows = pd.concat([frame[scored], every[scored]])
    grouped = pd.concat([rows[rows["biome"].notna()], rows.assign(biome=None)]).groupby(["biome", "kind"], dropna=False)
    table = grouped.mean()
    table[list(LOOKS)] = np.sqrt(table[list(LOOKS)])
    table = table.assign(n=grouped.size(), trait=cells.trait).reset_index()
    table["biome"] = table["biome"].where(table["biome"].notna(), None)
    return table[list(COVERAGE_COLUMNS)]
