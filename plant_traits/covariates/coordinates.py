"""Where a raster's pixels lie on the globe: CRS comparison and inverse projection that knows what is off the map."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyproj
from pyproj.exceptions import CRSError

from plant_traits.errors import RasterError
from plant_traits.regions import Region

FloatArray = npt.NDArray[np.float64]

_WGS84 = pyproj.CRS.from_epsg(4326)
_PROBE_LATITUDE = np.array([-50.5, -31.25, -5.5, 12.25, 33.0, 38.0, 45.5, 61.0])
_PROBE_LONGITUDE = np.array([-70.0, 25.0, -60.0, 100.5, -100.0, 15.0, 135.0, 30.0])


class Edged(Protocol):
    """What :func:`in_region` needs of a raster."""

    @property
    def crs(self) -> pyproj.CRS:
        """Coordinate reference system."""
        ...

    @property
    def x_edges(self) -> FloatArray:
        """Pixel edges in column order."""
        ...

    @property
    def y_edges(self) -> FloatArray:
        """Pixel edges in row order."""
        ...


def same_crs(found: pyproj.CRS, expected: str) -> bool:
    """Tell whether two reference systems put points at the same place (1 m, or 1e-5 degrees), however written.

    Args:
        found: the file's.
        expected: EPSG code, PROJ string or WKT of the catalogue.

    Raises:
        RasterError: the catalogue's CRS is not understood.
    """
    try:
        wanted = pyproj.CRS.from_user_input(expected)
    except CRSError as error:
        raise RasterError(f"the catalogue's CRS {expected!r} is not understood: {error}") from error
    if found.equals(wanted, ignore_axis_order=True):
        return True
    if found.is_geographic != wanted.is_geographic or found.is_projected != wanted.is_projected:
        return False
    tolerance = 1e-5 if found.is_geographic else 1.0
    there = project(found, _PROBE_LATITUDE, _PROBE_LONGITUDE)
    here = project(wanted, _PROBE_LATITUDE, _PROBE_LONGITUDE)
    return all(np.allclose(a, b, rtol=0, atol=tolerance) for a, b in zip(there, here, strict=True))


@lru_cache(maxsize=32)
def _transformer(source: pyproj.CRS, target: pyproj.CRS) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def project(crs: pyproj.CRS, latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Bring WGS 84 degrees to (x, y) of a CRS; points it does not reach become infinite."""
    transformer = _transformer(_WGS84, crs)
    x, y = transformer.transform(np.asarray(longitude, np.float64), np.asarray(latitude, np.float64))
    return np.asarray(x, np.float64), np.asarray(y, np.float64)


def pixel_lat_lon(crs: pyproj.CRS, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Bring (x, y) of a CRS to latitude and longitude.

    Points off the map, such as those between the lobes of an interrupted projection, are recognised by an inverse
    that is not finite, out of range, or does not lead back to the same place within a metre.

    Returns:
        Latitude and longitude in degrees, longitude in [-180, 180), both NaN for points off the map.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if crs.is_geographic:
        longitude, latitude = x, y
        good = np.abs(latitude) <= 90
    else:
        inverse = _transformer(crs, _WGS84)
        lon, lat = inverse.transform(x, y)
        longitude, latitude = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
        good = np.isfinite(longitude) & np.isfinite(latitude) & (np.abs(latitude) <= 90) & (np.abs(longitude) <= 180)
        back_x, back_y = project(crs, np.where(good, latitude, 0.0), np.where(good, longitude, 0.0))
        with np.errstate(invalid="ignore"):
            good &= (np.abs(back_x - x) < 1.0) & (np.abs(back_y - y) < 1.0)
    wrapped = (np.where(good, longitude, np.nan) + 180.0) % 360.0 - 180.0
    return np.where(good, latitude, np.nan), wrapped


def in_region(raster: Edged, region: Region, latitude: FloatArray, longitude: FloatArray) -> bool:
    """Tell whether a raster overlaps a region.

    Args:
        raster: the raster.
        region: the box.
        latitude: latitudes of pixels spread over the raster, NaN off the map.
        longitude: their longitudes.

    Returns:
        True if the boxes overlap (geographic CRS), or one of the pixels or the box's own points fall in the other.
    """
    if bool(region.contains(latitude, longitude).any()):
        return True
    width = (region.east - region.west) % 360.0 or 360.0
    lat, lon = np.meshgrid(np.linspace(region.south, region.north, 21), region.west + np.linspace(0.0, width, 21))
    lon = (lon + 180.0) % 360.0 - 180.0
    x, y = (lon, lat) if raster.crs.is_geographic else project(raster.crs, lat, lon)
    left, right = raster.x_edges[0], raster.x_edges[-1]
    low, high = sorted((raster.y_edges[0], raster.y_edges[-1]))
    turns = (-360.0, 0.0, 360.0) if raster.crs.is_geographic else (0.0,)
    inside_x = np.logical_or.reduce([(x + turn >= left) & (x + turn <= right) for turn in turns])
    return bool((inside_x & (y >= low) & (y <= high)).any())
