"""A geospatial prediction that takes a second to learn: ridge regression on random features of climate and soil.

It stands for the network's own prediction of land cells where a benchmark learns hundreds of them. It sees the
predictions of photos at their places, never the truth, plots or coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

WAVES = 200
REACH = 4.0  # standard deviations of the covariates over which a wave's argument changes by 1
CLIPPED = 3.0
PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
MOST_PHOTOS = 10.0  # of one place that count


@dataclass(frozen=True)
class PlacePrediction:
    """What places are predicted to have, and what of it is sure; (places, traits) each.

    Attributes:
        mean: of a plant there.
        aleatoric: variance of a photo's prediction about it, found where the regression did not look.
        epistemic: variance of the mean, as the regression knows it.
    """

    mean: FloatArray
    aleatoric: FloatArray
    epistemic: FloatArray


@dataclass(frozen=True)
class Learned:
    """The regression of each trait, and the errors that it made in blocks it had not seen.

    Attributes:
        waves: (covariates, waves) and (waves,) of the random features.
        centre: (covariates,).
        scale: (covariates,).
        coefficients: (features, traits).
        inverse: (features, features) by trait; the covariance of the coefficients over the residual variance.
        residual: (places, traits) of the training places' means, out of fold.
        variance: (traits,) of a photo's prediction about the place's, out of fold.
    """

    waves: tuple[FloatArray, FloatArray]
    centre: FloatArray
    scale: FloatArray
    coefficients: FloatArray
    inverse: tuple[FloatArray, ...]
    residual: FloatArray
    variance: FloatArray

    def standard(self, covariates: FloatArray) -> FloatArray:
        """Standardise covariates as in training."""
        return np.asarray((covariates - self.centre) / self.scale)

    def predict(self, covariates: FloatArray) -> PlacePrediction:
        """Predict places from their (places, covariates)."""
        x = _features(self.standard(covariates), self.waves)
        spread = np.column_stack([((x @ inverse) * x).sum(axis=1) for inverse in self.inverse])
        mean = x @ self.coefficients
        return PlacePrediction(mean, np.broadcast_to(self.variance, mean.shape), spread * self.variance)


def learn(covariates: FloatArray, y: FloatArray, photos: FloatArray, fold: IntArray, seed: int) -> Learned:
    """Learn what places have from the means of their photos' predictions.

    Args:
        covariates: (places, covariates).
        y: (places, traits) means of the photos' predictions.
        photos: (places,) how many.
        fold: (places,) spatial fold of each place; the penalty of each trait is that of the least error out of fold.
        seed: of the random features.
    """
    rng = np.random.default_rng(seed)
    weight = np.minimum(photos, MOST_PHOTOS)
    centre = np.average(covariates, axis=0, weights=weight)
    scale = np.sqrt(np.average((covariates - centre) ** 2, axis=0, weights=weight))
    waves = (
        rng.normal(size=(covariates.shape[1], WAVES)) / (REACH * np.sqrt(covariates.shape[1] / 8)),
        rng.uniform(0, 2 * np.pi, WAVES),
    )
    x = _features((covariates - centre) / scale, waves)
    folds = np.unique(fold)
    grams = [(x[fold == k].T * weight[fold == k]) @ x[fold == k] for k in folds]
    sides = [(x[fold == k].T * weight[fold == k]) @ y[fold == k] for k in folds]
    gram, side = sum(grams[1:], grams[0].copy()), sum(sides[1:], sides[0].copy())
    ridge = np.eye(x.shape[1])
    ridge[0, 0] = 1e-6
    residual = np.empty((len(PENALTIES), *y.shape))
    for at, penalty in enumerate(PENALTIES):
        for number, k in enumerate(folds):
            found = np.linalg.solve(gram - grams[number] + penalty * ridge, side - sides[number])
            residual[at, fold == k] = y[fold == k] - x[fold == k] @ found
    error = np.einsum("p,apt->at", weight, residual**2) / weight.sum()
    best = error.argmin(axis=0)
    inverse = tuple(np.linalg.inv(gram + PENALTIES[at] * ridge) for at in best)
    coefficients = np.column_stack([inverse[t] @ side[:, t] for t in range(y.shape[1])])
    kept = np.stack([residual[at, :, t] for t, at in enumerate(best)], axis=1)
    variance = np.einsum("p,pt->t", np.minimum(photos, MOST_PHOTOS), kept**2) / len(photos)
    return Learned(waves, centre, scale, coefficients, inverse, kept, variance)


def importance(learned: Learned, covariates: FloatArray, seed: int) -> FloatArray:
    """Return (traits, covariates): how much predictions change when a covariate's values change places."""
    rng = np.random.default_rng(seed)
    before = learned.predict(covariates).mean
    out = np.empty((before.shape[1], covariates.shape[1]))
    for column in range(covariates.shape[1]):
        moved = covariates.copy()
        moved[:, column] = rng.permutation(moved[:, column])
        x = _features(learned.standard(moved), learned.waves)
        out[:, column] = np.sqrt(((x @ learned.coefficients - before) ** 2).mean(axis=0))
    return np.asarray(out / out.sum(axis=1, keepdims=True))


def _features(standard: FloatArray, waves: tuple[FloatArray, FloatArray]) -> FloatArray:
    held = np.clip(standard, -CLIPPED, CLIPPED)
    wavy = np.sqrt(2.0 / WAVES) * np.cos(held @ waves[0] + waves[1])
    return np.concatenate([np.ones((len(held), 1)), held, 5.0 * wavy], axis=1)
