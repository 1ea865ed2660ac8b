"""Stages: predictions of a shard reduced to moments, moments merged, and cells estimated from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from maps.estimators import estimate
from maps.moments import count_losses, merge, reduce_predictions
from plant_traits.grid import Grid
from plant_traits.schemas import ESTIMATE, MOMENTS, PREDICTION, SHARD_ROW, read_table, write_table
from plant_traits.steps import Summary

EVIDENCE = ("photo", "record")


def reduce_shard(destination: Path, *, shard: Path, predictions: Path, grid: str) -> Summary:
    """Reduce the predictions of one shard to moments; write ``moments.parquet``.

    Args:
        destination: an empty folder.
        shard: a shard's folder.
        predictions: output of ``predict_shard`` for it.
        grid: the grid of the maps, such as ``1deg``.

    Returns:
        Counts of predictions, of rows of moments and of predictions lost, by reason.
    """
    observations = read_table(shard / "observations.parquet", SHARD_ROW)
    predicted = read_table(predictions / "predictions.parquet", PREDICTION)
    moments = reduce_predictions(predicted, observations, Grid.parse(grid))
    write_table(moments, destination / "moments.parquet", MOMENTS)
    return {
        "in": {"predictions": len(predicted)},
        "out": {"rows of moments": len(moments)},
        "lost": dict(count_losses(predicted, observations)),
    }


def merge_moments(destination: Path, *, shards: Sequence[Path]) -> Summary:
    """Merge the moments of all shards; write ``moments.parquet``.

    Args:
        destination: an empty folder.
        shards: outputs of ``reduce_shard``.

    Returns:
        Counts of rows in and out.
    """
    frames = [read_table(folder / "moments.parquet", MOMENTS) for folder in shards]
    merged = merge(frames)
    write_table(merged, destination / "moments.parquet", MOMENTS)
    photos = merged[merged["evidence"] == "photo"]
    return {
        "in": {"rows of moments": sum(len(frame) for frame in frames)},
        "out": {"rows of moments": len(merged), "cells with a photo": int(photos["cell"].nunique())},
    }


def estimate_cells(
    destination: Path, *, moments: Path, estimators: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> Summary:
    """Estimate every cell with every estimator; write ``<evidence>-<estimator>.parquet``.

    Cells are estimated from photos, and apart from that from records without a usable photo, whose predictions repeat
    what the covariates of their places say.

    Args:
        destination: an empty folder.
        moments: output of ``merge_moments``.
        estimators: names of estimators.
        progress: called with (finished, total).

    Returns:
        Counts of cells by evidence.
    """
    table = read_table(moments / "moments.parquet", MOMENTS)
    total = len(EVIDENCE) * len(estimators)
    finished = 0
    for evidence in EVIDENCE:
        for estimator in estimators:
            result = estimate(table, estimator, evidence)
            write_table(result, destination / f"{evidence}-{estimator}.parquet", ESTIMATE)
            finished += 1
            if progress is not None:
                progress(finished, total)
    cells = table.groupby("evidence")["cell"].nunique()
    return {
        "in": {"rows of moments": len(table)},
        "out": {f"cells with a {evidence}": int(cells.get(evidence, 0)) for evidence in EVIDENCE},
    }


def read_estimates(folder: Path, evidence: str, estimators: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return the estimates of one evidence by estimator."""
    return {name: read_table(folder / f"{evidence}-{name}.parquet", ESTIMATE) for name in estimators}
