"""Write climate and soil as CHELSA and SoilGrids do, and gridded trait maps as plain GeoTIFFs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from rasterio.transform import Affine

from data_catalog import Source
from plant_traits.covariates.coordinates import pixel_lat_lon
from plant_traits.simulation.geography import is_land
from plant_traits.simulation.planet import Planet

FloatArray = npt.NDArray[np.float64]

_SHIFT = 1 / 7200  # degrees, half an arc-second: how far CHELSA's pixel edges lie off the round degree
_NORTH = 84.0
_CHELSA_NODATA = 65535
_IGH_HALF_WIDTH, _IGH_NORTH, _IGH_SOUTH = 20_040_000.0, 8_680_000.0, -6_700_000.0


def write_chelsa(planet: Planet, source: Source, resolution: float, folder: Path) -> int:
    """Write the nineteen bioclim layers: EPSG:4326, 84 N to 90 S, integers, no data at sea.

    Layers of odd number carry scale and offset in their header, the others leave them to the documentation, as the
    real files do. CHELSA itself has values at sea; here the sea is missing.

    Args:
        planet: the fields.
        source: the catalogue's entry, which says file names, scales and offsets.
        resolution: degrees of a pixel.
        folder: receives the files.

    Returns:
        The number of files.
    """
    shape = (round((_NORTH + 90) / resolution), round(360 / resolution))
    transform = Affine(resolution, 0, -180 - _SHIFT, 0, -resolution, _NORTH - _SHIFT)
    longitude = -180 - _SHIFT + (np.arange(shape[1]) + 0.5) * resolution
    latitude = _NORTH - _SHIFT - (np.arange(shape[0]) + 0.5) * resolution
    lat, lon = np.meshgrid(np.clip(latitude, -90, 90), longitude, indexing="ij")
    land = is_land(lat, lon)
    for layer in source.layers:
        value = planet.sample(layer.id, lat, lon)
        stored = np.clip(np.rint((value - layer.offset) / layer.scale), 0, _CHELSA_NODATA - 1)
        stored = np.where(land, stored, _CHELSA_NODATA).astype(np.uint16)
        in_header = int(layer.id.removeprefix("bio")) % 2 == 1
        scaling = (layer.scale, layer.offset) if in_header else None
        _write(folder / layer.file, stored, transform, "EPSG:4326", nodata=_CHELSA_NODATA, scaling=scaling)
    return len(source.layers)


def write_soilgrids(planet: Planet, source: Source, resolution_m: float, folder: Path) -> int:
    """Write soil properties in interrupted Goode homolosine, int16 without scale in the header, -32768 off the land.

    Args:
        planet: the fields.
        source: the catalogue's entry.
        resolution_m: metres of a pixel.
        folder: receives the files.

    Returns:
        The number of files.
    """
    crs = pyproj.CRS.from_user_input(source.layers[0].crs)
    x = np.arange(-_IGH_HALF_WIDTH + resolution_m / 2, _IGH_HALF_WIDTH, resolution_m)
    y = np.arange(_IGH_NORTH - resolution_m / 2, _IGH_SOUTH, -resolution_m)
    latitude, longitude = pixel_lat_lon(crs, *np.meshgrid(x, y))
    known = np.isfinite(latitude) & np.isfinite(longitude)
    known[known] &= is_land(latitude[known], longitude[known])
    transform = Affine(resolution_m, 0, -_IGH_HALF_WIDTH, 0, -resolution_m, _IGH_NORTH)
    for layer in source.layers:
        nodata = int(layer.nodata if layer.nodata is not None else -32768)
        stored = np.full(known.shape, nodata, dtype=np.int16)
        value = planet.sample(layer.id, latitude[known], longitude[known])
        stored[known] = np.clip(np.rint((value - layer.offset) / layer.scale), -32767, 32767).astype(np.int16)
        _write(folder / layer.file, stored, transform, crs.to_wkt(), nodata=nodata, scaling=None)
    return len(source.layers)


def write_grid(values: FloatArray, path: Path) -> None:
    """Write a global (n, 2n) field as a float32 GeoTIFF, EPSG:4326, no data as the smallest float, as is usual."""
    lowest = -3.3999999521443642e38
    step = 180 / values.shape[0]
    # Six decimals: what is finer is noise of summation and would differ between machines.
    stored = np.where(np.isfinite(values), np.round(values, 6), lowest).astype(np.float32)
    _write(path, stored, Affine(step, 0, -180, 0, -step, 90), "EPSG:4326", nodata=lowest, scaling=None)


def _write(
    path: Path,
    values: npt.NDArray[np.generic],
    transform: Affine,
    crs: str,
    *,
    nodata: float,
    scaling: tuple[float, float] | None,
) -> None:
    profile = {
        "driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": values.dtype,
        "crs": crs, "transform": transform, "nodata": nodata, "compress": "deflate", "tiled": True,
        "blockxsize": 256, "blockysize": 256, "predictor": 2 if values.dtype.kind in "iu" else 3,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(values, 1)
        if scaling is not None:
            target.scales, target.offsets = (scaling[0],), (scaling[1],)
