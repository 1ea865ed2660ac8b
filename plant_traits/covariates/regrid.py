"""Bring rasters to the grid by area-weighted mean, conserving the integral."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window
from scipy import sparse

from plant_traits.covariates.coordinates import pixel_lat_lon
from plant_traits.covariates.layers import CheckedRaster, RangeCount
from plant_traits.errors import RasterError
from plant_traits.grid import Grid
from plant_traits.regions import Region

FloatArray = npt.NDArray[np.float64]
Convert = Callable[[FloatArray], FloatArray]

EQUAL_AREA = re.compile(r"Equal Area|Equal Earth|Homolosine|Mollweide|Sinusoidal|Eckert (II|IV|VI)$|Hammer")
_POINTS_PER_CELL_SIDE = 16
_SNAP = 1e-6
_E2 = (1 / 298.257223563) * (2 - 1 / 298.257223563)


@dataclass(frozen=True)
class GriddedMean:
    """An area-weighted mean on the grid.

    Attributes:
        mean: (n_lat, n_lon) float64, rows north to south, NaN where no valid pixel touches the cell.
        valid_fraction: share of the cell's area covered by valid pixels, (n_lat, n_lon), 0 to 1.
        count: pixels read that held a value, and those masked for lying outside the valid range.
    """

    mean: FloatArray
    valid_fraction: FloatArray
    count: RangeCount = field(default_factory=RangeCount)


def regrid_array(values: npt.ArrayLike, lat_edges: npt.ArrayLike, lon_edges: npt.ArrayLike, grid: Grid) -> GriddedMean:
    """Average a latitude-longitude array to the grid with exact overlap areas on the WGS 84 ellipsoid.

    The overlap of two latitude-longitude rectangles is a product of a longitude width and an ellipsoidal band, so
    the weights are two sparse matrices (first-order conservative remapping; Jones 1999). Works downwards and
    upwards (a cell inside one pixel takes its value), for any origin, and across the antimeridian.

    Args:
        values: (ny, nx), NaN where missing.
        lat_edges: (ny + 1,) degrees, monotonic in either direction; what lies beyond the poles is cut off.
        lon_edges: (nx + 1,) degrees, ascending, any turn.
        grid: target grid.

    Returns:
        The mean and the valid share of each cell.

    Raises:
        RasterError: the edges do not fit the values or are not monotonic.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (np.size(lat_edges) - 1, np.size(lon_edges) - 1):
        raise RasterError(
            f"values of shape {array.shape} need one more edge than pixels on both axes, found "
            f"{np.size(lat_edges)} latitude and {np.size(lon_edges)} longitude edges"
        )
    rows, columns = row_weights(lat_edges, grid), column_weights(lon_edges, grid)
    total, weight = _weighted(array, rows, columns)
    return _finish(total, weight, grid, RangeCount(int(np.isfinite(array).sum())))


def area_weighted_mean(
    raster: CheckedRaster,
    grid: Grid,
    *,
    convert: Convert | None = None,
    region: Region | None = None,
    subsample: int | None = None,
) -> GriddedMean:
    """Average a raster to the grid by area, reading it in blocks of rows so that memory stays bounded.

    Geographic rasters use exact overlap weights (see :func:`regrid_array`). Rasters in an equal-area projection are
    spread over ``subsample`` squared points a pixel, each point counting the same; points off the map are skipped.
    PROJ computes the interrupted homolosine on a sphere, which leaves areas wrong by less than 0.7 percent between
    poles and equator and negligibly within a cell.

    Args:
        raster: an open, checked raster.
        grid: target grid.
        convert: applied to the values before averaging, for instance to a trait's working space.
        region: rows of blocks that do not touch its latitudes are not read (geographic rasters only).
        subsample: points a pixel side, projected rasters only; by default enough for sixteen per cell side.

    Returns:
        The mean and the valid share of each cell.

    Raises:
        RasterError: more than one percent of the values lie outside the valid range, or the raster is in a
            projection that is not equal-area.
    """
    if raster.crs.is_geographic:
        result = _from_geographic(raster, grid, convert, region)
    else:
        result = _from_equal_area(raster, grid, convert, subsample)
    raster.check_range(result.count)
    return result


def row_weights(lat_edges: npt.ArrayLike, grid: Grid) -> sparse.csr_array:
    """Overlap of grid rows with pixel rows, (n_lat, ny), in units of the authalic sine (2 over the globe)."""
    edges = np.asarray(lat_edges, dtype=np.float64)
    descending = edges[0] > edges[-1]
    pixel, cell, low, high = _segments(edges[::-1] if descending else edges, grid.lat_edges)
    keep = (cell >= 0) & (cell < grid.n_lat)
    pixel, cell = pixel[keep], cell[keep]
    weight = _authalic_sine(high[keep]) - _authalic_sine(low[keep])
    if descending:
        pixel = edges.size - 2 - pixel
    return sparse.csr_array((weight, (grid.n_lat - 1 - cell, pixel)), shape=(grid.n_lat, edges.size - 1))


def column_weights(lon_edges: npt.ArrayLike, grid: Grid) -> sparse.csr_array:
    """Overlap of pixel columns with grid columns, (nx, n_lon), as a share of the full circle."""
    edges = np.asarray(lon_edges, dtype=np.float64)
    first = int(np.floor((edges[0] + 180.0) / 360.0 - 1e-9))
    last = int(np.ceil((edges[-1] + 180.0) / 360.0 + 1e-9))
    turns = [grid.lon_edges[:-1] + 360.0 * turn for turn in range(first, last)]
    target = np.concatenate([*turns, [360.0 * last - 180.0]])
    pixel, cell, low, high = _segments(edges, target)
    keep = (cell >= 0) & (cell < target.size - 1)
    weight = (high - low)[keep] / 360.0
    return sparse.csr_array((weight, (pixel[keep], cell[keep] % grid.n_lon)), shape=(edges.size - 1, grid.n_lon))


def _segments(
    source: FloatArray, target: FloatArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray, FloatArray]:
    """Cut the source's extent at all edges of both; return source index, target index, and each segment's ends."""
    widths = np.diff(source)
    if source.size < 2 or not (widths > 0).all():
        raise RasterError("pixel edges must be strictly monotonic; check the raster's georeference")
    near = target[np.clip(np.searchsorted(target, source), 1, target.size - 1) - np.array([[1], [0]])]
    nearest = np.where(np.abs(near[0] - source) < np.abs(near[1] - source), near[0], near[1])
    source = np.where(np.abs(nearest - source) < _SNAP * widths.min(), nearest, source)
    inner = target[(target > source[0]) & (target < source[-1])]
    cuts = np.unique(np.concatenate([source, inner]))
    low, high = cuts[:-1], cuts[1:]
    middle = 0.5 * (low + high)
    return np.searchsorted(source, middle) - 1, np.searchsorted(target, middle) - 1, low, high


def _authalic_sine(latitude: FloatArray) -> FloatArray:
    e = np.sqrt(_E2)
    sine = np.sin(np.deg2rad(np.concatenate([latitude, [90.0]])))
    q = sine / (1 - _E2 * sine**2) + np.arctanh(e * sine) / e
    return np.asarray(q[:-1] / q[-1])


def _weighted(values: FloatArray, rows: sparse.csr_array, columns: sparse.csr_array) -> tuple[FloatArray, FloatArray]:
    valid = np.isfinite(values)
    transposed = columns.T.tocsr()
    total = rows @ (transposed @ np.where(valid, values, 0.0).T).T
    weight = rows @ (transposed @ valid.astype(np.float64).T).T
    return np.asarray(total), np.asarray(weight)


def _finish(total: FloatArray, weight: FloatArray, grid: Grid, count: RangeCount) -> GriddedMean:
    cell = np.diff(_authalic_sine(grid.lat_edges))[::-1, None] / grid.n_lon
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(weight > 0, total / weight, np.nan)
    return GriddedMean(mean, np.clip(weight / cell, 0.0, 1.0), count)


def _from_geographic(raster: CheckedRaster, grid: Grid, convert: Convert | None, region: Region | None) -> GriddedMean:
    rows, columns = row_weights(raster.y_edges, grid).tocsc(), column_weights(raster.x_edges, grid)
    low, high = (-90.0, 90.0) if region is None else (region.south, region.north)
    half = 0.5 * float(grid.resolution)
    wanted = (grid.lat - half <= high) & (grid.lat + half >= low)
    total, weight, count = np.zeros(grid.shape), np.zeros(grid.shape), RangeCount()
    for window in raster.row_blocks():
        block = rows[:, window.row_off : window.row_off + window.height].tocsr()
        touched = np.flatnonzero(np.diff(block.indptr))
        if not wanted[touched].any():
            continue
        values, found = _read(raster, window, convert)
        count += found
        add_total, add_weight = _weighted(values, block[touched], columns)
        total[touched] += add_total
        weight[touched] += add_weight
    return _finish(total, weight, grid, count)


def _from_equal_area(raster: CheckedRaster, grid: Grid, convert: Convert | None, subsample: int | None) -> GriddedMean:
    operation = raster.crs.coordinate_operation
    projection = "none" if operation is None else str(operation.method_name)
    if EQUAL_AREA.search(projection) is None:
        raise RasterError(
            f"{raster.name}: expected EPSG:4326 or an equal-area projection, found {projection}; warp it first"
        )
    x_edges, y_edges = raster.x_edges, raster.y_edges
    width, height = abs(x_edges[1] - x_edges[0]), abs(y_edges[1] - y_edges[0])
    cell_side = 111_195.0 * float(grid.resolution)
    n = subsample or int(np.clip(np.ceil(_POINTS_PER_CELL_SIDE * max(width, height) / cell_side), 1, 16))
    total, points, count = np.zeros(grid.size), np.zeros(grid.size), RangeCount()
    for window in raster.row_blocks():
        values, found = _read(raster, window, convert)
        count += found
        row, column = np.nonzero(np.isfinite(values))
        if row.size == 0:
            continue
        value = values[row, column]
        row = row + window.row_off
        for i, j in np.ndindex(n, n):
            x = x_edges[column] + (j + 0.5) / n * (x_edges[column + 1] - x_edges[column])
            y = y_edges[row] + (i + 0.5) / n * (y_edges[row + 1] - y_edges[row])
            latitude, longitude = pixel_lat_lon(raster.crs, x, y)
            on_map = np.isfinite(latitude)
            cell = grid.cell_of(latitude[on_map], longitude[on_map])
            total += np.bincount(cell, value[on_map], minlength=grid.size)
            points += np.bincount(cell, minlength=grid.size)
    share = points * (width * height / n**2) / _globe_area_m2(grid)
    mean = np.where(points > 0, total / np.maximum(points, 1), np.nan)
    return _finish((mean * share).reshape(grid.shape), share.reshape(grid.shape), grid, count)


def _globe_area_m2(grid: Grid) -> float:
    return float(grid.row_area_m2.sum() * grid.n_lon) / 2.0


def _read(raster: CheckedRaster, window: Window, convert: Convert | None) -> tuple[FloatArray, RangeCount]:
    values, count = raster.read(window)
    wide = values.astype(np.float64)
    return (wide if convert is None else convert(wide)), count
