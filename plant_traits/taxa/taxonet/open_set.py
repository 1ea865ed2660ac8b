"""Tell photos of known species from others: scores, of which larger is more familiar, and a threshold for any of them.

The scores here need a model's cosines, posteriors or embeddings alone; ``feature_space`` has one that knows the scatter
of photos about their species.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from plant_traits.errors import ModelError

KEPT = 0.95
_ROWS = 1024


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


def energy(cosines: npt.NDArray[np.floating], scale: float) -> npt.NDArray[np.float64]:
    """Return ln Σ exp(s z) of each photo's cosines, (n,), from (n, k): the negative free energy [Liu et al. 2020].

    Args:
        cosines: (n, k).
        scale: s.
    """
    return np.asarray(logsumexp(scale * np.asarray(cosines, dtype=np.float64), axis=1), dtype=np.float64)


def neighbour_likeness(
    features: npt.NDArray[np.floating], reference: npt.NDArray[np.floating], neighbours: int = 10
) -> npt.NDArray[np.float64]:
    """Return the cosine of each photo with the last of its nearest photos of a reference, (n,) [Sun et al. 2022].

    Args:
        features: (n, d), none of them zero.
        reference: (m, d) of training photos, none of them zero.
        neighbours: how many are near; at most m.

    Raises:
        ModelError: there are fewer photos in the reference, or none are asked for.
    """
    if not 1 <= neighbours <= len(reference):
        raise ModelError(
            f"likeness to neighbours: expected 1 to {len(reference)} neighbours, as many photos are in the reference, "
            f"found {neighbours}"
        )
    near = reference / np.linalg.norm(reference, axis=1, keepdims=True)
    out = np.empty(len(features))
    for start in range(0, len(features), _ROWS):
        some = features[start : start + _ROWS]
        likeness = (some / np.linalg.norm(some, axis=1, keepdims=True)) @ near.T
        out[start : start + _ROWS] = -np.partition(-likeness, neighbours - 1, axis=1)[:, neighbours - 1]
    return out


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
