"""Cell means in which every photo counts the less, the more was recorded around it.

Most photos of a cell may come from a park beside its city. Effort is told from the records of all vascular plants, the
target group (Phillips et al. 2009, Ecol. Appl. 19, 181-197), in sub-cells of a quarter of the cell's side: a photo in a
sub-cell with E records stands for 1 / E of what was looked at there, so a cell's mean is that of its sub-cells, each
weighted by its photos per record. Where photos are the same share of the records everywhere, the sub-cells count alike;
a sub-cell that nobody visited still says nothing. Predictions are reduced to sums by sub-cell, shard by shard; effort,
which changes with every month, enters only when the sums are put together.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import norm
from scipy.stats import t as student

from maps.moments.reduction import reduce_predictions
from plant_traits.errors import GridError, TableError
from plant_traits.grid import FloatArray, Grid, IntArray
from plant_traits.needed_columns import need_columns
from plant_traits.schemas import EFFORT, ESTIMATE, SUBCELL_SUMS

SUBDIVISION = 4
"""Sub-cells along a cell's side."""

MOST_WEIGHT = 100.0
"""Largest weight of a photo, in mean weights of its cell's photos; beyond it weights are cut to it."""

_SUMS = [name for name in SUBCELL_SUMS.names if name not in ("cell", "trait")]
_NORMAL_95 = float(norm.ppf(0.975))


def subcell_grid(grid: Grid) -> Grid:
    """Return the grid of the sub-cells of a grid's cells, which nest in them exactly."""
    return Grid(grid.resolution / SUBDIVISION)


def cell_of_subcell(subcell: IntArray, grid: Grid) -> IntArray:
    """Return the cell of a grid in which each sub-cell lies."""
    row, column = np.divmod(np.asarray(subcell, dtype=np.int64), grid.n_lon * SUBDIVISION)
    cell: IntArray = row // SUBDIVISION * grid.n_lon + column // SUBDIVISION
    return cell


def reduce_to_subcells(predictions: pd.DataFrame, observations: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Add up the predictions that saw a photo by sub-cell and trait.

    Which predictions enter, and how they are joined with their places, is said in
    ``maps.moments.reduction.reduce_predictions``.

    Args:
        predictions: columns of ``schemas.PREDICTION``.
        observations: columns of ``schemas.SHARD_ROW`` that the moments need.
        grid: the cells whose sub-cells are meant.

    Returns:
        A frame of ``schemas.SUBCELL_SUMS`` sorted by sub-cell and trait.

    Raises:
        TableError: see ``maps.moments.reduction.reduce_predictions``.
    """
    moments = reduce_predictions(predictions, observations, subcell_grid(grid))
    return merge_subcells([moments[moments["evidence"] == "photo"]])


def merge_subcells(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Add sums of disjoint sets of photos; the same frames give the same bits in whatever order they come.

    Args:
        frames: frames with the columns of ``schemas.SUBCELL_SUMS``.

    Returns:
        A frame of ``schemas.SUBCELL_SUMS`` sorted by sub-cell and trait.

    Raises:
        TableError: a column is missing.
    """
    parts = [SUBCELL_SUMS.empty_table().to_pandas()]
    for frame in frames:
        need_columns(frame, "sums of sub-cells", SUBCELL_SUMS.names)
        parts.append(frame[SUBCELL_SUMS.names])
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    rows = rows.sort_values(SUBCELL_SUMS.names, ignore_index=True)
    merged: pd.DataFrame = rows.groupby(["cell", "trait"], sort=True)[_SUMS].sum().reset_index()
    return merged


def weigh_subcells(sums: pd.DataFrame, effort: pd.DataFrame, grid: Grid) -> tuple[pd.DataFrame, int]:
    """Weigh the sub-cells of whole cells by their effort.

    Args:
        sums: ``schemas.SUBCELL_SUMS``, a row per sub-cell and trait: all sub-cells of the cells in it.
        effort: ``schemas.EFFORT`` of the sub-cells, target-group records before any cap.
        grid: the cells.

    Returns:
        A row per cell and trait, which ``effort_estimates`` reads; and the number of photos, traits counted apart,
        that lie in sub-cells without any effort and are left out.

    Raises:
        TableError: a column is missing, or a sub-cell appears twice.
        GridError: a sub-cell is not of the grid.
    """
    need_columns(sums, "sums of sub-cells", SUBCELL_SUMS.names)
    need_columns(effort, "effort", EFFORT.names)
    if not sums["cell"].between(0, subcell_grid(grid).size - 1).all():
        raise GridError(f"sums of sub-cells: expected cells of {subcell_grid(grid)}, found others; reduce for {grid}")
    if sums.duplicated(["cell", "trait"]).any() or effort["cell"].duplicated().any():
        raise TableError("sub-cells: one appears twice in the sums of a trait or in the effort; merge them first")
    records = sums["cell"].map(effort.set_index("cell")["n_records"]).fillna(0).to_numpy(dtype=np.float64)
    rows = sums.assign(records=records, of=cell_of_subcell(sums["cell"].to_numpy(), grid))
    lost = int(rows.loc[records <= 0, "n"].sum())
    rows = rows[records > 0].sort_values(["of", "trait", "cell"], ignore_index=True)
    return _weighted_cells(rows), lost


def effort_estimates(cells: pd.DataFrame) -> pd.DataFrame:
    """Estimate every cell from its weighted sub-cells.

    The location is sum_s w_s n_s mean_s / sum_s w_s n_s over the sub-cells s, where a photo's weight w_s is 1 over the
    records of the sub-cell, but at most ``MOST_WEIGHT`` times the mean of that over its cell's photos. The standard
    error takes sub-cells as clusters (the linearised error of a ratio, with G / (G - 1)), never below that of the
    photos' own variances; the interval takes Student's t with G - 1 degrees of freedom. A cell of one sub-cell has no
    scatter to learn from: the mean variance among the sub-cells of its trait's other cells is added to its photos' own,
    that of the photos where no cell has two, and the interval is normal.

    Args:
        cells: what ``weigh_subcells`` returned, of any number of sets of cells.

    Returns:
        ``schemas.ESTIMATE``, working space, sorted by cell and trait. n_effective is Kish's of the photos' weights,
        variance_among_plants the weighted variance of the predictions plus their mean aleatoric variance. Species
        and observers are not known of sub-cells: their numbers, tau2 and i2 are null.
    """
    cells = cells.sort_values(["cell", "trait"], ignore_index=True)
    several = cells["subcells"] > 1
    between = cells["variance_between"].where(several).groupby(cells["trait"]).transform("mean")
    between = between.fillna(cells.groupby("trait")["variance_mean"].transform("mean"))
    variance = cells["variance_photos"] + between.where(~several, 0.0)
    error = np.sqrt(np.maximum(variance, cells["variance_clustered"].where(several, 0.0)))
    quantile = np.where(several, student.ppf(0.975, np.maximum(cells["subcells"] - 1, 1)), _NORMAL_95)
    unknown = pa.nulls(len(cells), pa.int64())
    columns = {
        "cell": cells["cell"],
        "trait": cells["trait"],
        "location": cells["location"],
        "standard_error": error,
        "interval_lower": cells["location"] - quantile * error,
        "interval_upper": cells["location"] + quantile * error,
        "n_photos": cells["n_photos"],
        "n_species": unknown,
        "n_observers": unknown,
        "n_effective": cells["n_effective"],
        "tau2": pa.nulls(len(cells), pa.float64()),
        "i2": pa.nulls(len(cells), pa.float64()),
        "variance_among_plants": cells["variance_predictions"] + cells["variance_aleatoric"],
    }
    frame: pd.DataFrame = pa.table(columns, schema=ESTIMATE).to_pandas()
    return frame


def _weighted_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Reduce sub-cells with their effort, sorted by cell and trait, to a row per cell and trait."""
    of_row = rows.groupby(["of", "trait"], sort=True).ngroup().to_numpy(dtype=np.int64)
    first = np.flatnonzero(np.diff(of_row, prepend=-1))

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(of_row, values, len(first)).astype(np.float64)

    n, y, y2, v, aleatoric, records = (rows[name].to_numpy(dtype=np.float64) for name in (*_SUMS, "records"))
    weight = 1.0 / records
    weight = np.minimum(weight, (MOST_WEIGHT * total(n * weight) / total(n))[of_row])
    whole = total(n * weight)
    location = total(weight * y) / whole
    clusters = np.bincount(of_row, minlength=len(first))
    factor = clusters / np.maximum(clusters - 1, 1)
    mean = y / n
    plain = total(mean) / clusters
    return pd.DataFrame(
        {
            "cell": rows["of"].to_numpy()[first],
            "trait": rows["trait"].to_numpy()[first],
            "location": location,
            "subcells": clusters,
            "n_photos": total(n).astype(np.int64),
            "n_effective": whole**2 / total(n * weight**2),
            "variance_clustered": factor * total((n * weight * (mean - location[of_row])) ** 2) / whole**2,
            "variance_photos": total(weight**2 * v) / whole**2,
            "variance_between": factor * total((mean - plain[of_row]) ** 2) / clusters,
            "variance_predictions": np.maximum(total(weight * y2) / whole - location**2, 0.0),
            "variance_aleatoric": total(weight * aleatoric) / whole,
            "variance_mean": total(weight * v) / whole,
        }
    )
