from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyproj
import pytest

from plant_traits.covariates import row_sums
from plant_traits.covariates.coordinates import pixel_lat_lon
from plant_traits.covariates.layers import open_raster
from plant_traits.covariates.raster import CheckedRaster
from plant_traits.covariates.regrid import area_weighted_mean, regrid_array
from plant_traits.covariates.regrid_dask import area_weighted_mean_dask, means_by_rows
from plant_traits.covariates.row_sums import RowSummer
from plant_traits.errors import RasterError
from plant_traits.grid import Grid
from plant_traits.regions import Region

WriteRaster = Callable[..., Path]
IGH = "+proj=igh +datum=WGS84 +units=m"


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let chunks hold about 60 rows of pixels, and blocks 20."""
    monkeypatch.setattr(row_sums, "_CHUNK_PIXEL_ROWS", 60)
    whole = CheckedRaster.row_blocks
    monkeypatch.setattr(CheckedRaster, "row_blocks", lambda self: whole(self, 20 * self.shape[1]))


def shifted_globe(write_raster: WriteRaster, dtype: str = "uint16") -> Path:
    """Write random numbers at half a degree, off the grid's edges as CHELSA's pixels are, a third missing."""
    rng = np.random.default_rng(11)
    values = rng.integers(0, 60_000, (348, 720)).astype(dtype)
    values[rng.random(values.shape) < 0.3] = 65_535
    return write_raster(values, west=-180 - 1 / 120, north=84 - 1 / 120, size=0.5, nodata=65_535)


def assert_same(ours: object, theirs: object) -> None:
    np.testing.assert_array_equal(ours.mean, theirs.mean)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(ours.valid_fraction, theirs.valid_fraction)  # type: ignore[attr-defined]
    assert ours.count == theirs.count  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("text", ["5deg", "1deg", "0.25deg"])
def test_chunks_equal_the_whole_to_the_last_bit(
    write_raster: WriteRaster, text: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = partial(open_raster, shifted_globe(write_raster, dtype), name="x")
    grid = Grid.parse(text)
    with opened() as raster:
        assert len(list(RowSummer(raster, grid).chunks())) == 1
        whole = area_weighted_mean(raster, grid)
        stored = raster.read()[0]
        plain = regrid_array(stored, raster.y_edges, raster.x_edges, grid)
    monkeypatch.setattr(row_sums, "_CHUNK_PIXEL_ROWS", 60)
    with opened() as raster:
        assert len(list(RowSummer(raster, grid).chunks())) >= 5
    assert_same(area_weighted_mean_dask(opened, grid, workers=3), whole)
    assert whole.count.valid == np.isfinite(stored).sum()
    np.testing.assert_allclose(whole.mean, plain.mean, rtol=1e-11)
    np.testing.assert_allclose(whole.valid_fraction, plain.valid_fraction, rtol=1e-9, atol=1e-12)


def test_scale_offset_and_range_hold_for_whole_numbers_too(write_raster: WriteRaster, few_rows: None) -> None:
    values = np.random.default_rng(3).integers(2000, 3000, (180, 360)).astype(np.uint16)
    values[10, 10], values[20, 20] = 65_535, 9000
    path = write_raster(values, west=-180, north=90, size=1, nodata=65_535, scale=0.1, offset=-273.15)
    raster = open_raster(path, name="x")
    limited = CheckedRaster("x", raster.dataset, 1, 0.1, -273.15, 65_535, (-90, 60))
    grid = Grid.parse("3deg")
    ours = area_weighted_mean(limited, grid)
    expected = values * 0.1 - 273.15
    expected[10, 10] = expected[20, 20] = np.nan
    oracle = regrid_array(expected, raster.y_edges, raster.x_edges, grid)
    np.testing.assert_allclose(ours.mean, oracle.mean, rtol=1e-12, atol=1e-11)
    assert (ours.count.valid, ours.count.outside) == (180 * 360 - 1, 1)
    raster.close()


def test_a_homolosine_raster_in_chunks_equals_the_whole(write_raster: WriteRaster, few_rows: None) -> None:
    size, rng = 50_000.0, np.random.default_rng(0)
    nx, ny = 801, 347
    west, north = -nx * size / 2, ny * size / 2
    x, y = np.meshgrid(west + (np.arange(nx) + 0.5) * size, north - (np.arange(ny) + 0.5) * size)
    on_map = np.isfinite(pixel_lat_lon(pyproj.CRS.from_user_input(IGH), x, y)[0])
    stored = np.where(on_map, rng.integers(0, 900, x.shape), -32768).astype(np.int16)
    path = write_raster(stored, west=west, north=north, size=size, crs=IGH, nodata=-32768)
    opened = partial(open_raster, path, name="x", crs=IGH)
    grid = Grid.parse("5deg")
    with opened() as raster:
        assert len(list(RowSummer(raster, grid).chunks())) >= 5
        summer = RowSummer(raster, grid, subsample=2)
        whole = summer.sum(slice(0, grid.n_lat))
        halves = [summer.sum(rows) for rows in (slice(0, 11), slice(11, grid.n_lat))]
    np.testing.assert_array_equal(np.vstack([half.total for half in halves]), whole.total)
    assert halves[0].count + halves[1].count == whole.count
    assert whole.count.valid == int((stored != -32768).sum())
    ours = area_weighted_mean_dask(opened, grid, subsample=2, workers=2)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(ours.mean, whole.total / whole.weight)


def test_a_region_reads_only_its_rows(write_raster: WriteRaster, few_rows: None) -> None:
    opened = partial(open_raster, shifted_globe(write_raster), name="x")
    grid = Grid.parse("5deg")
    tropics = Region("tropics", -180, -10, 180, 10)
    parts = list(means_by_rows(opened, grid, region=tropics))
    assert parts[0][0].start == 15
    assert parts[-1][0].stop == 21
    with opened() as raster:
        whole = area_weighted_mean(raster, grid)
    np.testing.assert_array_equal(np.vstack([part.mean for _, part in parts]), whole.mean[15:21])
    assert sum(part.count.valid for _, part in parts) < 0.25 * whole.count.valid


def test_a_damaged_block_stops_the_task(write_raster: WriteRaster, few_rows: None) -> None:
    path = shifted_globe(write_raster)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RasterError, match=r"damaged|not a readable"):
        area_weighted_mean_dask(partial(open_raster, path, name="x"), Grid.parse("5deg"))
