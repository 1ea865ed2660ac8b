from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from plant_traits.covariates.coordinates import project
from plant_traits.covariates.layers import CheckedRaster, open_raster
from plant_traits.covariates.sampling import sample_points
from plant_traits.errors import RasterError

WriteRaster = Callable[..., Path]
IGH = "+proj=igh +datum=WGS84 +units=m"


def test_the_pixel_that_contains_the_point_is_read(write_raster: WriteRaster) -> None:
    path = write_raster(np.arange(12, dtype=np.float32).reshape(3, 4), west=10, north=30, size=10)
    latitude = [29.9, 29.9, 15.0, 20.0, 10.0, 0.1, 31.0, -1.0, np.nan, 25.0]
    longitude = [10.0, 49.9, 25.0, 20.0, 19.9, 45.0, 20.0, 20.0, 20.0, 50.0]
    with open_raster(path, name="x") as raster:
        values = sample_points(raster, latitude, longitude)
    assert values.dtype == np.float32
    # Half-open as the grid: latitude 20 belongs to the row north of it, 10 likewise, longitude 50 is outside.
    np.testing.assert_array_equal(values, [0, 3, 5, 1, 4, 11, np.nan, np.nan, np.nan, np.nan])


def test_poles_and_antimeridian(write_raster: WriteRaster) -> None:
    path = write_raster(np.arange(8, dtype=np.float32).reshape(2, 4), west=-180, north=90, size=90)
    with open_raster(path, name="x") as raster:
        values = sample_points(raster, [90.0, -90.0, 10.0, 10.0, 0.0], [0.0, 0.0, 180.0, -180.0, 179.9])
    np.testing.assert_array_equal(values, [2, 6, 0, 0, 3])


def test_order_and_blocks_do_not_matter(write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    stored = rng.normal(size=(90, 180)).astype(np.float32)
    path = write_raster(stored, west=-180, north=90, size=2)
    latitude, longitude = rng.uniform(-90, 90, 500), rng.uniform(-180, 180, 500)
    row = np.ceil((90 - latitude) / 2).astype(int) - 1
    expected = stored[row, ((longitude + 180) // 2).astype(int)]
    with open_raster(path, name="x") as raster:
        windows = list(raster.row_blocks(pixels=180 * 7))
        monkeypatch.setattr(CheckedRaster, "row_blocks", lambda self: iter(windows))
        np.testing.assert_array_equal(sample_points(raster, latitude, longitude), expected)


def test_the_nearest_valid_pixel_stands_in_at_coasts(write_raster: WriteRaster) -> None:
    stored = np.full((7, 7), np.nan, np.float32)
    stored[3, 5], stored[1, 3], stored[0, 0] = 7, 9, 1
    path = write_raster(stored, west=0, north=7, size=1)
    latitude, longitude = [3.5, 3.5, 3.5, 0.5], [3.5, 4.5, 2.5, 0.5]
    with open_raster(path, name="x") as raster:
        alone = sample_points(raster, latitude, longitude)
        near = sample_points(raster, latitude, longitude, search_pixels=2)
    assert np.isnan(alone).all()
    # (3, 3) is two pixels from both 9 (north) and 7 (east): north wins; (6, 0) has nothing within two pixels.
    np.testing.assert_array_equal(near, [9, 7, 9, np.nan])


def test_the_search_reaches_across_blocks_of_rows(write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = np.full((6, 4), np.nan, np.float32)
    stored[4, 1] = 3
    path = write_raster(stored, west=0, north=6, size=1)
    with open_raster(path, name="x") as raster:
        windows = list(raster.row_blocks(pixels=4))
        monkeypatch.setattr(CheckedRaster, "row_blocks", lambda self: iter(windows))
        np.testing.assert_array_equal(sample_points(raster, [2.5], [1.5], search_pixels=1), [3])


def test_points_in_a_homolosine_raster(write_raster: WriteRaster) -> None:
    crs = pyproj.CRS.from_user_input(IGH)
    latitude, longitude = np.array([48.1, -33.4, 10.0]), np.array([11.6, 151.2, -170.0])
    x, y = project(crs, latitude[:1], longitude[:1])
    stored = np.array([[1, 2], [3, 4]], np.int16)
    path = write_raster(stored, west=x[0] - 15_000, north=y[0] + 5_000, size=10_000, crs=IGH)
    with open_raster(path, name="x", crs=IGH) as raster:
        np.testing.assert_array_equal(sample_points(raster, latitude, longitude), [2, np.nan, np.nan])


def test_vectors_of_different_length_are_refused(write_raster: WriteRaster) -> None:
    path = write_raster(np.ones((2, 2), np.float32), west=0, north=2, size=1)
    with open_raster(path, name="x") as raster, pytest.raises(RasterError, match="two vectors of one length"):
        sample_points(raster, [1.0, 2.0], [1.0])


def test_only_blocks_that_hold_points_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = np.random.default_rng(8).integers(0, 60_000, (128, 640)).astype(np.uint16)
    stored[70, 620:] = 65_535
    path = tmp_path / "tiled.tif"
    profile = {"driver": "GTiff", "height": 128, "width": 640, "count": 1, "dtype": "uint16", "nodata": 65_535}
    tiles = {"tiled": True, "blockxsize": 32, "blockysize": 32}
    place = {"crs": "EPSG:4326", "transform": from_origin(0, 64, 0.5, 0.5)}
    with rasterio.open(path, "w", **profile, **tiles, **place) as target:
        target.write(stored, 1)
    windows: list[Window] = []
    original = CheckedRaster.read_stored

    def recorded(self: CheckedRaster, window: Window) -> np.ndarray:
        windows.append(window)
        return original(self, window)

    monkeypatch.setattr(CheckedRaster, "read_stored", recorded)
    blocks = CheckedRaster.row_blocks
    monkeypatch.setattr(CheckedRaster, "row_blocks", lambda self: blocks(self, 32 * 640))
    latitude = 64 - (np.array([3, 70, 70, 5, 127]) + 0.5) / 2
    longitude = (np.array([2, 630, 12, 600, 300]) + 0.5) / 2
    with open_raster(path, name="x") as raster:
        values = sample_points(raster, latitude, longitude, search_pixels=1)
    expected = [stored[3, 2], stored[69, 630], stored[70, 12], stored[5, 600], stored[127, 300]]
    np.testing.assert_array_equal(values, expected)
    assert len(windows) == 5
    assert sum(w.height * w.width for w in windows) <= 5 * 9


def test_many_points_equal_a_plain_look_up(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    stored = rng.integers(0, 500, (180, 360)).astype(np.int16)
    path = tmp_path / "x.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=180, width=360, count=1, dtype="int16", crs="EPSG:4326", nodata=7,
        transform=from_origin(-180, 90, 1, 1), tiled=True, blockxsize=16, blockysize=16,
    ) as target:  # fmt: skip
        target.write(stored, 1)
        target.scales, target.offsets = (0.5,), (-3.0,)
    latitude, longitude = rng.uniform(-90, 90, 20_000), rng.uniform(-180, 180, 20_000)
    expected = stored[np.ceil(90 - latitude).astype(int) - 1, np.floor(longitude + 180).astype(int)] * 0.5 - 3
    with open_raster(path, name="x") as raster:
        values = sample_points(raster, latitude, longitude)
    np.testing.assert_array_equal(values, np.where(expected == 0.5, np.nan, expected))
