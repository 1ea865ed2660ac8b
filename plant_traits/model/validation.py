"""Calibrate a model's variances on held-out records and score it there, for each combination of modalities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from plant_traits.model.prediction import Prediction, predict
from plant_traits.model.trained_model import MODALITIES, TrainedModel

FloatArray = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32] | None

MINIMUM_RECORDS = 10
"""With fewer held-out observations a variance factor stays 1 and no score is given."""


def calibrate(
    model: TrainedModel, image_features: Features, covariates: npt.NDArray[np.floating], observed: FloatArray
) -> TrainedModel:
    """Set the variance factors so that E[(y - μ)² / σ²] = 1 on held-out records.

    Each combination of modalities has its own factor, estimated on the records that have them all; one that cannot be
    estimated stays 1.

    Args:
        model: its present factors are ignored.
        image_features: (n, d) of the held-out records, or None.
        covariates: (n, c) of them.
        observed: (n, traits) their labels, NaN where there is none.
    """
    factor = np.ones((len(MODALITIES), len(model.traits)))
    raw = replace(model, variance_factor=factor)
    for row, modalities in enumerate(MODALITIES):
        prediction = _predict_with(raw, modalities, image_features, covariates)
        variance = prediction.variance_aleatoric.astype(float) + prediction.variance_epistemic
        squared = (observed - prediction.mean) ** 2 / variance
        known = ~np.isnan(squared)
        mean = np.where(known, squared, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        factor[row] = np.where((known.sum(axis=0) >= MINIMUM_RECORDS) & (mean > 0), mean, 1.0)
    return replace(model, variance_factor=factor)


def evaluate(
    model: TrainedModel,
    image_features: Features,
    covariates: npt.NDArray[np.floating],
    centre: FloatArray,
    drawn: FloatArray,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Score a model on held-out records, per modalities and trait, in working space.

    Args:
        model: calibrated.
        image_features: (n, d) of the held-out records, or None.
        covariates: (n, c) of them.
        centre: (n, traits) measurement or species median: what correlation and R² compare with.
        drawn: (n, traits) measurement or one draw of the weak label: what the likelihood compares with.

    Returns:
        modalities -> trait id -> n, pearson_r, r2, rmse, gaussian_nll (of the calibrated total variance).
    """
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    for modalities in MODALITIES:
        prediction = _predict_with(model, modalities, image_features, covariates)
        variance = prediction.variance_aleatoric.astype(float) + prediction.variance_epistemic
        for column, trait in enumerate(model.traits):
            mean, truth = prediction.mean[:, column].astype(float), centre[:, column]
            known = ~(np.isnan(mean) | np.isnan(truth))
            if known.sum() < MINIMUM_RECORDS:
                continue
            error = truth[known] - mean[known]
            spread = float(((truth[known] - truth[known].mean()) ** 2).sum())
            v, y = variance[known, column], drawn[known, column]
            nll = 0.5 * (np.log(2 * np.pi * v) + (y - mean[known]) ** 2 / v)
            varies = spread > 0 and float(mean[known].std()) > 0
            scores.setdefault(modalities, {})[trait.id] = {
                "n": int(known.sum()),
                "pearson_r": float(np.corrcoef(truth[known], mean[known])[0, 1]) if varies else None,
                "r2": 1 - float((error**2).sum()) / spread if spread > 0 else None,
                "rmse": float(np.sqrt((error**2).mean())),
                "gaussian_nll": float(nll.mean()),
            }
    return scores


def _predict_with(
    model: TrainedModel, modalities: str, image_features: Features, covariates: npt.NDArray[np.floating]
) -> Prediction:
    """Predict from exactly these modalities; records that lack one of them get NaN."""
    use_image, use_place = "image" in modalities, "geospatial" in modalities
    places = covariates if use_place else np.full_like(covariates, np.nan)
    prediction = predict(model, image_features if use_image else None, places)
    complete = (prediction.modalities == modalities)[:, None]
    return replace(
        prediction,
        mean=np.where(complete, prediction.mean, np.nan),
        variance_aleatoric=np.where(complete, prediction.variance_aleatoric, np.nan),
        variance_epistemic=np.where(complete, prediction.variance_epistemic, np.nan),
    )
