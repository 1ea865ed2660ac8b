"""All covariates of a run side by side: on the grid, at points, and as the matrix a model reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from data_catalog import RasterLayer, Source
from plant_traits.covariates.layers import open_layer
from plant_traits.covariates.raster import CheckedRaster
from plant_traits.covariates.regrid import area_weighted_mean
from plant_traits.covariates.sampling import sample_points
from plant_traits.errors import InputError, MissingInputError, RasterError
from plant_traits.grid import Grid
from plant_traits.regions import Region

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

SEARCH_PIXELS = 2


@dataclass(frozen=True)
class LayerFolder:
    """The folder that holds a raster source's files, and the layers to read from it.

    Attributes:
        source: catalogue entry.
        folder: where the files named by its layers lie.
        layers: layer ids, in order.
    """

    source: Source
    folder: Path
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Covariate:
    """One predictor: a layer and its file under the name by which a run knows it.

    Attributes:
        name: the layer's id, or ``<source>.<layer>`` where two sources share the id.
        layer: catalogue entry.
        source: catalogue entry of its provider.
        path: the file.
    """

    name: str
    layer: RasterLayer
    source: Source
    path: Path


def list_covariates(rasters: Sequence[LayerFolder]) -> tuple[Covariate, ...]:
    """Name the covariates of a run, in the order given.

    Raises:
        InputError: a source lacks a layer, or a layer is listed twice.
    """
    pairs = [(raster, layer_id) for raster in rasters for layer_id in raster.layers]
    shared = {layer_id for layer_id, n in Counter(layer_id for _, layer_id in pairs).items() if n > 1}
    covariates = []
    for raster, layer_id in pairs:
        try:
            layer = raster.source.layer(layer_id)
        except KeyError as error:
            raise InputError(f"{error.args[0]}; correct the list of layers") from error
        name = f"{raster.source.id}.{layer_id}" if layer_id in shared else layer_id
        covariates.append(Covariate(name, layer, raster.source, raster.folder / layer.file))
    repeated = [name for name, n in Counter(c.name for c in covariates).items() if n > 1]
    if repeated:
        raise InputError(f"covariates {repeated} are listed more than once; list each layer of a source once")
    return tuple(covariates)


def build_grid_covariates(rasters: Sequence[LayerFolder], grid: Grid, region: Region | None = None) -> xr.Dataset:
    """Average every covariate to the grid by area.

    Args:
        rasters: folders and layers to read.
        grid: target grid.
        region: cells that do not touch it stay NaN; the globe by default.

    Returns:
        One float32 variable (lat, lon) per covariate in the catalogue's unit, with ``units``, ``long_name``,
        ``source`` and the number of pixels masked for lying outside the valid range (``masked_pixels``).

    Raises:
        MissingInputError: a file is missing.
        RasterError: a file contradicts the catalogue.
        InputError: see :func:`list_covariates`.
    """
    inside = np.ones(grid.shape, dtype=bool) if region is None else touches(grid, region)
    variables = {}
    for covariate in list_covariates(rasters):
        with open_layer(covariate.path, covariate.layer, region) as raster:
            gridded = area_weighted_mean(raster, grid, region=region)
        values = np.where(inside, gridded.mean, np.nan).astype(np.float32)
        attributes = {
            "units": covariate.layer.unit,
            "long_name": covariate.layer.name,
            "source": covariate.source.id,
            "cell_methods": "area: mean",
            "masked_pixels": gridded.count.outside,
        }
        variables[covariate.name] = (("lat", "lon"), values, attributes)
    coordinates = {
        "lat": ("lat", grid.lat, {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", grid.lon, {"units": "degrees_east", "standard_name": "longitude"}),
    }
    title = "Covariates averaged to the grid by area"
    return xr.Dataset(variables, coords=coordinates, attrs={"title": title, "grid": str(grid)})


def sample_covariates(
    rasters: Sequence[LayerFolder],
    latitude: npt.ArrayLike,
    longitude: npt.ArrayLike,
    *,
    search_pixels: int = SEARCH_PIXELS,
) -> pd.DataFrame:
    """Read every covariate at points.

    Args:
        rasters: folders and layers to read.
        latitude: degrees north, (n,).
        longitude: degrees east, (n,).
        search_pixels: how far to look for a valid pixel where the containing one is missing, as at coasts.

    Returns:
        One float32 column per covariate, one row per point in the order given, in the catalogue's unit.

    Raises:
        MissingInputError: a file is missing.
        RasterError: a file contradicts the catalogue.
        InputError: see :func:`list_covariates`.
    """
    columns: dict[str, Float32Array] = {}
    for covariate in list_covariates(rasters):
        with open_layer(covariate.path, covariate.layer) as raster:
            columns |= sample_opened({covariate.name: raster}, latitude, longitude, search_pixels=search_pixels)
    return pd.DataFrame(columns, index=pd.RangeIndex(np.size(latitude)))


def sample_opened(
    opened: Mapping[str, CheckedRaster],
    latitude: npt.ArrayLike,
    longitude: npt.ArrayLike,
    *,
    search_pixels: int = SEARCH_PIXELS,
) -> dict[str, Float32Array]:
    """Read covariates that are open already at points; see :func:`sample_covariates`."""
    return {
        name: sample_points(raster, latitude, longitude, search_pixels=search_pixels) for name, raster in opened.items()
    }


def model_matrix(
    data: xr.Dataset | pd.DataFrame, rasters: Sequence[LayerFolder]
) -> tuple[Float32Array, tuple[str, ...]]:
    """Lay covariates side by side as the model reads them: ln(1 + value) where the catalogue says so.

    Args:
        data: what :func:`build_grid_covariates` or :func:`sample_covariates` returned.
        rasters: the same folders and layers.

    Returns:
        float32 (n, c) with rows in cell order (row * n_lon + column) or point order, and the c names. Missing
        values stay NaN.

    Raises:
        InputError: a covariate is missing from the data.
    """
    covariates = list_covariates(rasters)
    missing = [c.name for c in covariates if c.name not in data]
    if missing:
        raise InputError(f"covariates {missing} are missing from the table; build it again from the same rasters")
    matrix = np.empty((_rows(data), len(covariates)), dtype=np.float32)
    for column, covariate in enumerate(covariates):
        values = np.asarray(data[covariate.name].to_numpy(), dtype=np.float64).ravel()
        if covariate.layer.log:
            with np.errstate(invalid="ignore", divide="ignore"):
                values = np.where(values > -1, np.log1p(values), np.nan)
        matrix[:, column] = values
    return matrix, tuple(c.name for c in covariates)


def write_covariates(dataset: xr.Dataset, path: Path) -> None:
    """Write gridded covariates as a Zarr v3 store; the same dataset gives the same bytes."""
    encoding = {name: {"chunks": dataset[name].shape} for name in dataset.variables}
    dataset.to_zarr(path, mode="w", zarr_format=3, consolidated=False, encoding=encoding)


def open_covariates(path: Path) -> xr.Dataset:
    """Read gridded covariates back into memory.

    Raises:
        MissingInputError: there is no such store.
        RasterError: the folder is not a Zarr v3 store.
    """
    if not path.is_dir():
        raise MissingInputError(f"gridded covariates: expected the folder {path}, which does not exist; build it first")
    if not (path / "zarr.json").is_file():
        raise RasterError(f"gridded covariates: {path} holds no zarr.json, so is no Zarr v3 store; build it again")
    with xr.open_zarr(path, zarr_format=3, consolidated=False) as dataset:
        loaded: xr.Dataset = dataset.load()
    return loaded


def touches(grid: Grid, region: Region) -> npt.NDArray[np.bool_]:
    """Tell which cells touch a region, (n_lat, n_lon)."""
    size = float(grid.resolution)
    rows = (grid.lat + size / 2 > region.south) & (grid.lat - size / 2 < region.north)
    west, east = grid.lon - size / 2, grid.lon + size / 2
    if region.west < region.east:
        columns = (east > region.west) & (west < region.east)
    else:
        columns = (east > region.west) | (west < region.east)
    return np.asarray(rows[:, None] & columns[None, :])


def _rows(data: xr.Dataset | pd.DataFrame) -> int:
    return len(data) if isinstance(data, pd.DataFrame) else int(data.sizes["lat"] * data.sizes["lon"])
