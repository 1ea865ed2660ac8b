"""Gather the reference places that there are: what the package ships, and better files where an operator put them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from plant_traits.errors import ArchiveError, MissingInputError, TableError
from plant_traits.observations.places import FloatArray, ReferencePlaces, natural_earth
from plant_traits.observations.reference_tables import REFERENCE, SMALLEST_PROVINCE_KM2, area_km2
from plant_traits.sources.archives import ArchiveLimits, open_archive

POPULATED_PLACES = "ne_10m_populated_places_simple.zip"
PROVINCES = "ne_10m_admin_1_states_provinces.zip"
INSTITUTIONS = "institutions.parquet"
_LIMITS = ArchiveLimits(total_bytes=2 * 1024**3, members=100)
_LARGEST_TABLE = 512 * 1024**2


def reference_places(folder: Path | None = None) -> ReferencePlaces:
    """Return the places that records are tested against, and where each test's points came from.

    Land and countries are Natural Earth's of the installed data package. Capitals and provinces are those of the
    tables that this package ships, unless the folder holds Natural Earth's own layers; institutions are known only
    where the folder holds a list of them.

    Args:
        folder: folder that may hold, at any depth, ``ne_10m_populated_places_simple.zip``,
            ``ne_10m_admin_1_states_provinces.zip`` and ``institutions.parquet``; of several of one name, the last in
            the order of paths is taken. None: only what is installed.

    Returns:
        The places; ``origins`` has an entry for each test that can be made.

    Raises:
        MissingInputError: the folder is not there, or the installation is incomplete.
        ArchiveError: an archive is damaged or hostile, or holds no layer.
        TableError: a layer or table lacks a column, or a coordinate is out of range.
    """
    if folder is not None and not folder.is_dir():
        raise MissingInputError(f"the folder of reference places {folder} is not there: make it, or name none")
    places = _installed()
    capitals, provinces, institutions = places.capitals, places.province_centroids, places.institutions
    origins = dict(places.origins)
    if (path := _in(folder, POPULATED_PLACES)) is not None:
        capitals = read_capitals(path)
        origins["capital"] = f"{len(capitals)} capitals of {path.name}"
    if (path := _in(folder, PROVINCES)) is not None:
        provinces = read_province_centroids(path)
        origins["province_centroid"] = f"{len(provinces)} centroids of {path.name}"
    if (path := _in(folder, INSTITUTIONS)) is not None:
        institutions, listed = read_institutions(path)
        origins["institution"] = f"{len(institutions)} of {listed} institutions of {path.name} have a place"
    return replace(places, capitals=capitals, province_centroids=provinces, institutions=institutions, origins=origins)


def read_capitals(path: Path) -> FloatArray:
    """Read the capitals of countries and territories among Natural Earth's populated places.

    Returns:
        Latitude and longitude, (n, 2).

    Raises:
        MissingInputError: the file is not there.
        ArchiveError: the archive is damaged or hostile, or holds no layer.
        TableError: the layer does not say what kind of place each is.
    """
    frame = _layer(path)
    if "featurecla" not in frame:
        raise TableError(
            f"{path.name}: expected the column featurecla, found {list(frame.columns)}; fetch Natural Earth's "
            "populated places"
        )
    capital = frame["featurecla"].astype("str").str.match(r"Admin-0 (?:region )?capital")
    return _lat_lon(path, shapely.centroid(frame.geometry.to_numpy()[capital.to_numpy(dtype=bool)]))


def read_province_centroids(path: Path) -> FloatArray:
    """Read the centroids of Natural Earth's provinces from 1,000 km2 and of their largest parts.

    Returns:
        Latitude and longitude, (n, 2).

    Raises:
        MissingInputError: the file is not there.
        ArchiveError: the archive is damaged or hostile, or holds no layer.
        TableError: a coordinate is out of range.
    """
    shapes = _layer(path).geometry.dropna().to_numpy()
    shapes = shapes[area_km2(shapes) >= SMALLEST_PROVINCE_KM2]
    parts, owner = shapely.get_parts(shapes, return_index=True)
    order = np.lexsort((-shapely.area(parts), owner))
    largest = parts[order[np.unique(owner[order], return_index=True)[1]]]
    return _lat_lon(path, shapely.centroid(np.concatenate([shapes, largest])))


def read_institutions(path: Path) -> tuple[FloatArray, int]:
    """Read the places of biodiversity institutions.

    Args:
        path: Parquet with at least the columns latitude and longitude, degrees, null where unknown.

    Returns:
        Latitude and longitude (n, 2) of those that have a place, and the number of institutions listed.

    Raises:
        MissingInputError: the file is not there.
        TableError: not Parquet, too large, a column is missing, or a coordinate is out of range.
    """
    if not path.is_file():
        raise MissingInputError(f"the list of institutions {path} is not there: acquire it, or name no folder")
    if path.stat().st_size > _LARGEST_TABLE:
        raise TableError(f"{path.name}: {path.stat().st_size} bytes, at most {_LARGEST_TABLE} are accepted")
    try:
        names = pq.read_schema(path).names
        missing = {"latitude", "longitude"} - set(names)
        if missing:
            raise TableError(f"{path.name}: columns {sorted(missing)} are missing; found {names}; acquire it again")
        table = pq.read_table(path, columns=["latitude", "longitude"])
        table = table.cast(pa.schema([("latitude", pa.float64()), ("longitude", pa.float64())]))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise TableError(f"{path.name}: not a readable Parquet table of institutions ({error})") from error
    points = table.to_pandas().to_numpy(dtype=np.float64)
    return _in_range(path, points[np.isfinite(points).all(axis=1)]), len(points)


@cache
def _installed() -> ReferencePlaces:
    places = natural_earth()
    capitals, provinces = (_shipped(name) for name in ("capitals.csv", "provinces.csv"))
    return replace(
        places,
        capitals=capitals,
        province_centroids=provinces,
        origins={
            "country_centroid": f"{len(places.country_centroids)} centroids of Natural Earth's countries, 1:10 million",
            "province_centroid": f"{len(provinces)} centres enclosed by Natural Earth's admin-1 lines, as shipped",
            "capital": f"{len(capitals)} capitals of GeoNames (CC BY 4.0), as shipped",
        },
    )


def _shipped(name: str) -> FloatArray:
    path = REFERENCE / name
    if not path.is_file():
        raise MissingInputError(f"the table {name} of reference places is not installed: install the package again")
    points: FloatArray = pd.read_csv(path, usecols=["latitude", "longitude"]).to_numpy(dtype=np.float64)
    return points


def _in(folder: Path | None, name: str) -> Path | None:
    found = [] if folder is None else sorted(path for path in folder.rglob(name) if path.is_file())
    return found[-1] if found else None


def _layer(path: Path) -> gpd.GeoDataFrame:
    """Read the one shapefile of a checked archive, column names in lower case."""
    with open_archive(path, _LIMITS) as archive:
        layers = [name for name in archive.namelist() if name.lower().endswith(".shp")]
        if len(layers) != 1:
            raise ArchiveError(
                f"{path.name}: expected one shapefile, found {layers}; fetch it from Natural Earth again"
            )
        if damaged := archive.testzip():
            raise ArchiveError(f"{path.name}: member {damaged!r} is damaged; fetch it again")
    try:
        frame = gpd.read_file(f"/vsizip/{{{path.resolve()}}}/{layers[0]}")
    except (OSError, ValueError, RuntimeError) as error:  # pyogrio's errors are RuntimeErrors
        raise ArchiveError(f"{path.name}: its shapefile cannot be read ({error}); fetch it again") from error
    if frame.crs is not None and not frame.crs.is_geographic:
        raise TableError(f"{path.name}: expected degrees, EPSG:4326, found {frame.crs.to_string()}")
    return frame.rename(columns=str.lower)


def _lat_lon(path: Path, points: npt.NDArray[np.object_]) -> FloatArray:
    return _in_range(path, np.column_stack([shapely.get_y(points), shapely.get_x(points)]))


def _in_range(path: Path, points: FloatArray) -> FloatArray:
    bad = ~((np.abs(points[:, 0]) <= 90) & (np.abs(points[:, 1]) <= 180))
    if bad.any():
        raise TableError(
            f"{path.name}: expected degrees, {int(bad.sum())} of {len(points)} places are out of range, first "
            f"{points[bad][0].tolist()}; check the file"
        )
    return points
