from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from data_catalog import RasterLayer
from plant_traits.covariates.layers import RangeCount, _spread_windows, open_layer, open_raster
from plant_traits.errors import MissingInputError, RasterError
from plant_traits.regions import Region

WriteRaster = Callable[..., Path]
IGH = "+proj=igh +datum=WGS84 +units=m"


def entry(**changes: object) -> RasterLayer:
    fields: dict[str, object] = {
        "id": "bio1",
        "name": "annual mean temperature",
        "unit": "degC",
        "file": "layer.tif",
        "scale": 0.1,
        "offset": -273.15,
        "valid_range": (-90, 60),
    }
    return RasterLayer.model_validate(fields | changes)


def test_the_catalogues_scale_is_used_where_the_header_has_none(write_raster: WriteRaster) -> None:
    stored = np.array([[2831, 65535], [2731, 3000]], dtype=np.uint16)
    path = write_raster(stored, west=0, north=10, size=5, nodata=65535)
    with open_layer(path, entry()) as raster:
        values, count = raster.read()
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [[9.95, np.nan], [-0.05, 26.85]], atol=1e-5)
    assert count == RangeCount(valid=3, outside=0)


def test_scale_and_offset_of_the_header_are_not_applied_again(write_raster: WriteRaster) -> None:
    path = write_raster(np.full((2, 2), 2831, np.uint16), west=0, north=10, size=5, scale=0.1, offset=-273.15)
    with open_layer(path, entry()) as raster:
        np.testing.assert_allclose(raster.read()[0], 9.95, atol=1e-5)


@pytest.mark.parametrize(("scale", "offset"), [(0.01, -273.15), (0.1, 0.0), (0.1, -273.0)])
def test_a_header_that_contradicts_the_catalogue_is_refused(
    write_raster: WriteRaster, scale: float, offset: float
) -> None:
    path = write_raster(np.full((2, 2), 2831, np.uint16), west=0, north=10, size=5, scale=scale, offset=offset)
    with pytest.raises(RasterError, match="header states scale, offset"):
        open_layer(path, entry())


def test_wrong_units_are_recognised_by_the_valid_range(write_raster: WriteRaster) -> None:
    path = write_raster(np.full((4, 4), 2831, np.uint16), west=0, north=10, size=1)
    with pytest.raises(RasterError, match=r"16 of 16 values lie outside .* the units are not the catalogue's"):
        open_layer(path, entry(offset=0.0))


def test_a_few_values_out_of_range_are_masked_and_counted(write_raster: WriteRaster) -> None:
    stored = np.full((20, 20), 2831, np.uint16)
    stored[0, 0] = 60000
    path = write_raster(stored, west=0, north=10, size=0.5)
    with open_layer(path, entry()) as raster:
        values, count = raster.read()
    assert count == RangeCount(valid=400, outside=1)
    assert np.isnan(values[0, 0])
    assert np.isfinite(values).sum() == 399


def test_float_nodata_matches_in_the_files_own_precision(write_raster: WriteRaster) -> None:
    stored = np.array([[np.float32(-3.4e38), 50.0], [np.nan, np.inf]], dtype=np.float32)
    path = write_raster(stored, west=0, north=10, size=5, nodata=float(np.float32(-3.4e38)))
    with open_layer(path, entry(scale=1.0, offset=0.0, nodata=-3.4e38)) as raster:
        values, count = raster.read()
    assert count.valid == 1
    np.testing.assert_array_equal(values, [[np.nan, 50], [np.nan, np.nan]])


def test_the_catalogues_nodata_is_used_where_the_header_has_none(write_raster: WriteRaster) -> None:
    path = write_raster(np.array([[-9999, 100]], np.int16), west=0, north=10, size=5)
    with open_layer(path, entry(offset=0.0, nodata=-9999)) as raster:
        np.testing.assert_allclose(raster.read()[0], [[np.nan, 10]], atol=1e-6)


def test_another_nodata_than_the_catalogues_is_refused(write_raster: WriteRaster) -> None:
    path = write_raster(np.full((2, 2), 100, np.int16), west=0, north=10, size=5, nodata=-9999)
    with pytest.raises(RasterError, match="nodata = -9999"):
        open_layer(path, entry(offset=0.0, nodata=-32768))


def test_a_missing_file_says_where_it_was_expected(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"layer 'bio1'.*nowhere\.tif"):
        open_layer(tmp_path / "nowhere.tif", entry())


def test_files_that_are_no_rasters_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("hello")
    with pytest.raises(RasterError, match="not a readable GTiff"):
        open_layer(tmp_path / "text.tif", entry())
    (tmp_path / "layer.vrt").write_text("<VRTDataset/>")
    with pytest.raises(RasterError, match="expected a file ending in"):
        open_layer(tmp_path / "layer.vrt", entry())


def test_a_truncated_file_is_refused(write_raster: WriteRaster) -> None:
    path = write_raster(np.full((400, 400), 2831, np.uint16), west=0, north=10, size=0.01)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(RasterError, match=r"damaged|not a readable"):
        open_layer(path, entry())


@pytest.mark.parametrize("crs", ["EPSG:3857", IGH, ""])
def test_another_crs_is_refused(write_raster: WriteRaster, crs: str) -> None:
    path = write_raster(np.full((2, 2), 2831, np.uint16), west=0, north=10, size=5, crs=crs)
    with pytest.raises(RasterError, match="expected the CRS EPSG:4326"):
        open_layer(path, entry())


def test_crs84_counts_as_wgs84_and_igh_as_itself(write_raster: WriteRaster) -> None:
    path = write_raster(np.full((2, 2), 2831, np.uint16), west=0, north=10, size=5, crs="OGC:CRS84")
    open_layer(path, entry()).close()
    path = write_raster(np.full((2, 2), 2831, np.uint16), west=2e6, north=5e6, size=1e5, crs=IGH)
    open_layer(path, entry(crs=IGH)).close()


def test_a_raster_off_the_region_or_off_the_globe_is_refused(write_raster: WriteRaster) -> None:
    path = write_raster(np.full((2, 2), 2831, np.uint16), west=0, north=10, size=5)
    open_layer(path, entry(), Region("here", 5, 5, 6, 6)).close()
    open_layer(path, entry(), Region("inside a pixel", 1.0, 1.0, 1.1, 1.1)).close()
    with pytest.raises(RasterError, match="does not overlap the region 'there'"):
        open_layer(path, entry(), Region("there", 100, 5, 120, 20))
    far = write_raster(np.full((2, 2), 2831, np.uint16), west=1.9e7, north=9e6, size=1e4, crs=IGH)
    with pytest.raises(RasterError, match="does not overlap the globe"):
        open_layer(far, entry(crs=IGH))


def test_a_rotated_raster_and_a_missing_band_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rotated.tif"
    transform = Affine(1, 0.2, 0, 0.2, -1, 10)
    with rasterio.open(
        path, "w", driver="GTiff", height=2, width=2, count=1, dtype="uint8", crs="EPSG:4326", transform=transform
    ) as dataset:
        dataset.write(np.ones((1, 2, 2), np.uint8))
    with pytest.raises(RasterError, match="unrotated"):
        open_raster(path, name="x")
    with pytest.raises(RasterError, match="expected a band 2, found 1"):
        open_raster(path, name="x", band=2)


def test_row_blocks_cover_every_row_once(write_raster: WriteRaster) -> None:
    path = write_raster(np.full((37, 11), 2831, np.uint16), west=0, north=10, size=0.1)
    with open_layer(path, entry()) as raster:
        windows = list(raster.row_blocks(pixels=50))
    assert sum(w.height for w in windows) == 37
    assert [w.row_off for w in windows] == list(range(0, 37, 4))


def test_a_large_raster_is_checked_on_blocks_spread_over_it() -> None:
    small = _spread_windows((20, 30), (4, 5), pixels=600)
    assert [(w.width, w.height) for w in small] == [(30, 20)]
    large = _spread_windows((2088, 4320), (64, 64), pixels=64 * 64 * 100)
    assert 90 <= len(large) <= 100
    assert all(w.col_off + w.width <= 4320 and w.row_off + w.height <= 2088 for w in large)
    thirds = np.bincount([int(3 * w.row_off / 2088) for w in large])
    assert thirds.min() > 20
    assert len({w.col_off for w in large}) > 30
