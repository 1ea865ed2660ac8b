"""Stage: every land cell from its photos and its place together, calibrated on vegetation plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from maps.comparison.registry import open_product_map
from maps.small_area.fill import AS_STATED, HELD_OUT_REGIONS, fill_cells
from maps.stages.cells import read_estimates
from plant_traits.covariates.cell_biomes import cell_biomes
from plant_traits.covariates.cube import LayerFolder
from plant_traits.errors import GridError, InputError, MissingInputError
from plant_traits.grid import Grid
from plant_traits.model.checkpoint import load_model
from plant_traits.model.held_out_places import read_held_out_places
from plant_traits.run_spec import RunSpec
from plant_traits.schemas import CELL, LAND_PREDICTION, read_table, write_table
from plant_traits.sources.splotopen import read_plots
from plant_traits.steps import Summary

CELLS_FILE = "cells.parquet"
ERRORS_FILE = "errors.parquet"
CALIBRATION_FILE = "calibration.parquet"
COVERAGE_FILE = "coverage.parquet"
UNSEEN_FILE = "unseen.parquet"

_TOLD = {HELD_OUT_REGIONS: "told by held-out regions", AS_STATED: "as the model states them"}


def fill_map(
    destination: Path,
    *,
    spec: RunSpec,
    root: Path,
    estimates: Path,
    land: Path,
    covariates: Path,
    rasters: Sequence[LayerFolder],
    model: Path | None = None,
) -> Summary:
    """Combine the published estimator with the geospatial prediction in every land cell.

    Writes ``cells.parquet``, ``errors.parquet``, ``calibration.parquet``, ``coverage.parquet`` and ``unseen.parquet``,
    see ``maps.small_area.fill.FilledCells``. Plots of a profile that has them as a map are read on the grid of that
    map, where it nests in the run's or the run's in it: each of its cells then counts as a plot at its centre, and
    several scatter within a cell of the run as plots would.

    Args:
        destination: an empty folder.
        spec: the run.
        root: the run's data folder.
        estimates: output of ``estimate_cells``.
        land: output of ``predict_land``.
        covariates: output of ``grid_covariates``.
        rasters: the raster sources it was made of.
        model: the folder of the model that predicted; what it said of held-out regions, where the folder tells, gives
            the errors of traits without plots.

    Returns:
        Counts of cells and plots in, of cells out, of traits by what their errors were learned from; plots lost, by
        reason.

    Raises:
        InputError: the plots of the profile cannot be read.
        ModelError: the model, or what it said of held-out regions, cannot be read.
    """
    published = spec.profile.published_estimator
    direct = read_estimates(estimates, "photo", [published])[published]
    predicted = read_table(land / "land.parquet", LAND_PREDICTION)
    plots, lost = plots_of_run(spec, root)
    outside = 0 if plots is None else _outside(plots, predicted, direct, spec.grid)
    held_out = None if model is None else read_held_out_places(model, load_model(model).model_id)
    biome = cell_biomes(covariates, rasters)
    filled = fill_cells(direct, predicted, biome, plots, spec.grid, held_out=held_out)
    write_table(filled.cells, destination / CELLS_FILE, CELL)
    filled.errors.to_parquet(destination / ERRORS_FILE, index=False)
    filled.calibration.to_parquet(destination / CALIBRATION_FILE, index=False)
    filled.coverage.to_parquet(destination / COVERAGE_FILE, index=False)
    filled.unseen.to_parquet(destination / UNSEEN_FILE, index=False)
    traits_of = {how: int(filled.errors.loc[filled.errors["method"] == how, "trait"].nunique()) for how in _TOLD}
    with_photos = filled.cells.loc[filled.cells["photo_share"] > 0, "cell"]
    return {
        "in": {
            "cells with a photo": int(direct["cell"].nunique()),
            "land cells predicted": int(predicted["cell"].nunique()),
            "plots times traits": 0 if plots is None else len(plots),
        },
        "out": {
            "cells filled": int(filled.cells["cell"].nunique()),
            "cells with a share of photos": int(with_photos.nunique()),
            "traits calibrated on plots": int(filled.calibration["trait"].nunique()),
            **{f"traits of errors {words}": traits_of[how] for how, words in _TOLD.items() if traits_of[how]},
        },
        "lost": {f"plot {reason}": n for reason, n in lost.items()}
        | ({"plot and trait outside the mapped cells": outside} if outside else {}),
    }


def read_cells(folder: Path) -> pd.DataFrame:
    """Return the cells of ``fill_map``, ``schemas.CELL``."""
    return read_table(folder / CELLS_FILE, CELL)


def read_coverage(folder: Path) -> pd.DataFrame | None:
    """Return the cross-fitted coverage of ``fill_map``, or None where the run has no plots to score on.

    Raises:
        MissingInputError: the folder holds none.
    """
    path = folder / COVERAGE_FILE
    if not path.is_file():
        raise MissingInputError(f"coverage of cells: expected {path}, which is not there; fill the cells again")
    table = pd.read_parquet(path)
    return table if len(table) else None


def read_unseen(folder: Path) -> pd.DataFrame:
    """Return the locations of cells with plots that those plots had no say in: cell, trait, location."""
    return pd.read_parquet(folder / UNSEEN_FILE)


def plots_of_run(spec: RunSpec, root: Path) -> tuple[pd.DataFrame | None, dict[str, int]]:
    """Return the run's plots, a row per plot and trait, and how many were left out, by reason; None without plots.

    Raises:
        InputError: the profile names an unknown reader, or several sets of plots.
    """
    items, gridded = spec.inputs.plots, spec.inputs.gridded_plots
    if len(items) + (gridded is not None) > 1:
        raise InputError("the profile names several sets of plots; name one, so that no plot counts twice")
    for item in items:
        if item.reader != "splotopen-tables":
            raise InputError(
                f"no plot reader is called {item.reader!r}; known: splotopen-tables. Correct `reader` in the profile"
            )
        found = read_plots(root / item.path, spec.traits)
        return found.plots, dict(found.rejected)
    if gridded is None:
        return None, {}
    product = spec.catalog.product(gridded.product)
    grid = _grid_of_plots(product.native_grid, spec.grid)
    location = open_product_map(product, root / gridded.path, spec.traits, grid)["location"]
    trait, row, column = np.nonzero(np.isfinite(location.to_numpy()))
    return pd.DataFrame(
        {
            "latitude": grid.lat[row],
            "longitude": grid.lon[column],
            "trait": np.array([x.id for x in spec.traits], dtype=object)[trait],
            "value": location.to_numpy()[trait, row, column],
        }
    ), {}


def _outside(plots: pd.DataFrame, predicted: pd.DataFrame, direct: pd.DataFrame, grid: Grid) -> int:
    """Count the plots times traits that lie in no cell that is mapped."""
    mapped = np.union1d(predicted["cell"].unique(), direct["cell"].unique())
    cell = grid.cell_of(plots["latitude"].to_numpy(), plots["longitude"].to_numpy())
    return int((~np.isin(cell, mapped)).sum())


def _grid_of_plots(native: str, grid: Grid) -> Grid:
    """Return a product's own grid where it nests in the run's or the run's in it, else the run's."""
    try:
        own = Grid.parse(native)
    except GridError:
        return grid
    nested = 1 in ((grid.resolution / own.resolution).denominator, (own.resolution / grid.resolution).denominator)
    return own if nested else grid
