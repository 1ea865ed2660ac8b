"""Places that mislead lie where they should."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from plant_traits.observations.places import FloatArray, in_sea, natural_earth
from plant_traits.simulation import landmarks
from plant_traits.simulation.seeds import stream


def kilometres(latitude: FloatArray, longitude: FloatArray, places: FloatArray) -> FloatArray:
    """Haversine distance to the nearest place."""
    lat, lon = np.deg2rad(latitude)[:, None], np.deg2rad(longitude)[:, None]
    there = np.deg2rad(places)
    half = np.sin((there[:, 0] - lat) / 2) ** 2
    half += np.cos(lat) * np.cos(there[:, 0]) * np.sin((there[:, 1] - lon) / 2) ** 2
    return np.asarray(2 * 6371.0 * np.arcsin(np.sqrt(half)).min(axis=1))


@pytest.mark.parametrize(("closest", "farthest"), [(0.0, 0.2), (1.2, 5.0)])
def test_points_near_places_keep_their_distance(closest: float, farthest: float) -> None:
    places = np.array([[60.0, 179.999], [-35.0, 20.0]])
    latitude, longitude = landmarks.near(stream(1, "x"), places, 200, closest, farthest)
    distance = kilometres(latitude, longitude, places)
    assert closest - 0.01 <= distance.min() < distance.max() <= farthest + 0.01
    assert distance.max() - distance.min() > 0.8 * (farthest - closest)
    assert np.abs(longitude).max() <= 180
    assert latitude.size == 200


def test_points_that_should_be_dry_are_dry() -> None:
    latitude, longitude = landmarks.near(stream(1, "x"), landmarks.capitals(), 100, 1.0, 9.0, on_land=True)
    assert not in_sea(latitude, longitude, natural_earth().land, 1.0).any()
    wet = landmarks.near(stream(1, "x"), landmarks.capitals(), 100, 1.0, 9.0)
    assert in_sea(*wet, natural_earth().land, 1.0).any()


def test_points_on_land_are_spread_over_the_continents() -> None:
    latitude, longitude = landmarks.random_land(stream(1, "x"), 300)
    assert latitude.size == longitude.size == 300
    assert in_sea(latitude, longitude, natural_earth().land, 20_000.0).mean() < 0.02
    boxes = [(-130, -60, 25, 60), (-80, -35, -55, 10), (-18, 50, -35, 35), (60, 140, 20, 60), (113, 154, -39, -11)]
    for west, east, south, north in boxes:
        assert ((longitude > west) & (longitude < east) & (latitude > south) & (latitude < north)).sum() > 10


def test_institutions_are_a_list_as_the_registry_gives_it() -> None:
    table = landmarks.institutions(3)
    assert table.columns.tolist() == ["key", "name", "code", "latitude", "longitude"]
    assert table["key"].is_unique
    assert table["key"].str.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}").all()
    pd.testing.assert_frame_equal(table, landmarks.institutions(3))
    assert not table.equals(landmarks.institutions(4))


def test_tables_leave_out_where_nobody_lives() -> None:
    for points in (landmarks.capitals(), landmarks.province_centres(), landmarks.coast()):
        assert len(points) > 200
        assert np.abs(points[:, 0]).max() < 66
        assert np.abs(points[:, 1]).max() <= 180
