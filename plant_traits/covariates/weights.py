"""Overlap of pixels with grid cells on the ellipsoid, as row and column weights whose product is the area."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from plant_traits.errors import RasterError
from plant_traits.grid import Grid

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_SNAP = 1e-6
_EVEN = 1e-10
_E2 = (1 / 298.257223563) * (2 - 1 / 298.257223563)


def row_weights(lat_edges: npt.ArrayLike, grid: Grid) -> sparse.csr_array:
    """Overlap of grid rows with pixel rows, (n_lat, ny), in units of the authalic sine (2 over the globe)."""
    edges = np.asarray(lat_edges, dtype=np.float64)
    descending = edges[0] > edges[-1]
    pixel, cell, low, high = _segments(edges[::-1] if descending else edges, grid.lat_edges)
    keep = (cell >= 0) & (cell < grid.n_lat)
    pixel, cell = pixel[keep], cell[keep]
    weight = authalic_sine(high[keep]) - authalic_sine(low[keep])
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


def cell_weights(grid: Grid) -> FloatArray:
    """Return the weight of a whole cell of each grid row, (n_lat, 1), rows north to south."""
    return np.asarray(np.diff(authalic_sine(grid.lat_edges))[::-1, None] / grid.n_lon)


def _segments(source: FloatArray, target: FloatArray) -> tuple[IntArray, IntArray, FloatArray, FloatArray]:
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


def authalic_sine(latitude: FloatArray) -> FloatArray:
    """Return the sine of the authalic latitude: the share of the hemisphere's area between equator and latitude."""
    e = np.sqrt(_E2)
    sine = np.sin(np.deg2rad(np.concatenate([latitude, [90.0]])))
    q = sine / (1 - _E2 * sine**2) + np.arctanh(e * sine) / e
    return np.asarray(q[:-1] / q[-1])


@dataclass(frozen=True)
class ColumnSums:
    """Sums pixel columns into grid columns, with the weights of :func:`column_weights`.

    Most pixels lie in one cell and all are equally wide, so runs of columns are summed as they are, in whole numbers
    where the pixels are whole numbers, and the few columns that straddle two cells are put right afterwards.

    Attributes:
        starts: first column of each run.
        homes: (n_lon, runs) weight of a whole pixel where the run lies in the grid column.
        straddling: columns with another weight than the run gives them.
        correction: (n_lon, straddling) what is to be added for them.
    """

    starts: IntArray
    homes: sparse.csr_array
    straddling: IntArray
    correction: sparse.csr_array

    @classmethod
    def plan(cls, lon_edges: npt.ArrayLike, grid: Grid) -> ColumnSums:
        """Find the runs for pixels with these edges."""
        weights = column_weights(lon_edges, grid).tocoo()
        pixel, cell = weights.coords
        order = np.lexsort((weights.data, pixel))
        last = order[np.flatnonzero(np.diff(pixel[order], append=-1))]
        home = np.zeros(weights.shape[0], dtype=np.int64)
        home[pixel[last]] = cell[last]
        width = float(np.median(np.diff(np.asarray(lon_edges, dtype=np.float64)))) / 360.0
        even = sparse.csr_array((np.full(home.size, width), (np.arange(home.size), home)), shape=weights.shape)
        excess = (weights.tocsr() - even).tocoo()
        kept = np.abs(excess.data) > _EVEN * width
        straddling = np.unique(excess.coords[0][kept])
        place = np.searchsorted(straddling, excess.coords[0][kept])
        shape = (grid.n_lon, straddling.size)
        correction = sparse.csr_array((excess.data[kept], (excess.coords[1][kept], place)), shape=shape)
        starts = np.flatnonzero(np.diff(home, prepend=-1))
        runs = np.arange(starts.size)
        homes = sparse.csr_array((np.full(starts.size, width), (home[starts], runs)), shape=(grid.n_lon, starts.size))
        return cls(starts, homes, straddling, correction)

    def apply(self, values: npt.NDArray[np.generic]) -> FloatArray:
        """Sum (rows, nx) numbers, boolean and integer ones exactly, into (rows, n_lon)."""
        exact = np.int64 if values.dtype.kind in "biu" else np.float64
        runs = np.add.reduceat(values, self.starts, axis=1, dtype=exact)
        edges = values[:, self.straddling].astype(np.float64)
        return np.asarray((self.homes @ runs.T.astype(np.float64) + self.correction @ edges.T).T)
