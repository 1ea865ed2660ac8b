from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_catalog import Catalog, RasterLayer, Source
from plant_traits.covariates.cube import (
    LayerFolder,
    build_grid_covariates,
    list_covariates,
    model_matrix,
    open_covariates,
    sample_covariates,
    touches,
    write_covariates,
)
from plant_traits.errors import InputError, MissingInputError, RasterError
from plant_traits.grid import Grid
from plant_traits.regions import Region

WriteRaster = Callable[..., Path]


def layer(layer_id: str, file: str, *, log: bool = False) -> RasterLayer:
    return RasterLayer(id=layer_id, name=layer_id, unit="1", file=file, valid_range=(0, 1000), log=log, nodata=-1)


def source(source_id: str, *layers: RasterLayer) -> Source:
    return Source(id=source_id, title=source_id, kind="raster", licence="CC0 1.0", citation="none", layers=layers)


@pytest.fixture
def rasters(write_raster: WriteRaster, tmp_path: Path) -> list[LayerFolder]:
    rain = np.arange(18 * 36, dtype=np.float32).reshape(18, 36)
    rain[0, 0] = -1
    write_raster(rain, west=-180, north=90, size=10, name="rain.tif")
    write_raster(rain / 10 + 1, west=-180, north=90, size=10, name="clay.tif")
    climate = source("climate", layer("rain", "rain.tif", log=True), layer("clay", "clay.tif"))
    soil = source("soil", layer("clay", "clay.tif"))
    return [LayerFolder(climate, tmp_path, ("rain", "clay")), LayerFolder(soil, tmp_path, ("clay",))]


def test_layers_shared_by_two_sources_carry_their_sources_name(rasters: list[LayerFolder]) -> None:
    assert [c.name for c in list_covariates(rasters)] == ["rain", "climate.clay", "soil.clay"]
    assert [c.name for c in list_covariates(rasters[1:])] == ["clay"]


def test_unknown_and_repeated_layers_are_refused(rasters: list[LayerFolder]) -> None:
    with pytest.raises(InputError, match="no layer 'ph'"):
        list_covariates([replace(rasters[1], layers=("ph",))])
    with pytest.raises(InputError, match="more than once"):
        list_covariates([rasters[1], rasters[1]])


def test_grid_points_and_matrix_agree(rasters: list[LayerFolder]) -> None:
    grid = Grid.parse("10deg")
    cube = build_grid_covariates(rasters, grid)
    assert cube["rain"].dims == ("lat", "lon")
    assert cube["rain"].dtype == np.float32
    assert cube["rain"].attrs["units"] == "1"
    assert cube["soil.clay"].attrs["source"] == "soil"
    latitude, longitude = grid.centre_of(np.arange(grid.size))
    points = sample_covariates(rasters, latitude, longitude, search_pixels=0)
    assert list(points.columns) == ["rain", "climate.clay", "soil.clay"]
    on_grid, names = model_matrix(cube, rasters)
    at_points, _ = model_matrix(points, rasters)
    assert names == ("rain", "climate.clay", "soil.clay")
    np.testing.assert_allclose(on_grid, at_points, rtol=1e-6)
    assert np.isnan(on_grid[0, 0])
    np.testing.assert_allclose(on_grid[100], [np.log(101), 11, 11], rtol=1e-6)


def test_cells_that_do_not_touch_the_region_stay_empty(rasters: list[LayerFolder]) -> None:
    grid = Grid.parse("10deg")
    cube = build_grid_covariates(rasters, grid, Region("box", 12, 3, 25, 8))
    filled = np.argwhere(np.isfinite(cube["rain"].to_numpy())).tolist()
    assert filled == [[8, 19], [8, 20]]


def test_a_region_across_the_antimeridian_touches_both_sides() -> None:
    inside = touches(Grid.parse("30deg"), Region("pacific", 170, -5, -170, 5))
    assert np.argwhere(inside).tolist() == [[2, 0], [2, 11], [3, 0], [3, 11]]


def test_the_store_comes_back_the_same_and_its_bytes_repeat(rasters: list[LayerFolder], tmp_path: Path) -> None:
    cube = build_grid_covariates(rasters, Grid.parse("10deg"))
    digests = []
    for name in ("a", "b"):
        write_covariates(cube, tmp_path / name)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        content = b"".join(p.relative_to(tmp_path / name).as_posix().encode() + p.read_bytes() for p in files)
        digests.append(hashlib.sha256(content).hexdigest())
    assert digests[0] == digests[1]
    loaded = open_covariates(tmp_path / "a")
    assert loaded.identical(cube)
    write_covariates(loaded, tmp_path / "c")
    assert open_covariates(tmp_path / "c").identical(cube)


def test_a_missing_or_foreign_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="does not exist"):
        open_covariates(tmp_path / "none")
    with pytest.raises(RasterError, match=r"no zarr\.json"):
        open_covariates(tmp_path)


def test_a_matrix_needs_all_covariates(rasters: list[LayerFolder]) -> None:
    points = sample_covariates(rasters, [5.0], [5.0]).drop(columns="rain")
    with pytest.raises(InputError, match=r"\['rain'\] are missing"):
        model_matrix(points, rasters)


@pytest.mark.real
def test_real_climate_and_soil_rasters_agree_with_the_catalogue(catalog: Catalog, real_data: Path) -> None:
    inputs = catalog.profile("real").inputs
    rasters = [LayerFolder(catalog.source(r.source), real_data / r.path, r.layers) for r in inputs.rasters]
    cube = build_grid_covariates(rasters, Grid.parse("5deg"))
    assert len(cube.data_vars) == 23
    munich = cube.sel(lat=47.5, lon=12.5)
    assert 5 < float(munich["bio1"]) < 10
    assert 5 < float(munich["ph_cacl2"]) < 8
    # Standard deviation of monthly temperatures, in hundredths of a degree: 6 K in the Alps, 20 K in Yakutia.
    assert 500 < float(munich["bio4"]) < 800
    assert 1500 < float(cube["bio4"].sel(lat=67.5, lon=132.5)) < 2300
    assert all(int(variable.attrs["masked_pixels"]) == 0 for variable in cube.data_vars.values())
