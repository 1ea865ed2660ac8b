"""Predict traits with their aleatoric and epistemic variance from photos, places, or both.

A prediction depends, to the last bit, on its own row alone. Matrix products in floating point do not give that by
themselves: how a sum is divided depends on the number of rows. So networks are applied to blocks of one fixed number of
rows, the last of them filled up, and rows with both a photo and a place, which are asked twice, are kept apart from the
others. What is predicted for a photo is then the same in whichever shard it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from plant_traits.errors import ModelError
from plant_traits.model.blocks import ROWS, filled
from plant_traits.model.losses import variance_from_log_scale
from plant_traits.model.precision import Precision, apply_network, resolve_precision
from plant_traits.model.trained_model import MODALITIES, TrainedModel

FloatArray = npt.NDArray[np.float32]

ROWS_ON_CPU, ROWS_ON_GPU = ROWS, 2048
"""Rows of a block. Another number gives other last bits, so these are part of the code and no setting."""


@dataclass(frozen=True)
class Prediction:
    """Predictions for n inputs, in working space.

    Attributes:
        mean: (n, traits) float32, the mean of the members' locations; NaN without a usable input.
        variance_aleatoric: (n, traits) float32, calibrated mean of the members' variances.
        variance_epistemic: (n, traits) float32, calibrated variance of the members' locations. The total variance is
            the sum of the two, and the variance factor of its modalities and group multiplies both.
        modalities: (n,) ``image+geospatial``, ``image``, ``geospatial`` or ``none``.
        status: (n,) ``ok``, or ``no_usable_input``.
    """

    mean: FloatArray
    variance_aleatoric: FloatArray
    variance_epistemic: FloatArray
    modalities: npt.NDArray[np.str_]
    status: npt.NDArray[np.str_]


def predict(
    model: TrainedModel,
    image_features: npt.NDArray[np.float32] | None,
    covariates: npt.NDArray[np.floating],
    *,
    groups: Sequence[str] | None = None,
    batch_size: int = 4096,
    device: str = "cpu",
    precision: Precision = "auto",
) -> Prediction:
    """Predict from whichever modalities each input has.

    A row whose image features hold a NaN has no photo; a row whose covariates are all NaN has no place; single
    missing covariates are masked. Where there are both, what a member says of the photo alone counts with
    ``settings.photo_weight`` beside what it says of both, as if it were another member: what a network learns of places
    carries over to new regions less well than what it learns of photos. The published network is asked once.

    Args:
        model: the ensemble.
        image_features: (n, d) of the model's encoder, or None where there are no photos at all.
        covariates: (n, c) in the order of ``model.covariate_names``, in the units it was trained with.
        groups: (n,) each input's group for the calibration, from ``calibration.group_names``; by default all inputs are
            calibrated alike, as are those of a group that the calibration does not know.
        batch_size: rows that are standardised and held at a time; it does not change the result.
        device: ``cpu`` or ``cuda``.
        precision: of the networks' matrix products; ``auto`` is bfloat16 on a GPU and float32 on a processor.

    Raises:
        ModelError: the shapes do not fit the model.
    """
    n, config = len(covariates), model.config
    has_image: npt.NDArray[np.bool_]
    has_place: npt.NDArray[np.bool_]
    if covariates.shape != (n, config.covariates):
        raise ModelError(
            f"prediction: expected covariates of shape (n, {config.covariates}), namely {model.covariate_names}, "
            f"found {covariates.shape}; build them with the layers the model was trained on"
        )
    if image_features is not None and config.image_dimension and image_features.shape != (n, config.image_dimension):
        raise ModelError(
            f"prediction: expected image features of shape ({n}, {config.image_dimension}), found "
            f"{image_features.shape}; encode the photos with the encoder {model.encoder_identity}"
        )
    if groups is not None and len(groups) != n:
        raise ModelError(f"prediction: expected {n} groups, one per input, found {len(groups)}; align them by row")
    if image_features is None or config.image_dimension == 0:
        image_features = np.full((n, config.image_dimension), np.nan, dtype=np.float32)
        has_image = np.zeros(n, dtype=bool)
    else:
        has_image = np.asarray(~np.isnan(image_features).any(axis=1))
    has_place = ~np.isnan(covariates).all(axis=1) if config.covariates else np.zeros(n, dtype=bool)
    dtype = resolve_precision(precision, device)
    mean, aleatoric, epistemic = (np.empty((n, len(model.traits))) for _ in range(3))
    both = has_image & has_place
    for chosen in (np.flatnonzero(both), np.flatnonzero(~both)):
        for rows in (chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)):
            mean[rows], aleatoric[rows], epistemic[rows] = _forward(
                model, image_features[rows], covariates[rows], has_image[rows], has_place[rows], device, dtype
            )
    kind = np.select([has_image & has_place, has_image, has_place], [0, 1, 2], default=-1)
    factor = model.calibration.variance_factor[kind, _groups(model, groups, n)]
    usable = (kind >= 0)[:, None]
    return Prediction(
        mean=np.where(usable, mean, np.nan).astype(np.float32),
        variance_aleatoric=np.where(usable, aleatoric * factor, np.nan).astype(np.float32),
        variance_epistemic=np.where(usable, epistemic * factor, np.nan).astype(np.float32),
        modalities=np.array([*MODALITIES, "none"])[kind],
        status=np.where(kind >= 0, "ok", "no_usable_input"),
    )


def intervals(
    model: TrainedModel, prediction: Prediction, level: float, groups: Sequence[str] | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the conformal interval of each prediction, in working space.

    It holds the value of a single plant with the stated probability among records like those of the held-out blocks;
    it is no interval of a cell's mean, and nothing is promised for species or regions unlike them.

    Args:
        model: what made the prediction.
        prediction: n predictions.
        level: one of the model's calibrated levels.
        groups: (n,) as given to ``predict``.

    Returns:
        Lower and upper ends, (n, traits); infinite where too few records were held out to tell, NaN without a usable
        input.

    Raises:
        ModelError: the model is not calibrated for the level.
    """
    n = len(prediction.mean)
    kind = np.array([*MODALITIES, "none"])[:, None] == prediction.modalities
    calibration = model.calibration
    reach = calibration.quantile[kind.argmax(axis=0) % len(MODALITIES), _groups(model, groups, n)]
    variance = prediction.variance_aleatoric.astype(float) + prediction.variance_epistemic
    half = reach[..., calibration.level(level)] * np.sqrt(variance)
    return prediction.mean - half, prediction.mean + half


def _groups(model: TrainedModel, groups: Sequence[str] | None, n: int) -> npt.NDArray[np.int64]:
    return np.zeros(n, dtype=np.int64) if groups is None else model.calibration.rows(groups)


class _Inputs(NamedTuple):
    """What a network reads of a block of rows."""

    image: npt.NDArray[np.float32]
    place: npt.NDArray[np.float32]
    seen: npt.NDArray[np.bool_]
    located: npt.NDArray[np.bool_]


def _forward(
    model: TrainedModel,
    image_features: npt.NDArray[np.float32],
    covariates: npt.NDArray[np.floating],
    has_image: npt.NDArray[np.bool_],
    has_place: npt.NDArray[np.bool_],
    device: str,
    precision: torch.dtype,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean, aleatoric and epistemic variance of rows that all have both modalities, or none of them both."""
    n = len(covariates)
    size = ROWS_ON_GPU if torch.device(device).type == "cuda" else ROWS_ON_CPU
    whole = -(-n // size) * size
    image = filled(np.nan_to_num(model.image_standardisation.apply(image_features), nan=0.0), whole)
    place = filled(model.covariate_standardisation.apply(covariates), whole)
    seen, located = filled(has_image, whole), filled(has_place, whole)
    both = bool(has_image[0] & has_place[0])
    out = [np.empty((whole, len(model.traits))) for _ in range(3)]
    with torch.inference_mode():
        for network in model.networks:
            network.to(device)
        for rows in (slice(start, start + size) for start in range(0, whole, size)):
            block = _block(model, _Inputs(*(x[rows] for x in (image, place, seen, located))), both, device, precision)
            for every, part in zip(out, block, strict=True):
                every[rows] = part
    mean, variance, among = (x[:n] for x in out)
    scale2 = model.target_scale**2
    return mean * model.target_scale + model.target_centre, variance * scale2, among * scale2


def _block(
    model: TrainedModel, inputs: _Inputs, both: bool, device: str, precision: torch.dtype
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return mean, mean variance and variance of the means over the members, of one block in the targets' scale."""
    image, place, seen, located = (torch.from_numpy(x).to(device) for x in inputs)
    laplace = torch.tensor([trait.likelihood == "laplace" for trait in model.traits], device=device)
    views = [(1.0, located)]
    alone = model.settings.photo_weight if model.config.preset == "default" else 0.0
    if alone > 0 and both:
        views = [(1 - alone, located), (alone, torch.zeros_like(located))]
    weights, means, variances = [], [], []
    for network in model.networks:
        for weight, shown in views:
            location, log_scale = apply_network(network, (image, place, seen, shown), precision)
            weights.append(weight)
            means.append(location.double().cpu().numpy())
            variances.append(variance_from_log_scale(log_scale, laplace).double().cpu().numpy())
    mean, variance = np.average(means, axis=0, weights=weights), np.average(variances, axis=0, weights=weights)
    return mean, variance, np.average((np.array(means) - mean) ** 2, axis=0, weights=weights)
