"""Every land cell from its photos and its place together, with errors that vegetation plots vouch for.

Where plots look at cells as well, they tell by how much photos and place err (``maps.small_area.errors``), in which
proportions to take them, and whether the intervals that follow hold (``maps.small_area.calibration``). Without plots,
photos and place are combined after Fay and Herriot (``maps.small_area.fay_herriot``), and what both err by is told by
regions that the model did not see or, where nobody kept these, taken from what it states of itself.

Two things to bear in mind. Plots have had a say in a map that is filled with them, so its scores against the same plots
flatter it; the cross-fitted table and the ``unseen`` locations do not. And the errors are those against what plots
measure, cover-weighted communities of the regions that have plots; where a region has none, or where plots see other
vegetation than the mean of the cell, intervals may hold less often than they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from maps.small_area.calibration import CellFactors, group_of_cell
from maps.small_area.coverage import COVERAGE_COLUMNS, HeldOut, calibrate, coverage_table, hold_out
from maps.small_area.errors import Combination
from maps.small_area.fit import AreaFit, PlotFit, enough_plots, fit_on_plots, fit_without_plots
from maps.small_area.held_out_residuals import cell_residuals
from maps.small_area.plots import plots_by_cell
from maps.small_area.trait_cells import TraitCells, trait_cells
from plant_traits.errors import TableError
from plant_traits.grid import FloatArray, Grid
from plant_traits.model.calibration import LEVELS
from plant_traits.schemas import CELL

FOLDS = 5
BLOCK_DEGREES = 15.0
NORMAL_95 = float(norm.ppf(0.975))

FROM_PLOTS, HELD_OUT_REGIONS, AS_STATED = "plots", "held-out regions", "stated"
ERROR_COLUMNS = (
    "trait",
    "biome",
    "method",
    "shared_variance",
    "place_variance",
    "place_variance_without_photos",
    "common_covariance",
    "stated_power",
    "stated_variance",
    "plot_variance",
    "cells_photos_and_plots",
    "cells_photos_only",
    "cells_plots_only",
    "place_line",
    "place_intercept",
    "place_slope",
    "place_bias",
    "place_gain",
    "place_gain_error",
    "photo_line",
    "photo_intercept",
    "photo_bias",
    "photo_gain",
    "photo_gain_error",
)
UNSEEN_COLUMNS = ("cell", "trait", "location")
CALIBRATION_COLUMNS = ("trait", "biome", "n", "blocks", *(f"factor_{round(100 * level)}" for level in LEVELS))


@dataclass(frozen=True)
class FilledCells:
    """What is known of every cell, and how well.

    Attributes:
        cells: ``schemas.CELL``, by cell and trait: every one that has an estimate from photos or a land prediction.
        errors: ``ERROR_COLUMNS``, a row per trait and biome (null: all cells together): the ``method`` by which errors
            were learned (``plots``; ``held-out regions`` of the model's training; ``stated`` by the model of itself,
            which nothing vouches for); the variances of ``maps.small_area.errors``, that of a plot about its cell, and
            the cells they were learned on; the lines that bring place and photos to plots, with the bias before
            (look - plots) and the share by which the held-out squared error falls, with its standard error. Without
            plots, see ``maps.small_area.fit.fit_without_plots``.
        calibration: ``CALIBRATION_COLUMNS``, the factors of ``maps.small_area.calibration``; no rows without plots.
        coverage: ``maps.small_area.coverage.COVERAGE_COLUMNS``, cross-fitted; no rows without plots.
        unseen: ``UNSEEN_COLUMNS``, the location of every cell with plots by errors and lines learned on the plots of
            other blocks: what may be compared with its plots; NaN where the other blocks have too few, no rows where
            plots had no say.
    """

    cells: pd.DataFrame
    errors: pd.DataFrame
    calibration: pd.DataFrame
    coverage: pd.DataFrame
    unseen: pd.DataFrame


def fill_cells(
    direct: pd.DataFrame,
    land: pd.DataFrame,
    biome: Mapping[int, str] | pd.Series,
    plots: pd.DataFrame | None,
    grid: Grid,
    *,
    held_out: pd.DataFrame | None = None,
    folds: int = FOLDS,
    block_degrees: float = BLOCK_DEGREES,
) -> FilledCells:
    """Combine photos and place in every cell of every trait, and calibrate the errors on plots.

    The standard error of every cell is that of its mean, not the spread of its plants. The variance among plants of a
    cell with photos is theirs; of one without, the mean of the cells of its biome with photos, each
    counting by its share of photos; the aleatoric variance of the prediction where the trait has no photos. The
    same input in any order gives the same result.

    Args:
        direct: ``schemas.ESTIMATE`` of one estimator, from photos.
        land: ``schemas.LAND_PREDICTION``.
        biome: name by cell; a cell that is not in it takes the errors of all cells.
        plots: latitude, longitude (degrees, EPSG:4326), trait, value (working space), a row per plot and trait; None
            where there are none. A trait of fewer than ``maps.small_area.errors.LEAST_CELLS`` mapped cells with plots
            is combined as without.
        grid: the cells.
        held_out: used for traits without plots: what the model said of regions that it did not see, of
            ``plant_traits.model.held_out_places``; it tells by how much the geospatial prediction errs. Of fewer than
            ``maps.small_area.errors.LEAST_CELLS`` cells it tells nothing.
        folds: parts that plots are divided into for cross-fitting, whole blocks each.
        block_degrees: side of the blocks; 5 or more.

    Raises:
        TableError: a column is missing, a cell occurs twice for a trait or is not of this grid.
        GridError: a plot's coordinates are missing or out of range.
    """
    seen = None if plots is None else plots_by_cell(plots, grid)
    residuals = None if held_out is None else cell_residuals(held_out, grid)
    if "trait" not in direct or "trait" not in land:
        raise TableError(
            "cells: expected a column 'trait' in estimates and land predictions; read them by their schemas"
        )
    parts = []
    for trait in sorted({*direct["trait"].unique(), *land["trait"].unique()}):
        cells = trait_cells(str(trait), direct, land, seen, biome, grid, folds=folds, block_degrees=block_degrees)
        residual = None
        if residuals is not None:
            residual = residuals.loc[residuals["trait"] == trait, "residual"].to_numpy(np.float64)
        parts.append(_fill_trait(cells, residual))
    empty = {
        "cells": CELL.names,
        "errors": ERROR_COLUMNS,
        "calibration": CALIBRATION_COLUMNS,
        "coverage": COVERAGE_COLUMNS,
        "unseen": UNSEEN_COLUMNS,
    }
    tables = {}
    for name, columns in empty.items():
        found = [table for table in (getattr(part, name) for part in parts) if len(table)]
        tables[name] = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(columns))
    tables["cells"] = tables["cells"].sort_values(["cell", "trait"], ignore_index=True)
    return FilledCells(**tables)


def _fill_trait(cells: TraitCells, residual: FloatArray | None) -> FilledCells:
    if enough_plots(cells, cells.seen):
        fitted = fit_on_plots(cells, cells.seen)
        held_out = hold_out(cells, fitted)
        factors = calibrate(cells, held_out)
        frame = _cell_table(cells, fitted.combined, factors)
        return FilledCells(
            frame,
            _errors_on_plots(cells, fitted),
            _calibration_table(cells, factors),
            coverage_table(cells, held_out),
            _unseen_table(cells, held_out),
        )
    areas = fit_without_plots(cells, residual)
    columns_of_plots = (CALIBRATION_COLUMNS, COVERAGE_COLUMNS, UNSEEN_COLUMNS)
    nothing = (pd.DataFrame(columns=list(columns)) for columns in columns_of_plots)
    return FilledCells(_cell_table(cells, areas.combined, None), _errors_without_plots(cells, areas), *nothing)


def _cell_table(cells: TraitCells, combined: Combination, factors: CellFactors | None) -> pd.DataFrame:
    location, raw = combined.location, np.sqrt(combined.variance)
    scaled = raw if factors is None else raw * factors.of(group_of_cell(cells.biome))
    table = pd.DataFrame(
        {
            "cell": cells.cell,
            "trait": cells.trait,
            "location": location,
            "standard_error": scaled,
            "interval_lower": location - NORMAL_95 * scaled,
            "interval_upper": location + NORMAL_95 * scaled,
            "standard_error_raw": raw,
            "interval_raw_lower": location - NORMAL_95 * raw,
            "interval_raw_upper": location + NORMAL_95 * raw,
            "photo_share": combined.photo_share,
            "variance_among_plants": _among_plants(cells, combined.photo_share),
            "biome": cells.biome,
        }
    )
    return table[list(CELL.names)]


def _unseen_table(cells: TraitCells, held_out: HeldOut) -> pd.DataFrame:
    return pd.DataFrame(
        {"cell": cells.cell[cells.seen], "trait": cells.trait, "location": held_out.location[cells.seen]}
    )


def _among_plants(cells: TraitCells, photo_share: FloatArray) -> FloatArray:
    """Return the variance among the plants of every cell, see ``fill_cells``."""
    own = cells["variance_among_plants"]
    known = np.isfinite(own)
    if not known.any():
        return cells["variance_aleatoric"]
    weight = np.where(known, np.maximum(photo_share, 1e-6), 0.0)
    total = np.bincount(cells.group, weight, cells.groups)
    mean = np.bincount(cells.group, weight * np.where(known, own, 0.0), cells.groups) / np.maximum(total, 1e-300)
    mean = np.where(total > 0, mean, float(weight @ np.where(known, own, 0.0) / weight.sum()))
    return np.where(known, own, mean[cells.group])


def _errors_on_plots(cells: TraitCells, fitted: PlotFit) -> pd.DataFrame:
    errors, place, photos = fitted.errors, fitted.of_place, fitted.of_photos
    return pd.DataFrame(
        {
            "trait": cells.trait,
            "biome": cells.labels,
            "method": FROM_PLOTS,
            "shared_variance": errors.shared,
            "place_variance": errors.place,
            "place_variance_without_photos": errors.place_without,
            "common_covariance": errors.common,
            "stated_power": errors.power,
            "stated_variance": errors.typical,
            "plot_variance": fitted.plot_variance,
            "cells_photos_and_plots": errors.three,
            "cells_photos_only": errors.two,
            "cells_plots_only": errors.without,
            "place_line": place.form,
            "place_intercept": place.intercept,
            "place_slope": place.slope,
            "place_bias": place.bias,
            "place_gain": place.gain,
            "place_gain_error": place.gain_error,
            "photo_line": photos.form,
            "photo_intercept": photos.intercept,
            "photo_bias": photos.bias,
            "photo_gain": photos.gain,
            "photo_gain_error": photos.gain_error,
        }
    )[list(ERROR_COLUMNS)]


def _errors_without_plots(cells: TraitCells, areas: AreaFit) -> pd.DataFrame:
    both = np.isfinite(cells["location"]) & np.isfinite(cells["mean"])
    count = np.bincount(cells.group[both], minlength=cells.groups)
    count[0] = both.sum()
    method = AS_STATED if areas.shown is None else HELD_OUT_REGIONS
    frame = pd.DataFrame({"trait": cells.trait, "biome": cells.labels, "method": method, "cells_photos_only": count})
    if areas.model is not None:
        shared, place = areas.shared, areas.model.variance + areas.shared
        frame = frame.assign(
            shared_variance=shared,
            place_variance=place,
            place_variance_without_photos=place,
            common_covariance=shared,
        )
    table: pd.DataFrame = frame.reindex(columns=list(ERROR_COLUMNS))
    return table


def _calibration_table(cells: TraitCells, factors: CellFactors) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"trait": cells.trait, "biome": [None, *factors.groups[1:]], "n": factors.n, "blocks": factors.blocks}
    )
    for at, level in enumerate(LEVELS):
        frame[f"factor_{round(100 * level)}"] = factors.factor[:, at]
    return frame[list(CALIBRATION_COLUMNS)]
