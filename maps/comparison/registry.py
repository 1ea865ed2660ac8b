"""Bring published maps, simulated maps and vegetation plots to one shape: working space, one grid."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from data_catalog import MapProduct, ProductLayer, Trait
from maps.small_area.plots import PLOT_COLUMNS
from plant_traits.covariates.layers import TOLERATED_SHARE, open_raster
from plant_traits.covariates.regrid import area_weighted_mean
from plant_traits.errors import RasterError
from plant_traits.grid import Grid
from plant_traits.needed_columns import need_columns
from plant_traits.traits import from_working, in_valid_range, to_working

FloatArray = npt.NDArray[np.float64]


def open_product_map(product: MapProduct, folder: Path, traits: Sequence[Trait], grid: Grid) -> xr.Dataset:
    """Read a map product, or gridded truth, on the grid and in working space.

    Each value is brought to the trait's canonical unit and working space before averaging by area, so a cell holds
    the mean of its pixels' working-space values; a finer grid repeats the pixel's value. Scale and offset of the
    file's header, which the catalogue does not repeat for products, are applied.

    Args:
        product: catalogue entry.
        folder: where its files lie.
        traits: wanted traits; those the product lacks become layers of NaN.
        grid: target grid.

    Returns:
        ``location`` (trait, lat, lon), float64, working space.

    Raises:
        MissingInputError: a file is missing.
        RasterError: a file is unreadable or in another CRS than the product's, or its values are not credible in
            the catalogue's unit.
    """
    layers = [_read_layer(product, folder, trait, grid) for trait in traits]
    attributes = {
        "title": product.title,
        "product": product.id,
        "citation": product.citation,
        "licence": product.licence,
        "native_grid": product.native_grid,
        "grid": str(grid),
    }
    return maps_dataset({"location": np.stack(layers)}, traits, grid, attributes)


def plot_means(plots: pd.DataFrame, traits: Sequence[Trait], grid: Grid) -> xr.Dataset:
    """Average vegetation plots to the grid, each plot counting the same.

    Args:
        plots: one row per plot and trait with ``latitude``, ``longitude``, ``trait`` and ``value`` (working space).
        traits: wanted traits; rows of others are left out.
        grid: target grid.

    Returns:
        ``location`` (trait, lat, lon), float64, working space, NaN without plots; ``n_plots``, int64. The attribute
        ``missing_values`` counts the rows of wanted traits without a value.

    Raises:
        TableError: a column is missing.
        GridError: a coordinate is missing or out of range.
    """
    need_columns(plots, "plots", PLOT_COLUMNS)
    position = plots["trait"].map({trait.id: k for k, trait in enumerate(traits)}).to_numpy(np.float64)
    value = plots["value"].to_numpy(np.float64)
    wanted = np.isfinite(position)
    usable = wanted & np.isfinite(value)
    cell = grid.cell_of(plots["latitude"].to_numpy()[usable], plots["longitude"].to_numpy()[usable])
    slot = position[usable].astype(np.int64) * grid.size + cell
    length = len(traits) * grid.size
    total = np.bincount(slot, value[usable], minlength=length)
    count = np.bincount(slot, minlength=length)
    shape = (len(traits), *grid.shape)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    attributes = {
        "title": "Means of vegetation plots",
        "missing_values": int(wanted.sum() - usable.sum()),
        "grid": str(grid),
    }
    return maps_dataset({"location": mean.reshape(shape), "n_plots": count.reshape(shape)}, traits, grid, attributes)


def maps_dataset(
    variables: Mapping[str, npt.NDArray[np.generic]],
    traits: Sequence[Trait],
    grid: Grid,
    attributes: Mapping[str, object],
) -> xr.Dataset:
    """Wrap arrays (trait, lat, lon) as a dataset on the grid."""
    dims = ("trait", "lat", "lon")
    return xr.Dataset(
        {name: (dims, values) for name, values in variables.items()},
        coords={
            "trait": ("trait", [trait.id for trait in traits]),
            "lat": ("lat", grid.lat, {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ("lon", grid.lon, {"units": "degrees_east", "standard_name": "longitude"}),
        },
        attrs=dict(attributes),
    )


def stored_to_working(trait: Trait, layer: ProductLayer, stored: FloatArray) -> FloatArray:
    """Bring a product's stored values to the trait's working space.

    A value at or below ``mask_at_or_below`` is missing. The factor to the canonical unit acts on the natural scale,
    whichever space the file is in.

    Args:
        trait: the trait.
        layer: how the product stores it.
        stored: values as in the file, any shape, NaN where missing.

    Returns:
        Working-space values, NaN where missing or without a logarithm.
    """
    if layer.mask_at_or_below is not None:
        stored = np.where(stored > layer.mask_at_or_below, stored, np.nan)
    if layer.space == "ln" and trait.working_space == "ln":
        return np.asarray(stored + np.log(layer.factor))
    natural = stored
    with np.errstate(over="ignore"):
        if layer.space == "ln":
            natural = np.exp(stored)
        elif layer.space == "log10":
            natural = np.power(10.0, stored)
    return to_working(trait, natural * layer.factor)


def _read_layer(product: MapProduct, folder: Path, trait: Trait, grid: Grid) -> FloatArray:
    layer = product.layers.get(trait.id)
    if layer is None:
        return np.full(grid.shape, np.nan)
    seen, outside = 0, 0

    def convert(stored: FloatArray) -> FloatArray:
        nonlocal seen, outside
        working = stored_to_working(trait, layer, stored)
        present = np.isfinite(working)
        credible = in_valid_range(trait, from_working(trait, working[present]))
        seen += credible.size
        outside += credible.size - int(credible.sum())
        return working

    name = f"product {product.id!r}, trait {trait.id!r} ({layer.file})"
    code = re.search(r"EPSG:\d+", product.native_grid)
    raster = open_raster(folder / layer.file, name=name, crs=code[0] if code else "EPSG:4326", band=layer.band)
    with raster:
        gridded = area_weighted_mean(raster, grid, convert=convert)
    if outside > TOLERATED_SHARE * seen:
        raise RasterError(
            f"{name}: {outside} of {seen} values lie outside {trait.valid_range} {trait.unit}; the unit, factor, band "
            "or space is not the catalogue's, compare its entry with the file"
        )
    return gridded.mean
