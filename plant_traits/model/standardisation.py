"""Centre and scale of the network's inputs and targets, with a bound on extrapolation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Standardisation:
    """Per column: (value - centre) / scale, held within [low, high] of the training data.

    Attributes:
        centre: (columns,) mean of the training values.
        scale: (columns,) standard deviation of the training values; 1 for a column that does not vary.
        low: (columns,) smallest standardised value in training; values below are set to it.
        high: (columns,) largest standardised value in training.
    """

    centre: FloatArray
    scale: FloatArray
    low: FloatArray
    high: FloatArray

    def apply(self, values: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Standardise (n, columns); NaN stays NaN."""
        standard = (np.asarray(values, dtype=np.float64) - self.centre) / self.scale
        return np.clip(standard, self.low, self.high).astype(np.float32)

    def invert(self, standard: npt.ArrayLike) -> FloatArray:
        """Bring standardised values (n, columns) back."""
        return np.asarray(standard, dtype=np.float64) * self.scale + self.centre


def fit_standardisation(values: npt.ArrayLike, weight: FloatArray | None = None) -> Standardisation:
    """Fit a standardisation to (n, columns), ignoring NaN; a column without any value gets centre 0 and scale 1.

    Args:
        values: (n, columns).
        weight: (n,) weights of the rows, by default equal.
    """
    array = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(array)
    w = known * (np.ones(len(array)) if weight is None else weight)[:, None]
    total = np.where(w.sum(axis=0) > 0, w.sum(axis=0), 1.0)
    filled = np.where(known, array, 0.0)
    centre = (w * filled).sum(axis=0) / total
    variance = (w * np.where(known, filled - centre, 0.0) ** 2).sum(axis=0) / total
    scale = np.where(variance > 1e-12, np.sqrt(variance), 1.0)
    standard = np.where(known, (filled - centre) / scale, 0.0)
    if len(array) == 0:
        return Standardisation(centre, scale, np.zeros_like(centre), np.zeros_like(centre))
    return Standardisation(centre, scale, standard.min(axis=0), standard.max(axis=0))
