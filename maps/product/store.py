"""A map product as a Zarr store of flat CF variables, and back."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from pyproj import CRS
from zarr.errors import ZarrUserWarning

from data_catalog import Trait
from maps.product.layers import COMMON_LAYERS, LAYERS, Layer
from plant_traits.errors import MissingInputError, TableError, WorkspaceError

CHUNK = 512

_BOUNDS = ("lat_bnds", "lon_bnds")


def write_zarr(product: xr.Dataset, traits: Sequence[Trait], path: Path) -> None:
    """Write a product as Zarr v3 with consolidated metadata; the same product gives the same bytes.

    On disk each trait's value is a variable of its own name, ``height``, beside ``height_median``,
    ``height_standard_error`` and the other layers, and those that all traits share under their own names, all EPSG:4326
    with CF attributes, so that plain ``xr.open_zarr`` is enough to plot it with its unit.

    Args:
        product: a dataset of ``maps.product.dataset.build_product``.
        traits: the catalogue entries of its traits, in the same order.
        path: the store to make.

    Raises:
        WorkspaceError: the path exists.
        TableError: the traits are not the product's, or two layers would share a name on disk.
    """
    if path.exists():
        raise WorkspaceError(f"{path} already exists; a product is written once: choose a new place or remove it")
    flat = flatten(product, traits)
    chunks = (min(CHUNK, product.sizes["lat"]), min(CHUNK, product.sizes["lon"]))
    encoding: dict[str, dict[str, object]] = {
        str(name): {"chunks": chunks, **({"_FillValue": np.float32("nan")} if variable.dtype.kind == "f" else {})}
        for name, variable in flat.data_vars.items()
        if variable.dims == ("lat", "lon")
    }
    encoding |= {name: {"_FillValue": None} for name in (*_BOUNDS, "lat", "lon")}
    with warnings.catch_warnings():
        # Zarr v3 has no consolidated metadata in its specification yet; readers without it list the store instead.
        warnings.filterwarnings("ignore", "Consolidated metadata", ZarrUserWarning)
        flat.to_zarr(path, mode="w-", zarr_format=3, consolidated=True, encoding=encoding)


def open_product(path: Path, traits: Sequence[str] | None = None) -> xr.Dataset:
    """Open a stored product lazily, its layers stacked along ``trait`` again.

    Args:
        path: a store of ``write_zarr``.
        traits: ids to read, in this order; all by default.

    Returns:
        The dataset of ``maps.product.dataset.build_product``.

    Raises:
        MissingInputError: there is no such store.
        TableError: the store is not a product or lacks a trait.
    """
    if not path.is_dir():
        raise MissingInputError(f"{path}: expected a Zarr store of a map product, found none; build it first")
    flat = xr.open_zarr(path)
    known = str(flat.attrs.get("traits", "")).split()
    wanted = known if traits is None else list(traits)
    if not known or not set(wanted) <= set(known):
        raise TableError(f"{path}: expected the traits {wanted}, found {known}; is it a map product of these traits?")
    by_role = {
        (variable.attrs.get("trait"), variable.attrs.get("layer")): variable for variable in flat.data_vars.values()
    }
    layers = {}
    for name, layer in LAYERS.items():
        parts = [by_role[trait, name].drop_attrs() for trait in wanted]
        stacked = xr.concat(parts, dim="trait", coords="minimal", compat="override").transpose("trait", "lat", "lon")
        layers[name] = stacked.rename(name).assign_attrs(long_name=layer.describe("trait")).drop_encoding()
    for name, layer in COMMON_LAYERS.items():
        layers[name] = flat[name].drop_attrs(deep=False).assign_attrs(long_name=layer.long_name).drop_encoding()
    product = xr.Dataset(layers, attrs={key: value for key, value in flat.attrs.items() if key != "traits"})
    return product.assign_coords(
        trait=("trait", np.array(wanted, dtype=object)),
        unit=("trait", np.array([by_role[trait, "value"].attrs["units"] for trait in wanted], dtype=object)),
        **{name: flat[name].variable for name in ("lat", "lon", *_BOUNDS)},
    )


def flatten(product: xr.Dataset, traits: Sequence[Trait]) -> xr.Dataset:
    """Return the product as it lies on disk: one two-dimensional CF variable per trait and layer, or layer of all.

    Raises:
        TableError: the traits are not the product's, or two layers would share a name.
    """
    ids = [trait.id for trait in traits]
    if list(product["trait"].values) != ids:
        raise TableError(
            f"product: its traits are {list(product['trait'].values)}, expected {ids}; pass its own traits"
        )
    variables: dict[str, xr.Variable] = {}
    for index, trait in enumerate(traits):
        for layer in LAYERS.values():
            name = variable_name(trait, layer.name)
            if name in variables:
                raise TableError(f"product: two layers would be stored as {name!r}; rename the trait {trait.id!r}")
            values = product[layer.name].isel(trait=index).transpose("lat", "lon").variable
            variables[name] = xr.Variable(("lat", "lon"), values.data, layer_attributes(trait, layer))
    for layer in COMMON_LAYERS.values():
        if layer.name in variables:
            raise TableError(f"product: a layer of all traits is stored as {layer.name!r} too; rename that trait")
        values = product[layer.name].transpose("lat", "lon").variable
        variables[layer.name] = xr.Variable(("lat", "lon"), values.data, common_attributes(layer))
    variables["crs"] = xr.Variable((), np.int32(0), _crs_attributes(product))
    for name in _BOUNDS:
        variables[name] = product[name].variable.to_base_variable()
    coordinates = {name: product[name].variable for name in ("lat", "lon")}
    return xr.Dataset(variables, coords=coordinates, attrs={**product.attrs, "traits": " ".join(ids)})


def variable_name(trait: Trait, layer: str) -> str:
    """Return the CF name of a trait's layer: letters, digits and underscores, a letter first."""
    stem = re.sub(r"[^A-Za-z0-9_]", "_", trait.id)
    stem = stem if stem[0].isalpha() else f"trait_{stem}"
    return stem if layer == "value" else f"{stem}_{layer}"


def layer_attributes(trait: Trait, layer: Layer) -> dict[str, object]:
    """Return the CF attributes of a trait's layer."""
    attributes: dict[str, object] = {
        "long_name": layer.describe(trait.long_name or trait.name.lower()),
        "units": layer.units(trait),
        **layer.attributes,
        "grid_mapping": "crs",
        "trait": trait.id,
        "layer": layer.name,
    }
    if layer.scale in ("working", "working_squared"):
        space = f"natural logarithm of {trait.unit}" if trait.working_space == "ln" else trait.unit
        attributes["working_space"] = space
    if layer.flags:
        del attributes["units"]
        attributes["flag_values"] = np.array(list(layer.flags.values()), dtype=layer.dtype)
        attributes["flag_meanings"] = " ".join(layer.flags)
    if layer.name == "value":
        attributes["ancillary_variables"] = " ".join(variable_name(trait, x) for x in LAYERS if x != "value")
        attributes["definition"] = trait.definition
    return attributes


def common_attributes(layer: Layer) -> dict[str, object]:
    """Return the CF attributes of a layer that all traits share."""
    return {
        "long_name": layer.long_name,
        "units": "1",
        **layer.attributes,
        "grid_mapping": "crs",
        "layer": layer.name,
    }


def _crs_attributes(product: xr.Dataset) -> dict[str, object]:
    north, west = float(product["lat_bnds"].max()), float(product["lon_bnds"].min())
    rows, columns = product.sizes["lat"], product.sizes["lon"]
    transform = f"{west!r} {360 / columns!r} 0.0 {north!r} 0.0 {-180 / rows!r}"
    return {**CRS.from_epsg(4326).to_cf(), "long_name": "WGS 84, latitude and longitude", "GeoTransform": transform}
