"""How well sets of names cover: photos alike, species alike, or species by their weight; and how large they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plant_traits.errors import ModelError
from plant_traits.taxa.prediction_sets.scores import FloatArray, IntArray, checked_labels
from plant_traits.taxa.prediction_sets.thresholds import SetRule


@dataclass(frozen=True)
class Coverage:
    """Coverage and size of sets.

    Attributes:
        photos: how many were looked at.
        marginal: share of photos whose set holds the true name.
        macro: mean over the classes looked at of the coverage within the class.
        weighted_macro: the same weighted with ω, which is brought to sum 1 over the classes looked at.
        mean_size: names per set, empty ones included.
        empty: share of empty sets.
        by_class: (k,) coverage within each class, NaN for a class without a photo.
        photos_of_class: (k,) photos of each class.
    """

    photos: int
    marginal: float
    macro: float
    weighted_macro: float
    mean_size: float
    empty: float
    by_class: FloatArray
    photos_of_class: IntArray

    @property
    def classes_without_photos(self) -> int:
        """How many classes no photo shows; the means over classes leave them out."""
        return int((self.photos_of_class == 0).sum())


def evaluate_sets(
    rule: SetRule,
    probabilities: npt.NDArray[np.floating],
    labels: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
) -> Coverage:
    """Score a rule on photos that neither training nor calibration has seen, in bounded memory.

    Args:
        rule: the calibrated rule.
        probabilities: (n, k) posteriors; may be mapped from a file.
        labels: (n,) true classes.
        weights: (k,) ω; all classes alike by default.

    Raises:
        ModelError: there is no photo, or the arrays do not fit.
    """
    classes = rule.score.classes
    which = checked_labels(labels, len(probabilities), classes)
    omega = np.ones(classes) if weights is None else np.asarray(weights, dtype=np.float64)
    if not which.size or omega.shape != (classes,) or not (omega >= 0).all():
        raise ModelError(
            f"coverage of sets: expected photos, and {classes} weights of at least 0, found {which.size} photos and "
            f"weights of shape {omega.shape}"
        )
    covered = np.empty(which.size, dtype=bool)
    total = empty = 0
    for part, sets in rule.in_chunks(probabilities):
        covered[part] = sets[np.arange(len(sets)), which[part]]
        size = sets.sum(axis=1)
        total += int(size.sum())
        empty += int((size == 0).sum())
    return summarise_coverage(covered, which, omega, total / which.size, empty / which.size)


def summarise_coverage(
    covered: npt.NDArray[np.bool_], labels: IntArray, weights: FloatArray, mean_size: float, empty: float
) -> Coverage:
    """Average coverage over photos, classes and weighted classes.

    Args:
        covered: (n,) whether a photo's set holds its true class.
        labels: (n,) true classes.
        weights: (k,) ω.
        mean_size: of the sets.
        empty: share of empty sets.
    """
    count = np.bincount(labels, minlength=len(weights))
    held = np.bincount(labels, weights=covered.astype(np.float64), minlength=len(weights))
    seen = count > 0
    by_class = np.full(len(weights), np.nan)
    by_class[seen] = held[seen] / count[seen]
    weight = weights[seen]
    weighted = float(weight @ by_class[seen] / weight.sum()) if weight.sum() > 0 else float("nan")
    return Coverage(
        photos=len(labels),
        marginal=float(covered.mean()),
        macro=float(by_class[seen].mean()),
        weighted_macro=weighted,
        mean_size=mean_size,
        empty=empty,
        by_class=by_class,
        photos_of_class=count,
    )
