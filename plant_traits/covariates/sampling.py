"""Read a raster at points."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from plant_traits.covariates.coordinates import pixel_lat_lon, project
from plant_traits.covariates.raster import CheckedRaster
from plant_traits.errors import RasterError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]


def sample_points(
    raster: CheckedRaster, latitude: npt.ArrayLike, longitude: npt.ArrayLike, *, search_pixels: int = 0
) -> Float32Array:
    """Read the pixel that contains each point.

    Pixels are half-open as the grid's cells are: [west, east) x [south, north). Points are
    taken in the order of the file, and only the blocks of rows and columns that hold some are read, each once. Where
    a pixel is missing, as at coasts, ``search_pixels`` widens the search to the nearest valid pixel within so many rows
    and columns (distance in pixels; ties go to the pixel further north, then west). The search does not cross the
    raster's edges, the antimeridian among them.

    Args:
        raster: an open, checked raster of any CRS.
        latitude: degrees north, (n,).
        longitude: degrees east, (n,), any turn.
        search_pixels: how far to look for a valid pixel; 0 takes the containing pixel alone.

    Returns:
        float32 (n,) in the catalogue's unit; NaN outside the raster, on missing pixels and at NaN coordinates.

    Raises:
        RasterError: latitude and longitude differ in length, or the search is negative.
    """
    lat = np.asarray(latitude, dtype=np.float64)
    lon = np.asarray(longitude, dtype=np.float64)
    if lat.shape != lon.shape or lat.ndim != 1 or search_pixels < 0:
        raise RasterError(
            f"{raster.name}: points need two vectors of one length and a search of 0 or more pixels, found "
            f"{lat.shape}, {lon.shape} and {search_pixels}"
        )
    row, column = pixel_of(raster, lat, lon)
    result = np.full(lat.shape, np.nan, dtype=np.float32)
    inside = np.flatnonzero(row >= 0)
    if inside.size == 0:
        return result
    block_width = int(raster.dataset.block_shapes[raster.band - 1][1])
    order = inside[np.argsort(row[inside], kind="stable")]
    for window in raster.row_blocks():
        bounds = np.searchsorted(row[order], [window.row_off, window.row_off + window.height])
        chosen = order[bounds[0] : bounds[1]]
        for part in _neighbours(chosen, column[chosen] // block_width):
            result[part] = _sample_window(raster, row[part], column[part], search_pixels)
    return result


def pixel_of(raster: CheckedRaster, latitude: FloatArray, longitude: FloatArray) -> tuple[IntArray, IntArray]:
    """Return (row, column) of the pixel that contains each point, both -1 outside the raster."""
    if raster.crs.is_geographic:
        left = raster.x_edges[0]
        x, y = left + (longitude - left) % 360.0, latitude
    else:
        x, y = project(raster.crs, latitude, longitude)
        off_map = ~np.isfinite(pixel_lat_lon(raster.crs, x, y)[0])
        x, y = np.where(off_map, np.nan, x), np.where(off_map, np.nan, y)
    transform = raster.dataset.transform
    height, width = raster.shape
    with np.errstate(invalid="ignore"):
        column = np.floor((x - transform.c) / transform.a)
        if transform.e < 0:
            row = np.ceil((y - transform.f) / transform.e) - 1
            row = np.where((row == -1) & (y == 90.0) & raster.crs.is_geographic, 0, row)
        else:
            row = np.floor((y - transform.f) / transform.e)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return np.where(inside, row, -1).astype(np.int64), np.where(inside, column, -1).astype(np.int64)


def _neighbours(points: IntArray, block: IntArray) -> Iterator[IntArray]:
    """Split points where at least one whole storage block lies between the columns they need."""
    order = np.argsort(block, kind="stable")
    gaps = np.flatnonzero(np.diff(block[order]) > 1) + 1
    yield from (part for part in np.split(points[order], gaps) if part.size)


def _sample_window(raster: CheckedRaster, row: IntArray, column: IntArray, search: int) -> Float32Array:
    height, width = raster.shape
    top, bottom = max(int(row.min()) - search, 0), min(int(row.max()) + search + 1, height)
    left, right = max(int(column.min()) - search, 0), min(int(column.max()) + search + 1, width)
    stored = raster.read_stored(Window(left, top, right - left, bottom - top))
    row, column = row - top, column - left
    value = stored[row, column]
    missing = np.flatnonzero(~raster.masks(value)[1])
    for d_row, d_column in _by_distance(search):
        if missing.size == 0:
            break
        r, c = row[missing] + d_row, column[missing] + d_column
        there = (r >= 0) & (r < stored.shape[0]) & (c >= 0) & (c < stored.shape[1])
        near = stored[np.where(there, r, 0), np.where(there, c, 0)]
        found = there & raster.masks(near)[1]
        value[missing[found]] = near[found]
        missing = missing[~found]
    result = raster.convert(value)
    result[missing] = np.nan
    return result


def _by_distance(search: int) -> list[tuple[int, int]]:
    steps = range(-search, search + 1)
    offsets = [(r, c) for r in steps for c in steps if (r, c) != (0, 0)]
    return sorted(offsets, key=lambda step: (step[0] ** 2 + step[1] ** 2, step))
