"""Open a raster and check it against the catalogue before a single value is used."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import rasterio
from rasterio import DatasetReader
from rasterio.errors import RasterioError
from rasterio.windows import Window

from data_catalog import RasterLayer
from plant_traits.covariates.coordinates import in_region, pixel_lat_lon, same_crs
from plant_traits.covariates.raster import TOLERATED_SHARE, CheckedRaster, RangeCount
from plant_traits.errors import MissingInputError, RasterError
from plant_traits.regions import Region

__all__ = [
    "TOLERATED_SHARE",
    "CheckedRaster",
    "RangeCount",
    "agree_numbers",
    "check_crs",
    "check_dataset",
    "check_layer",
    "open_layer",
    "open_raster",
]

DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".grd": "RRASTER"}  # no VRT: it may point anywhere
MAXIMUM_SIDE = 1_000_000
_CHECKED_PIXELS = 8_000_000


def open_layer(
    path: Path, layer: RasterLayer, region: Region | None = None, *, check_values: bool = True
) -> CheckedRaster:
    """Open a covariate raster and check CRS, scale, offset, nodata, extent and units against its catalogue entry.

    Args:
        path: a GeoTIFF.
        layer: its catalogue entry.
        region: the raster must overlap it; the globe by default.
        check_values: see :func:`check_layer`; False where the same file has been opened before.

    Returns:
        The open raster; close it, or use it in a ``with`` statement.

    Raises:
        MissingInputError: there is no such file.
        RasterError: the file is unreadable or contradicts the catalogue.
    """
    raster = open_raster(path, name=f"layer {layer.id!r} ({path.name})", crs=layer.crs, region=region)
    try:
        return check_layer(raster, layer, check_values=check_values)
    except RasterError:
        raster.close()
        raise


def check_layer(raster: CheckedRaster, layer: RasterLayer, *, check_values: bool = True) -> CheckedRaster:
    """Check an open raster's scale, offset, nodata and units against its catalogue entry.

    The header may leave scale and offset out (1 and 0): the catalogue's are then used. Where the header states
    them they must be the catalogue's. Either way they are applied once, by :meth:`CheckedRaster.read`. The valid
    range is tested on the whole raster, or on evenly spread blocks of eight million pixels of a larger one.

    Args:
        raster: what :func:`open_raster` or :func:`check_dataset` returned.
        layer: its catalogue entry.
        check_values: read values to test the valid range; False checks the header alone.

    Returns:
        The same open raster, with what was agreed.

    Raises:
        RasterError: the file contradicts the catalogue.
    """
    checked = replace(
        raster,
        scale=layer.scale,
        offset=layer.offset,
        nodata=agree_numbers(raster.name, layer, scale=raster.scale, offset=raster.offset, nodata=raster.nodata),
        valid_range=layer.valid_range,
    )
    if check_values:
        checked.check_range(_spread_count(checked))
    return checked


def agree_numbers(name: str, layer: RasterLayer, *, scale: float, offset: float, nodata: float | None) -> float | None:
    """Check what a header says about its stored numbers against the catalogue; return the nodata that holds.

    Args:
        name: what to call the raster in messages.
        layer: its catalogue entry.
        scale: the header's; 1 where it states none.
        offset: the header's; 0 where it states none.
        nodata: the header's, where it states one.

    Raises:
        RasterError: they contradict each other.
    """
    header, entry = (scale, offset), (layer.scale, layer.offset)
    if header != (1.0, 0.0) and max(abs(h - e) for h, e in zip(header, entry, strict=True)) > 1e-9:
        raise RasterError(
            f"{name}: its header states scale, offset = {header}, the catalogue {entry}; "
            "find out which is right and correct the entry"
        )
    wanted = layer.nodata
    if nodata is None or wanted is None:
        return wanted if nodata is None else nodata
    if not (math.isclose(nodata, wanted, rel_tol=1e-6) or (math.isnan(nodata) and math.isnan(wanted))):
        raise RasterError(f"{name}: its header states nodata = {nodata}, the catalogue {wanted}; correct the entry")
    return nodata


def check_crs(found: pyproj.CRS, expected: str, name: str) -> None:
    """Check a raster's reference system against the catalogue's.

    Raises:
        RasterError: they put points at different places.
    """
    if not same_crs(found, expected):
        raise RasterError(
            f"{name}: expected the CRS {expected}, found {found.to_string()[:120]}; correct the entry or the file"
        )


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
        # Unshared, because a handle must not serve two threads.
        dataset = rasterio.open(path, driver=driver, sharing=False)
    except RasterioError as error:
        raise RasterError(f"{name}: {path} is not a readable {driver} file ({error}); fetch it again") from error
    try:
        return check_dataset(dataset, name=name, crs=crs, band=band, region=region)
    except RasterError:
        dataset.close()
        raise


def check_dataset(
    dataset: DatasetReader, *, name: str, crs: str, band: int = 1, region: Region | None = None
) -> CheckedRaster:
    """Check CRS, layout and extent of an open dataset; see :func:`open_raster`, whose arguments these are.

    Raises:
        RasterError: it is rotated, lacks the band, or has another CRS or place.
    """
    _check_layout(dataset, name, crs, band)
    scale, offset = float(dataset.scales[band - 1]), float(dataset.offsets[band - 1])
    nodata = dataset.nodatavals[band - 1]
    raster = CheckedRaster(name, dataset, band, scale, offset, None if nodata is None else float(nodata), None)
    _check_overlap(raster, region)
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
    check_crs(pyproj.CRS.from_wkt(dataset.crs.to_wkt()), crs, name)


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
