"""A store of covariates on the grid, written layer by layer and row by row, never whole in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from plant_traits.covariates.cube import Covariate, LayerFolder, list_covariates, touches
from plant_traits.covariates.layers import open_layer
from plant_traits.covariates.raster import RangeCount
from plant_traits.covariates.regrid_dask import means_by_rows
from plant_traits.errors import RasterError
from plant_traits.grid import Grid
from plant_traits.regions import Region

CHUNK_CELLS = 1024


def build_covariate_store(
    path: Path,
    rasters: Sequence[LayerFolder],
    grid: Grid,
    region: Region | None = None,
    *,
    fields: Mapping[str, tuple[npt.NDArray[Any], Mapping[str, str]]] | None = None,
    workers: int = 2,
) -> Mapping[str, int]:
    """Average every covariate to the grid by area into a Zarr v3 store.

    The store holds what :func:`plant_traits.covariates.cube.build_grid_covariates` returns. Memory holds the rows of
    the grid that ``workers`` tasks are at, and chunks have at most 1,024 cells a side, so that a store can be larger
    than memory.

    Args:
        path: the store; an older one is replaced.
        rasters: folders and layers to read.
        grid: target grid.
        region: cells that do not touch it stay missing; the globe by default.
        fields: further fields (n_lat, n_lon) by name, with their attributes.
        workers: tasks at a time.

    Returns:
        Pixels masked for lying outside the valid range, by covariate.

    Raises:
        MissingInputError: a file is missing.
        RasterError: a file contradicts the catalogue.
        InputError: see :func:`plant_traits.covariates.cube.list_covariates`.
    """
    covariates = list_covariates(rasters)
    further = dict(fields or {})
    _write_template(path, covariates, further, grid)
    group = zarr.open_group(path, mode="r+", zarr_format=3)
    masked: dict[str, int] = {}
    for covariate in covariates:
        count = _write_covariate(_array(group, covariate.name), covariate, grid, region, workers)
        masked[covariate.name] = count.outside
        _array(group, covariate.name).attrs["masked_pixels"] = count.outside
    for name, (values, _) in further.items():
        _array(group, name)[:] = values
    return masked


def known_cells(path: Path, names: Sequence[str]) -> Iterator[tuple[slice, npt.NDArray[np.bool_]]]:
    """Tell which cells have a value in at least one of the named fields, some rows of the grid at a time.

    Args:
        path: a store.
        names: fields.

    Yields:
        Grid rows, and (rows, n_lon) true where a value is known.
    """
    group = zarr.open_group(path, mode="r", zarr_format=3)
    arrays = [_array(group, name) for name in names]
    n_lat, n_lon = arrays[0].shape
    for start in range(0, n_lat, CHUNK_CELLS):
        rows = slice(start, min(start + CHUNK_CELLS, n_lat))
        known = np.zeros((rows.stop - start, n_lon), dtype=bool)
        for array in arrays:
            known |= np.isfinite(np.asarray(array[rows]))
        yield rows, known


def _write_template(
    path: Path,
    covariates: Sequence[Covariate],
    fields: Mapping[str, tuple[npt.NDArray[Any], Mapping[str, str]]],
    grid: Grid,
) -> None:
    chunks = tuple(min(CHUNK_CELLS, n) for n in grid.shape)
    empty = da.full(grid.shape, np.nan, dtype=np.float32, chunks=chunks)  # type: ignore[no-untyped-call]
    variables: dict[str, tuple[tuple[str, str], Any, dict[str, Any]]] = {
        covariate.name: (
            ("lat", "lon"),
            empty,
            {
                "units": covariate.layer.unit,
                "long_name": covariate.layer.name,
                "source": covariate.source.id,
                "cell_methods": "area: mean",
                "masked_pixels": 0,
            },
        )
        for covariate in covariates
    }
    for name, (_, attributes) in fields.items():
        variables[name] = (("lat", "lon"), empty, dict(attributes))
    coordinates = {
        "lat": ("lat", grid.lat, {"units": "degrees_north", "standard_name": "latitude"}),
        "lon": ("lon", grid.lon, {"units": "degrees_east", "standard_name": "longitude"}),
    }
    title = "Covariates averaged to the grid by area"
    dataset = xr.Dataset(variables, coords=coordinates, attrs={"title": title, "grid": str(grid)})
    encoding: dict[str, Any] = {name: {"chunks": chunks} for name in variables}
    encoding |= {name: {"chunks": dataset[name].shape} for name in ("lat", "lon")}
    dataset.to_zarr(path, mode="w", compute=False, zarr_format=3, consolidated=False, encoding=encoding)


def _write_covariate(
    array: zarr.Array[Any], covariate: Covariate, grid: Grid, region: Region | None, workers: int
) -> RangeCount:
    """Write the rows that touch the region, from north to south."""
    count = RangeCount()
    inside = np.ones(grid.shape, dtype=bool) if region is None else touches(grid, region)
    # Values are checked once, here; a task opens a file that is known.
    with open_layer(covariate.path, covariate.layer, region) as raster:
        opened = partial(open_layer, covariate.path, covariate.layer, region, check_values=False)
        for rows, part in means_by_rows(opened, grid, region=region, workers=workers):
            array[rows] = np.where(inside[rows], part.mean, np.nan).astype(np.float32)
            count += part.count
        raster.check_range(count)
    return count


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise RasterError(f"the store of covariates holds no array {name!r}; build it again")
    return array
