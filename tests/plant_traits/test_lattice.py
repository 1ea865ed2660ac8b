"""Regions are cut into whole tiles of one lattice: shared, without gaps, none beyond the map."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from plant_traits.errors import GridError
from plant_traits.lattice import pieces
from plant_traits.regions import Region

WORLD = Region("world", -180, -90, 180, 90)


def test_tiles_of_a_box() -> None:
    found = pieces([Region("europe", -25, 34, 45, 72)], WORLD, 30)
    assert [x.name for x in found] == [
        "tile30-n30-w30", "tile30-n30-e0", "tile30-n30-e30", "tile30-n60-w30", "tile30-n60-e0", "tile30-n60-e30",
    ]  # fmt: skip
    np.testing.assert_allclose(found[1].bbox, (-0.001, 29.999, 30.001, 60.001), atol=1e-12)


def test_the_globe_is_cut_without_a_gap_and_ends_at_its_edges() -> None:
    found = pieces([WORLD], WORLD, 60)
    assert len(found) == 18
    assert found[0].bbox == pytest.approx((-180, -90, -119.999, -29.999))
    assert found[-1].bbox == pytest.approx((119.999, 29.999, 180, 90))
    assert shapely.union_all([x.geometry for x in found]).equals(WORLD.geometry)


def test_a_region_that_ends_on_a_lattice_line_takes_no_tile_beyond_it() -> None:
    assert [x.name for x in pieces([Region("a", 0, 0, 30, 30)], WORLD, 30)] == ["tile30-n0-e0"]


def test_across_the_antimeridian() -> None:
    found = pieces([Region("a", 170, 1, -170, 2)], WORLD, 30)
    assert [x.name for x in found] == ["tile30-n0-w180", "tile30-n0-e150"]


def test_a_shape_takes_only_the_tiles_that_it_enters() -> None:
    shape = shapely.MultiPolygon([shapely.Polygon([(1, 1), (59, 1), (1, 59)])])
    names = {x.name for x in pieces([Region.of_shape("triangle", shape)], WORLD, 30)}
    assert names == {"tile30-n0-e0", "tile30-n0-e30", "tile30-n30-e0"}


def test_what_is_not_mapped_is_not_fetched() -> None:
    found = pieces([WORLD], Region("africa", -18, -35, 52, 38), 90)
    assert [x.name for x in found] == ["tile90-s90-w90", "tile90-s90-e0", "tile90-n0-w90", "tile90-n0-e0"]


@given(st.lists(st.tuples(st.floats(-180, 170), st.floats(-90, 80)), min_size=2, max_size=4))
def test_the_order_does_not_matter_and_every_point_lies_in_a_piece(corners: list[tuple[float, float]]) -> None:
    regions = [Region(f"r{k}", west, south, west + 10, south + 10) for k, (west, south) in enumerate(corners)]
    found = pieces(regions, WORLD, 30)
    assert pieces(regions[::-1], WORLD, 30) == found
    assert {x.name for region in regions for x in pieces([region], WORLD, 30)} == {x.name for x in found}
    for region in regions:
        latitude, longitude = np.meshgrid(
            np.linspace(region.south, region.north, 7), np.linspace(region.west, region.east, 7)
        )
        assert np.any([piece.contains(latitude, longitude) for piece in found], axis=0).all()


@pytest.mark.parametrize("degrees", [0, -30, 70, 7.7])
def test_sizes_that_do_not_divide_the_globe(degrees: float) -> None:
    with pytest.raises(GridError, match="do not divide 180"):
        pieces([WORLD], WORLD, degrees)
