"""Random-effects means: Paule-Mandel and DerSimonian-Laird, with Knapp-Hartung standard errors.

Each function works on one set of estimates or, ``..._by_group``, on many sets at once without a loop over them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plant_traits.errors import PlantTraitsError
from plant_traits.grid import FloatArray, IntArray

_MOST_STEPS = 200


@dataclass(frozen=True)
class RandomEffects:
    """The mean of k estimates that differ by more than their own errors, one entry per set of estimates.

    Attributes:
        location: weighted mean with weights 1 / (v + tau2).
        tau2: variance among the true values; NaN where k < 2.
        standard_error: (sum of weights) ** -1/2.
        standard_error_hk: Hartung-Knapp (Sidik-Jonkman) standard error, for a t quantile with k - 1 degrees of freedom;
            NaN where k < 2.
        q: Cochran's Q with weights 1 / v.
        i2: share of the scatter that errors do not explain, max(0, 1 - (k - 1) / Q); NaN where k < 2.
        k: number of estimates.
    """

    location: FloatArray
    tau2: FloatArray
    standard_error: FloatArray
    standard_error_hk: FloatArray
    q: FloatArray
    i2: FloatArray
    k: IntArray


def paule_mandel(y: npt.ArrayLike, v: npt.ArrayLike) -> RandomEffects:
    """Combine estimates y of variances v with the heterogeneity of Paule and Mandel (1982).

    Args:
        y: (k,) estimates.
        v: (k,) their variances, positive.

    Returns:
        The combination; each attribute has shape ().

    Raises:
        PlantTraitsError: the shapes differ, k is 0, or a variance is not positive.
    """
    y, v, group = _one_set(y, v)
    return _scalar(paule_mandel_by_group(y, v, group, 1))


def dersimonian_laird(y: npt.ArrayLike, v: npt.ArrayLike) -> RandomEffects:
    """Combine estimates y of variances v with the moment estimator of DerSimonian and Laird (1986).

    Arguments, result and errors are those of ``paule_mandel``.
    """
    y, v, group = _one_set(y, v)
    w = 1.0 / v
    _, q = _weighted(y, w, group, 1)
    total = w.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        tau2 = np.maximum(0.0, (q - (len(y) - 1)) / (total - (w * w).sum() / total))
    return _scalar(combine_by_group(y, v, group, 1, np.where(len(y) > 1, tau2, np.nan)))


def paule_mandel_by_group(y: FloatArray, v: FloatArray, group: IntArray, n_groups: int) -> RandomEffects:
    """Combine the estimates of every group at once.

    The heterogeneity solves sum (y - mean)^2 / (v + tau2) = k - 1. The left side is convex and decreasing in tau2, so
    Newton's steps from the left converge on their own; a bracket guards them against rounding. A group that
    has converged is left alone, so that its result does not depend on its neighbours.

    Args:
        y: (n,) estimates, finite.
        v: (n,) their variances, positive and finite.
        group: (n,) group of each estimate, 0 to n_groups - 1; every group has at least one.
        n_groups: number of groups.

    Returns:
        The combinations; each attribute has shape (n_groups,).
    """
    k = np.bincount(group, minlength=n_groups)
    mean = np.bincount(group, y, n_groups) / k
    low = np.zeros(n_groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        # At this tau2 the left side is at most k - 1, since the weighted mean minimises it and v > 0.
        high = np.bincount(group, (y - mean[group]) ** 2, n_groups) / (k - 1)
    tau2 = np.zeros(n_groups)
    wanted = (k - 1).astype(np.float64)
    active = k > 1
    rows = np.flatnonzero(active[group])
    for _ in range(_MOST_STEPS):
        y_now, g_now = y[rows], group[rows]
        w = 1.0 / (v[rows] + tau2[g_now])
        centre, scatter = _weighted(y_now, w, g_now, n_groups)
        slope = -np.bincount(g_now, (w * (y_now - centre[g_now])) ** 2, n_groups)
        excess = scatter - wanted
        low = np.where(active & (excess > 0), tau2, low)
        high = np.where(active & (excess <= 0), np.minimum(high, tau2), high)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = tau2 - excess / slope
        inside = (step >= low) & (step <= high)
        step = np.where(inside, step, 0.5 * (low + high))
        done = ((tau2 == 0) & (excess <= 0)) | (np.abs(step - tau2) <= 4e-16 * step) | (high <= low)
        tau2 = np.where(active & ~(done & (tau2 == 0) & (excess <= 0)), step, tau2)
        active &= ~done
        if not active.any():
            break
        rows = rows[active[g_now]]
    return combine_by_group(y, v, group, n_groups, np.where(k > 1, tau2, np.nan))


def combine_by_group(y: FloatArray, v: FloatArray, group: IntArray, n_groups: int, tau2: FloatArray) -> RandomEffects:
    """Combine the estimates of every group with a heterogeneity that is given, (n_groups,); NaN counts as none."""
    k = np.bincount(group, minlength=n_groups)
    _, q = _weighted(y, 1.0 / v, group, n_groups)
    w = 1.0 / (v + np.nan_to_num(tau2)[group])
    location, scatter = _weighted(y, w, group, n_groups)
    variance = 1.0 / np.bincount(group, w, n_groups)
    several = k > 1
    with np.errstate(divide="ignore", invalid="ignore"):
        knapp = np.where(several, np.sqrt(variance * scatter / (k - 1)), np.nan)
        i2 = np.where(several, np.where(q > k - 1, 1.0 - (k - 1) / q, 0.0), np.nan)
    return RandomEffects(location, tau2, np.sqrt(variance), knapp, q, i2, k)


def _weighted(y: FloatArray, w: FloatArray, group: IntArray, n_groups: int) -> tuple[FloatArray, FloatArray]:
    """Return each group's weighted mean and weighted sum of squares about it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(group, w * y, n_groups) / np.bincount(group, w, n_groups)
    return mean, np.bincount(group, w * (y - mean[group]) ** 2, n_groups).astype(np.float64)


def _one_set(y: npt.ArrayLike, v: npt.ArrayLike) -> tuple[FloatArray, FloatArray, IntArray]:
    estimates, variances = np.asarray(y, dtype=np.float64), np.asarray(v, dtype=np.float64)
    fits = estimates.ndim == 1 and estimates.shape == variances.shape and estimates.size > 0
    if not (fits and np.isfinite(estimates).all() and np.isfinite(variances).all() and (variances > 0).all()):
        raise PlantTraitsError(
            "a random-effects mean needs as many finite estimates as finite positive variances, at least one; "
            f"found shapes {estimates.shape} and {variances.shape}, smallest variance {variances.min(initial=np.inf)}"
        )
    return estimates, variances, np.zeros(len(estimates), dtype=np.int64)


def _scalar(result: RandomEffects) -> RandomEffects:
    return RandomEffects(*(np.asarray(getattr(result, name))[0] for name in RandomEffects.__dataclass_fields__))
