"""Bring rasters to the grid by area-weighted mean, conserving the integral."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from plant_traits.covariates.raster import CheckedRaster, RangeCount
from plant_traits.covariates.row_sums import Convert, RowSummer, RowSums
from plant_traits.covariates.weights import FloatArray, cell_weights, column_weights, row_weights
from plant_traits.errors import RasterError
from plant_traits.grid import Grid
from plant_traits.regions import Region


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
    rows, columns = row_weights(lat_edges, grid), column_weights(lon_edges, grid).T.tocsr()
    valid = np.isfinite(array)
    total = rows @ (columns @ np.where(valid, array, 0.0).T).T
    weight = rows @ (columns @ valid.astype(np.float64).T).T
    sums = RowSums(np.asarray(total), np.asarray(weight), RangeCount(int(valid.sum())))
    return finish_rows(sums, grid, slice(0, grid.n_lat))


def area_weighted_mean(
    raster: CheckedRaster,
    grid: Grid,
    *,
    convert: Convert | None = None,
    region: Region | None = None,
    subsample: int | None = None,
) -> GriddedMean:
    """Average a raster to the grid by area, some rows of cells at a time, so that memory stays bounded.

    Geographic rasters use exact overlap weights (see :func:`regrid_array`). Rasters in an equal-area projection are
    spread over ``subsample`` squared points a pixel, each point counting the same; points off the map are skipped.
    PROJ computes the interrupted homolosine on a sphere, which leaves areas wrong by less than 0.7 percent between
    poles and equator and negligibly within a cell.

    Args:
        raster: an open, checked raster.
        grid: target grid.
        convert: applied to the values before averaging, for instance to a trait's working space.
        region: rows of cells that do not touch its latitudes stay empty, and their pixels are not read.
        subsample: points a pixel side, projected rasters only; by default enough for sixteen per cell side.

    Returns:
        The mean and the valid share of each cell.

    Raises:
        RasterError: more than one percent of the values lie outside the valid range, or the raster is in a
            projection that is not equal-area.
    """
    summer = RowSummer(raster, grid, convert=convert, subsample=subsample)
    result = join_rows(((rows, finish_rows(summer.sum(rows), grid, rows)) for rows in summer.chunks(region)), grid)
    raster.check_range(result.count)
    return result


def finish_rows(sums: RowSums, grid: Grid, rows: slice) -> GriddedMean:
    """Turn the sums of some grid rows into their means and valid shares."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(sums.weight > 0, sums.total / sums.weight, np.nan)
    return GriddedMean(mean, np.clip(sums.weight / cell_weights(grid)[rows], 0.0, 1.0), sums.count)


def join_rows(parts: Iterable[tuple[slice, GriddedMean]], grid: Grid) -> GriddedMean:
    """Put the means of some grid rows together; rows of no part stay empty."""
    mean, valid_fraction, count = np.full(grid.shape, np.nan), np.zeros(grid.shape), RangeCount()
    for rows, part in parts:
        mean[rows], valid_fraction[rows] = part.mean, part.valid_fraction
        count += part.count
    return GriddedMean(mean, valid_fraction, count)
