"""Compare maps with truth and with each other on the same cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.stats import norm

from data_catalog import Trait
from maps.comparison.metrics import (
    BLOCK_DEGREES,
    RESAMPLES,
    SCALES,
    Scale,
    bootstrap_pearson,
    interval,
    score,
    to_scale,
    weighted_pearson,
)
from plant_traits.errors import GridError
from plant_traits.grid import Grid
from plant_traits.schemas import SCORE
from plant_traits.spatial_folds import block_of

FloatArray = npt.NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.9, 0.95)
DIFFERENCE_COLUMNS = (
    "reference",  # what both maps are compared with
    "trait",
    "scale",
    "map_a",
    "map_b",
    "n",  # cells that the reference and both maps share
    "pearson_r_a",
    "pearson_r_b",
    "difference",  # r of map_a minus r of map_b
    "difference_low",  # 95 % interval, spatial block bootstrap
    "difference_high",
)
COVERAGE_COLUMNS = ("trait", "level", "n", "coverage", "coverage_area_weighted")


def compare(
    maps: Mapping[str, xr.Dataset],
    reference_name: str,
    reference: xr.Dataset,
    traits: Sequence[Trait],
    grid: Grid,
    *,
    seed: int,
    shared_by: Sequence[str] | None = None,
    scales: Sequence[Scale] = SCALES,
    block_degrees: float = BLOCK_DEGREES,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Score every map against a reference, on the cells all share and on its own.

    The shared cells of a trait are those where the reference and every map of ``shared_by`` that has the trait
    have a value. A map outside ``shared_by`` gets a ``shared`` row only if it covers all of these cells, so that all
    shared rows of a trait are scored on the same cells; its ``own`` row and :func:`pairwise_differences` remain.

    Args:
        maps: name to ``location`` (trait, lat, lon) in working space; a trait may be absent from a map.
        reference_name: what the reference is called in the table.
        reference: the truth, ``location`` likewise.
        traits: traits to compare.
        grid: the grid of all datasets.
        seed: of the bootstrap.
        shared_by: maps that define the shared cells; all by default. Leave out a map with few cells.
        scales: scales of comparison.
        block_degrees: side of the bootstrap's blocks.
        resamples: of the bootstrap.

    Returns:
        A frame with the columns of ``plant_traits.schemas.SCORE``, ordered by trait, map, scale and cells, maps in
        the order given. A map without a cell in common with the reference has a row with n = 0 and NaN scores.

    Raises:
        GridError: a dataset is not on the grid, or ``shared_by`` names an unknown map.
    """
    defining = tuple(maps) if shared_by is None else tuple(shared_by)
    unknown = [name for name in defining if name not in maps]
    if unknown:
        raise GridError(f"the shared cells are to be defined by the unknown maps {unknown}; there are {list(maps)}")
    area, block = grid.area_m2.ravel(), _blocks(grid, block_degrees)
    rows = []
    for trait in traits:
        truth = map_layer(reference, trait, grid, reference_name)
        layers = {name: map_layer(dataset, trait, grid, name) for name, dataset in maps.items()}
        shared = np.isfinite(truth)
        for name in defining:
            present = np.isfinite(layers[name])
            if present.any():
                shared = shared & present
        for name, layer in layers.items():
            own = np.isfinite(truth) & np.isfinite(layer)
            for scale in scales:
                for kind, cells in (("shared", shared), ("own", own)):
                    if kind == "shared" and (not shared.any() or not own[shared].all()):
                        continue
                    y, x = (to_scale(trait, values[cells], scale) for values in (truth, layer))
                    resampled = bootstrap_pearson(y, [x], area[cells], block[cells], seed=seed, resamples=resamples)
                    low, high = interval(resampled)
                    scores = asdict(score(y, x, area[cells]))
                    heading = {"map": name, "reference": reference_name, "trait": trait.id, "scale": scale}
                    rows.append({**heading, "cells": kind, **scores, "pearson_r_low": low, "pearson_r_high": high})
    return pd.DataFrame(rows, columns=SCORE.names)


def pairwise_differences(
    maps: Mapping[str, xr.Dataset],
    reference_name: str,
    reference: xr.Dataset,
    traits: Sequence[Trait],
    grid: Grid,
    *,
    seed: int,
    scale: Scale = "ln",
    block_degrees: float = BLOCK_DEGREES,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Return, for each pair of maps, the difference of their correlations with the reference and its interval.

    Both maps of a pair are scored on the cells that they and the reference share, and see the same resamples.

    Args:
        maps: as for :func:`compare`.
        reference_name: what the reference is called in the table.
        reference: the truth.
        traits: traits to compare.
        grid: the grid of all datasets.
        seed: of the bootstrap.
        scale: scale of comparison.
        block_degrees: side of the bootstrap's blocks.
        resamples: of the bootstrap.

    Returns:
        One row per trait and pair, columns ``DIFFERENCE_COLUMNS``; a pair without shared cells has n = 0.

    Raises:
        GridError: a dataset is not on the grid.
    """
    area, block = grid.area_m2.ravel(), _blocks(grid, block_degrees)
    rows = []
    for trait in traits:
        truth = to_scale(trait, map_layer(reference, trait, grid, reference_name), scale)
        layers = {n: to_scale(trait, map_layer(dataset, trait, grid, n), scale) for n, dataset in maps.items()}
        for a, b in combinations(layers, 2):
            cells = np.isfinite(truth) & np.isfinite(layers[a]) & np.isfinite(layers[b])
            pair = [layers[a][cells], layers[b][cells]]
            resampled = bootstrap_pearson(truth[cells], pair, area[cells], block[cells], seed=seed, resamples=resamples)
            low, high = interval(resampled[:, 0] - resampled[:, 1])
            r_a, r_b = (weighted_pearson(truth[cells], x, area[cells]) for x in pair)
            rows.append((reference_name, trait.id, scale, a, b, int(cells.sum()), r_a, r_b, r_a - r_b, low, high))
    return pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))


def coverage(
    location: xr.DataArray,
    standard_error: xr.DataArray,
    truth: xr.DataArray,
    traits: Sequence[Trait],
    grid: Grid,
    *,
    levels: Sequence[float] = LEVELS,
) -> pd.DataFrame:
    """Return the share of cells whose normal interval, location ± z · standard error, contains the truth.

    Args:
        location: (trait, lat, lon), working space.
        standard_error: likewise; the error of the cell's location, not the spread of its plants.
        truth: likewise.
        traits: traits to assess.
        grid: the grid of all three.
        levels: nominal coverages.

    Returns:
        See :func:`interval_coverage`.

    Raises:
        GridError: an array is not on the grid, or a level is not between 0 and 1.
    """
    half = {level: norm.ppf(0.5 + level / 2) * standard_error for level in levels}
    intervals = {level: (location - width, location + width) for level, width in half.items()}
    return interval_coverage(intervals, truth, traits, grid)


def interval_coverage(
    intervals: Mapping[float, tuple[xr.DataArray, xr.DataArray]],
    truth: xr.DataArray,
    traits: Sequence[Trait],
    grid: Grid,
) -> pd.DataFrame:
    """Return the share of cells whose interval contains the truth.

    Args:
        intervals: nominal level to (lower, upper), each (trait, lat, lon) on the truth's scale.
        truth: (trait, lat, lon).
        traits: traits to assess.
        grid: the grid of all arrays.

    Returns:
        One row per trait and level: ``n`` cells with truth and interval, ``coverage`` (share of these cells) and
        ``coverage_area_weighted`` (share of their area).

    Raises:
        GridError: an array is not on the grid, or a level is not between 0 and 1.
    """
    bad = [level for level in intervals if not 0 < level < 1]
    if bad:
        raise GridError(f"nominal coverages lie between 0 and 1, found {bad}")
    area = grid.area_m2.ravel()
    rows = []
    for trait in traits:
        true = _values(truth, trait, grid, "truth")
        for level, (lower, upper) in intervals.items():
            low, high = (_values(side, trait, grid, f"{level} interval") for side in (lower, upper))
            cells = np.isfinite(true) & np.isfinite(low) & np.isfinite(high)
            inside = (true[cells] >= low[cells]) & (true[cells] <= high[cells])
            n, weight = int(cells.sum()), area[cells]
            plain = float(inside.mean()) if n else float("nan")
            weighted = float(weight @ inside / weight.sum()) if n else float("nan")
            rows.append((trait.id, level, n, plain, weighted))
    return pd.DataFrame(rows, columns=list(COVERAGE_COLUMNS))


def map_layer(dataset: xr.Dataset, trait: Trait, grid: Grid, name: str) -> FloatArray:
    """Return the location of a trait in every cell of the grid.

    Args:
        dataset: ``location`` (trait, lat, lon).
        trait: the trait; all NaN where the dataset does not have it.
        grid: the cells.
        name: what the dataset is called, for messages.

    Returns:
        (cells,) in the order of their numbers.

    Raises:
        GridError: there is no ``location``, or it is not on the grid.
    """
    if "location" not in dataset:
        raise GridError(f"map {name!r} needs a variable 'location', found {list(dataset.data_vars)}")
    return _values(dataset["location"], trait, grid, name)


def _blocks(grid: Grid, block_degrees: float) -> npt.NDArray[np.int64]:
    latitude, longitude = np.meshgrid(grid.lat, grid.lon, indexing="ij")
    return block_of(latitude.ravel(), longitude.ravel(), block_degrees)


def _values(array: xr.DataArray, trait: Trait, grid: Grid, name: str) -> FloatArray:
    if trait.id not in array["trait"].to_numpy():
        return np.full(grid.size, np.nan)
    layer = array.sel(trait=trait.id).transpose("lat", "lon")
    on_grid = layer.shape == grid.shape and np.allclose(layer["lat"], grid.lat) and np.allclose(layer["lon"], grid.lon)
    if not on_grid:
        raise GridError(f"{name!r} is not on the {grid} grid (shape {layer.shape}); bring it there first")
    return np.asarray(layer.to_numpy(), dtype=np.float64).ravel()
