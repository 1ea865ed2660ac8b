"""Reference places: what the package ships, what an operator's files change, and files that must not be believed."""

from __future__ import annotations

import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from plant_traits.errors import ArchiveError, InputError, MissingInputError, TableError
from plant_traits.observations.places import within
from plant_traits.observations.reference_places import (
    read_capitals,
    read_institutions,
    read_province_centroids,
    reference_places,
)


def zipped(folder: Path, name: str, frame: gpd.GeoDataFrame, *, layers: int = 1) -> Path:
    for k in range(layers):
        frame.to_file(folder / f"{name}{k}.shp")
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member in sorted(folder.glob(f"{name}[0-9].*")):
            archive.write(member, member.name)
            member.unlink()
    return path


def populated_places(folder: Path) -> Path:
    kinds = ["Admin-0 capital", "Admin-1 capital", "Admin-0 capital alt", "Populated place", "Admin-0 region capital"]
    points = gpd.points_from_xy([2.35, -73.6, -68.15, 8.7, -51.75], [48.85, 45.5, -16.5, 50.1, 64.18])
    frame = gpd.GeoDataFrame({"FEATURECLA": kinds}, geometry=points, crs="EPSG:4326")
    return zipped(folder, "ne_10m_populated_places_simple", frame)


def provinces(folder: Path) -> Path:
    shapes = [
        shapely.box(10, 0, 12, 1),  # one piece
        shapely.MultiPolygon([shapely.box(20, 0, 21, 1), shapely.box(23, 0, 23.5, 1)]),
        shapely.box(30, 0, 30.1, 0.1),  # 123 km2
    ]
    return zipped(folder, "ne_10m_admin_1_states_provinces", gpd.GeoDataFrame(geometry=shapes, crs="EPSG:4326"))


def institutions(folder: Path, **columns: object) -> Path:
    path = folder / "institutions.parquet"
    pd.DataFrame({"key": ["a", "b"], "latitude": [51.48, None], "longitude": [-0.29, None]} | columns).to_parquet(path)
    return path


# Paris, Nairobi, Ottawa, Canberra and Brasilia as atlases give them
@pytest.mark.parametrize(
    ("latitude", "longitude"), [(48.86, 2.35), (-1.29, 36.82), (45.42, -75.70), (-35.28, 149.13), (-15.79, -47.88)]
)
def test_capitals_are_shipped(latitude: float, longitude: float) -> None:
    capitals = reference_places().capitals
    assert within(np.array([latitude]), np.array([longitude]), capitals, 10_000.0).tolist() == [True]


def test_large_towns_that_are_no_capitals_are_not_among_them() -> None:
    new_york, sydney, rio = [40.71, -74.01], [-33.87, 151.21], [-22.91, -43.2]
    lat, lon = np.array([new_york, sydney, rio]).T
    assert not within(lat, lon, reference_places().capitals, 10_000.0).any()


# Two states whose borders are meridians and parallels, so that their centres are known.
@pytest.mark.parametrize(("latitude", "longitude"), [(39.0, -105.546), (43.0, -107.554)])
def test_centres_of_provinces_are_shipped(latitude: float, longitude: float) -> None:
    centres = reference_places().province_centroids
    assert within(np.array([latitude]), np.array([longitude]), centres, 1000.0).tolist() == [True]


def test_it_tells_where_points_come_from_and_which_are_wanting() -> None:
    places = reference_places()
    assert places.not_tested == ("institution",)
    assert set(places.origins) == {"country_centroid", "province_centroid", "capital"}
    assert "GeoNames" in places.origins["capital"]
    assert "Natural Earth" in places.origins["province_centroid"]


def test_files_of_an_operator_take_the_place_of_what_is_shipped(tmp_path: Path) -> None:
    populated_places(tmp_path)
    (tmp_path / "deeper").mkdir()
    provinces(tmp_path / "deeper")
    institutions(tmp_path)
    places = reference_places(tmp_path)
    assert places.not_tested == ()
    assert places.capitals.tolist() == [[48.85, 2.35], [-16.5, -68.15], [64.18, -51.75]]
    assert places.institutions.tolist() == [[51.48, -0.29]]
    assert places.origins["institution"] == "1 of 2 institutions of institutions.parquet have a place"
    assert places.origins["capital"] == "3 capitals of ne_10m_populated_places_simple.zip"
    assert places.origins["country_centroid"] == reference_places().origins["country_centroid"]


def test_of_a_province_in_pieces_the_centre_of_the_largest_counts_too(tmp_path: Path) -> None:
    found = read_province_centroids(provinces(tmp_path))
    assert sorted(map(tuple, found.round(6).tolist())) == [(0.5, 11.0), (0.5, 11.0), (0.5, 20.5), (0.5, 21.416667)]


def test_an_empty_folder_changes_nothing(tmp_path: Path) -> None:
    assert reference_places(tmp_path).origins == reference_places().origins


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="nowhere"):
        reference_places(tmp_path / "nowhere")


def test_a_layer_of_something_else_is_refused(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"name": ["x"]}, geometry=gpd.points_from_xy([1], [2]), crs="EPSG:4326")
    with pytest.raises(TableError, match="featurecla"):
        read_capitals(zipped(tmp_path, "places", frame))
    metres = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1e5, 1e5)], crs="EPSG:3857")
    with pytest.raises(TableError, match="expected degrees"):
        read_province_centroids(zipped(tmp_path, "metres", metres))
    with pytest.raises(ArchiveError, match="expected one shapefile"):
        read_province_centroids(zipped(tmp_path, "two", frame, layers=2))


def test_hostile_and_damaged_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../outside.shp", b"x")
    with pytest.raises(ArchiveError, match="outside"):
        read_capitals(path)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ArchiveError, match="HTML"):
        read_capitals(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("layer.shp", b"no shapefile at all")
    with pytest.raises(ArchiveError, match="cannot be read"):
        read_capitals(path)
    whole = populated_places(tmp_path)
    content = bytearray(whole.read_bytes())
    at = content.index(b"ne_10m_populated_places_simple0.shp") + len(b"ne_10m_populated_places_simple0.shp") + 40
    content[at] ^= 0xFF
    whole.write_bytes(bytes(content))
    with pytest.raises(ArchiveError, match="damaged"):
        read_capitals(whole)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"latitude": [91.0, 0.0], "longitude": [0.0, 0.0]}, "out of range"),
        ({"latitude": ["north", "south"]}, "not a readable"),
    ],
)
def test_a_list_of_institutions_with_wrong_places_is_refused(
    tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_institutions(institutions(tmp_path, **columns))


def test_a_list_without_places_or_that_is_no_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "institutions.parquet"
    with pytest.raises(MissingInputError, match="institutions"):
        read_institutions(path)
    pd.DataFrame({"key": ["a"]}).to_parquet(path)
    with pytest.raises(TableError, match="latitude"):
        read_institutions(path)
    path.write_text("key,latitude,longitude", encoding="utf-8")
    with pytest.raises(TableError, match="not a readable"):
        read_institutions(path)
