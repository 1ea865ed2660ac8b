"""Regions of polygons: what lies inside, on which side of the globe their box is, and unions of regions."""

from __future__ import annotations

import math
import pickle
from random import Random

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from data_catalog import Catalog
from plant_traits.errors import GridError
from plant_traits.grid import Grid
from plant_traits.regions import Collected, Region, shape_hash

TRIANGLE = shapely.MultiPolygon([shapely.Polygon([(0, 0), (10, 0), (0, 10)])])
RING = shapely.MultiPolygon([shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(3, 3), (6, 3), (6, 6), (3, 6)]])])
WORLD = Region("world", -180, -90, 180, 90)


def test_points_on_the_border_and_in_a_hole() -> None:
    region = Region.of_shape("triangle", TRIANGLE)
    assert region.bbox == (0, 0, 10, 10)
    latitude, longitude = [1, 5, 5.01, 0, 10, np.nan], [1, 5, 5, 10, 0, 1]
    assert region.contains(latitude, longitude).tolist() == [True, True, False, True, True, False]
    ring = Region.of_shape("ring", RING)
    assert ring.contains([4, 3, 1], [4, 4, 1]).tolist() == [False, True, True]


def test_a_border_belongs_to_both_neighbours() -> None:
    left, right = (shapely.MultiPolygon([shapely.box(x, 0, x + 10, 10)]) for x in (0, 10))
    for region in (Region.of_shape("left", left), Region.of_shape("right", right), Region("box", 10, 0, 20, 10)):
        assert bool(region.contains(5, 10))


def test_points_are_broadcast() -> None:
    region = Region.of_shape("triangle", TRIANGLE)
    inside = region.contains(np.array([8.0, 1.0])[:, None], np.array([1.0, 8.0])[None, :])
    assert inside.tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize(
    ("boxes", "bbox"),
    [
        ([(170, 0, 180, 10), (-180, -5, -170, 5)], (170, -5, -170, 10)),
        ([(-180, 0, -170, 10)], (-180, 0, -170, 10)),
        ([(-10, 0, 0, 10), (20, 0, 40, 10)], (-10, 0, 40, 10)),
        ([(100, 0, 110, 10), (-120, 0, -110, 10)], (100, 0, -110, 10)),
        ([(-180, 0, 180, 10)], (-180, 0, 180, 10)),
    ],
)
def test_the_box_goes_the_shorter_way_round(
    boxes: list[tuple[float, ...]], bbox: tuple[float, float, float, float]
) -> None:
    region = Region.of_shape("several", shapely.MultiPolygon([shapely.box(*box) for box in boxes]))
    assert region.bbox == bbox


def test_a_shape_must_fill_a_box_on_the_globe() -> None:
    with pytest.raises(GridError, match="empty"):
        Region.of_shape("nothing", shapely.MultiPolygon())
    with pytest.raises(GridError, match="within ±180"):
        Region.of_shape("beyond", shapely.MultiPolygon([shapely.box(170, 0, 190, 10)]))
    with pytest.raises(GridError, match="more than its box"):
        Region("wrong", 0, 0, 5, 5, TRIANGLE)


def test_regions_of_another_shape_are_others() -> None:
    one, other = Region.of_shape("a", TRIANGLE), Region("a", 0, 0, 10, 10)
    assert one != other
    assert one.key != other.key
    assert one.key[:5] == other.key
    copy = pickle.loads(pickle.dumps(one))
    assert copy == one
    assert copy.key == one.key
    turned = shapely.MultiPolygon([shapely.Polygon([(0, 10), (0, 0), (10, 0)])])
    assert shape_hash(turned) == shape_hash(TRIANGLE)


def test_boxes_that_are_the_same_have_one_name(catalog: Catalog) -> None:
    names = {Region.parse(text, catalog).name for text in ("0, 40, 10,50", "0,40,10,50", "0.0,40.0,1e1,50")}
    assert names == {"0,40,10,50"}
    assert Region.parse("-0.0,-10,10,10", catalog) == Region.parse("0,-10,10,10", catalog)


def test_names_are_safe_in_paths() -> None:
    assert Region("../a b/é:*", 0, 0, 1, 1).path_name == ".._a_b____"
    assert Region("-18.5,0,1,1", -18.5, 0, 1, 1).path_name == "-18.5_0_1_1"


def test_overlap_is_more_than_a_border() -> None:
    box, beside = Region("a", 0, 0, 10, 10), Region("b", 10, 0, 20, 10)
    assert not box.overlaps(beside)
    assert box.overlaps(Region("c", 9, 9, 20, 20))
    assert Region("d", 170, 0, -170, 10).overlaps(Region("e", -175, 0, 0, 10))
    assert not Region.of_shape("t", TRIANGLE).overlaps(Region("corner", 8, 8, 10, 10))


boxes = st.tuples(st.floats(-180, 170), st.floats(-90, 80), st.floats(0.1, 10), st.floats(0.1, 10), st.booleans()).map(
    lambda x: _region(*x)
)


def _region(west: float, south: float, width: float, height: float, polygon: bool) -> Region:
    box = (west, south, west + width, south + height)
    if polygon:
        return Region.of_shape("polygon", shapely.MultiPolygon([shapely.box(*box)]))
    return Region("box", *box)


@given(st.lists(boxes, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_a_union_holds_what_some_region_holds(regions: list[Region], random: Random) -> None:
    points = [(random.uniform(-90, 90), random.uniform(-180, 180)) for _ in range(40)]
    points += [(region.south, region.east) for region in regions]
    inside = Collected(WORLD, tuple(regions)).contains(*zip(*points, strict=True))
    expected = [any(r.south <= lat <= r.north and r.west <= lon <= r.east for r in regions) for lat, lon in points]
    assert inside.tolist() == expected


def test_a_union_ends_where_the_map_ends() -> None:
    area = Collected(Region("mapped", 0, 0, 10, 10), (Region("a", -5, -5, 5, 5), Region("b", 8, 8, 20, 20)))
    assert area.contains([1, -1, 9, 15, 7], [1, 1, 9, 15, 7]).tolist() == [True, False, True, False, False]
    assert not area.contains(math.nan, 1)


@pytest.mark.parametrize(
    ("region", "found"),
    [
        (Region("one centre", 10.4, 40.4, 10.6, 40.6), True),
        (Region("a centre on its corner", 10.5, 40.5, 10.6, 40.6), True),
        (Region("between centres", 10.6, 40.6, 11.4, 41.4), False),
        (Region("rows, no columns", 10.6, 40.0, 11.4, 50.0), False),
        (Region("over the antimeridian", 179.4, 0.0, -179.6, 1.0), True),
        (Region("beside centres of the antimeridian", 179.6, 0.0, -179.6, 1.0), False),
        (Region.of_shape("a ring of land", shapely.MultiPolygon([shapely.box(10.1, 40.1, 10.4, 41.9)])), False),
        (Region.of_shape("land", shapely.MultiPolygon([shapely.box(10.1, 40.1, 10.5, 41.9)])), True),
    ],
)
def test_a_region_must_hold_the_centre_of_a_cell(region: Region, found: bool) -> None:
    if found:
        region.check_holds_cells(Grid.parse("1deg"))
        return
    with pytest.raises(GridError, match="found none, so its map would be empty; choose a finer grid"):
        region.check_holds_cells(Grid.parse("1deg"))
    region.check_holds_cells(Grid.parse("0.1deg"))
