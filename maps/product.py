"""A map product: one dataset (trait, lat, lon) from the cells' estimates and the prediction of every land cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from data_catalog import Trait
from maps.estimators import NORMAL_95
from maps.layers import LAYERS, QUALITY, SOURCE, Layer
from plant_traits.errors import GridError, TableError
from plant_traits.grid import FloatArray, Grid
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.schemas import ESTIMATE
from plant_traits.traits import from_working, mean_from_working

GEOSPATIAL_COLUMNS = ("cell", "trait", "mean", "variance_aleatoric", "variance_epistemic")
ESTIMATE_LAYERS = tuple(name for name in ESTIMATE.names if name not in ("cell", "trait"))


def build_product(
    estimates: Mapping[str, pd.DataFrame],
    published: str,
    geospatial: pd.DataFrame,
    traits: Sequence[Trait],
    grid: Grid,
    *,
    minimum_photos: int,
    region: Region,
    month: Month,
    provenance: Mapping[str, str],
) -> xr.Dataset:
    """Lay the published estimator and the geospatial prediction on the grid, with uncertainty and a flag in every cell.

    A cell of at least ``minimum_photos`` photos shows the estimate from its photos. One of fewer shows the geospatial
    prediction, flagged ``few_photos``; where there is none it shows the photos' estimate, flagged the same. A cell
    without photos shows the geospatial prediction, if there is one. Counts, n_effective, heterogeneity and i_squared
    describe the cell's photos whichever source is shown. Where the geospatial prediction is shown, ``standard_error``
    is the prediction's standard deviation, (aleatoric + epistemic) ** 1/2, and the variance among plants of
    ``value`` is the aleatoric one. Cells whose centre lies outside the region are empty.

    Args:
        estimates: frames of ``schemas.ESTIMATE``, from photos, by estimator.
        published: which of them the map shows.
        geospatial: predictions without photos, columns ``GEOSPATIAL_COLUMNS``, working space.
        traits: the traits to map, in this order; rows of other traits are not shown.
        grid: the cells.
        minimum_photos: photos that a cell needs to be mapped from its photos.
        region: where to map.
        month: the month of the refresh; its last day closes ``time_coverage``.
        provenance: texts (JSON where structured) kept as attributes ``provenance_<key>``: configuration, inputs,
            code_version, model_id and so on. The keys ``license``, ``product_version`` and ``date_created`` set the
            ACDD attribute of that name instead.

    Returns:
        A dataset (trait, lat, lon) of the float32 layers of ``maps.layers`` and the uint8 flags ``source`` and
        ``quality``, EPSG:4326, rows north to south, NaN where there is no estimate.

    Raises:
        TableError: the published estimator is missing, a column is missing, or a cell occurs twice for a trait.
        GridError: a cell id is not of this grid.
    """
    if published not in estimates:
        raise TableError(f"product: the published estimator {published!r} is not among {sorted(estimates)}; compute it")
    photo = _stack(estimates[published], ESTIMATE_LAYERS, traits, grid, f"estimates by {published}")
    other = _stack(geospatial, GEOSPATIAL_COLUMNS[2:], traits, grid, "geospatial predictions")
    inside = region.contains(grid.lat[:, None], grid.lon[None, :])

    n = np.where(inside, np.nan_to_num(photo["n_photos"]), 0.0)
    has_photo = inside & (n > 0) & np.isfinite(photo["location"]) & np.isfinite(photo["standard_error"])
    total = other["variance_aleatoric"] + other["variance_epistemic"]
    has_other = inside & np.isfinite(other["mean"]) & np.isfinite(total)
    show_photo = has_photo & ((n >= minimum_photos) | ~has_other)
    show_other = has_other & ~show_photo
    shown = show_photo | show_other

    source = np.select([show_photo, show_other], [SOURCE["photos"], SOURCE["geospatial"]], SOURCE["none"])
    enough = show_photo & (n >= minimum_photos)
    several = photo["n_species"] >= 2
    quality = np.select(
        [enough & several, enough, shown & has_photo, shown],
        [QUALITY["photos"], QUALITY["single_species"], QUALITY["few_photos"], QUALITY["geospatial_only"]],
        QUALITY["none"],
    )

    def pick(of_photo: FloatArray, of_other: FloatArray | float) -> FloatArray:
        return np.where(show_photo, of_photo, np.where(show_other, of_other, np.nan))

    location = pick(photo["location"], other["mean"])
    prediction_sd = np.sqrt(total)
    among_plants = pick(photo["variance_among_plants"], other["variance_aleatoric"])
    lower = pick(photo["interval_lower"], other["mean"] - NORMAL_95 * prediction_sd)
    upper = pick(photo["interval_upper"], other["mean"] + NORMAL_95 * prediction_sd)
    layers: dict[str, npt.NDArray[np.generic]] = {
        "value": _natural(
            traits, [mean_from_working(t, x, s) for t, x, s in zip(traits, location, among_plants, strict=True)]
        ),
        "median": _natural(traits, [from_working(t, x) for t, x in zip(traits, location, strict=True)]),
        "location": location,
        "standard_error": pick(photo["standard_error"], prediction_sd),
        "interval_lower": _natural(traits, [from_working(t, x) for t, x in zip(traits, lower, strict=True)]),
        "interval_upper": _natural(traits, [from_working(t, x) for t, x in zip(traits, upper, strict=True)]),
        "n_photos": np.where(shown, n, np.nan),
        "n_species": np.where(shown, np.nan_to_num(photo["n_species"]), np.nan),
        "n_observers": np.where(shown, np.nan_to_num(photo["n_observers"]), np.nan),
        "n_effective": np.where(shown, np.nan_to_num(photo["n_effective"]), np.nan),
        "heterogeneity": np.where(shown, photo["tau2"], np.nan),
        "i_squared": np.where(shown, photo["i2"], np.nan),
        "source": source,
        "quality": quality,
    }
    attributes = _attributes(
        provenance,
        published=published,
        traits=traits,
        grid=grid,
        minimum_photos=minimum_photos,
        region=region,
        month=month,
    )
    return _dataset(layers, LAYERS, traits, grid).assign_attrs(attributes)


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
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise TableError(f"{what}: columns {missing} are missing; found {list(frame.columns)}")
    index = pd.Index([trait.id for trait in traits]).get_indexer(pd.Index(frame["trait"]))
    rows = frame[index >= 0]
    cell = rows["cell"].to_numpy(dtype=np.int64)
    if len(cell) and not 0 <= cell.min() <= cell.max() < grid.size:
        raise GridError(
            f"{what}: cell ids run from {cell.min()} to {cell.max()}, but the {grid} grid has {grid.size} cells; "
            "were they made on another grid?"
        )
    at = index[index >= 0] * grid.size + cell
    if len(np.unique(at)) < len(at):
        raise TableError(f"{what}: {len(at) - len(np.unique(at))} rows repeat a cell and trait; expected one row each")
    stacked = {}
    for name in wanted[2:]:
        flat = np.full(len(traits) * grid.size, np.nan)
        flat[at] = rows[name].to_numpy(dtype=np.float64)
        stacked[name] = flat.reshape(len(traits), *grid.shape)
    return stacked


def _natural(traits: Sequence[Trait], maps: Sequence[FloatArray]) -> FloatArray:
    return np.stack(maps) if traits else np.empty((0, 0, 0))


def _dataset(
    arrays: Mapping[str, npt.NDArray[np.generic]], layers: Mapping[str, Layer], traits: Sequence[Trait], grid: Grid
) -> xr.Dataset:
    variables = {
        name: (("trait", "lat", "lon"), arrays[name].astype(layer.dtype), {"long_name": layer.describe("trait")})
        for name, layer in layers.items()
    }
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


def _attributes(
    provenance: Mapping[str, str],
    *,
    published: str,
    traits: Sequence[Trait],
    grid: Grid,
    minimum_photos: int,
    region: Region,
    month: Month,
) -> dict[str, str | float]:
    named = {"license", "product_version", "date_created"}
    west, south, east, north = region.bbox
    names = ", ".join(trait.name.lower() for trait in traits)
    last_day = month.next.first_day - timedelta(days=1)
    return {
        "Conventions": "CF-1.13, ACDD-1.3",
        "title": f"Plant traits from citizen-science photos, {region.name}, {month}",
        "summary": (
            f"Maps of {names} on a {grid} grid. Each cell of at least {minimum_photos} photos shows the {published} "
            "estimate over its photos; other land cells show a prediction from climate and soil. Every value has a "
            "95 % interval, counts of photos, species and observers, and flags for its source and quality."
        ),
        "keywords": ", ".join(["plant traits", "citizen science", *(trait.name.lower() for trait in traits)]),
        "license": provenance.get("license", "not stated"),
        "product_version": provenance.get("product_version", str(month)),
        **({"date_created": provenance["date_created"]} if "date_created" in provenance else {}),
        "time_coverage_start": month.first_day.isoformat(),
        "time_coverage_end": last_day.isoformat(),
        "time_coverage_duration": "P1M",
        "comment": (
            f"All records known by the end of {month} count, whenever the plant was seen; time_coverage is that of the "
            "refresh."
        ),
        "geospatial_lat_min": south,
        "geospatial_lat_max": north,
        "geospatial_lat_units": "degrees_north",
        "geospatial_lon_min": west,
        "geospatial_lon_max": east,
        "geospatial_lon_units": "degrees_east",
        "geospatial_bounds_crs": "EPSG:4326",
        "geospatial_lat_resolution": float(grid.resolution),
        "geospatial_lon_resolution": float(grid.resolution),
        "cdm_data_type": "Grid",
        "source": "photos of citizen scientists read by a neural network; elsewhere climate and soil",
        "grid": grid.text,
        "region": region.name,
        "month": str(month),
        "estimator": published,
        "minimum_photos": minimum_photos,
        "history": f"built by maps.product.build_product from the {published} estimates of the {month} refresh",
        "processing_level": "gridded estimate",
        **{f"provenance_{key}": provenance[key] for key in sorted(provenance) if key not in named},
    }
