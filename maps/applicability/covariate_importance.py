"""How much a model's prediction of a place hangs on each covariate."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from plant_traits.errors import ModelError
from plant_traits.grid import FloatArray
from plant_traits.model.prediction import predict
from plant_traits.model.trained_model import TrainedModel

MOST_PLACES = 2000


def covariate_importance(
    model: TrainedModel,
    covariates: npt.NDArray[np.floating],
    *,
    seed: int = 0,
    most: int = MOST_PLACES,
    device: str = "cpu",
) -> FloatArray:
    """Measure how much the prediction from the place alone changes when one covariate's values change places.

    Importance is the root mean square of that change over a sample of the places (permutation importance, Breiman 2001,
    of the prediction itself rather than of its score, so that no label is needed). For a linear model it is
    proportional to the coefficients of the standardised covariates. Of covariates that say the same each gets a part,
    and one that the model reads only together with others may get less than it deserves.

    Args:
        model: the trained ensemble.
        covariates: (n, c) in the order of ``model.covariate_names``, in the units it was trained with, NaN where
            missing.
        seed: of the sample and the permutations.
        most: places in the sample.
        device: ``cpu`` or ``cuda``.

    Returns:
        (traits, c) shares that add up to 1 for each trait; all the same for a trait that no covariate changes.

    Raises:
        ModelError: the model reads no covariates, the columns are not the model's, or no place has any covariate.
    """
    if not model.covariate_names:
        raise ModelError("covariate importance: expected a model that reads covariates, found one that reads none")
    placed = np.flatnonzero(np.isfinite(covariates).any(axis=1))
    if len(placed) == 0:
        raise ModelError(
            f"covariate importance: none of {len(covariates)} places has a covariate; sample them where the rasters lie"
        )
    generator = np.random.default_rng(seed)
    rows = np.sort(generator.permutation(placed)[:most])
    sample = np.asarray(covariates[rows], dtype=np.float32)
    before = predict(model, None, sample, device=device).mean.astype(np.float64)
    importance = np.zeros((len(model.traits), sample.shape[1]))
    for column in range(sample.shape[1]):
        values = sample[:, column]
        if not (np.nanmin(values) < np.nanmax(values) if np.isfinite(values).any() else False):
            continue
        moved = sample.copy()
        moved[:, column] = values[generator.permutation(len(values))]
        change = predict(model, None, moved, device=device).mean - before
        importance[:, column] = np.sqrt(np.nanmean(change**2, axis=0))
    total = importance.sum(axis=1, keepdims=True)
    return np.where(total > 0, importance / np.where(total > 0, total, 1.0), 1.0 / sample.shape[1])
