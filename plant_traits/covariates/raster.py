"""A raster band whose header has been checked: its place, and its values in the catalogue's unit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from rasterio import DatasetReader
from rasterio.errors import RasterioError
from rasterio.windows import Window

from plant_traits.errors import RasterError

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

TOLERATED_SHARE = 0.01
CACHE_BYTES = 256 * 1024**2
_BLOCK_PIXELS = 4_000_000
_MOST_BLOCKS = 8


@dataclass(frozen=True)
class RangeCount:
    """How many pixels held a value, and how many of those lay outside the valid range and were masked."""

    valid: int = 0
    outside: int = 0

    def __add__(self, other: RangeCount) -> RangeCount:
        return RangeCount(self.valid + other.valid, self.outside + other.outside)


@dataclass(frozen=True)
class CheckedRaster:
    """An open band whose header agrees with the catalogue; use it as a context manager.

    Attributes:
        name: what it is called in messages.
        dataset: the open rasterio dataset.
        band: band number, from 1.
        scale: value = stored * scale + offset, applied here and nowhere else.
        offset: see ``scale``.
        nodata: stored value that means missing, besides NaN.
        valid_range: values outside it are counted and masked; None where nothing is known.
    """

    name: str
    dataset: DatasetReader
    band: int
    scale: float
    offset: float
    nodata: float | None
    valid_range: tuple[float, float] | None

    def __enter__(self) -> CheckedRaster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.dataset.close()

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return int(self.dataset.height), int(self.dataset.width)

    @property
    def crs(self) -> pyproj.CRS:
        """Coordinate reference system of the file."""
        return _crs(self.dataset.crs.to_wkt())

    @property
    def x_edges(self) -> FloatArray:
        """Pixel edges in column order, (columns + 1,), units of the CRS."""
        transform = self.dataset.transform
        return np.asarray(transform.c + transform.a * np.arange(self.shape[1] + 1), dtype=np.float64)

    @property
    def y_edges(self) -> FloatArray:
        """Pixel edges in row order, (rows + 1,), units of the CRS; descending where north is up."""
        transform = self.dataset.transform
        return np.asarray(transform.f + transform.e * np.arange(self.shape[0] + 1), dtype=np.float64)

    def row_blocks(self, pixels: int = _BLOCK_PIXELS) -> Iterator[Window]:
        """Yield windows of whole rows that cover the raster and hold about ``pixels`` pixels each."""
        height, width = self.shape
        rows = max(1, pixels // width)
        block = int(self.dataset.block_shapes[self.band - 1][0])
        if rows > block:
            rows -= rows % block
        elif block * width <= _MOST_BLOCKS * pixels:
            rows = block  # a storage block that is read in parts is decoded for each of them
        for start in range(0, height, rows):
            yield Window(0, start, width, min(rows, height - start))

    def read_stored(self, window: Window | None = None) -> npt.NDArray[Any]:
        """Read numbers as they are stored.

        Raises:
            RasterError: the file is damaged.
        """
        try:
            # GDAL would keep a share of the machine's whole memory in decoded blocks.
            with rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
                return np.asarray(self.dataset.read(self.band, window=window))
        except RasterioError as error:
            raise RasterError(f"{self.name}: the file is damaged ({error}); fetch it again") from error

    def read(self, window: Window | None = None) -> tuple[Float32Array, RangeCount]:
        """Read values in the catalogue's unit.

        Args:
            window: pixels to read; the whole raster by default.

        Returns:
            float32 values, NaN where missing or outside the valid range, and the counts of both.

        Raises:
            RasterError: the file is damaged.
        """
        stored = self.read_stored(window)
        present, good = self.masks(stored)
        count = RangeCount(int(present.sum()), int(present.sum() - good.sum()))
        return np.where(good, self.convert(stored), np.float32(np.nan)), count

    def convert(self, stored: npt.NDArray[Any]) -> Float32Array:
        """Bring stored numbers to the catalogue's unit, float32, whether they mean something or not."""
        values = stored.astype(np.float64)
        if (self.scale, self.offset) != (1.0, 0.0):
            values = values * self.scale + self.offset
        with np.errstate(over="ignore"):
            return values.astype(np.float32)

    def masks(self, stored: npt.NDArray[Any]) -> tuple[BoolArray, BoolArray]:
        """Tell which stored numbers are values, and which of those lie in the valid range; one array if all do."""
        floating = np.issubdtype(stored.dtype, np.floating)
        present = np.isfinite(stored) if floating else np.ones(stored.shape, dtype=bool)
        if self.nodata is not None and not math.isnan(self.nodata):
            if floating:
                present &= stored != stored.dtype.type(self.nodata)
            elif self.nodata == int(self.nodata) and _holds(stored.dtype, int(self.nodata)):
                present = np.not_equal(stored, stored.dtype.type(int(self.nodata)))
        if self.valid_range is None:
            return present, present
        low, high = self.valid_range
        margin = 1e-6 * (high - low)
        low, high = sorted((x - self.offset) / self.scale for x in (low - margin, high + margin))
        if floating:
            with np.errstate(invalid="ignore"):
                return present, present & (stored >= low) & (stored <= high)
        good = present
        if math.ceil(low) > np.iinfo(stored.dtype).min:
            good = good & (stored >= math.ceil(low))
        if math.floor(high) < np.iinfo(stored.dtype).max:
            good = good & (stored <= math.floor(high))
        return present, good

    def check_range(self, count: RangeCount) -> None:
        """Raise RasterError if more than one percent of the values lay outside the valid range."""
        if self.valid_range is not None and count.outside > TOLERATED_SHARE * count.valid:
            raise RasterError(
                f"{self.name}: {count.outside} of {count.valid} values lie outside {self.valid_range} after "
                f"scale {self.scale} and offset {self.offset}; the units are not the catalogue's, "
                "compare its entry with the file"
            )


@lru_cache(maxsize=32)
def _crs(wkt: str) -> pyproj.CRS:
    return pyproj.CRS.from_wkt(wkt)


def _holds(dtype: np.dtype[Any], number: int) -> bool:
    limits = np.iinfo(dtype)
    return int(limits.min) <= number <= int(limits.max)
