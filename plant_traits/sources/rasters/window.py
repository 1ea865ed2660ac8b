"""The pixels of a region: which part of a raster they take, and that part as a GeoTIFF of the same alignment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.windows import Window
from scipy import ndimage

from plant_traits.covariates.coordinates import project
from plant_traits.covariates.raster import CACHE_BYTES
from plant_traits.errors import RasterError, WorkspaceError
from plant_traits.regions import Region

MARGIN_PIXELS = 4
_PATCH = 128
_PROBES = 2_000_000
_METRES_PER_DEGREE = 111_195.0
_ROWS = 512
_TILE = 256


@dataclass(frozen=True)
class Header:
    """What a raster's header says, and what a cut of it repeats.

    Attributes:
        crs: coordinate reference system as WKT.
        transform: of the upper left corner.
        shape: (rows, columns).
        dtype: type of the stored numbers.
        nodata: stored number that means missing, where stated.
        scale: as stated; 1 where it is not.
        offset: as stated; 0 where it is not.
    """

    crs: str
    transform: Affine
    shape: tuple[int, int]
    dtype: str
    nodata: float | None
    scale: float
    offset: float


@dataclass(frozen=True)
class Piece:
    """A window of the raster, and where its upper left pixel lies in the cut."""

    source: Window
    row: int
    column: int


@dataclass(frozen=True)
class Cut:
    """A part of a raster.

    Attributes:
        row: first row.
        column: first column; negative or beyond the last where the cut crosses the seam of a global raster.
        shape: (rows, columns).
        pieces: windows to read; pixels in none of them are missing.
    """

    row: int
    column: int
    shape: tuple[int, int]
    pieces: tuple[Piece, ...]


def cut_region(header: Header, region: Region, *, margin: int = MARGIN_PIXELS) -> Cut:
    """Choose the pixels of a region.

    Latitude-longitude rasters are cut along rows and columns, across the seam of a global one where the region crosses
    it. Of a projected raster, patches of 128 pixels are taken that hold a point of the region or lie beside one, so
    that a box that spans several lobes of an interrupted projection does not cost the pixels between them.

    Args:
        header: the raster's.
        region: the box.
        margin: pixels around it, in a latitude-longitude raster.

    Raises:
        RasterError: the raster does not overlap the region.
    """
    crs = pyproj.CRS.from_wkt(header.crs)
    cut = _cut_degrees(header, region, margin) if crs.is_geographic else _cut_projected(header, crs, region)
    if not cut.pieces:
        raise RasterError(
            f"a raster of {header.shape} pixels from {tuple(header.transform)[:6]} does not overlap the region "
            f"{region.name!r} {region.bbox}; check the address or choose another region"
        )
    return cut


def write_cut(
    path: Path, header: Header, cut: Cut, read: Callable[[Window], npt.NDArray[np.generic]], *, fill: float | None
) -> None:
    """Write a cut as a GeoTIFF, a piece at a time, with the raster's own alignment, scale, offset and nodata.

    Args:
        path: the file; it gets its name when it is whole.
        header: the raster's.
        cut: the pixels.
        read: returns the stored numbers of a window of the raster.
        fill: nodata to state where the header states none.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    part = path.with_name(f"{path.name}.writing.tif")
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = cut.shape
    integer = np.issubdtype(np.dtype(header.dtype), np.integer)
    corner = header.transform @ Affine.translation(cut.column, cut.row)
    try:
        with (
            rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES),
            rasterio.open(
                part,
                "w",
                driver="GTiff",
                height=height,
                width=width,
                count=1,
                dtype=header.dtype,
                crs=header.crs,
                transform=corner,
                nodata=fill if header.nodata is None else header.nodata,
                tiled=True,
                blockxsize=_TILE,
                blockysize=_TILE,
                compress="deflate",
                predictor=2 if integer else 3,
                sparse_ok=True,
                bigtiff="if_safer",
            ) as dataset,
        ):
            if (header.scale, header.offset) != (1.0, 0.0):
                dataset.scales, dataset.offsets = (header.scale,), (header.offset,)
            for piece in cut.pieces:
                values = read(piece.source)
                dataset.write(values, 1, window=Window(piece.column, piece.row, *values.shape[::-1]))
        part.replace(path)
    except (RasterioError, OSError) as error:
        raise WorkspaceError(f"{path} cannot be written: {error}; free space and run again") from error


def _cut_degrees(header: Header, region: Region, margin: int) -> Cut:
    transform, (height, width) = header.transform, header.shape
    high, low = sorted((y - transform.f) / transform.e for y in (region.south, region.north))
    top = max(0, int(np.floor(high)) - margin)
    bottom = min(height, int(np.ceil(low)) + margin)
    first = int(np.floor((region.west - transform.c) / transform.a)) - margin
    last = int(np.ceil((region.west + _width(region) - transform.c) / transform.a)) + margin
    circle = round(360.0 / transform.a)
    if width >= circle - 1e-6 and abs(360.0 / transform.a - circle) < 1e-3:
        if last - first >= width:
            first, last = 0, width
        turn = first // circle * circle
        first, last = first - turn, last - turn
        spans = [(first, min(last, width), 0)] + ([(0, last - width, width - first)] if last > width else [])
    else:
        turns = [(max(first + k * circle, 0), min(last + k * circle, width)) for k in (-1, 0, 1)]
        found = [span for span in turns if span[0] < span[1]]
        first, last = (min(x for x, _ in found), max(x for _, x in found)) if found else (0, 0)
        spans = [(first, last, 0)]
    pieces = [
        Piece(Window(left, row, right - left, min(_ROWS, bottom - row)), row - top, at)
        for row in range(top, bottom, _ROWS)
        for left, right, at in spans
        if right > left
    ]
    return Cut(top, first, (max(0, bottom - top), last - first), tuple(pieces))


def _cut_projected(header: Header, crs: pyproj.CRS, region: Region) -> Cut:
    transform, (height, width) = header.transform, header.shape
    step = 0.5 * _PATCH * abs(transform.a) * crs.axis_info[0].unit_conversion_factor / _METRES_PER_DEGREE
    tall, wide = region.north - region.south, _width(region)
    coarser = max(1, int(np.ceil(np.sqrt(tall * wide / step**2 / _PROBES))))
    patch, step = _PATCH * coarser, step * coarser
    marked = np.zeros((-(-height // patch), -(-width // patch)), dtype=bool)
    longitude = region.west + np.linspace(0.0, wide, max(9, int(np.ceil(wide / step)) + 1))
    longitude = (longitude + 180.0) % 360.0 - 180.0
    for latitude in np.linspace(region.south, region.north, max(9, int(np.ceil(tall / step)) + 1)):
        x, y = project(crs, np.full_like(longitude, latitude), longitude)
        column, row = (x - transform.c) / transform.a, (y - transform.f) / transform.e
        with np.errstate(invalid="ignore"):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        marked[row[inside].astype(np.int64) // patch, column[inside].astype(np.int64) // patch] = True
    marked = np.asarray(ndimage.binary_dilation(marked, np.ones((3, 3), dtype=bool)))
    if not marked.any():
        return Cut(0, 0, (0, 0), ())
    rows, columns = np.flatnonzero(marked.any(axis=1)) * patch, np.flatnonzero(marked.any(axis=0)) * patch
    top, left = int(rows[0]), int(columns[0])
    bottom, right = min(height, int(rows[-1]) + patch), min(width, int(columns[-1]) + patch)
    pieces = []
    for line in np.flatnonzero(marked.any(axis=1)).tolist():
        changes = np.flatnonzero(np.diff(marked[line].astype(np.int8), prepend=0, append=0))
        start = line * patch
        for begin, end in (changes.reshape(-1, 2) * patch).tolist():
            window = Window(begin, start, min(end, width) - begin, min(patch, height - start))
            pieces.append(Piece(window, start - top, begin - left))
    return Cut(top, left, (bottom - top, right - left), tuple(pieces))


def _width(region: Region) -> float:
    return (region.east - region.west) % 360.0 or 360.0
