"""The biome of every cell of the grid, from its mean climate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from plant_traits.covariates.biomes import biomes_of_matrix
from plant_traits.covariates.cube import LayerFolder, list_covariates, model_matrix
from plant_traits.errors import InputError, MissingInputError

CELLS_AT_ONCE = 1 << 20
STORE = "covariates.zarr"


def cell_biomes(covariates: Path, rasters: Sequence[LayerFolder], *, cells_at_once: int = CELLS_AT_ONCE) -> pd.Series:
    """Name the biome of every cell, as the prediction of land cells has it.

    The store is read some rows of the grid at a time.

    Args:
        covariates: output of ``plant_traits.stages.covariates.grid_covariates``.
        rasters: the raster sources it was made of.
        cells_at_once: cells held at a time, at least one row of the grid.

    Returns:
        Names of ``plant_traits.covariates.biomes.BIOMES`` as an ordered-by-cell series ``biome``, its index the number
        of the cell, row * n_lon + column. Cells whose climate is not known are left out; for rasters without
        climate that is every cell.

    Raises:
        MissingInputError: the folder holds no store of covariates.
        InputError: the store lacks a covariate of the rasters, or holds precipitation as no logarithm.
    """
    path = covariates / STORE
    if not (path / "zarr.json").is_file():
        raise MissingInputError(
            f"biomes of cells: expected a store of covariates at {path}, found none; run the stage that grids them"
        )
    names = [covariate.name for covariate in list_covariates(rasters)]
    parts = [pd.Series([], index=pd.Index([], dtype=np.int64), dtype=object)]
    with xr.open_zarr(path, zarr_format=3, consolidated=False) as cube:
        missing = [name for name in names if name not in cube]
        if missing:
            raise InputError(f"biomes of cells: {path} lacks the covariates {missing}; build it from the same rasters")
        n_lat, n_lon = cube.sizes["lat"], cube.sizes["lon"]
        step = max(cells_at_once // n_lon, 1)
        for start in range(0, n_lat if names else 0, step):
            rows = cube[names].isel(lat=slice(start, start + step)).load()
            found = pd.Series(biomes_of_matrix(*model_matrix(rows, rasters)), dtype=object)
            found.index = pd.RangeIndex(start * n_lon, start * n_lon + len(found))
            parts.append(found[found.notna()])
    whole = pd.concat(parts)
    return whole.rename("biome").rename_axis("cell")
