"""Stages: covariates on the grid, and at the places of a shard's records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_catalog import Catalog, Profile, Source
from plant_traits.covariates.cube import LayerFolder, list_covariates, model_matrix, sample_opened, touches
from plant_traits.covariates.land import land_fraction
from plant_traits.covariates.layers import open_layer
from plant_traits.covariates.raster import CheckedRaster
from plant_traits.covariates.store import build_covariate_store, known_cells
from plant_traits.grid import Grid
from plant_traits.regions import Region
from plant_traits.schemas import SHARD_ROW, read_table
from plant_traits.steps import Summary

LAND = "land_fraction"


def layer_folders(profile: Profile, catalog: Catalog, root: Path) -> tuple[LayerFolder, ...]:
    """Return the raster sources of a profile with their local folders."""
    return tuple(
        LayerFolder(catalog.source(item.source), root / item.path, item.layers) for item in profile.inputs.rasters
    )


def describe_layers(rasters: Sequence[LayerFolder]) -> list[dict[str, Any]]:
    """Return what the catalogue says about the rasters as JSON, for keys and for workers."""
    return [{"source": x.source.model_dump(mode="json"), "layers": list(x.layers)} for x in rasters]


def grid_covariates(destination: Path, *, rasters: Sequence[LayerFolder], grid: Grid, region: Region) -> Summary:
    """Bring every covariate to the grid by area-weighted mean; write ``covariates.zarr`` with the land fraction.

    Args:
        destination: an empty folder.
        rasters: raster sources.
        grid: the grid of the maps.
        region: cells that do not touch it stay missing, their land fraction too: they are no part of the run.

    Returns:
        Counts of layers, and of the region's land cells.

    Raises:
        InputError: a raster is missing or contradicts the catalogue.
    """
    land = np.where(touches(grid, region), land_fraction(grid), np.nan).astype(np.float32)
    attributes = {"units": "1", "long_name": "share of the cell that is land"}
    path = destination / "covariates.zarr"
    masked = build_covariate_store(path, rasters, grid, region, fields={LAND: (land, attributes)})
    known = sum(int((known & (land[rows] > 0)).sum()) for rows, known in known_cells(path, list(masked)))
    return {
        "in": {"layers": len(masked)},
        "out": {"land cells": int((land > 0).sum()), "land cells with a covariate": known},
        "lost": {f"pixels of {name} out of range": n for name, n in masked.items() if n},
    }


@lru_cache(maxsize=1)
def _opened(
    described: str, folders: tuple[str, ...], digest: str
) -> tuple[tuple[LayerFolder, ...], dict[str, CheckedRaster]]:
    """Open and check every raster once per worker process and state of the files; they close with the process."""
    layers = tuple(
        LayerFolder(Source.model_validate(entry["source"]), Path(folder), tuple(entry["layers"]))
        for entry, folder in zip(json.loads(described), folders, strict=True)
    )
    return layers, {x.name: open_layer(x.path, x.layer) for x in list_covariates(layers)}


def sample_shard(
    destination: Path, *, shard: Path, rasters: list[dict[str, Any]], inputs: str, folders: list[str]
) -> Summary:
    """Read every covariate at the records of a shard; write ``points.npz`` with the model's matrix and its columns.

    Args:
        destination: an empty folder.
        shard: a shard's folder.
        rasters: what ``describe_layers`` returned.
        inputs: digest of the raster files; part of the step's key.
        folders: local folder of each raster source.

    Returns:
        Counts of records, and of those that lie on no covariate.

    Raises:
        InputError: a raster is missing or contradicts the catalogue.
    """
    layers, opened = _opened(json.dumps(rasters), tuple(folders), inputs)
    places = read_table(shard / "observations.parquet", SHARD_ROW, ["latitude", "longitude"])
    sampled = pd.DataFrame(sample_opened(opened, places["latitude"], places["longitude"]), index=places.index)
    matrix, names = model_matrix(sampled, layers)
    write_points(destination, matrix, names)
    nowhere = int(np.isnan(matrix).all(axis=1).sum())
    return {
        "in": {"records": len(places)},
        "out": {"records with covariates": len(places) - nowhere},
        "lost": {"record without any covariate": nowhere} if nowhere else {},
    }


def write_points(folder: Path, matrix: np.ndarray[Any, np.dtype[np.float32]], names: Sequence[str]) -> None:
    """Write an (n, c) matrix and the c names of its columns as ``points.npz``, which ``read_points`` reads."""
    np.savez(folder / "points.npz", matrix=matrix, names=np.array(names))


def read_points(folder: Path) -> tuple[np.ndarray[Any, np.dtype[np.float32]], tuple[str, ...]]:
    """Return the (n, c) matrix and the c names that ``sample_shard`` wrote, rows in the shard's order."""
    with np.load(folder / "points.npz", allow_pickle=False) as content:
        return content["matrix"], tuple(str(name) for name in content["names"])
