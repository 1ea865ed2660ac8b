"""Stages: predictions of a shard reduced to moments, moments merged, and cells estimated from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from maps.estimators.blocks import Blocks, Pooled, estimate_blocks, pool_blocks
from maps.estimators.pooled_components import COMPONENTS_FILE, Biomes
from maps.moments.files import count_rows_and_cells, moment_blocks
from maps.moments.merging import merge_files
from maps.moments.reduction import count_losses, reduce_predictions
from plant_traits.covariates.cell_biomes import cell_biomes
from plant_traits.covariates.cube import LayerFolder
from plant_traits.grid import Grid
from plant_traits.observations.live_rows import are_live
from plant_traits.schemas import COMPONENTS, ESTIMATE, MOMENTS, PREDICTION, SHARD_ROW, read_table, write_table
from plant_traits.steps import Summary

EVIDENCE = ("photo", "record")
MOMENTS_FILE = "moments.parquet"
NOT_LIVE = "predictions of rows that are not live"

_Progress = Callable[[int, int], None]


def reduce_shard(destination: Path, *, shard: Path, predictions: Path, grid: str) -> Summary:
    """Reduce the predictions of one shard to moments; write ``moments.parquet``.

    Args:
        destination: an empty folder.
        shard: a shard's live view, or the shard where all of it is live.
        predictions: output of ``predict_shard`` for the shard. Those of rows that are not live are left out.
        grid: the grid of the maps, such as ``1deg``.

    Returns:
        Counts of predictions, those of rows that are not live apart, of rows of moments and of predictions lost, by
        reason.
    """
    observations, predicted, counts = read_live(shard, predictions)
    moments = reduce_predictions(predicted, observations, Grid.parse(grid))
    write_table(moments, destination / MOMENTS_FILE, MOMENTS)
    return {
        "in": counts,
        "out": {"rows of moments": len(moments)},
        "lost": dict(count_losses(predicted, observations)),
    }


def read_live(shard: Path, predictions: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Return the rows of a live view, the predictions of these rows, and how many these and those of others are.

    Rows that a later month changed or retracted, or whose name was set aside, keep their predictions in the shard that
    they were predicted in; nothing is lost where these are left out.

    Args:
        shard: a shard's live view, or the shard where all of it is live.
        predictions: output of ``predict_shard`` for the shard.
    """
    rows = read_table(shard / "observations.parquet", SHARD_ROW)
    predicted = read_table(predictions / "predictions.parquet", PREDICTION)
    live = are_live(predicted, rows)
    n, left_out = int(live.sum()), int((~live).sum())
    counts = {"predictions": n} | ({NOT_LIVE: left_out} if left_out else {})
    return rows, predicted[live].reset_index(drop=True), counts


def merge_moments(destination: Path, *, shards: Sequence[Path]) -> Summary:
    """Merge the moments of all shards, in memory that does not grow with them; write ``moments.parquet``.

    Args:
        destination: an empty folder.
        shards: outputs of ``reduce_shard``, or of this function.

    Returns:
        Counts of rows in and out.
    """
    count = merge_files([folder / MOMENTS_FILE for folder in shards], destination / MOMENTS_FILE)
    return {
        "in": {"rows of moments": count.rows_in},
        "out": {"rows of moments": count.rows_out, "cells with a photo": count.cells.get("photo", 0)},
    }


def estimate_cells(
    destination: Path,
    *,
    moments: Path,
    estimators: Sequence[str],
    biomes: Path | None = None,
    rasters: Sequence[LayerFolder] = (),
    progress: _Progress | None = None,
) -> Summary:
    """Estimate every cell with every estimator; write ``<evidence>-<estimator>.parquet`` and ``components.parquet``.

    Cells are estimated from photos, and apart from that from records without a usable photo, whose predictions repeat
    what the covariates of their places say. What estimators take from all cells is gathered first; then the moments
    are read a block of cells at a time.

    Args:
        destination: an empty folder.
        moments: output of ``merge_moments``.
        estimators: names of estimators.
        biomes: output of ``grid_covariates``; the mixed estimators then pool their variances by the biome of the cells'
            mean climate. Over all cells where it is None.
        rasters: the raster sources that was made of.
        progress: called with (finished, total).

    Returns:
        Counts of cells by evidence.

    Raises:
        PlantTraitsError: there is no such estimator.
        MissingInputError: ``biomes`` holds no covariates.
        TableError: the moments are damaged or not sorted by cell.
    """
    path = moments / MOMENTS_FILE
    blocks = partial(moment_blocks, path)
    biome = None if biomes is None else cell_biomes(biomes, rasters)
    # The passes of one evidence: one that gathers, one that estimates.
    total = 2 * len(EVIDENCE)
    components = []
    for k, evidence in enumerate(EVIDENCE):
        pooled = pool_blocks(blocks, estimators, evidence, biome)
        components.append(pooled.components)
        _report(progress, 2 * k + 1, total)
        _write_estimates(blocks, destination, estimators, evidence, pooled, biome)
        _report(progress, 2 * k + 2, total)
    found = [table for table in components if len(table)] or components
    write_table(pd.concat(found, ignore_index=True), destination / COMPONENTS_FILE, COMPONENTS)
    rows, cells = count_rows_and_cells(path)
    return {
        "in": {"rows of moments": rows},
        "out": {f"cells with a {evidence}": cells.get(evidence, 0) for evidence in EVIDENCE},
    }


def read_estimates(folder: Path, evidence: str, estimators: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return the estimates of one evidence by estimator."""
    return {name: read_table(_file(folder, evidence, name), ESTIMATE) for name in estimators}


def _write_estimates(
    blocks: Blocks, destination: Path, estimators: Sequence[str], evidence: str, pooled: Pooled, biome: Biomes | None
) -> None:
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                pq.ParquetWriter(_file(destination, evidence, name), ESTIMATE, compression="zstd")
            )
            for name in estimators
        }
        for estimates in estimate_blocks(blocks, estimators, evidence, pooled, biome):
            for name, frame in estimates.items():
                writers[name].write_table(pa.Table.from_pandas(frame, schema=ESTIMATE, preserve_index=False))


def _file(folder: Path, evidence: str, estimator: str) -> Path:
    return folder / f"{evidence}-{estimator}.parquet"


def _report(progress: _Progress | None, finished: int, total: int) -> None:
    if progress is not None:
        progress(finished, total)
