"""Stage: how unlike the training data every land cell is, and which cells lie outside the area of applicability."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xarray as xr

from data_catalog import ModelSettings
from maps.applicability.area import ApplicabilityArea, area_of_applicability
from maps.applicability.covariate_importance import covariate_importance
from plant_traits.covariates.cube import LayerFolder, model_matrix
from plant_traits.errors import MissingInputError, ModelError
from plant_traits.grid import FloatArray, IntArray
from plant_traits.model.checkpoint import load_model
from plant_traits.model.training_places import TrainingPlaces, read_training_places
from plant_traits.schemas import APPLICABILITY, APPLICABILITY_THRESHOLD, COVARIATE_IMPORTANCE, read_table, write_table
from plant_traits.spatial_folds import spatial_folds
from plant_traits.stages.covariates import LAND
from plant_traits.stages.places import place_features
from plant_traits.stages.prediction import CELLS_AT_ONCE
from plant_traits.steps import Summary

APPLICABILITY_FILE = "applicability.parquet"
THRESHOLDS_FILE = "thresholds.parquet"
IMPORTANCES_FILE = "importances.parquet"

_CELLS_READ = 1 << 19  # of the grid at a time


def assess_applicability(
    destination: Path,
    *,
    covariates: Path,
    rasters: Sequence[LayerFolder],
    model: Path,
    device: str = "cpu",
) -> Summary:
    """Compare every land cell with the places that the model was trained on, trait by trait.

    The training places of a trait are those of the records that the model was fitted to (in its refit, where there was
    one) and that had a label of the trait. They are dealt to spatial folds by the blocks that training held out, to as
    many as the share held out makes. Writes ``applicability.parquet``, ``thresholds.parquet`` and
    ``importances.parquet``.

    Args:
        destination: an empty folder.
        covariates: output of ``grid_covariates``.
        rasters: the raster sources it was made of.
        model: the model's folder, with the places it was fitted to.
        device: ``cpu`` or ``cuda``.

    Returns:
        Counts of land cells, of those outside by trait, and the thresholds.

    Raises:
        MissingInputError: there are no gridded covariates.
        ModelError: the model reads other covariates, or none, or its folder does not say where it was trained.
    """
    trained = load_model(model)
    places = read_training_places(model, trained.model_id)
    importance = covariate_importance(trained, places.covariates, seed=trained.settings.seed, device=device)
    scaling = trained.covariate_standardisation
    centre, scale = scaling.centre, scaling.scale
    traits = [trait.id for trait in trained.traits]
    areas = _areas(places, (places.covariates - centre) / scale, importance, trained.settings)

    counts = dict.fromkeys(traits, 0)
    unknown = dict.fromkeys(traits, 0)
    cells_seen = 0
    with (
        _open(covariates) as grid,
        pq.ParquetWriter(destination / APPLICABILITY_FILE, APPLICABILITY, compression="zstd") as writer,
    ):
        land = int((grid[LAND].to_numpy() > 0).sum())
        for cells, matrix, names in _land_cells(grid, rasters, trained.settings):
            _check_names(trained.covariate_names, names, "grid")
            standard = (matrix - centre) / scale
            index = np.column_stack([area.dissimilarity(standard) for area in areas])
            outside = np.column_stack([area.outside(index[:, k]) for k, area in enumerate(areas)])
            for k, trait in enumerate(traits):
                counts[trait] += int(outside[:, k].sum())
                unknown[trait] += int(np.isnan(index[:, k]).sum())
            cells_seen += len(cells)
            writer.write_table(_rows(cells, traits, index, outside))
    _write_thresholds(destination, traits, areas)
    _write_importances(destination, traits, trained.covariate_names, importance)
    return {
        "in": {"land cells": land, "training places": len(places.block)},
        "out": {"land cells compared": cells_seen} | {f"outside, {trait}": n for trait, n in counts.items()},
        "lost": {"land cell without any covariate": land - cells_seen} if land > cells_seen else {},
        "of too few covariates": {trait: n for trait, n in unknown.items() if n},
        "thresholds": {
            trait: area.threshold
            if np.isfinite(area.threshold)
            else "unknown: its training places lie in one block or do not differ"
            for trait, area in zip(traits, areas, strict=True)
        },
    }


def read_applicability(folder: Path) -> pd.DataFrame:
    """Return the dissimilarity index of every land cell and trait, NaN where unknown, and 1 where it lies outside.

    Args:
        folder: output of ``assess_applicability``.

    Returns:
        Columns cell, trait, dissimilarity and outside.

    Raises:
        TableError: the file cannot be read.
    """
    frame = read_table(folder / APPLICABILITY_FILE, APPLICABILITY)
    return frame.assign(outside=frame["outside"].astype(np.int8))


def _areas(
    places: TrainingPlaces, standard: FloatArray, importance: FloatArray, settings: ModelSettings
) -> list[ApplicabilityArea]:
    folds = max(round(1 / settings.validation_share), 2)
    areas = []
    for trait, weight in enumerate(importance):
        own = places.labelled[:, trait]
        fold = spatial_folds(places.block[own], folds)
        areas.append(area_of_applicability(standard[own], fold, weight, seed=settings.seed))
    return areas


def _open(covariates: Path) -> xr.Dataset:
    """Open gridded covariates without reading them."""
    path = covariates / "covariates.zarr"
    if not (path / "zarr.json").is_file():
        raise MissingInputError(f"gridded covariates: expected a Zarr v3 store at {path}, found none; build it first")
    dataset: xr.Dataset = xr.open_zarr(path, zarr_format=3, consolidated=False)
    return dataset


def _land_cells(
    grid: xr.Dataset, rasters: Sequence[LayerFolder], settings: ModelSettings
) -> Iterator[tuple[IntArray, npt.NDArray[np.float32], tuple[str, ...]]]:
    """Yield land cells with some covariate and what the model reads of them, a bounded number at a time."""
    encoders = place_features(settings.location_encoder, settings.location_encoder_location)
    width = grid.sizes["lon"]
    rows = max(_CELLS_READ // width, 1)
    for north in range(0, grid.sizes["lat"], rows):
        block = grid.isel(lat=slice(north, north + rows)).load()
        matrix, names = model_matrix(block, rasters)
        within = np.flatnonzero((block[LAND].to_numpy().ravel() > 0) & np.isfinite(matrix).any(axis=1))
        for start in range(0, len(within), CELLS_AT_ONCE):
            cells = within[start : start + CELLS_AT_ONCE]
            row, column = np.divmod(cells, width)
            place = block["lat"].to_numpy()[row], block["lon"].to_numpy()[column]
            yield cells + north * width, *encoders.append(matrix[cells], names, *place)


def _check_names(expected: tuple[str, ...], found: tuple[str, ...], where: str) -> None:
    if found != expected:
        raise ModelError(f"the model reads covariates {expected[:40]}, the {where} holds {found[:40]}; train again")


def _rows(cells: IntArray, traits: Sequence[str], index: FloatArray, outside: npt.NDArray[np.bool_]) -> pa.Table:
    return pa.table(
        {
            "cell": np.repeat(cells, len(traits)),
            "trait": pa.array(np.tile(np.array(traits, dtype=object), len(cells)), pa.string()),
            "dissimilarity": pa.array(index.ravel(), pa.float64(), from_pandas=True),
            "outside": outside.ravel(),
        },
        schema=APPLICABILITY,
    )


def _write_thresholds(destination: Path, traits: Sequence[str], areas: Sequence[ApplicabilityArea]) -> None:
    frame = pd.DataFrame(
        {
            "trait": traits,
            "threshold": [area.threshold for area in areas],
            "mean_distance": [area.mean_distance for area in areas],
            "training_places": [len(area.points) for area in areas],
        }
    )
    write_table(frame, destination / THRESHOLDS_FILE, APPLICABILITY_THRESHOLD)


def _write_importances(destination: Path, traits: Sequence[str], names: Sequence[str], importance: FloatArray) -> None:
    frame = pd.DataFrame(
        {
            "trait": np.repeat(np.array(traits, dtype=object), len(names)),
            "covariate": np.tile(np.array(names, dtype=object), len(traits)),
            "importance": importance.ravel(),
        }
    )
    write_table(frame, destination / IMPORTANCES_FILE, COVARIATE_IMPORTANCE)
