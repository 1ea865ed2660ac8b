"""Stages: predictions for the records of a shard, and for every land cell from its covariates alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from plant_traits.covariates.biomes import biomes_of_matrix
from plant_traits.covariates.cube import LayerFolder, model_matrix, open_covariates
from plant_traits.errors import ModelError
from plant_traits.model.calibration import group_names
from plant_traits.model.checkpoint import load_model
from plant_traits.model.features import read_features
from plant_traits.model.prediction import Prediction, predict
from plant_traits.model.trained_model import TrainedModel
from plant_traits.schemas import LAND_PREDICTION, PREDICTION, SHARD_ROW, read_table, write_table
from plant_traits.stages.covariates import LAND, read_points
from plant_traits.stages.photos import FEATURES
from plant_traits.stages.places import place_features
from plant_traits.steps import Summary

CELLS_AT_ONCE = 65_536


@lru_cache(maxsize=1)
def _model(folder: Path) -> TrainedModel:
    torch.set_num_threads(1)  # one process per core; more threads would only compete
    return load_model(folder)


def predict_shard(
    destination: Path, *, shard: Path, features: Path, points: Path, model: Path, batch_size: int, device: str
) -> Summary:
    """Predict every trait of every record of a shard from whatever is known of it; write ``predictions.parquet``.

    A record whose photo is unusable is predicted from its place and says so in ``modalities``; one with neither gets
    no value and a reason in ``status``. Variances are calibrated by the record's growth form within the biome of its
    place, as far as either is known.

    Args:
        destination: an empty folder.
        shard: a shard's folder.
        features: output of ``encode_shard`` for it.
        points: output of ``sample_shard`` for it.
        model: a model's folder.
        batch_size: records at a time.
        device: ``cpu`` or ``cuda``.

    Returns:
        Counts of records in, predictions out and records lost, by reason.

    Raises:
        ModelError: the model does not fit the features or covariates.
        InputError: the covariates hold precipitation as no logarithm.
    """
    trained = _model(model)
    rows = read_table(shard / "observations.parquet", SHARD_ROW, ["observation_id", "photo_id", "growth_form"])
    matrix, names = read_points(points)
    if names != trained.covariate_names:
        raise ModelError(f"the model reads covariates {trained.covariate_names}, the shard holds {names}; train again")
    images = features_of(features, rows["photo_id"], trained.encoder_identity)
    groups = group_names(rows["growth_form"].tolist(), biomes_of_matrix(matrix, names).tolist())
    result = predict(trained, images, matrix, groups=groups, batch_size=batch_size, device=device)
    frame = _long(result, rows, trained)
    write_table(frame, destination / "predictions.parquet", PREDICTION)
    kinds = Counter(result.modalities.tolist())
    nothing = kinds.pop("none", 0)
    return {
        "in": {"records": len(rows)},
        "out": {f"records from {kind}": n for kind, n in sorted(kinds.items())},
        "lost": {"record without photo and covariates": nothing} if nothing else {},
    }


def features_of(
    folder: Path, photo_ids: pd.Series, encoder_identity: str | None = None
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return features in the order of photo ids, (n, d) float32; NaN rows where there is no usable photo.

    Raises:
        ModelError: the file is damaged, or of another encoder than the one named.
    """
    stored = read_features(folder / FEATURES, encoder_identity)
    position = pd.Series(np.arange(len(stored.photo_id)), index=pd.Index(stored.photo_id, dtype=object))
    at = position.reindex(photo_ids.astype(object)).to_numpy(dtype=np.float64)
    known = np.isfinite(at)
    out = np.full((len(photo_ids), stored.features.shape[1]), np.nan, dtype=np.float32)
    out[known] = stored.features[at[known].astype(np.int64)]
    return out


def predict_land(
    destination: Path, *, covariates: Path, rasters: Sequence[LayerFolder], model: Path, batch_size: int, device: str
) -> Summary:
    """Predict every trait of every land cell from its mean covariates; write ``land.parquet``.

    A cell has no growth form: its variances are calibrated as those of all records of its biome together. Its biome is
    that of its mean climate.

    Args:
        destination: an empty folder.
        covariates: output of ``grid_covariates``.
        rasters: the raster sources it was made of.
        model: a model's folder.
        batch_size: cells at a time.
        device: ``cpu`` or ``cuda``.

    Returns:
        Counts of land cells in and out.

    Raises:
        ModelError: the model does not fit the covariates.
        InputError: the covariates hold precipitation as no logarithm.
    """
    trained = load_model(model)
    cube = open_covariates(covariates / "covariates.zarr")
    matrix, names = model_matrix(cube, rasters)
    encoders = place_features(trained.settings.location_encoder, trained.settings.location_encoder_location)
    land = cube[LAND].to_numpy().ravel() > 0
    known = np.isfinite(matrix).any(axis=1)
    cells = np.flatnonzero(land & known)
    rows, columns = np.divmod(cells, cube.sizes["lon"])
    latitude, longitude = cube["lat"].to_numpy()[rows], cube["lon"].to_numpy()[columns]
    frames = []
    # A location encoder adds hundreds of columns: not to all cells of the globe at once.
    for start in range(0, max(len(cells), 1), CELLS_AT_ONCE):
        part = slice(start, start + CELLS_AT_ONCE)
        read, read_names = encoders.append(matrix[cells[part]], names, latitude[part], longitude[part])
        if read_names != trained.covariate_names:
            raise ModelError(
                f"the model reads covariates {trained.covariate_names}, the grid holds {read_names}; train again"
            )
        groups = group_names([None] * len(read), biomes_of_matrix(matrix[cells[part]], names).tolist())
        result = predict(trained, None, read, groups=groups, batch_size=batch_size, device=device)
        frames.append(_of_cells(cells[part], result, trained))
    write_table(pd.concat(frames, ignore_index=True), destination / "land.parquet", LAND_PREDICTION)
    return {
        "in": {"land cells": int(land.sum())},
        "out": {"land cells predicted": len(cells)},
        "lost": {"land cell without any covariate": int((land & ~known).sum())},
    }


def _of_cells(cells: npt.NDArray[np.int64], result: Prediction, model: TrainedModel) -> pd.DataFrame:
    n_traits = len(model.traits)
    return pd.DataFrame(
        {
            "cell": np.repeat(cells, n_traits),
            "trait": np.tile(np.array([trait.id for trait in model.traits], dtype=object), len(cells)),
            "mean": result.mean.ravel(),
            "variance_aleatoric": result.variance_aleatoric.ravel(),
            "variance_epistemic": result.variance_epistemic.ravel(),
        }
    )


def _long(result: Prediction, rows: pd.DataFrame, model: TrainedModel) -> pd.DataFrame:
    n, n_traits = result.mean.shape
    unusable = result.modalities == "none"
    status = np.where(unusable, "no usable input", "ok")
    return pd.DataFrame(
        {
            "observation_id": np.repeat(rows["observation_id"].to_numpy(dtype=object), n_traits),
            "photo_id": np.repeat(rows["photo_id"].to_numpy(dtype=object), n_traits),
            "trait": np.tile(np.array([trait.id for trait in model.traits], dtype=object), n),
            "mean": result.mean.ravel(),
            "variance_aleatoric": result.variance_aleatoric.ravel(),
            "variance_epistemic": result.variance_epistemic.ravel(),
            "model_id": model.model_id,
            "modalities": np.repeat(result.modalities, n_traits),
            "status": np.repeat(status, n_traits),
        }
    )
