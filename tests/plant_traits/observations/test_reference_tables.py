"""How the shipped tables are made."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

from plant_traits.errors import MissingInputError
from plant_traits.observations.reference_tables import area_km2, capitals, province_centroids


def write(folder: Path, countries: list[dict[str, str]], cities: list[dict[str, object]]) -> Path:
    for name, entries in (("countries", countries), ("cities1000", cities)):
        text = json.dumps({str(k): entry for k, entry in enumerate(entries)})
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def city(country: str, name: str, population: int, latitude: float, *others: str) -> dict[str, object]:
    return {
        "countrycode": country, "name": name, "population": population, "latitude": latitude, "longitude": 1.23456,
        "alternatenames": list(others),
    }  # fmt: skip


def test_a_capital_is_the_largest_place_of_that_name_in_its_country(tmp_path: Path) -> None:
    countries = [
        {"iso": "US", "capital": "Washington"},
        {"iso": "BR", "capital": "Brasilia"},
        {"iso": "CW", "capital": " Willemstad"},
        {"iso": "AQ", "capital": ""},
    ]
    cities = [
        city("US", "Washington", 14_050, 38.6),
        city("US", "Washington", 689_545, 38.89511),
        city("US", "Georgetown", 9_000_000, 38.9, "Washington"),
        city("GB", "Washington", 60_000, 54.9),
        city("BR", "Brasília", 2_207_718, -15.77972, "Brasilia"),
        city("BR", "Brasiléia", 26_000, -11.0, "Brasilia"),
        city("CW", "Willemstad", 125_000, 12.1084),
        city("AQ", "", 0, -80.0),
    ]
    found = capitals(write(tmp_path, countries, cities))
    assert found.to_numpy().tolist() == [
        ["BR", "Brasília", -15.7797, 1.2346],
        ["CW", "Willemstad", 12.1084, 1.2346],
        ["US", "Washington", 38.8951, 1.2346],
    ]


def test_lines_that_do_not_quite_meet_enclose_a_province(tmp_path: Path) -> None:
    # A square in the middle of Brazil, drawn in two strokes whose ends miss each other by 200 m, and one of 123 km2.
    strokes = [
        shapely.LineString([(-55.0, -10.0), (-54.0, -10.0), (-54.0, -9.0)]),
        shapely.LineString([(-54.0, -9.002), (-55.0, -9.0), (-55.0, -9.998)]),
        shapely.box(-52.1, -9.1, -52.0, -9.0).boundary,
    ]
    gpd.GeoDataFrame(geometry=strokes, crs="EPSG:4326").to_file(tmp_path / "lines.shp")
    found = province_centroids(tmp_path / "lines.shp").to_numpy()
    assert np.abs(found - [-9.5, -54.5]).max(axis=1).min() < 0.01
    assert np.abs(found - [-9.05, -52.05]).max(axis=1).min() > 0.5
    assert found[:, 0].min() > -60


def test_areas_are_on_the_ellipsoid() -> None:
    # The area of a one-degree cell at the equator is 12,309 km2, at 60 degrees 111.41 x 55.80 = 6,217 km2.
    shapes = np.array([shapely.box(0, 0, 1, 1), shapely.box(0, 59.5, 1, 60.5)])
    assert area_km2(shapes) == pytest.approx([12_308.8, 6_217.0], rel=0.01)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"countries\.json"):
        capitals(tmp_path)
    with pytest.raises(MissingInputError, match=r"lines\.shp"):
        province_centroids(tmp_path / "lines.shp")
