"""Covariates on the grid: what is of a run's region, and what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from data_catalog import RasterLayer, Source
from plant_traits.covariates.cube import LayerFolder, open_covariates
from plant_traits.grid import Grid
from plant_traits.regions import Region
from plant_traits.stages.covariates import LAND, grid_covariates

GRID = Grid.parse("10deg")


@pytest.fixture
def rasters(tmp_path: Path) -> list[LayerFolder]:
    layer = RasterLayer(
        id="bio1", name="mean", unit="K", file="bio1.tif", valid_range=(-99, 99), log=False, nodata=-999
    )
    source = Source(id="climate", title="climate", kind="raster", licence="CC0 1.0", citation="none", layers=(layer,))
    with rasterio.open(
        tmp_path / layer.file,
        "w",
        driver="GTiff",
        width=36,
        height=18,
        count=1,
        dtype="float32",
        nodata=-999,
        crs="EPSG:4326",
        transform=from_origin(-180, 90, 10, 10),
    ) as file:
        file.write(np.full((18, 36), 7.0, dtype=np.float32), 1)
    return [LayerFolder(source, tmp_path, ("bio1",))]


def test_land_outside_the_region_is_no_part_of_the_run(rasters: list[LayerFolder], tmp_path: Path) -> None:
    counts = {}
    for region in (Region("globe", -180, -90, 180, 90), Region("africa", -5, 5, 35, 25)):
        folder = tmp_path / region.name
        folder.mkdir()
        summary = grid_covariates(folder, rasters=rasters, grid=GRID, region=region)
        land = open_covariates(folder / "covariates.zarr")[LAND].to_numpy()
        counts[region.name] = int((land > 0).sum())
        assert summary["out"] == {"land cells": counts[region.name], "land cells with a covariate": counts[region.name]}
    # Columns from 10° west to 40° east, rows from 30° north to the equator, all of them with some land.
    assert counts["africa"] == 5 * 3
    assert counts["globe"] > 200
    assert np.isnan(land[0]).all()
    assert np.isfinite(land[6:9, 17:22]).all()
    assert np.isfinite(land).sum() == 15
