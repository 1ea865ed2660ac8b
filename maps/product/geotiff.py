"""A map product as Cloud-Optimized GeoTIFFs, one band each."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import xarray as xr
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.transform import Affine

from data_catalog import Trait
from maps.product.layers import LAYERS, Layer
from plant_traits.errors import RasterError, TableError

COG_LAYERS = (
    "value",
    "median",
    "standard_error",
    "interval_lower",
    "interval_upper",
    "n_photos",
    "photo_share",
    "source",
    "quality",
    "applicability",
)
FLAG_NODATA = 255
BLOCK = 512


def write_cogs(product: xr.Dataset, traits: Sequence[Trait], folder: Path) -> list[Path]:
    """Write ``<trait>_<layer>.tif`` for the layers of ``COG_LAYERS``; the same product gives the same bytes.

    EPSG:4326, north up. Numbers are float32 with NaN as nodata and averaged overviews; flags are uint8, nodata 255
    where there is no estimate, with overviews of the most frequent value. Description, unit and flag meanings are tags.

    Args:
        product: a dataset of ``maps.product.dataset.build_product``.
        traits: the catalogue entries of its traits, in the same order.
        folder: where to write; made if missing. Files of the same names are replaced.

    Returns:
        The paths, by trait and layer.

    Raises:
        TableError: the traits are not the product's.
        RasterError: the product does not cover the globe from north to south, as its grid must.
    """
    ids = [trait.id for trait in traits]
    if list(product["trait"].values) != ids:
        raise TableError(
            f"product: its traits are {list(product['trait'].values)}, expected {ids}; pass its own traits"
        )
    transform = _transform(product)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, trait in enumerate(traits):
        for name in COG_LAYERS:
            band = product[name].isel(trait=index).transpose("lat", "lon")
            path = folder / f"{trait.id}_{name}.tif"
            _write_cog(path, np.asarray(band.values), transform, trait=trait, layer=LAYERS[name], of=product.attrs)
            paths.append(path)
    return paths


def _write_cog(
    path: Path,
    values: npt.NDArray[np.generic],
    transform: Affine,
    *,
    trait: Trait,
    layer: Layer,
    of: Mapping[Hashable, object],
) -> None:
    flags = bool(layer.flags)
    if flags:
        values = np.where(values == layer.flags["none"], FLAG_NODATA, values)
    description = layer.describe(trait.long_name or trait.name.lower())
    tags = {key: str(of[key]) for key in ("title", "license", "product_version", "month") if key in of}
    band_tags = {"long_name": description, "trait": trait.id, "layer": layer.name, **layer.attributes}
    if flags:
        band_tags["flag_values"] = " ".join(map(str, layer.flags.values()))
        band_tags["flag_meanings"] = " ".join(layer.flags)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=values.shape[0],
            width=values.shape[1],
            count=1,
            dtype=layer.dtype,
            crs="EPSG:4326",
            transform=transform,
            nodata=FLAG_NODATA if flags else float("nan"),
        ) as draft:
            draft.write(values.astype(layer.dtype), 1)
            draft.set_band_description(1, description)
            draft.set_band_unit(1, layer.units(trait))
            draft.update_tags(**tags)
            draft.update_tags(1, **band_tags)
        with rasterio.Env(GDAL_NUM_THREADS="1", GDAL_TIFF_INTERNAL_MASK=True), memory.open() as draft:
            copy(
                draft,
                path,
                driver="COG",
                BLOCKSIZE=BLOCK,
                COMPRESS="DEFLATE",
                LEVEL=6,
                PREDICTOR="NO" if flags else "FLOATING_POINT",
                OVERVIEW_RESAMPLING="MODE" if flags else "AVERAGE",
                BIGTIFF="IF_SAFER",
            )


def _transform(product: xr.Dataset) -> Affine:
    lat, lon = product["lat_bnds"].values, product["lon_bnds"].values
    if not (lat[0, 0] == 90 and lat[-1, 1] == -90 and lon[0, 0] == -180 and lon[-1, 1] == 180):
        raise RasterError(
            f"product: expected a global grid, rows from 90 to -90 and columns from -180 to 180; found "
            f"{lat[0, 0]} to {lat[-1, 1]} and {lon[0, 0]} to {lon[-1, 1]}: write the whole product, not a slice"
        )
    return Affine(360 / len(lon), 0, -180, 0, -180 / len(lat), 90)
