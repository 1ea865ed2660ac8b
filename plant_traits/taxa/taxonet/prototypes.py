"""Class prototypes in a feature space: each species is the mean direction of its photos, and a photo is the nearest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.priors import FloatArray, IntArray, class_counts


def unit(vectors: npt.NDArray[np.floating]) -> FloatArray:
    """Return rows of length 1; a row of zeros stays."""
    wide = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(np.divide(wide, length, out=np.zeros_like(wide), where=length > 0), dtype=np.float64)


def class_prototypes(features: npt.NDArray[np.floating], labels: npt.ArrayLike, classes: int) -> FloatArray:
    """Return the normalised mean of each class's normalised features, (k, d).

    Raises:
        ModelError: a feature is not finite, a label is no class, or a class has no photo.
    """
    _check(features, labels)
    class_counts(labels, classes)
    return unit(_sums(unit(features), np.asarray(labels), classes))


def cosines(features: npt.NDArray[np.floating], prototypes: FloatArray) -> FloatArray:
    """Return the cosine between each feature and each prototype of length 1, (n, k)."""
    return np.asarray(unit(features) @ prototypes.T, dtype=np.float64)


def leave_one_out_cosines(
    features: npt.NDArray[np.floating], labels: npt.ArrayLike, groups: npt.ArrayLike, classes: int
) -> FloatArray:
    """Return the cosines of each photo with prototypes made without the photos of its own group, (n, k).

    The features are centred on the mean of the photos of other groups, which is all that a classifier of that photo may
    know. A class that has no photo outside the group has a cosine of minus infinity.

    Args:
        features: (n, d).
        labels: (n,) classes.
        groups: (n,) what is left out together, such as the observation.
        classes: k.

    Raises:
        ModelError: a feature is not finite, a label is no class, a class has no photo, or there is one group only.
    """
    _check(features, labels)
    which = np.asarray(labels)
    class_counts(which, classes)
    wide = np.asarray(features, dtype=np.float64)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    if group.max() == 0:
        raise ModelError("leave one out: expected photos of two groups or more, found one")
    out = np.empty((len(wide), classes))
    for number in range(int(group.max()) + 1):
        own = group == number
        centred = wide - wide[~own].mean(axis=0)
        remaining = _sums(unit(centred[~own]), which[~own], classes)
        out[own] = unit(centred[own]) @ unit(remaining).T
        out[np.ix_(own, np.bincount(which[~own], minlength=classes) == 0)] = -np.inf
    return out


def _sums(vectors: FloatArray, labels: IntArray, classes: int) -> FloatArray:
    total = np.zeros((classes, vectors.shape[1]))
    np.add.at(total, labels, vectors)
    return total


def _check(features: npt.NDArray[np.floating], labels: npt.ArrayLike) -> None:
    if features.ndim != 2 or len(features) != np.asarray(labels).size or not np.isfinite(features).all():
        raise ModelError(
            f"prototypes: expected finite features and a label for each, found shape {features.shape} and "
            f"{np.asarray(labels).size} labels; leave out photos without features"
        )
