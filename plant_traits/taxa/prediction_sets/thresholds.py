"""Thresholds of conformal sets of names: one for all classes, one per class, or in between, and the sets they make.

With n calibration scores of true names a threshold is their ⌈(n + 1)(1 - α)⌉-th smallest, infinite where that exceeds n
(``plant_traits.model.calibration.conformal_quantile``). One threshold covers a share 1 - α of photos, so mostly those
of common species; class-wise thresholds cover 1 - α of every species' photos, with enormous sets, since a species with
fewer than ⌈1/α⌉ - 1 calibration photos is in every one of them. ``interpolated`` lies between:
q_y = τ q_class + (1 - τ) q, an infinite threshold counting as 1, the largest softmax score [Ding, Fermanian, Salmon].

A set can be empty, where no name is likely enough. It stays empty unless asked otherwise: no stated name is accepted
then. ``fill_empty`` puts the name with the lowest score into it, which can only raise the coverage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from plant_traits.errors import ModelError
from plant_traits.model.calibration import conformal_quantile
from plant_traits.taxa.prediction_sets.scores import FloatArray, Score, check_probabilities, checked_labels, chunks

BoolArray = npt.NDArray[np.bool_]
Scope = Literal["marginal", "class_wise", "interpolated"]
SCOPES: tuple[Scope, ...] = ("marginal", "class_wise", "interpolated")
LARGEST_SOFTMAX = 1.0


@dataclass(frozen=True)
class SetRule:
    """Which names go into a photo's set: those whose score is at most their threshold.

    Attributes:
        score: the conformity score.
        level: the coverage aimed at, 1 - α.
        thresholds: (k,) of each class, the same for all where there is one; infinite admits the class always.
        fill_empty: whether an empty set is given the name with the lowest score.
    """

    score: Score
    level: float
    thresholds: FloatArray
    fill_empty: bool = False

    def members(self, probabilities: npt.NDArray[np.floating]) -> BoolArray:
        """Return which classes are in the sets of n photos, (n, k), from posteriors (n, k).

        Raises:
            ModelError: the posteriors are not of these classes, or are no probabilities.
        """
        check_probabilities(probabilities, self.score.classes)
        scores = self.score.of_all(probabilities)
        chosen = np.asarray(scores <= self.thresholds)
        if self.fill_empty and len(chosen):
            empty = np.flatnonzero(~chosen.any(axis=1))
            chosen[empty, scores[empty].argmin(axis=1)] = True
        return chosen

    def in_chunks(self, probabilities: npt.NDArray[np.floating]) -> Iterator[tuple[slice, BoolArray]]:
        """Yield rows and their sets, a bounded number at a time; posteriors may be mapped from a file."""
        for part in chunks(len(probabilities), self.score.classes):
            yield part, self.members(np.asarray(probabilities[part]))


def fit_rule(
    score: Score,
    probabilities: npt.NDArray[np.floating],
    labels: npt.ArrayLike,
    level: float,
    *,
    scope: Scope = "marginal",
    tau: float = 0.9,
    fill_empty: bool = False,
) -> SetRule:
    """Calibrate a rule on photos that the classifier has not been trained on.

    Args:
        score: the conformity score.
        probabilities: (n, k) posteriors of the calibration photos.
        labels: (n,) their true classes.
        level: the coverage aimed at, 1 - α, such as 0.9.
        scope: one threshold for all classes (``marginal``), one per class, or the interpolation, for softmax scores.
        tau: weight of the class-wise threshold in the interpolation.
        fill_empty: see ``SetRule``.

    Raises:
        ModelError: the arrays do not fit, the level or τ is out of range, or another score is to be interpolated.
    """
    if not 0 < level < 1:
        raise ModelError(f"prediction sets: expected a level between 0 and 1, found {level}")
    found = score.of_label(probabilities, labels)
    one = conformal_quantile(found, level)
    if scope == "marginal":
        thresholds = np.full(score.classes, one)
    elif scope == "class_wise":
        thresholds = class_thresholds(found, labels, score.classes, level)
    elif scope == "interpolated":
        if score.kind != "softmax" or not 0 <= tau <= 1:
            raise ModelError(
                f"interpolated thresholds: expected softmax scores and τ from 0 to 1, found {score.kind!r} and {tau}; "
                "other scores have no largest value to stand for an infinite threshold"
            )
        own = np.minimum(class_thresholds(found, labels, score.classes, level), LARGEST_SOFTMAX)
        thresholds = tau * own + (1 - tau) * min(one, LARGEST_SOFTMAX)
    else:
        raise ModelError(f"prediction sets: expected a scope of {', '.join(SCOPES)}, found {scope!r}")
    return SetRule(score, level, thresholds, fill_empty)


def class_thresholds(scores: FloatArray, labels: npt.ArrayLike, classes: int, level: float) -> FloatArray:
    """Return the conformal quantile of each class's own scores, (k,), infinite for a class with too few.

    Args:
        scores: (n,) of the true names.
        labels: (n,) true classes.
        classes: k.
        level: 1 - α.

    Raises:
        ModelError: a label is no class, or a score is NaN.
    """
    which = checked_labels(labels, len(scores), classes)
    if np.isnan(scores).any():
        raise ModelError(f"class-wise thresholds: expected scores, found {int(np.isnan(scores).sum())} NaN")
    count = np.bincount(which, minlength=classes)
    sizes, size_of = np.unique(count, return_inverse=True)
    exact = Fraction(repr(level))
    rank = np.array([math.ceil((int(size) + 1) * exact) for size in sizes], dtype=np.int64)[size_of]
    ordered = scores[np.lexsort((scores, which))]
    first = np.cumsum(count) - count
    enough = rank <= count
    thresholds = np.full(classes, np.inf)
    thresholds[enough] = ordered[(first + rank - 1)[enough]]
    return thresholds
