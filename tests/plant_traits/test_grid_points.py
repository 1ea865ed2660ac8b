"""Every point falls in exactly one cell, against exact fractions; regridding from grid to grid keeps the integral."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plant_traits.covariates.regrid import regrid_array
from plant_traits.grid import Grid

RESOLUTIONS = ["1deg", "0.5deg", "0.1deg", "0.01deg", "1/3deg", "10arcmin", "30arcsec"]
GRIDS = {text: Grid.parse(text) for text in RESOLUTIONS}


def exact_edge(grid: Grid, k: int, origin: int) -> Fraction:
    """The float nearest to the k-th edge, which is what a coordinate given as a decimal is."""
    return Fraction(float(k * grid.resolution - origin))


def cells_that_hold(grid: Grid, latitude: float, longitude: float) -> list[int]:
    """All cells near the point whose half-open rectangle holds it, by comparison of exact fractions."""
    lat, lon = Fraction(latitude), Fraction(longitude)
    if lon == 180:
        lon = Fraction(-180)
    row = int((lat + 90) / grid.resolution)
    column = int((lon + 180) / grid.resolution)
    found = []
    for r in range(max(row - 2, 0), min(row + 3, grid.n_lat)):
        south, north = exact_edge(grid, r, 90), exact_edge(grid, r + 1, 90)
        if not (south <= lat < north or (lat == north == 90)):
            continue
        for c in range(max(column - 2, 0), min(column + 3, grid.n_lon)):
            if exact_edge(grid, c, 180) <= lon < exact_edge(grid, c + 1, 180):
                found.append((grid.n_lat - 1 - r) * grid.n_lon + c)
    return found


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(RESOLUTIONS), st.floats(-90, 90), st.floats(-180, 180))
@example("0.1deg", 90.0, 180.0)
@example("0.01deg", -90.0, -180.0)
@example("0.01deg", 0.57, 0.29)
@example("0.1deg", -0.0, 5e-324)
@example("30arcsec", -5e-324, -5e-324)
def test_any_point_lies_in_exactly_one_cell(text: str, latitude: float, longitude: float) -> None:
    grid = GRIDS[text]
    assert cells_that_hold(grid, latitude, longitude) == [int(grid.cell_of(latitude, longitude))]


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(RESOLUTIONS), st.sampled_from([-1, 0, 1]), st.sampled_from([-1, 0, 1]))
def test_borders_and_the_floats_next_to_them_lie_in_exactly_one_cell(
    data: st.DataObject, text: str, lat_step: int, lon_step: int
) -> None:
    grid = GRIDS[text]
    i, j = data.draw(st.integers(0, grid.n_lat)), data.draw(st.integers(0, grid.n_lon))
    latitude, longitude = float(exact_edge(grid, i, 90)), float(exact_edge(grid, j, 180))
    if lat_step:
        latitude = float(np.clip(np.nextafter(latitude, latitude + lat_step), -90, 90))
    if lon_step:
        longitude = float(np.clip(np.nextafter(longitude, longitude + lon_step), -180, 180))
    cell = int(grid.cell_of(latitude, longitude))
    assert cells_that_hold(grid, latitude, longitude) == [cell]
    if not lat_step and not lon_step:  # a border belongs to the cell north and east of it
        assert cell == (grid.n_lat - 1 - min(i, grid.n_lat - 1)) * grid.n_lon + j % grid.n_lon


@pytest.mark.parametrize(
    ("text", "latitude", "longitude", "row", "column"),
    [
        ("1deg", 90.0, -180.0, 0, 0),
        ("1deg", 90.0, 180.0, 0, 0),
        ("1deg", 89.0, 179.999, 0, 359),
        ("1deg", np.nextafter(89.0, 0), 0.0, 1, 180),
        ("1deg", -90.0, -0.5, 179, 179),
        ("1deg", -1e-300, -1e-300, 90, 179),
        ("0.1deg", 0.3, 0.3, 896, 1803),
        ("0.1deg", 47.6, 11.7, 423, 1917),
        ("0.1deg", -89.9, -179.9, 1798, 1),
        ("0.1deg", 90.0, 180.0, 0, 0),
        ("0.01deg", 0.07, 0.29, 8992, 18029),
        ("0.01deg", 1.15, 1.15, 8884, 18115),
        ("0.01deg", -90.0, 179.99, 17999, 35999),
    ],
)
def test_points_by_hand(text: str, latitude: float, longitude: float, row: int, column: int) -> None:
    grid = Grid.parse(text)
    assert divmod(int(grid.cell_of(latitude, longitude)), grid.n_lon) == (row, column)


def test_borders_of_tiles_belong_to_the_tile_of_the_cell() -> None:
    # A grid whose cells divide ten degrees nests in the tiles, so that tiles share no cell.
    tiles = Grid(Fraction(10))
    for text in ("1deg", "0.5deg", "0.1deg"):
        grid = Grid.parse(text)
        rng = np.random.default_rng(0)
        lat = rng.choice(np.concatenate([tiles.lat_edges, grid.lat_edges]), 3000)
        lon = rng.choice(np.concatenate([tiles.lon_edges, grid.lon_edges]), 3000)
        centre = grid.centre_of(grid.cell_of(lat, lon))
        np.testing.assert_array_equal(tiles.cell_of(*centre), tiles.cell_of(lat, lon))


@settings(max_examples=40, deadline=None)
@given(
    source=st.sampled_from(["2deg", "3deg", "5deg", "10deg", "9deg"]),
    target=st.sampled_from(["1deg", "2deg", "4deg", "7.5deg", "20deg"]),
    seed=st.integers(0, 2**32 - 1),
    missing=st.sampled_from([0.0, 0.3]),
)
def test_regridding_from_grid_to_grid_conserves_the_integral(
    source: str, target: str, seed: int, missing: float
) -> None:
    fine, coarse = Grid.parse(source), Grid.parse(target)
    rng = np.random.default_rng(seed)
    values = rng.uniform(1, 5, fine.shape)
    values[rng.random(fine.shape) < missing] = np.nan
    found = regrid_array(values, fine.lat_edges[::-1], fine.lon_edges, coarse)
    integral = np.nansum(found.mean * found.valid_fraction * coarse.area_m2)
    assert integral == pytest.approx(np.nansum(values * fine.area_m2), rel=1e-12)
    covered = np.nansum(found.valid_fraction * coarse.area_m2)
    assert covered == pytest.approx(np.sum(np.isfinite(values) * fine.area_m2), rel=1e-12)


@pytest.mark.parametrize("source", ["0.25deg", "1/3deg", "30deg"])
def test_the_integral_is_conserved_on_a_tenth_of_a_degree_whose_borders_cut_pixels(source: str) -> None:
    grid, fine = Grid.parse(source), GRIDS["0.1deg"]
    rng = np.random.default_rng(4)
    values = rng.uniform(1, 5, grid.shape)
    values[rng.random(grid.shape) < 0.3] = np.nan
    found = regrid_array(values, grid.lat_edges[::-1], grid.lon_edges, fine)
    integral = np.nansum(found.mean * found.valid_fraction * fine.area_m2)
    assert integral == pytest.approx(np.nansum(values * grid.area_m2), rel=1e-12)
