"""Stages: predictions reduced to sums of sub-cells, and cells weighted by how much was recorded where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from maps.moments.reduction import count_losses, used_predictions
from maps.sampling.effort_weights import (
    SUBDIVISION,
    effort_estimates,
    merge_subcells,
    reduce_to_subcells,
    subcell_grid,
    weigh_subcells,
)
from maps.stages.cells import read_live
from plant_traits.grid import Grid
from plant_traits.observations.effort import EffortCount, effort_records
from plant_traits.schemas import (
    EFFORT,
    ESTIMATE,
    SUBCELL_SUMS,
    read_table,
    write_table,
)
from plant_traits.steps import Summary

SUBCELLS_FILE = "subcells.parquet"
EFFORT_FILE = "effort.parquet"
ESTIMATOR = "effort_weighted"
ESTIMATES_FILE = f"photo-{ESTIMATOR}.parquet"

_BAND_DEGREES = 10  # of the tiles of shards, so that a shard's sums are read once


def reduce_shard_to_subcells(destination: Path, *, shard: Path, predictions: Path, grid: str) -> Summary:
    """Reduce the predictions of one shard to sums by sub-cell; write ``subcells.parquet``.

    Args:
        destination: an empty folder.
        shard: a shard's live view, or the shard where all of it is live.
        predictions: output of ``predict_shard`` for the shard. Those of rows that are not live are left out.
        grid: the grid of the maps, such as ``1deg``; its sub-cells are a quarter as wide.

    Returns:
        Counts of predictions, those of rows that are not live apart, of rows of sums and of predictions lost, by
        reason.
    """
    observations, predicted, counts = read_live(shard, predictions)
    sums = reduce_to_subcells(predicted, observations, Grid.parse(grid))
    write_table(sums, destination / SUBCELLS_FILE, SUBCELL_SUMS)
    unseen = int((used_predictions(predicted, observations) == "record").sum())
    lost = dict(count_losses(predicted, observations)) | ({"no usable photo": unseen} if unseen else {})
    return {"in": counts, "out": {"rows of sums": len(sums)}, "lost": lost}


def weigh_by_effort(destination: Path, *, subcells: Sequence[Path], observations: Path, grid: str) -> Summary:
    """Estimate every cell with photos from its sub-cells, weighted by the month's effort in each.

    Writes ``photo-effort_weighted.parquet``, which ``maps.stages.cells.read_estimates`` reads as the estimator
    ``effort_weighted``, and ``effort.parquet``, the records and observers of all vascular plants in every cell, before
    the cap on an observer's day. Observations are read a part at a time, sums a band of latitude at a time.

    Args:
        destination: an empty folder.
        subcells: outputs of ``reduce_shard_to_subcells`` for all shards, on this grid.
        observations: output of ``build_observations``.
        grid: the grid of the maps.

    Returns:
        Counts of records, sums and cells, and of predictions that lie where no record is known.

    Raises:
        TableError: a file cannot be read, or the observations are not sorted.
        GridError: the sums are of another grid.
    """
    cells = Grid.parse(grid)
    of_cells, of_subcells = EffortCount(cells), EffortCount(subcell_grid(cells), observers=False)
    records = 0
    for part in effort_records(observations):
        of_cells.add(part)
        of_subcells.add(part)
        records += len(part)
    write_table(of_cells.table(), destination / EFFORT_FILE, EFFORT)
    effort = of_subcells.table()
    weighed, rows, lost = [], 0, 0
    for sums in _bands([folder / SUBCELLS_FILE for folder in subcells], cells):
        part, without = weigh_subcells(sums, effort, cells)
        weighed.append(part)
        rows += len(sums)
        lost += without
    estimates = (
        effort_estimates(pd.concat(weighed, ignore_index=True)) if weighed else ESTIMATE.empty_table().to_pandas()
    )
    write_table(estimates, destination / ESTIMATES_FILE, ESTIMATE)
    return {
        "in": {"records of the target group": records, "sums of sub-cells": rows},
        "out": {"cells with a photo": int(estimates["cell"].nunique()), "sub-cells with a record": len(effort)},
        "lost": {"prediction where no record is known": lost} if lost else {},
    }


def _bands(files: Sequence[Path], grid: Grid) -> Iterator[pd.DataFrame]:
    """Yield the merged sums of one band of whole cells after the other, from north to south."""
    rows = max(int(_BAND_DEGREES / grid.resolution), 1)
    width = rows * SUBDIVISION * subcell_grid(grid).n_lon
    of_band: dict[int, list[Path]] = {}
    for path in files:
        cell = read_table(path, SUBCELL_SUMS, ["cell"])["cell"]
        for band in sorted(set((cell // width).tolist())):
            of_band.setdefault(band, []).append(path)
    for band in sorted(of_band):
        tables = (read_table(path, SUBCELL_SUMS) for path in of_band[band])
        yield merge_subcells(table[table["cell"] // width == band] for table in tables)
