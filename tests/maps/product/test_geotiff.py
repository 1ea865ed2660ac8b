from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from rio_cogeo import cog_validate

from data_catalog import Trait
from maps.product.geotiff import COG_LAYERS, write_cogs
from plant_traits.errors import RasterError, TableError


def test_every_file_is_a_valid_cog_of_the_whole_grid(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    paths = write_cogs(make_product(), product_traits, tmp_path / "cogs")
    assert [path.name for path in paths[:2]] == ["height_value.tif", "height_median.tif"]
    assert len(paths) == 4 * len(COG_LAYERS)
    for path in paths:
        assert cog_validate(path, strict=True) == (True, [], [])
        with rasterio.open(path) as raster:
            assert raster.crs.to_epsg() == 4326
            assert tuple(raster.bounds) == (-180.0, -90.0, 180.0, 90.0)
            assert (raster.count, raster.shape) == (1, (12, 24))


def test_numbers_units_and_nodata(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    product = make_product()
    write_cogs(product, product_traits, tmp_path)
    with rasterio.open(tmp_path / "sla_median.tif") as raster:
        assert raster.dtypes == ("float32",)
        assert np.isnan(raster.nodata)
        assert raster.units == ("m2 kg-1",)
        assert raster.descriptions == ("community median of leaf area per leaf dry mass",)
        assert raster.tags()["license"] == "CC-BY-4.0"
        assert raster.tags()["AREA_OR_POINT"] == "Area"
        np.testing.assert_array_equal(raster.read(1), product["median"].sel(trait="sla"))
    with rasterio.open(tmp_path / "frost-limit_standard_error.tif") as raster:
        assert raster.units == ("degC",)


def test_flags_are_bytes_with_their_meanings(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    write_cogs(make_product(), product_traits, tmp_path)
    with rasterio.open(tmp_path / "height_source.tif") as raster:
        assert (raster.dtypes, raster.nodata) == (("uint8",), 255)
        assert raster.read(1)[0, :5].tolist() == [1, 1, 2, 1, 255]
        assert raster.tags(1)["flag_meanings"] == "none photos geospatial"


def test_large_grids_have_overviews_that_suit_the_layer(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    product = make_product(resolution=15).isel(trait=[0])
    fine = product.drop_dims("bnds")
    fine = fine.isel(lat=np.repeat(np.arange(12), 50), lon=np.repeat(np.arange(24), 50))
    fine = fine.assign_coords(
        lat_bnds=(("lat", "bnds"), _edges(90, -90, 600)), lon_bnds=(("lon", "bnds"), _edges(-180, 180, 1200))
    )
    mixed = np.tile(np.array([[1, 1], [3, 1]], dtype=np.uint8), (300, 600))  # mode 1, mean 1.5
    fine["source"] = (("trait", "lat", "lon"), mixed[None])
    paths = write_cogs(fine, product_traits[:1], tmp_path)
    for path in paths:
        assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(tmp_path / "height_value.tif") as raster:
        assert raster.overviews(1) == [2, 4]
        assert raster.block_shapes == [(512, 512)]
        assert raster.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
        assert raster.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"
        half = raster.read(1, out_shape=(300, 600))
        np.testing.assert_allclose(half[:25, :25], product["value"].values[0, 0, 0], rtol=1e-6)
    with rasterio.open(tmp_path / "height_source.tif") as raster:
        assert np.unique(raster.read(1, out_shape=(300, 600))).tolist() == [1]


def _edges(start: float, stop: float, n: int) -> np.ndarray:
    edges = np.linspace(start, stop, n + 1)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def test_two_writes_give_the_same_bytes(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    first = write_cogs(make_product(), product_traits, tmp_path / "a")
    second = write_cogs(make_product(), product_traits, tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_slices_and_wrong_traits_are_refused(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    with pytest.raises(RasterError, match="global grid"):
        write_cogs(make_product().isel(lat=slice(0, 5)), product_traits, tmp_path)
    with pytest.raises(TableError, match="pass its own traits"):
        write_cogs(make_product(), product_traits[:1], tmp_path)
