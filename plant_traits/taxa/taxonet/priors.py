"""Priors of classes that do not let common species crowd out rare ones, and the margins that follow from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from plant_traits.errors import ModelError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BETA = 0.9
EPSILON = 1e-12


def class_counts(labels: npt.ArrayLike, classes: int) -> IntArray:
    """Return the photos of each class, (k,).

    Raises:
        ModelError: a label is no class, or a class has no photo: nothing could be learned of it.
    """
    found = np.asarray(labels)
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer) or (found < 0).any() or (found >= classes).any():
        raise ModelError(f"names: expected labels that are classes 0 to {classes - 1}, found {found.dtype} beyond them")
    counts = np.bincount(found, minlength=classes)
    if not counts.all():
        raise ModelError(
            f"names: expected a training photo of each of {classes} classes, found {int((counts == 0).sum())} classes "
            "without; leave those out of the classes"
        )
    return counts


def effective_numbers(counts: npt.ArrayLike, beta: float = BETA) -> FloatArray:
    """Return (1 - β^N) / (1 - β) of each class: how many photos N photos are worth, with growing overlap.

    Raises:
        ModelError: a count is below 1, or β is not from 0 to below 1.
    """
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim != 1 or not n.size or not (n >= 1).all() or not 0 <= beta < 1:
        raise ModelError(
            f"effective numbers: expected counts of at least 1 and β in [0, 1), found {counts!r} and {beta}"
        )
    return np.asarray((1 - beta**n) / (1 - beta), dtype=np.float64)


def effective_priors(counts: npt.ArrayLike, beta: float = BETA) -> FloatArray:
    """Return ρ̃, the mean of the frequencies and of the frequencies of effective numbers, (k,), sum 1 [TaxoNet]."""
    effective = effective_numbers(counts, beta)
    n = np.asarray(counts, dtype=np.float64)
    return np.asarray((n / n.sum() + effective / effective.sum()) / 2, dtype=np.float64)


def base_margins(priors: npt.ArrayLike, margin: float, epsilon: float = EPSILON) -> FloatArray:
    """Return Δ, m times -ln(prior + ε) brought to 0 (most common class) to 1 (rarest), (k,) [TaxoNet].

    Where all classes are equally common there is nothing to make up for, and all margins are 0.
    """
    surprise = -np.log(np.asarray(priors, dtype=np.float64) + epsilon)
    span = np.ptp(surprise)
    if span == 0:
        return np.zeros(len(surprise))
    return np.asarray(margin * (surprise - surprise.min()) / span, dtype=np.float64)
