"""Every point falls in exactly one cell, at any resolution."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

from plant_traits.errors import GridError
from plant_traits.grid import Grid

RESOLUTIONS = ["1deg", "0.5deg", "0.1deg", "0.01deg", "1/3deg", "10arcmin", "5deg"]


@pytest.mark.parametrize("text", RESOLUTIONS)
def test_edges_belong_to_the_cell_north_and_east_of_them(text: str) -> None:
    grid = Grid.parse(text)
    rows = grid.cell_of(grid.lat_edges[:-1], np.full(grid.n_lat, -180.0)) // grid.n_lon
    np.testing.assert_array_equal(rows, np.arange(grid.n_lat)[::-1])
    columns = grid.cell_of(np.zeros(grid.n_lon), grid.lon_edges[:-1]) % grid.n_lon
    np.testing.assert_array_equal(columns, np.arange(grid.n_lon))


@pytest.mark.parametrize("text", RESOLUTIONS)
def test_just_below_an_edge_is_the_next_cell(text: str) -> None:
    grid = Grid.parse(text)
    below = np.nextafter(grid.lat_edges[1:-1], -100)
    rows = grid.cell_of(below, np.zeros(len(below))) // grid.n_lon
    np.testing.assert_array_equal(rows, np.arange(1, grid.n_lat)[::-1])


@given(
    st.sampled_from(["1deg", "0.1deg", "0.01deg"]),
    st.decimals(-90, 90, places=4, allow_nan=False),
    st.decimals(-180, 180, places=4, allow_nan=False),
)
def test_cell_agrees_with_decimal_arithmetic(text: str, latitude: Decimal, longitude: Decimal) -> None:
    grid = Grid.parse(text)
    row_from_south = min(int((Fraction(latitude) + 90) / grid.resolution), grid.n_lat - 1)
    column = int((Fraction(longitude) + 180) / grid.resolution) % grid.n_lon
    expected = (grid.n_lat - 1 - row_from_south) * grid.n_lon + column
    assert grid.cell_of(float(latitude), float(longitude)) == expected


def test_poles_and_antimeridian() -> None:
    grid = Grid.parse("1deg")
    assert grid.cell_of(90, 0) // grid.n_lon == 0
    assert grid.cell_of(-90, 0) // grid.n_lon == 179
    assert grid.cell_of(0, 180) == grid.cell_of(0, -180)


def test_centres_lie_in_their_cells() -> None:
    grid = Grid.parse("2deg")
    cells = np.arange(grid.size)
    np.testing.assert_array_equal(grid.cell_of(*grid.centre_of(cells)), cells)


@pytest.mark.parametrize("latitude", [np.nan, 90.01, -91.0, np.inf])
def test_bad_coordinates_are_rejected_not_clipped(latitude: float) -> None:
    with pytest.raises(GridError, match="1 of 2 points"):
        Grid.parse("1deg").cell_of([0.0, latitude], [0.0, 0.0])


def test_areas_add_up_to_the_ellipsoid() -> None:
    # WGS 84 surface area 510 065 621.724 km2 (Moritz 2000)
    for text in ("1deg", "0.5deg", "5deg"):
        assert Grid.parse(text).area_m2.sum() == pytest.approx(510_065_621.724e6, rel=1e-9)


@pytest.mark.parametrize("row", [0, 30, 89, 120])
def test_cell_area_agrees_with_a_geodesic_polygon(row: int) -> None:
    grid = Grid.parse("1deg")
    south, north = grid.lat_edges[::-1][row + 1], grid.lat_edges[::-1][row]
    along = np.linspace(0, 1, 2001)  # parallels are no geodesics: follow them closely
    longitude = np.concatenate([along, along[::-1]])
    latitude = np.concatenate([np.full(2001, south), np.full(2001, north)])
    area, _ = Geod(ellps="WGS84").polygon_area_perimeter(longitude, latitude)
    assert grid.row_area_m2[row] == pytest.approx(abs(area), rel=1e-6)


@pytest.mark.parametrize("text", ["", "1", "deg", "7deg", "0deg", "1/0deg", "1.2.3deg", "-1deg"])
def test_unreadable_grids(text: str) -> None:
    with pytest.raises(GridError):
        Grid.parse(text)


@pytest.mark.parametrize("text", RESOLUTIONS)
def test_text_reads_back(text: str) -> None:
    assert Grid.parse(Grid.parse(text).text) == Grid.parse(text)
