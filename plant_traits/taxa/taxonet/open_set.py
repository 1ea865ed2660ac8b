"""Tell photos of known species from others by the largest cosine: a threshold that keeps 95 % of the known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plant_traits.errors import ModelError

KEPT = 0.95


@dataclass(frozen=True)
class OpenSetScore:
    """How well a threshold tells the known from the unknown.

    Attributes:
        true_positive_rate: share of known photos at or above the threshold.
        true_negative_rate: share of unknown photos below it.
    """

    true_positive_rate: float
    true_negative_rate: float

    @property
    def balanced_accuracy(self) -> float:
        """The mean of both rates."""
        return (self.true_positive_rate + self.true_negative_rate) / 2


def familiarity(cosines: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return how familiar each photo looks, the largest of its cosines with the classes, (n,), from (n, k)."""
    return np.asarray(cosines.max(axis=1), dtype=np.float64)


def known_threshold(validation: npt.ArrayLike, kept: float = KEPT) -> float:
    """Return the largest score that at least a share ``kept`` of known validation photos reaches.

    It is their 5th percentile without interpolation, for 0.95 [TaxoNet].

    Raises:
        ModelError: there is no score, one is not finite, or the share is not between 0 and 1.
    """
    scores = np.asarray(validation, dtype=np.float64)
    if not scores.size or not np.isfinite(scores).all() or not 0 < kept < 1:
        raise ModelError(
            f"open-set threshold: expected finite scores of known photos and a share between 0 and 1, found "
            f"{scores.size} scores and {kept}"
        )
    return float(np.quantile(scores, 1 - kept, method="lower"))


def score_open_set(threshold: float, known: npt.ArrayLike, unknown: npt.ArrayLike) -> OpenSetScore:
    """Score a threshold on photos of known and of unknown species that it was not chosen on.

    Raises:
        ModelError: either is empty.
    """
    of_known, of_unknown = (np.asarray(x, dtype=np.float64) for x in (known, unknown))
    if not of_known.size or not of_unknown.size:
        raise ModelError(
            f"open-set score: expected known and unknown photos, found {of_known.size} and {of_unknown.size}"
        )
    return OpenSetScore(float((of_known >= threshold).mean()), float((of_unknown < threshold).mean()))
