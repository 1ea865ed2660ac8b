"""Open a raster and check it against the catalogue before a single value is used."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from rasterio import DatasetReader
from rasterio.errors import RasterioError
from rasterio.windows import Window

from data_catalog import RasterLayer
from plant_traits.covariates.coordinates import in_region, pixel_lat_lon, same_crs
from plant_traits.errors import MissingInputError, RasterError
from plant_traits.regions import Region

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".grd": "RRASTER"}  # no VRT: it may point anywhere
MAXIMUM_SIDE = 1_000_000
TOLERATED_SHARE = 0.01
_BLOCK_PIXELS = 4_000_000
_CHECKED_PIXELS = 8_000_000


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
        for start in range(0, height, rows):
            yield Window(0, start, width, min(rows, height - start))

    def read(self, window: Window | None = None) -> tuple[Float32Array, RangeCount]:
        """Read values in the catalogue's unit.

        Args:
            window: pixels to read; the whole raster by default.

        Returns:
            float32 values, NaN where missing or outside the valid range, and the counts of both.

        Raises:
            RasterError: the file is damaged.
        """
        try:
            stored = self.dataset.read(self.band, window=window)
        except RasterioError as error:
            raise RasterError(f"{self.name}: the file is damaged ({error}); fetch it again") from error
        present = np.isfinite(stored)
        if self.nodata is not None and not math.isnan(self.nodata):
            floating = np.issubdtype(stored.dtype, np.floating)
            present &= stored != (stored.dtype.type(self.nodata) if floating else np.float64(self.nodata))
        values = stored.astype(np.float64)
        if (self.scale, self.offset) != (1.0, 0.0):
            values = values * self.scale + self.offset
        inside = present
        if self.valid_range is not None:
            low, high = self.valid_range
            margin = 1e-6 * (high - low)
            with np.errstate(invalid="ignore"):
                inside = present & (values >= low - margin) & (values <= high + margin)
        count = RangeCount(int(present.sum()), int(present.sum() - inside.sum()))
        with np.errstate(over="ignore"):
            return np.where(inside, values, np.nan).astype(np.float32), count

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


def open_layer(path: Path, layer: RasterLayer, region: Region | None = None) -> CheckedRaster:
    """Open a covariate raster and check CRS, scale, offset, nodata, extent and units against its catalogue entry.

    The header may leave scale and offset out (1 and 0): the catalogue's are then used. Where the header states
    them they must be the catalogue's. Either way they are applied once, by :meth:`CheckedRaster.read`. The valid
    range is tested on the whole raster, or on evenly spread blocks of eight million pixels of a larger one.

    Args:
        path: a GeoTIFF.
        layer: its catalogue entry.
        region: the raster must overlap it; the globe by default.

    Returns:
        The open raster; close it, or use it in a ``with`` statement.

    Raises:
        MissingInputError: there is no such file.
        RasterError: the file is unreadable or contradicts the catalogue.
    """
    raster = open_raster(path, name=f"layer {layer.id!r} ({path.name})", crs=layer.crs, region=region)
    try:
        checked = CheckedRaster(
            raster.name,
            raster.dataset,
            raster.band,
            layer.scale,
            layer.offset,
            _agreed_nodata(raster, layer),
            layer.valid_range,
        )
        header = (raster.scale, raster.offset)
        entry = (layer.scale, layer.offset)
        if header != (1.0, 0.0) and max(abs(h - e) for h, e in zip(header, entry, strict=True)) > 1e-9:
            raise RasterError(
                f"{raster.name}: its header states scale, offset = {header}, the catalogue {entry}; "
                "find out which is right and correct the entry"
            )
        checked.check_range(_spread_count(checked))
    except RasterError:
        raster.close()
        raise
    return checked


def open_raster(
    path: Path, *, name: str, crs: str = "EPSG:4326", band: int = 1, region: Region | None = None
) -> CheckedRaster:
    """Open a band with the scale, offset and nodata of its own header, checking its CRS and extent.

    Args:
        path: a GeoTIFF, or an RRASTER header (``.grd``).
        name: what to call it in messages.
        crs: expected coordinate reference system; OGC:CRS84 counts as EPSG:4326.
        band: band number, from 1.
        region: the raster must overlap it; the globe by default.

    Raises:
        MissingInputError: there is no such file.
        RasterError: it is no raster, is rotated, lacks the band, or has another CRS or place.
    """
    if not path.is_file():
        raise MissingInputError(f"{name}: expected the file {path}, which does not exist; fetch it or correct the path")
    driver = DRIVERS.get(path.suffix.lower())
    if driver is None:
        raise RasterError(f"{name}: expected a file ending in {', '.join(DRIVERS)}, found {path.name}; convert it")
    try:
        dataset = rasterio.open(path, driver=driver)
    except RasterioError as error:
        raise RasterError(f"{name}: {path} is not a readable {driver} file ({error}); fetch it again") from error
    try:
        _check_layout(dataset, name, crs, band)
        scale, offset = float(dataset.scales[band - 1]), float(dataset.offsets[band - 1])
        nodata = dataset.nodatavals[band - 1]
        raster = CheckedRaster(name, dataset, band, scale, offset, None if nodata is None else float(nodata), None)
        _check_overlap(raster, region)
    except RasterError:
        dataset.close()
        raise
    return raster


def _check_layout(dataset: DatasetReader, name: str, crs: str, band: int) -> None:
    if not 1 <= band <= dataset.count:
        raise RasterError(f"{name}: expected a band {band}, found {dataset.count} bands; correct the catalogue's entry")
    if max(dataset.width, dataset.height) > MAXIMUM_SIDE:
        raise RasterError(f"{name}: {dataset.width} x {dataset.height} pixels exceed {MAXIMUM_SIDE} on a side")
    if dataset.crs is None:
        raise RasterError(f"{name}: expected the CRS {crs}, found none in the file; assign it with gdal_edit")
    transform = dataset.transform
    if transform.b != 0 or transform.d != 0 or transform.a <= 0 or transform.e == 0:
        raise RasterError(f"{name}: expected an unrotated raster, found {tuple(transform)[:6]}; warp it first")
    if not same_crs(pyproj.CRS.from_wkt(dataset.crs.to_wkt()), crs):
        raise RasterError(
            f"{name}: expected the CRS {crs}, found {dataset.crs.to_string()[:120]}; correct the entry or the file"
        )


def _check_overlap(raster: CheckedRaster, region: Region | None) -> None:
    height, width = raster.shape
    rows = np.unique(np.linspace(0, height - 1, min(height, 400)).astype(np.int64))
    columns = np.unique(np.linspace(0, width - 1, min(width, 800)).astype(np.int64))
    x = 0.5 * (raster.x_edges[columns] + raster.x_edges[columns + 1])
    y = 0.5 * (raster.y_edges[rows] + raster.y_edges[rows + 1])
    latitude, longitude = pixel_lat_lon(raster.crs, np.tile(x, y.size), np.repeat(y, x.size))
    on_globe = np.isfinite(latitude)
    place = "the globe" if region is None else f"the region {region.name!r} {region.bbox}"
    if not on_globe.any() or (region is not None and not in_region(raster, region, latitude, longitude)):
        raise RasterError(
            f"{raster.name}: its extent {tuple(raster.dataset.bounds)} does not overlap {place}; "
            "check the file's georeference or choose another region"
        )


def _agreed_nodata(raster: CheckedRaster, layer: RasterLayer) -> float | None:
    header, entry = raster.nodata, layer.nodata
    if header is None or entry is None:
        return entry if header is None else header
    if not (math.isclose(header, entry, rel_tol=1e-6) or (math.isnan(header) and math.isnan(entry))):
        raise RasterError(
            f"{raster.name}: its header states nodata = {header}, the catalogue {entry}; correct the entry"
        )
    return header


def _spread_count(raster: CheckedRaster) -> RangeCount:
    count = RangeCount()
    for window in _spread_windows(raster.shape, raster.dataset.block_shapes[raster.band - 1]):
        count += raster.read(window)[1]
    return count


def _spread_windows(shape: tuple[int, int], block: tuple[int, int], pixels: int = _CHECKED_PIXELS) -> list[Window]:
    """Choose whole storage blocks, evenly spread, of about so many pixels in all; the whole of a small raster."""
    height, width = shape
    if height * width <= pixels:
        return [Window(0, 0, width, height)]
    rows, columns = math.ceil(height / block[0]), math.ceil(width / block[1])
    wanted = max(1, pixels // (block[0] * block[1]))
    golden = (np.arange(wanted) * 0.6180339887498949) % 1.0  # spreads any number of blocks without a beat
    chosen = np.unique((golden * rows * columns).astype(np.int64))
    return [
        Window(
            left := column * block[1],
            top := row * block[0],
            min(block[1], width - left),
            min(block[0], height - top),
        )
        for row, column in zip(*(part.tolist() for part in np.divmod(chosen, columns)), strict=True)
    ]
