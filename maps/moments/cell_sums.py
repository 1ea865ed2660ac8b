"""Counts and sums of points per cell of the grid, such as survey effort or an unweighted mean, without sorting them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from plant_traits.errors import GridError
from plant_traits.grid import FloatArray, Grid, IntArray

Floats = npt.NDArray[np.floating]

_CLOSE = 1e-9  # cells; far above the rounding of a position in cells, at most 1e-11 at 0.01 degrees
_BLOCK = 1 << 15  # points whose positions stay in a core's cache
_CHUNK = 1 << 19


def sum_by_cell(latitude: Floats, longitude: Floats, values: Floats, grid: Grid) -> tuple[IntArray, FloatArray]:
    """Count the points of every cell and add up their values, in double precision and in the order of the points.

    The cells of the next points are found in a thread of their own, while those found are added up.

    Args:
        latitude: (points,) degrees north.
        longitude: (points,) degrees east.
        values: (points,) numbers.
        grid: the cells; the results hold every cell of it.

    Returns:
        Counts and sums, (grid.size,) each.

    Raises:
        GridError: a coordinate is NaN or out of range, or the arrays are not equally long.
    """
    if not len(latitude) == len(longitude) == len(values):
        raise GridError(
            f"expected as many latitudes, longitudes and values; found {len(latitude)}, {len(longitude)}, {len(values)}"
        )
    count = np.zeros(grid.size, dtype=np.int64)
    total = np.zeros(grid.size)
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(values), _CHUNK)]
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(cells_of, latitude[chunk], longitude[chunk], grid) for chunk in chunks[:1]]
        for k, chunk in enumerate(chunks):
            cell = ahead.pop().result()
            ahead += [pool.submit(cells_of, latitude[x], longitude[x], grid) for x in chunks[k + 1 : k + 2]]
            count += np.bincount(cell, minlength=grid.size)
            total += np.bincount(cell, values[chunk], grid.size)
    return count, total


@np.errstate(invalid="ignore")  # an infinite coordinate is rejected, not warned of
def cells_of(latitude: Floats, longitude: Floats, grid: Grid) -> IntArray:
    """Return what ``Grid.cell_of`` returns, (points,), several times as fast for many points.

    A position in cells is found by one multiplication. By a power of two it is exact; else, wherever it is so close to
    a whole number that its rounding could matter, ``Grid.cell_of`` decides.

    Raises:
        GridError: a coordinate is NaN or out of range.
    """
    cell = np.empty(len(latitude), dtype=np.int64)
    row, column, part = np.empty((3, min(len(latitude), _BLOCK)))
    per_degree = 1 / grid.resolution
    exact = per_degree.denominator == 1 and per_degree.numerator.bit_count() == 1
    locate = _exact if exact else _guess
    scale = float(per_degree)
    south, west = (90.0 * scale, 180.0 * scale) if exact else (0.0, 0.0)
    first = (grid.n_lat - 1 - south) * grid.n_lon + west  # cell of the whole numbers 0 and 0
    for start in range(0, len(latitude), _BLOCK):
        block = slice(start, start + _BLOCK)
        lat, lon = (x[block].astype(np.float64, copy=False) for x in (latitude, longitude))
        r, c, p = row[: len(lat)], column[: len(lat)], part[: len(lat)]
        found = cell[block]
        if locate(lat, 90.0, scale, grid.n_lat, r, p) and locate(lon, 180.0, scale, grid.n_lon, c, p):
            r *= -grid.n_lon
            r += c
            np.add(r, first, out=found, casting="unsafe")
        else:
            found[:] = _checked(lat, lon, grid)
    return cell


def _exact(degrees: FloatArray, origin: float, scale: float, n: int, whole: FloatArray, part: FloatArray) -> bool:
    """Write the whole number of cells from 0 degrees; say whether all lie on the grid."""
    if scale == 1.0:
        np.floor(degrees, out=whole)
    else:
        np.multiply(degrees, scale, out=part)
        np.floor(part, out=whole)
    # A NaN fails every comparison.
    return bool(whole.min() >= -origin * scale and whole.max() < n - origin * scale)


def _guess(degrees: FloatArray, origin: float, scale: float, n: int, whole: FloatArray, part: FloatArray) -> bool:
    """Write the whole number of cells from the grid's origin; say whether all lie on the grid, none in doubt."""
    np.add(degrees, origin, out=part)
    part *= scale
    np.floor(part, out=whole)
    part -= whole
    clear = part.min() > _CLOSE and part.max() < 1 - _CLOSE
    return bool(clear and whole.min() >= 0 and whole.max() < n)


def _checked(lat: FloatArray, lon: FloatArray, grid: Grid) -> IntArray:
    """Return the cells of points some of which are in doubt."""
    scale = float(1 / grid.resolution)
    y, x = (lat + 90.0) * scale, (lon + 180.0) * scale
    row, column = np.floor(y), np.floor(x)
    sure = (row >= 0) & (row < grid.n_lat) & (column >= 0) & (column < grid.n_lon)
    for part in (y - row, x - column):
        sure &= (part > _CLOSE) & (part < 1 - _CLOSE)
    cell = np.full(len(lat), -1, dtype=np.int64)
    cell[sure] = ((grid.n_lat - 1 - row[sure]) * grid.n_lon + column[sure]).astype(np.int64)
    doubtful = np.flatnonzero(~sure)
    cell[doubtful] = grid.cell_of(lat[doubtful], lon[doubtful])
    return cell
