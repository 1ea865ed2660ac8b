from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from data_catalog import RasterLayer, Source
from plant_traits.covariates import store
from plant_traits.covariates.cube import LayerFolder, build_grid_covariates, open_covariates
from plant_traits.covariates.store import build_covariate_store, known_cells
from plant_traits.errors import RasterError
from plant_traits.grid import Grid
from plant_traits.regions import Region

WriteRaster = Callable[..., Path]


@pytest.fixture
def rasters(write_raster: WriteRaster, tmp_path: Path) -> list[LayerFolder]:
    rain = np.random.default_rng(4).integers(0, 1001, (180, 360)).astype(np.int16)
    rain[0, :40] = -1
    rain[90, 7] = 1002
    write_raster(rain, west=-180 - 1 / 60, north=90, size=1, name="rain.tif", nodata=-1)
    write_raster(rain / 10 + 1, west=-180, north=90, size=1, name="clay.tif")
    layers = [
        RasterLayer(id=name, name=name, unit="1", file=f"{name}.tif", valid_range=(0, 1000), log=name == "rain")
        for name in ("rain", "clay")
    ]
    source = Source(id="s", title="s", kind="raster", licence="CC0 1.0", citation="none", layers=tuple(layers))
    return [LayerFolder(source, tmp_path, ("rain", "clay"))]


@pytest.mark.parametrize("region", [None, Region("box", 172, -13, -160, 31)])
def test_the_store_holds_the_dataset_built_in_memory(
    rasters: list[LayerFolder], tmp_path: Path, region: Region | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CHUNK_CELLS", 16)
    grid = Grid.parse("5deg")
    expected = build_grid_covariates(rasters, grid, region)
    masked = build_covariate_store(tmp_path / "cube", rasters, grid, region, workers=3)
    assert masked == {"rain": 1, "clay": 0}
    assert open_covariates(tmp_path / "cube").identical(expected)
    array = zarr.open_group(tmp_path / "cube", mode="r")["rain"]
    assert isinstance(array, zarr.Array)
    assert array.chunks == (16, 16)


def test_further_fields_and_known_cells(rasters: list[LayerFolder], tmp_path: Path) -> None:
    grid = Grid.parse("10deg")
    land = np.arange(grid.size, dtype=np.float32).reshape(grid.shape)
    region = Region("box", 12, 3, 25, 8)
    path = tmp_path / "cube"
    build_covariate_store(path, rasters, grid, region, fields={"land": (land, {"units": "1"})})
    np.testing.assert_array_equal(open_covariates(path)["land"], land)
    ((rows, known),) = known_cells(path, ["rain", "clay"])
    assert rows == slice(0, 18)
    assert np.argwhere(known).tolist() == [[8, 19], [8, 20]]


def test_the_bytes_of_a_store_repeat(rasters: list[LayerFolder], tmp_path: Path) -> None:
    digests = []
    for name, workers in (("a", 1), ("b", 3)):
        build_covariate_store(tmp_path / name, rasters, Grid.parse("10deg"), workers=workers)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        content = b"".join(p.relative_to(tmp_path / name).as_posix().encode() + p.read_bytes() for p in files)
        digests.append(hashlib.sha256(content).hexdigest())
    assert digests[0] == digests[1]


def test_values_out_of_range_stop_the_store(rasters: list[LayerFolder], tmp_path: Path) -> None:
    source = rasters[0].source
    narrow = source.model_copy(
        update={"layers": tuple(x.model_copy(update={"valid_range": (0, 500)}) for x in source.layers)}
    )
    with pytest.raises(RasterError, match="the units are not the catalogue's"):
        build_covariate_store(tmp_path / "cube", [LayerFolder(narrow, tmp_path, ("rain",))], Grid.parse("10deg"))
