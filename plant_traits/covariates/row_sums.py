"""Weighted sums of a raster over some rows of the grid, reading only the pixels that those rows need."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from plant_traits.covariates.coordinates import pixel_lat_lon, project
from plant_traits.covariates.raster import CheckedRaster, RangeCount
from plant_traits.covariates.weights import ColumnSums, FloatArray, IntArray, row_weights
from plant_traits.errors import RasterError
from plant_traits.grid import Grid
from plant_traits.regions import Region

Convert = Callable[[FloatArray], FloatArray]

EQUAL_AREA = re.compile(r"Equal Area|Equal Earth|Homolosine|Mollweide|Sinusoidal|Eckert (II|IV|VI)$|Hammer")
_POINTS_PER_CELL_SIDE = 16
_CHUNK_PIXEL_ROWS = 4096
_CHUNK_CELLS = 8_000_000
_POINT_PIXELS = 1_000_000


@dataclass(frozen=True)
class RowSums:
    """Weighted sums over rows of the grid.

    Attributes:
        total: sum of weight times value, (rows, n_lon).
        weight: sum of the weights of valid pixels, as shares of a whole: 2 over the globe.
        count: pixels that held a value, and those outside the valid range; each pixel counts for one grid row only.
    """

    total: FloatArray
    weight: FloatArray
    count: RangeCount


class RowSummer:
    """Sums an open raster over grid rows; what it returns for a row does not depend on the rows asked for with it.

    Geographic rasters are weighted by exact overlap on the ellipsoid. Rasters in an equal-area projection are spread
    over ``subsample`` squared points a pixel, each point counting the same; points off the map are skipped.
    """

    def __init__(
        self, raster: CheckedRaster, grid: Grid, *, convert: Convert | None = None, subsample: int | None = None
    ) -> None:
        """Compute the weights.

        Raises:
            RasterError: the raster is in a projection that is not equal-area.
        """
        self._raster, self._grid, self._convert = raster, grid, convert
        self._geographic = raster.crs.is_geographic
        if self._geographic:
            self._rows = row_weights(raster.y_edges, grid)
            self._columns = ColumnSums.plan(raster.x_edges, grid)
            first = self._rows.tocsc()
            self._owner = np.full(raster.shape[0], -1, dtype=np.int64)
            touched = np.diff(first.indptr) > 0
            self._owner[touched] = first.indices[first.indptr[:-1][touched]]
        else:
            self._subsample = subsample or _points_per_side(raster, grid)
            self._begin = _first_rows(raster, grid)

    def chunks(self, region: Region | None = None) -> Iterator[slice]:
        """Cut the grid's rows so that a chunk needs about 4,096 rows of pixels, and sums of bounded size.

        Args:
            region: leave out rows that do not touch its latitudes.
        """
        grid, pixel_rows = self._grid, self._raster.shape[0]
        if not self._geographic and self._begin is None:
            yield slice(0, grid.n_lat)
            return
        low, high = (-90.0, 90.0) if region is None else (region.south, region.north)
        half = 0.5 * float(grid.resolution)
        wanted = np.flatnonzero((grid.lat - half <= high) & (grid.lat + half >= low))
        span = abs(self._raster.y_edges[-1] - self._raster.y_edges[0])
        degrees = span if self._geographic else span / 111_195.0
        pixels_per_row = max(pixel_rows / degrees * float(grid.resolution), 1.0)
        rows = max(1, int(min(_CHUNK_PIXEL_ROWS, _CHUNK_CELLS // grid.n_lon) / pixels_per_row))
        first, last = int(wanted[0]), int(wanted[-1]) + 1
        for start in range(first, last, rows):
            yield slice(start, min(start + rows, last))

    def sum(self, rows: slice) -> RowSums:
        """Read what the rows need and sum it, in blocks of pixel rows.

        Raises:
            RasterError: the file is damaged.
        """
        return self._sum_geographic(rows) if self._geographic else self._sum_equal_area(rows)

    def _sum_geographic(self, rows: slice) -> RowSums:
        weights = self._rows[rows]
        shape = (rows.stop - rows.start, self._grid.n_lon)
        if weights.nnz == 0:
            return RowSums(np.zeros(shape), np.zeros(shape), RangeCount())
        first, last = int(weights.indices.min()), int(weights.indices.max()) + 1
        total, weight = np.zeros((last - first, shape[1])), np.zeros((last - first, shape[1]))
        count = RangeCount()
        for window in _within(self._raster, first, last):
            owner = self._owner[window.row_off : window.row_off + window.height]
            values, good, found = self._read(window, (owner >= rows.start) & (owner < rows.stop))
            count += found
            at = slice(window.row_off - first, window.row_off - first + window.height)
            total[at], weight[at] = self._columns.apply(values), self._columns.apply(good)
        weights = weights[:, first:last]
        total, weight = np.asarray(weights @ total), np.asarray(weights @ weight)
        if self._convert is None:
            total = total * self._raster.scale + weight * self._raster.offset
        return RowSums(total, weight, count)

    def _sum_equal_area(self, rows: slice) -> RowSums:
        raster, grid, n = self._raster, self._grid, self._subsample
        first, last, chosen = 0, raster.shape[0], slice(0, raster.shape[0])
        if self._begin is not None:
            # A pixel row reaches into the grid rows beside the one that owns it.
            chosen = slice(int(self._begin[rows.start]), int(self._begin[rows.stop]))
            first, last = max(0, chosen.start - 1), min(raster.shape[0], chosen.stop + 1)
        x_edges, y_edges = raster.x_edges, raster.y_edges
        size, origin = (rows.stop - rows.start) * grid.n_lon, rows.start * grid.n_lon
        total, points, count = np.zeros(size), np.zeros(size), RangeCount()
        for window in raster.row_blocks():
            # Whole blocks, so that a cell's sum is built in the same order whatever rows are asked for.
            if window.row_off >= last or window.row_off + window.height <= first:
                continue
            line = np.arange(window.row_off, window.row_off + window.height)
            values, good, found = self._read(window, (line >= chosen.start) & (line < chosen.stop))
            count += found
            step = max(1, _POINT_PIXELS // values.shape[1])
            for start in range(0, values.shape[0], step):
                row, column = np.nonzero(good[start : start + step])
                value = values[start : start + step][row, column].astype(np.float64)
                row = row + window.row_off + start
                for i, j in np.ndindex(n, n):
                    x = x_edges[column] + (j + 0.5) / n * (x_edges[column + 1] - x_edges[column])
                    y = y_edges[row] + (i + 0.5) / n * (y_edges[row + 1] - y_edges[row])
                    latitude, longitude = pixel_lat_lon(raster.crs, x, y)
                    on_map = np.isfinite(latitude)
                    cell = grid.cell_of(latitude[on_map], longitude[on_map]) - origin
                    inside = (cell >= 0) & (cell < size)
                    total += np.bincount(cell[inside], value[on_map][inside], minlength=size)
                    points += np.bincount(cell[inside], minlength=size)
        if self._convert is None:
            total = total * raster.scale + points * raster.offset
        width, height = abs(x_edges[1] - x_edges[0]), abs(y_edges[1] - y_edges[0])
        share = width * height / n**2 / (float(grid.row_area_m2.sum() * grid.n_lon) / 2.0)
        shape = (rows.stop - rows.start, grid.n_lon)
        return RowSums((total * share).reshape(shape), (points * share).reshape(shape), count)

    def _read(
        self, window: Window, own: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.bool_], RangeCount]:
        """Return stored numbers (converted values, where a conversion is set), 0 where not good; good; and counts."""
        raster = self._raster
        stored = raster.read_stored(window)
        present, good = raster.masks(stored)
        counted = slice(None) if own.all() else own
        valid = int(np.count_nonzero(present[counted]))
        outside = 0 if good is present else valid - int(np.count_nonzero(good[counted]))
        if self._convert is not None:
            stored = self._convert(np.where(good, stored * np.float64(raster.scale) + raster.offset, np.nan))
            good = np.isfinite(stored)
        whole = stored.dtype.kind in "iu"  # for which a product is exact, and faster than where
        values = stored * good if whole else np.where(good, stored, 0)
        return values, good, RangeCount(valid, outside)


def _within(raster: CheckedRaster, first: int, last: int) -> Iterator[Window]:
    """Yield the raster's blocks of rows, cut to rows first to last."""
    for window in raster.row_blocks():
        top, bottom = max(first, window.row_off), min(last, window.row_off + window.height)
        if top < bottom:
            yield Window(0, top, window.width, bottom - top)


def _points_per_side(raster: CheckedRaster, grid: Grid) -> int:
    operation = raster.crs.coordinate_operation
    projection = "none" if operation is None else str(operation.method_name)
    if EQUAL_AREA.search(projection) is None:
        raise RasterError(
            f"{raster.name}: expected EPSG:4326 or an equal-area projection, found {projection}; warp it first"
        )
    x_edges, y_edges = raster.x_edges, raster.y_edges
    side = max(abs(x_edges[1] - x_edges[0]), abs(y_edges[1] - y_edges[0]))
    return int(np.clip(np.ceil(_POINTS_PER_CELL_SIDE * side / (111_195.0 * float(grid.resolution))), 1, 16))


def _first_rows(raster: CheckedRaster, grid: Grid) -> IntArray | None:
    """Return the first pixel row of each grid row, (n_lat + 1,), where latitude alone decides on a row, else None.

    It does in pseudocylindrical projections, the interrupted homolosine among them.
    """
    longitude = np.linspace(-179.9, 179.9, 25)
    latitude = grid.lat_edges[::-1]
    y = np.stack([project(raster.crs, latitude, np.full_like(latitude, x))[1] for x in longitude])
    if not np.isfinite(y).all() or np.ptp(y, axis=0).max() > 1.0 or raster.y_edges[0] < raster.y_edges[-1]:
        return None
    found = np.searchsorted(-raster.y_edges[1:], -y[0])
    found[0], found[-1] = 0, raster.shape[0]
    return np.asarray(found, dtype=np.int64)
