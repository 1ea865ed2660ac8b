"""The latitude-longitude grid: which cell a point falls in, where cells lie and how large they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from plant_traits.errors import GridError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_WGS84_A = 6378137.0
_WGS84_F = 1 / 298.257223563


@dataclass(frozen=True)
class Grid:
    """A global EPSG:4326 grid, rows from north to south, cells half-open: [west, east) x [south, north).

    A point belongs to exactly one cell; latitude 90 goes to the top row, longitude 180 wraps to -180.

    Attributes:
        resolution: cell size in degrees, exact; it must divide 180.

    Raises:
        GridError: the resolution is not positive or does not divide 180.
    """

    resolution: Fraction

    def __post_init__(self) -> None:
        if self.resolution <= 0 or (180 / self.resolution).denominator != 1:
            raise GridError(f"a grid's resolution must be positive and divide 180 degrees, found {self.resolution}")

    @classmethod
    def parse(cls, text: str) -> Grid:
        """Read ``1deg``, ``0.5deg``, ``1/3deg`` or ``10arcmin``."""
        match = re.fullmatch(r"\s*([0-9./]+)\s*(deg|arcmin|arcsec)\s*", text)
        if match is None:
            raise GridError(f"cannot read the grid {text!r}: expected a number and a unit, such as 1deg or 10arcmin")
        try:
            number = Fraction(match[1])
        except (ValueError, ZeroDivisionError) as error:
            raise GridError(f"cannot read the grid {text!r}: {match[1]!r} is not a number") from error
        return cls(number / {"deg": 1, "arcmin": 60, "arcsec": 3600}[match[2]])

    def __str__(self) -> str:
        return f"{float(self.resolution):g}deg"

    @property
    def text(self) -> str:
        """The exact size in a form that ``parse`` reads."""
        return f"{self.resolution}deg"

    @property
    def n_lat(self) -> int:
        """Number of rows."""
        return int(180 / self.resolution)

    @property
    def n_lon(self) -> int:
        """Number of columns."""
        return 2 * self.n_lat

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.n_lat, self.n_lon

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.n_lat * self.n_lon

    @cached_property
    def lat_edges(self) -> FloatArray:
        """Cell edges from south to north, (n_lat + 1,), degrees, each the float nearest to the exact edge."""
        return np.array([float(k * self.resolution - 90) for k in range(self.n_lat + 1)])

    @cached_property
    def lon_edges(self) -> FloatArray:
        """Cell edges from west to east, (n_lon + 1,), degrees."""
        return np.array([float(k * self.resolution - 180) for k in range(self.n_lon + 1)])

    @cached_property
    def lat(self) -> FloatArray:
        """Cell centres from north to south, (n_lat,), degrees."""
        return np.array([float(90 - (k + Fraction(1, 2)) * self.resolution) for k in range(self.n_lat)])

    @cached_property
    def lon(self) -> FloatArray:
        """Cell centres from west to east, (n_lon,), degrees."""
        return np.array([float((k + Fraction(1, 2)) * self.resolution - 180) for k in range(self.n_lon)])

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """GDAL-style affine coefficients (a, b, c, d, e, f) of the north-up raster."""
        r = float(self.resolution)
        return (r, 0.0, -180.0, 0.0, -r, 90.0)

    def cell_of(self, latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> IntArray:
        """Return the cell id (row * n_lon + column) of each point.

        The index is exact with respect to the float edges at any resolution: it is guessed by division, then
        corrected against the edges themselves.

        Args:
            latitude: degrees north, any shape.
            longitude: degrees east in [-180, 180], same shape.

        Returns:
            int64 cell ids of the same shape.

        Raises:
            GridError: a coordinate is NaN or out of range; nothing is clipped.
        """
        lat = np.asarray(latitude, dtype=np.float64)
        lon = np.asarray(longitude, dtype=np.float64)
        bad = ~((np.abs(lat) <= 90) & (np.abs(lon) <= 180))
        if bad.any():
            raise GridError(
                f"{int(bad.sum())} of {bad.size} points have a missing or out-of-range coordinate, "
                f"first (lat, lon) = ({lat[bad].flat[0]}, {lon[bad].flat[0]}); reject them before gridding"
            )
        from_south = _exact_index(lat, self.lat_edges, self.n_lat, float(1 / self.resolution), 90.0)
        from_south = np.minimum(from_south, self.n_lat - 1)
        column = _exact_index(lon, self.lon_edges, self.n_lon, float(1 / self.resolution), 180.0) % self.n_lon
        return (self.n_lat - 1 - from_south) * self.n_lon + column

    def centre_of(self, cell: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return (latitude, longitude) of the centres of cells."""
        row, column = np.divmod(np.asarray(cell, dtype=np.int64), self.n_lon)
        return self.lat[row], self.lon[column]

    @cached_property
    def row_area_m2(self) -> FloatArray:
        """Exact area of one cell of each row on the WGS 84 ellipsoid, (n_lat,), north to south, m2."""
        e2 = _WGS84_F * (2 - _WGS84_F)
        e = np.sqrt(e2)
        b2 = _WGS84_A**2 * (1 - e2)
        s = np.sin(np.deg2rad(self.lat_edges))
        q = s / (1 - e2 * s**2) + np.arctanh(e * s) / e
        band = 0.5 * b2 * np.deg2rad(float(self.resolution)) * np.diff(q)
        return np.asarray(band[::-1])

    @property
    def area_m2(self) -> FloatArray:
        """Cell areas, (n_lat, n_lon), m2."""
        return np.broadcast_to(self.row_area_m2[:, None], self.shape)


def _exact_index(value: FloatArray, edges: FloatArray, n: int, per_degree: float, origin: float) -> IntArray:
    index = np.clip(np.floor((value + origin) * per_degree).astype(np.int64), 0, n)
    index -= value < edges[index]
    above = index < n
    index += above & (value >= edges[np.minimum(index + 1, n)])
    return index
