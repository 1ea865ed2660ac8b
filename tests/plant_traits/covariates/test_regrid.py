from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject

from plant_traits.covariates import layers, row_sums
from plant_traits.covariates.coordinates import pixel_lat_lon, project, same_crs
from plant_traits.covariates.layers import open_raster
from plant_traits.covariates.regrid import area_weighted_mean, regrid_array
from plant_traits.covariates.weights import column_weights, row_weights
from plant_traits.errors import RasterError
from plant_traits.grid import Grid
from plant_traits.regions import Region

WriteRaster = Callable[..., Path]
IGH = "+proj=igh +datum=WGS84 +units=m"
GEOD = pyproj.Geod(ellps="WGS84")


def geodesic_area(south: float, north: float, width: float) -> float:
    """Area of a latitude-longitude rectangle by a finely densified geodesic polygon, an oracle of its own."""
    lon = np.linspace(0.0, width, 2001)
    ring_lon = np.concatenate([lon, lon[::-1]])
    ring_lat = np.concatenate([np.full(2001, south), np.full(2001, north)])
    return abs(GEOD.polygon_area_perimeter(ring_lon, ring_lat)[0])


def test_two_half_cells_weigh_as_their_ellipsoidal_areas() -> None:
    grid = Grid.parse("10deg")
    result = regrid_array([[1.0], [3.0]], [70.0, 65.0, 60.0], [0.0, 10.0], grid)
    upper, lower = geodesic_area(65, 70, 10), geodesic_area(60, 65, 10)
    assert result.mean[2, 18] == pytest.approx((upper + 3 * lower) / (upper + lower), abs=1e-7)
    assert result.valid_fraction[2, 18] == pytest.approx(1.0)
    assert np.isfinite(result.mean).sum() == 1


def test_a_finer_grid_repeats_the_pixel() -> None:
    values = np.arange(90 * 180, dtype=np.float64).reshape(90, 180)
    result = regrid_array(values, np.linspace(90, -90, 91), np.linspace(-180, 180, 181), Grid.parse("1deg"))
    np.testing.assert_allclose(result.mean, np.repeat(np.repeat(values, 2, axis=0), 2, axis=1), rtol=1e-13)


def test_missing_pixels_neither_count_nor_spread() -> None:
    values = np.array([[1.0, np.nan], [np.nan, np.nan]])
    result = regrid_array(values, [10, 5, 0], [0, 5, 10], Grid.parse("10deg"))
    assert result.mean[8, 18] == 1.0
    assert result.valid_fraction[8, 18] == pytest.approx(geodesic_area(5, 10, 5) / geodesic_area(0, 10, 10), rel=1e-6)


def test_float_noise_in_the_origin_does_not_leak_into_the_neighbour() -> None:
    edges = np.linspace(-180.00000000000006, 180.00000000000063, 2161)
    values = np.full((1, 2160), np.nan)
    values[0, 0] = 5.0
    result = regrid_array(values, [1.0, 0.0], edges, Grid.parse("1deg"))
    assert np.flatnonzero(np.isfinite(result.mean[89])).tolist() == [0]


def test_longitudes_from_0_to_360_and_past_the_antimeridian_wrap() -> None:
    grid = Grid.parse("10deg")
    values = np.arange(36.0)[None, :]
    from_zero = regrid_array(values, [10, 0], np.arange(0, 361, 10), grid)
    np.testing.assert_allclose(from_zero.mean[8], np.roll(np.arange(36.0), 18))
    across = regrid_array([[7.0]], [10, 0], [175.0, 185.0], grid)
    assert np.flatnonzero(np.isfinite(across.mean[8])).tolist() == [0, 35]
    np.testing.assert_allclose(across.valid_fraction[8, [0, 35]], 0.5)


def test_rows_from_south_to_north_give_the_same() -> None:
    values = np.random.default_rng(1).normal(size=(9, 18))
    lat, lon = np.linspace(90, -90, 10), np.linspace(-180, 180, 19)
    grid = Grid.parse("5deg")
    np.testing.assert_allclose(
        regrid_array(values, lat, lon, grid).mean, regrid_array(values[::-1], lat[::-1], lon, grid).mean, rtol=1e-13
    )


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    south=st.floats(-95, 60),
    west=st.floats(-200, 400),
    height=st.floats(0.5, 100),
    width=st.floats(0.5, 359),
    resolution=st.sampled_from([1, 2, 5, Fraction(1, 2), 20]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_integral_is_conserved(
    *, rows: int, columns: int, south: float, west: float, height: float, width: float, resolution: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(10, 3, size=(rows, columns))
    values[rng.random(values.shape) < 0.2] = np.nan
    lat_edges = np.linspace(south + height, south, rows + 1)
    grid = Grid(Fraction(resolution))
    result = regrid_array(values, lat_edges, np.linspace(west, west + width, columns + 1), grid)
    inside = np.clip(lat_edges, -90, 90)
    bands = np.array([band_area(b, a) for a, b in pairwise(inside)])
    expected = float(np.nansum(values * bands[:, None]) * width / columns)
    found = float(np.nansum(result.mean * result.valid_fraction * grid.area_m2))
    scale = max(float(np.nansum(np.abs(values) * bands[:, None]) * width / columns), 1.0)
    assert abs(found - expected) / scale < 1e-5


def band_area(south: float, north: float) -> float:
    """Area of a band a degree wide by Simpson's rule over M·N·cos, independent of the closed form."""
    a, f = 6378137.0, 1 / 298.257223563
    e2 = f * (2 - f)
    lat = np.deg2rad(np.linspace(south, north, 201))
    integrand = a**2 * (1 - e2) * np.cos(lat) / (1 - e2 * np.sin(lat) ** 2) ** 2
    step = (lat[-1] - lat[0]) / 200
    simpson = step / 3 * (integrand[0] + integrand[-1] + 4 * integrand[1:-1:2].sum() + 2 * integrand[2:-1:2].sum())
    return float(simpson * np.deg2rad(1.0))


def test_weights_cover_the_globe() -> None:
    grid = Grid.parse("1deg")
    rows = row_weights(np.linspace(90, -90, 1081), grid)
    columns = column_weights(np.linspace(-180, 180, 2161), grid)
    assert rows.sum() == pytest.approx(2.0, rel=1e-12)
    assert columns.sum() == pytest.approx(1.0, rel=1e-12)
    assert rows.nnz == 1080
    assert columns.nnz == 2160


def test_close_to_gdal_average_on_rows_thin_enough_to_share_one_width(write_raster: WriteRaster) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(900, 2160)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = -9999
    path = write_raster(values, west=-180.00000000000006, north=90, size=1 / 6, nodata=-9999)
    grid = Grid.parse("1deg")
    theirs = np.full(grid.shape, np.nan, np.float32)
    reproject(
        values,
        theirs,
        src_transform=from_origin(-180, 90, 1 / 6, 1 / 6),
        src_crs="EPSG:4326",
        src_nodata=-9999,
        dst_transform=from_origin(-180, 90, 1, 1),
        dst_crs="EPSG:4326",
        dst_nodata=np.nan,
        resampling=Resampling.average,
    )
    with open_raster(path, name="x") as raster:
        ours = area_weighted_mean(raster, grid)
    middle = slice(30, 150)  # GDAL weighs pixels equally; towards the poles rows of a cell differ in area
    np.testing.assert_array_equal(np.isnan(ours.mean[middle]), np.isnan(theirs[middle]))
    np.testing.assert_allclose(ours.mean[middle], theirs[middle], atol=0.01)
    np.testing.assert_allclose(ours.mean[88:92], theirs[88:92], atol=1e-4)


def test_blocks_of_rows_give_the_same_as_the_whole(write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=(174, 360)).astype(np.float32)
    north = 84.0 - 1 / 7200
    path = write_raster(values, west=-180 - 1 / 7200, north=north, size=1.0)
    grid = Grid.parse("5deg")
    with open_raster(path, name="x") as raster:
        whole = area_weighted_mean(raster, grid)
        expected = regrid_array(values, raster.y_edges, raster.x_edges, grid)
        windows = list(raster.row_blocks(pixels=360 * 7))
        assert len(windows) > 20
        monkeypatch.setattr(layers.CheckedRaster, "row_blocks", lambda self: iter(windows))
        blocks = area_weighted_mean(raster, grid)
        tropics = area_weighted_mean(raster, grid, region=Region("tropics", -180, -10, 180, 10))
    np.testing.assert_allclose(blocks.mean, whole.mean, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(whole.mean, expected.mean, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(blocks.valid_fraction, expected.valid_fraction, rtol=1e-12)
    np.testing.assert_allclose(tropics.mean[16:20], whole.mean[16:20], rtol=1e-11, atol=1e-13)
    assert tropics.count.valid < whole.count.valid


def test_values_are_converted_before_averaging(write_raster: WriteRaster) -> None:
    path = write_raster(np.array([[1.0, 100.0]], np.float32), west=0, north=1, size=1, height=1.0)
    with open_raster(path, name="x") as raster:
        result = area_weighted_mean(raster, Grid.parse("2deg"), convert=np.log)
    assert np.exp(result.mean[44, 90]) == pytest.approx(10.0)


def homolosine_raster(write_raster: WriteRaster, size: float = 50_000.0) -> Path:
    """Write latitude itself, in interrupted homolosine, whole globe, nodata off the lobes."""
    nx, ny = int(2 * 20_037_508 // size), int(2 * 8_675_000 // size)
    west, north = -nx * size / 2, ny * size / 2
    x, y = np.meshgrid(west + (np.arange(nx) + 0.5) * size, north - (np.arange(ny) + 0.5) * size)
    latitude, _ = pixel_lat_lon(pyproj.CRS.from_user_input(IGH), x, y)
    stored = np.where(np.isfinite(latitude), np.round(100 * latitude), -32768).astype(np.int16)
    return write_raster(stored, west=west, north=north, size=size, crs=IGH, nodata=-32768)


def test_an_interrupted_homolosine_raster_of_latitude_comes_back_as_latitude(write_raster: WriteRaster) -> None:
    path = homolosine_raster(write_raster)
    grid = Grid.parse("5deg")
    with open_raster(path, name="x", crs=IGH) as raster:
        result = area_weighted_mean(raster, grid, convert=lambda stored: stored / 100, subsample=5)
    off = result.mean - grid.lat[:, None]
    assert np.isfinite(result.mean[2:-2]).all()
    assert np.abs(off[2:-2]).max() < 0.35  # less than the side of a pixel: lobe edges cut cells in part
    assert np.median(np.abs(off[2:-2])) < 0.06
    assert np.median(result.valid_fraction[6:30]) > 0.97


def test_lobe_gaps_are_skipped_even_where_they_hold_values(write_raster: WriteRaster) -> None:
    path = write_raster(np.full((347, 801), 7, np.int16), west=-20_025_000.0, north=8_675_000.0, size=50_000, crs=IGH)
    grid = Grid.parse("10deg")
    with open_raster(path, name="x", crs=IGH) as raster:
        result = area_weighted_mean(raster, grid)
    np.testing.assert_allclose(result.mean, 7, rtol=1e-14)
    covered = float((result.valid_fraction * grid.area_m2).sum() / grid.area_m2.sum())
    assert covered == pytest.approx(1.0, abs=0.02)


def test_a_projection_that_is_not_equal_area_is_refused(write_raster: WriteRaster) -> None:
    path = write_raster(np.ones((4, 4), np.uint8), west=0, north=4e5, size=1e5, crs="EPSG:3857")
    with open_raster(path, name="x", crs="EPSG:3857") as raster, pytest.raises(RasterError, match="equal-area"):
        area_weighted_mean(raster, Grid.parse("1deg"))


def test_edges_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RasterError, match="one more edge"):
        regrid_array([[1.0]], [1, 0], [0, 1, 2], Grid.parse("1deg"))
    with pytest.raises(RasterError, match="strictly monotonic"):
        regrid_array([[1.0], [2.0]], [1, 1, 0], [0, 1], Grid.parse("1deg"))


def test_same_crs() -> None:
    found = pyproj.CRS.from_user_input(pyproj.CRS.from_user_input(IGH).to_wkt("WKT1_GDAL"))
    assert same_crs(found, IGH)
    assert same_crs(pyproj.CRS.from_user_input("OGC:CRS84"), "EPSG:4326")
    assert not same_crs(pyproj.CRS.from_epsg(6933), IGH)
    assert not same_crs(pyproj.CRS.from_epsg(4326), IGH)
    with pytest.raises(RasterError, match="not understood"):
        same_crs(found, "EPSG:nonsense")


def test_projection_there_and_back_and_off_the_map() -> None:
    crs = pyproj.CRS.from_user_input(IGH)
    x, y = project(crs, [48.0, -33.0], [11.0, 151.0])
    latitude, longitude = pixel_lat_lon(crs, x, y)
    np.testing.assert_allclose(latitude, [48.0, -33.0], atol=1e-7)
    np.testing.assert_allclose(longitude, [11.0, 151.0], atol=1e-7)
    gap = pixel_lat_lon(crs, [-4.4e6], [8e6])  # between the two northern lobes
    assert np.isnan(gap).all()


@pytest.mark.parametrize(
    ("crs", "equal"), [(IGH, True), ("EPSG:6933", True), ("EPSG:3035", True), ("EPSG:3857", False)]
)
def test_equal_area_projections_are_told_by_their_method(crs: str, equal: bool) -> None:
    operation = pyproj.CRS.from_user_input(crs).coordinate_operation
    assert (row_sums.EQUAL_AREA.search(operation.method_name) is not None) == equal
