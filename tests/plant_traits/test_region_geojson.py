"""Regions from GeoJSON files: what is read, and what is refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from data_catalog import Catalog, CatalogError
from plant_traits import region_geojson
from plant_traits.errors import GridError, InputError, MissingInputError
from plant_traits.region_geojson import find_region, read_region_file

SQUARE = {"type": "Polygon", "coordinates": [[[0, 40], [10, 40], [10, 50], [0, 50], [0, 40]]]}
Written = Callable[[object], Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    def write(content: object) -> Path:
        path = tmp_path / "my region.geojson"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


def polygon(*points: tuple[float, float]) -> dict[str, object]:
    return {"type": "Polygon", "coordinates": [[list(x) for x in (*points, points[0])]]}


@pytest.mark.parametrize(
    "content",
    [
        SQUARE,
        {"type": "Feature", "properties": {"a": 1}, "geometry": SQUARE},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": None, "geometry": SQUARE}]},
        {**SQUARE, "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}},
        {"type": "Polygon", "coordinates": [[[*x, 500.0] for x in SQUARE["coordinates"][0]]]},
    ],
)
def test_a_square_in_many_wrappings(written: Written, content: object) -> None:
    region = read_region_file(written(content))
    assert region.bbox == (0, 40, 10, 50)
    assert region.contains([45, 50, 51], [5, 10, 5]).tolist() == [True, True, False]
    assert region.name.startswith("my_region-")


def test_the_name_follows_the_shape_not_the_writing(written: Written) -> None:
    first = read_region_file(written(SQUARE)).name
    turned = polygon((10, 50), (10, 40), (0, 40), (0, 50))
    assert read_region_file(written(turned)).name == first
    assert read_region_file(written(polygon((10, 50), (10, 40), (0, 40), (0, 51)))).name != first


def test_what_geopandas_writes(tmp_path: Path) -> None:
    shapes = [shapely.box(0, 0, 10, 10), shapely.box(5, 5, 20, 20), shapely.box(-170, -10, -160, 0)]
    path = tmp_path / "several.geojson"
    geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:4326").to_file(path, driver="GeoJSON")
    region = read_region_file(path)
    assert region.shape is not None
    assert region.shape.area == pytest.approx(100 + 225 - 25 + 100)
    assert region.bbox == (-170, -10, 20, 20)


@pytest.mark.parametrize(
    ("points", "bbox"),
    [
        ([(170, 0), (190, 0), (190, 10), (170, 10)], (170, 0, -170, 10)),
        ([(-190, 0), (-170, 0), (-170, 10), (-190, 10)], (170, 0, -170, 10)),
        ([(185, 0), (195, 0), (195, 10), (185, 10)], (-175, 0, -165, 10)),
    ],
)
def test_beyond_180_degrees_is_the_other_side(
    written: Written, points: list[tuple[float, float]], bbox: tuple[float, ...]
) -> None:
    region = read_region_file(written(polygon(*points)))
    assert region.bbox == bbox
    assert region.shape is not None
    assert region.shape.area == pytest.approx(shapely.Polygon(points).area)
    inside = region.contains([5, 5, 5, 5], [-172, 160, np.nan, 0])
    assert inside.tolist() == [True, False, False, False]


def test_split_at_the_antimeridian_as_the_standard_asks(written: Written) -> None:
    parts = [polygon((170, 0), (180, 0), (180, 10), (170, 10)), polygon((-180, 0), (-170, 0), (-170, 10), (-180, 10))]
    content = {"type": "MultiPolygon", "coordinates": [x["coordinates"] for x in parts]}
    assert read_region_file(written(content)).bbox == (170, 0, -170, 10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as GeoJSON"),
        ("not json", "cannot be read as GeoJSON"),
        ("[1, 2]", "expected a GeoJSON object, found list"),
        ("[" * 200_000, "cannot be read as GeoJSON"),
        ('{"type": "Polygon", "coordinates": [[[NaN, 0], [1, 0], [1, 1], [NaN, 0]]]}', "NaN is no number"),
        ('{"type": "Polygon", "coordinates": [[[1e400, 0], [1, 0], [1, 1], [1e400, 0]]]}', "expected degrees"),
        ({}, "expected Polygon and MultiPolygon alone"),
        ({"type": "FeatureCollection"}, "found none"),
        ({"type": "FeatureCollection", "features": []}, "found none"),
        ({"type": "FeatureCollection", "features": [7]}, "alone, found"),
        ({"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": None}]}, "alone, found"),
        ({"type": "Point", "coordinates": [0, 0]}, r"found \['Point'\]"),
        ({"type": "Polygon"}, "cannot be read"),
        ({"type": "Polygon", "coordinates": []}, "is empty"),
        ({"type": "Polygon", "coordinates": "0 0"}, "cannot be read"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "cannot be read"),
        ({"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [1, 0], ["a", 0]]]}, "cannot be read"),
        (polygon((0, 0), (10, 10), (10, 0), (0, 10)), "polygon 1 is not valid .*Self-intersection"),
        (polygon((0, 0), (0, 100), (10, 100), (10, 0)), "expected degrees, longitude first"),
        (polygon((400_000, 5_000_000), (500_000, 5_000_000), (500_000, 6_000_000)), "expected degrees"),
        ({**SQUARE, "crs": {"type": "name", "properties": {"name": "EPSG:3857"}}}, "'EPSG:3857'; convert it"),
        ({**SQUARE, "crs": {"type": "link", "properties": {"href": "http://x"}}}, "coordinate system 'None'"),
        ({**SQUARE, "crs": {"properties": 5}}, "coordinate system"),
    ],
)
def test_files_that_are_refused(written: Written, content: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_region_file(written(content))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match="in UTF-8"):
        read_region_file(path)


def test_bounds_of_size(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(SQUARE)
    monkeypatch.setattr(region_geojson, "MOST_VERTICES", 4)
    with pytest.raises(InputError, match="5 vertices, at most 4"):
        read_region_file(path)
    monkeypatch.setattr(region_geojson, "LARGEST_FILE", 20)
    with pytest.raises(InputError, match="larger than 20 bytes"):
        read_region_file(path)


def test_regions_by_any_of_their_names(catalog: Catalog, written: Written) -> None:
    assert find_region("iberia", catalog).bbox == (-10, 35, 4, 44)
    assert find_region("0,40,10,50", catalog).shape is None
    assert find_region(str(written(SQUARE)), catalog).shape is not None
    with pytest.raises(MissingInputError, match="not there"):
        find_region("/nowhere/at/all.GeoJSON", catalog)
    with pytest.raises(MissingInputError, match="not there"):
        find_region("/tmp/.json", catalog)
    with pytest.raises(CatalogError, match="atlantis"):
        find_region("atlantis", catalog)
    with pytest.raises(GridError):
        find_region("1,2,3", catalog)
