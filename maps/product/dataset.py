"""A map product: one dataset (trait, lat, lon) of what is known of every cell, with uncertainty and flags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from data_catalog import Trait
from maps.product.attributes import product_attributes
from maps.product.layers import APPLICABILITY, COMMON_LAYERS, LAYERS, QUALITY, SOURCE, Layer
from plant_traits.errors import GridError, TableError
from plant_traits.grid import FloatArray, Grid
from plant_traits.month import Month
from plant_traits.needed_columns import need_columns
from plant_traits.regions import Region
from plant_traits.schemas import CELL, ESTIMATE
from plant_traits.traits import from_working, mean_from_working

CELL_LAYERS = tuple(name for name in CELL.names if name not in ("cell", "trait", "biome"))
ESTIMATE_LAYERS = tuple(name for name in ESTIMATE.names if name not in ("cell", "trait"))
_DIAGNOSTICS = ("n_photos", "n_species", "n_observers", "n_effective", "tau2", "i2")
_MOSTLY = 0.5  # of the weight


def build_product(
    cells: pd.DataFrame,
    photos: pd.DataFrame,
    traits: Sequence[Trait],
    grid: Grid,
    *,
    published: str,
    minimum_photos: int,
    region: Region,
    month: Month,
    provenance: Mapping[str, str],
    applicability: pd.DataFrame | None = None,
    effort: pd.DataFrame | None = None,
    bias: pd.DataFrame | None = None,
) -> xr.Dataset:
    """Lay what is known of the cells on the grid, with a flag for its source and its quality in every cell.

    ``source`` says what weighs at least half: the photos or the geospatial prediction. ``quality`` is ``photos`` where
    they do in a cell of at least ``minimum_photos`` photos of two species or more, ``single_species`` where of one,
    ``few_photos`` in other cells with a photo, ``geospatial_only`` in cells without one; and ``outside_applicability``
    wherever climate and soil weigh more than half and are unlike any that the model was trained on: such a cell is
    shown and flagged. Counts, n_effective, heterogeneity and i_squared describe the cell's photos. Cells whose
    centre lies outside the region are empty.

    Args:
        cells: ``schemas.CELL``, one row per cell and trait.
        photos: ``schemas.ESTIMATE`` of the published estimator.
        traits: the traits to map, in this order; rows of other traits are not shown.
        grid: the cells.
        published: name of the published estimator.
        minimum_photos: photos of a cell that is flagged as known from photos.
        region: where to map.
        month: the month of the refresh.
        provenance: see ``maps.product.attributes.product_attributes``.
        applicability: columns cell, trait, dissimilarity and outside; None leaves both layers empty.
        effort: columns cell, n_records and n_observers; a mapped cell that is not in it has none; None leaves the
            layers empty.
        bias: columns cell, trait and expected_bias, of cells with photos; None leaves the layer empty.

    Returns:
        A dataset of the layers of ``maps.product.layers``: ``LAYERS`` (trait, lat, lon) and ``COMMON_LAYERS`` (lat,
        lon), EPSG:4326, rows north to south, NaN where there is no estimate.

    Raises:
        TableError: a column is missing, or a cell occurs twice for a trait.
        GridError: a cell id is not of this grid.
    """
    known = _stack(cells, CELL_LAYERS, traits, grid, "cells")
    photo = _stack(photos, _DIAGNOSTICS, traits, grid, f"estimates by {published}")
    inside = region.contains(grid.lat[:, None], grid.lon[None, :])
    shown = inside & np.isfinite(known["location"]) & np.isfinite(known["standard_error"])
    counted = {name: np.where(shown, np.nan_to_num(photo[name]), np.nan) for name in _DIAGNOSTICS[:4]}
    dissimilarity, outside = _applicability(applicability, traits, grid, shown)

    mostly_photos = shown & (known["photo_share"] >= _MOSTLY)
    seen = shown & (counted["n_photos"] > 0)
    enough = mostly_photos & (counted["n_photos"] >= minimum_photos)
    strange = shown & ~mostly_photos & (outside == APPLICABILITY["outside"])
    quality = np.select(
        [strange, enough & (counted["n_species"] >= 2), enough, seen, shown],
        [
            QUALITY["outside_applicability"],
            QUALITY["photos"],
            QUALITY["single_species"],
            QUALITY["few_photos"],
            QUALITY["geospatial_only"],
        ],
        QUALITY["none"],
    )

    def median(of: str) -> FloatArray:
        values = np.where(shown, known[of], np.nan)
        return _natural(traits, [from_working(t, x) for t, x in zip(traits, values, strict=True)])

    def mean(of: str) -> FloatArray:
        values = np.where(shown, known[of], np.nan)
        spread = known["variance_among_plants"]
        return _natural(traits, [mean_from_working(t, x, s) for t, x, s in zip(traits, values, spread, strict=True)])

    layers: dict[str, npt.NDArray[np.generic]] = {
        "value": mean("location"),
        "median": median("location"),
        "location": np.where(shown, known["location"], np.nan),
        "standard_error": np.where(shown, known["standard_error"], np.nan),
        "interval_lower": median("interval_lower"),
        "interval_upper": median("interval_upper"),
        "value_lower": mean("interval_lower"),
        "value_upper": mean("interval_upper"),
        "standard_error_raw": np.where(shown, known["standard_error_raw"], np.nan),
        "interval_raw_lower": median("interval_raw_lower"),
        "interval_raw_upper": median("interval_raw_upper"),
        "photo_share": np.where(shown, known["photo_share"], np.nan),
        **counted,
        "heterogeneity": np.where(shown, photo["tau2"], np.nan),
        "i_squared": np.where(shown, photo["i2"], np.nan),
        "expected_bias": _of_shown(bias, "expected_bias", traits, grid, shown),
        "dissimilarity": dissimilarity,
        "applicability": outside,
        "source": np.select([mostly_photos, shown], [SOURCE["photos"], SOURCE["geospatial"]], SOURCE["none"]),
        "quality": quality,
    }
    common = _effort(effort, grid, np.asarray(shown.any(axis=0)))
    attributes = product_attributes(
        provenance,
        published=published,
        traits=traits,
        grid=grid,
        minimum_photos=minimum_photos,
        region=region,
        month=month,
    )
    return _dataset(layers, common, traits, grid).assign_attrs(attributes)


def _applicability(
    frame: pd.DataFrame | None, traits: Sequence[Trait], grid: Grid, shown: npt.NDArray[np.bool_]
) -> tuple[FloatArray, npt.NDArray[np.generic]]:
    """Return the dissimilarity and the flag of every cell that is shown."""
    if frame is None:
        return np.full(shown.shape, np.nan), np.full(shown.shape, APPLICABILITY["none"])
    found = _stack(frame, ("dissimilarity", "outside"), traits, grid, "applicability")
    dissimilarity = np.where(shown, found["dissimilarity"], np.nan)
    flags = np.where(found["outside"] > 0, APPLICABILITY["outside"], APPLICABILITY["inside"])
    assessed = shown & np.isfinite(found["outside"])  # a cell too little is known of has a flag and no index
    return dissimilarity, np.where(assessed, flags, APPLICABILITY["none"])


def _of_shown(
    frame: pd.DataFrame | None, column: str, traits: Sequence[Trait], grid: Grid, shown: npt.NDArray[np.bool_]
) -> FloatArray:
    if frame is None:
        return np.full(shown.shape, np.nan)
    return np.where(shown, _stack(frame, (column,), traits, grid, column)[column], np.nan)


def _effort(frame: pd.DataFrame | None, grid: Grid, mapped: npt.NDArray[np.bool_]) -> dict[str, FloatArray]:
    """Return the effort of every mapped cell."""
    names = dict(zip(COMMON_LAYERS, ("n_records", "n_observers"), strict=True))
    if frame is None:
        return {layer: np.full(grid.shape, np.nan) for layer in names}
    need_columns(frame, "effort", ("cell", *names.values()))
    cell = frame["cell"].to_numpy(dtype=np.int64)
    _check_cells(cell, grid, "effort")
    layers = {}
    for layer, name in names.items():
        total = np.bincount(cell, frame[name].to_numpy(dtype=np.float64), grid.size).reshape(grid.shape)
        layers[layer] = np.where(mapped, total, np.nan)
    return layers


def estimate_dataset(estimates: pd.DataFrame, traits: Sequence[Trait], grid: Grid) -> xr.Dataset:
    """Lay one estimator's frame on the grid as it is, in working space, for the comparison.

    Args:
        estimates: ``schemas.ESTIMATE``.
        traits: the traits to lay out, in this order.
        grid: the cells.

    Returns:
        A dataset (trait, lat, lon) of float64 layers named as the frame's columns; NaN where a cell has no row.

    Raises:
        TableError: a column is missing or a cell occurs twice for a trait.
        GridError: a cell id is not of this grid.
    """
    stacked = _stack(estimates, ESTIMATE_LAYERS, traits, grid, "estimates")
    return xr.Dataset(
        {name: (("trait", "lat", "lon"), values) for name, values in stacked.items()}, coords=_coordinates(traits, grid)
    )


def _stack(
    frame: pd.DataFrame, columns: Iterable[str], traits: Sequence[Trait], grid: Grid, what: str
) -> dict[str, FloatArray]:
    """Return each column as (trait, lat, lon), NaN where the frame has no row."""
    wanted = ("cell", "trait", *columns)
    need_columns(frame, what, wanted)
    index = pd.Index([trait.id for trait in traits]).get_indexer(pd.Index(frame["trait"]))
    rows = frame[index >= 0]
    cell = rows["cell"].to_numpy(dtype=np.int64)
    _check_cells(cell, grid, what)
    at = index[index >= 0] * grid.size + cell
    if len(np.unique(at)) < len(at):
        raise TableError(f"{what}: {len(at) - len(np.unique(at))} rows repeat a cell and trait; expected one row each")
    stacked = {}
    for name in wanted[2:]:
        flat = np.full(len(traits) * grid.size, np.nan)
        flat[at] = rows[name].to_numpy(dtype=np.float64)
        stacked[name] = flat.reshape(len(traits), *grid.shape)
    return stacked


def _check_cells(cell: npt.NDArray[np.int64], grid: Grid, what: str) -> None:
    if len(cell) and not 0 <= cell.min() <= cell.max() < grid.size:
        raise GridError(
            f"{what}: cell ids run from {cell.min()} to {cell.max()}, but the {grid} grid has {grid.size} cells; "
            "were they made on another grid?"
        )


def _natural(traits: Sequence[Trait], maps: Sequence[FloatArray]) -> FloatArray:
    return np.stack(maps) if traits else np.empty((0, 0, 0))


def _dataset(
    arrays: Mapping[str, npt.NDArray[np.generic]],
    common: Mapping[str, FloatArray],
    traits: Sequence[Trait],
    grid: Grid,
) -> xr.Dataset:
    def variable(dims: tuple[str, ...], values: npt.NDArray[np.generic], layer: Layer) -> xr.Variable:
        return xr.Variable(dims, values.astype(layer.dtype), {"long_name": layer.describe("trait")})

    variables = {name: variable(("trait", "lat", "lon"), arrays[name], layer) for name, layer in LAYERS.items()}
    variables |= {name: variable(("lat", "lon"), common[name], layer) for name, layer in COMMON_LAYERS.items()}
    return xr.Dataset(variables, coords=_coordinates(traits, grid))


def _coordinates(traits: Sequence[Trait], grid: Grid) -> dict[str, object]:
    lat_edges, lon_edges = grid.lat_edges[::-1], grid.lon_edges
    latitude = {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"}
    longitude = {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"}
    return {
        "trait": ("trait", np.array([trait.id for trait in traits], dtype=object)),
        "unit": ("trait", np.array([trait.unit for trait in traits], dtype=object)),
        "lat": ("lat", grid.lat, {**latitude, "bounds": "lat_bnds"}),
        "lon": ("lon", grid.lon, {**longitude, "bounds": "lon_bnds"}),
        "lat_bnds": (("lat", "bnds"), np.stack([lat_edges[:-1], lat_edges[1:]], axis=1)),
        "lon_bnds": (("lon", "bnds"), np.stack([lon_edges[:-1], lon_edges[1:]], axis=1)),
    }
