"""A mosaic, as GDAL reads it, is the raster that it was cut from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine
from starlette.applications import Starlette
from starlette.testclient import TestClient

from plant_traits.simulation.services.soil_mosaics import mosaic_routes, write_mosaic

PROFILE = {
    "driver": "GTiff", "width": 300, "height": 200, "count": 1, "dtype": "int16", "nodata": -32768,
    "crs": "+proj=igh +datum=WGS84 +units=m", "transform": Affine(5000, 0, -700_000, 0, -5000, 400_000),
}  # fmt: skip


def write_raster(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    values = np.random.default_rng(1).integers(0, 900, (200, 300)).astype(np.int16)
    values[:128, 128:256] = -32768  # one tile without data
    with rasterio.open(path, "w", **PROFILE) as target:
        target.write(values, 1)
    return values


def test_gdal_reads_the_same_raster(tmp_path: Path) -> None:
    values = write_raster(tmp_path / "clay.tif")
    write_mosaic(tmp_path / "clay.tif", tmp_path / "mosaic", "clay_0-5cm_mean")
    assert len(list((tmp_path / "mosaic" / "clay_0-5cm_mean").iterdir())) == 5
    with rasterio.open(tmp_path / "clay.tif") as one, rasterio.open(tmp_path / "mosaic" / "clay_0-5cm_mean.vrt") as two:
        np.testing.assert_array_equal(two.read(1), values)
        assert (two.transform, two.nodata, two.dtypes) == (one.transform, one.nodata, one.dtypes)
        assert two.crs == one.crs


def test_mosaic_and_tiles_are_served_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "soilgrids").mkdir()
    write_raster(tmp_path / "soilgrids" / "clay_0-5cm_mean_5000.tif")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "secret.txt").write_text("x")
    client = TestClient(Starlette(routes=mosaic_routes("/data", tmp_path / "soilgrids", tmp_path / "made")))
    vrt = client.get("/data/clay/clay_0-5cm_mean.vrt")
    assert vrt.status_code == 200
    tile = client.get("/data/clay/clay_0-5cm_mean/tileSG-001-002.tif", headers={"Range": "bytes=0-3"})
    assert (tile.status_code, tile.content[:2]) == (206, b"II")
    for path in ("/data/sand/sand_0-5cm_mean.vrt", "/data/clay/clay_0-5cm_mean/tileSG-000-001.tif",
                 "/data/clay/%2e%2e/secret.txt"):  # fmt: skip
        assert client.get(path).status_code == 404
