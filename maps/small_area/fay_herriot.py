"""Area-level small-area estimation after Fay and Herriot (1979).

Areas d = 1 … D have direct estimates y_d = x_d'β + u_d + e_d. The e_d are sampling errors of known variance ψ_d, the
u_d what the covariates leave open, of variance A, the same for all areas of a group. With V_d = A + ψ_d and
γ_d = A / V_d the empirical best linear unbiased predictor of x_d'β + u_d is γ_d y_d + (1 - γ_d) x_d'β, where β is that
of generalised least squares. Its mean squared error is estimated to second order: g1 + g2 + 2 g3 where A is fitted by
restricted maximum likelihood (Prasad & Rao 1990; Datta & Lahiri 2000), with a further term for the bias of A where it
is by maximum likelihood. All sums run over areas once, so time and memory grow with their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from plant_traits.errors import TableError
from plant_traits.grid import FloatArray

IntArray = npt.NDArray[np.int64]
Method = Literal["reml", "ml"]

LEAST_AREAS = 10
TOLERANCE = 1e-10
_ITERATIONS = 200


@dataclass(frozen=True)
class FayHerriot:
    """A fitted model of p covariates and g groups.

    Attributes:
        method: how A was fitted.
        coefficients: (p,) β.
        covariance: (p, p) of β, (Σ x x' / V)⁻¹.
        variance: (g,) A.
        variance_error: (g,) asymptotic variance of A, 2 / Σ V⁻² over the areas that it was fitted on.
        variance_bias: (g,) first-order bias of A; 0 by restricted maximum likelihood.
        pooled: (g,) whether the group is too small and takes the A of all areas together.
        converged: whether the fit came to rest.
    """

    method: Method
    coefficients: FloatArray
    covariance: FloatArray
    variance: FloatArray
    variance_error: FloatArray
    variance_bias: FloatArray
    pooled: npt.NDArray[np.bool_]
    converged: bool


@dataclass(frozen=True)
class Prediction:
    """Predictions of n areas.

    Attributes:
        location: (n,).
        mean_squared_error: (n,) to second order.
        direct_share: (n,) weight of the direct estimate.
    """

    location: FloatArray
    mean_squared_error: FloatArray
    direct_share: FloatArray


def fit_fay_herriot(
    direct: FloatArray,
    sampling: FloatArray,
    covariates: FloatArray,
    group: IntArray | None = None,
    *,
    groups: int | None = None,
    method: Method = "reml",
    least: int = LEAST_AREAS,
) -> FayHerriot:
    """Fit β and A by Fisher scoring of the likelihood, restricted or not; A is never negative.

    A group of fewer than ``least`` areas takes the A of all areas fitted as one group.

    Args:
        direct: (n,) direct estimates.
        sampling: (n,) their variances ψ, at least 0.
        covariates: (n, p) with a column of ones where an intercept is wanted.
        group: (n,) from 0; one group by default.
        groups: how many there are; those of ``group`` by default.
        method: ``reml`` or ``ml``.
        least: areas that a group needs for an A of its own.

    Raises:
        TableError: lengths differ, a value is not finite, a variance is negative, areas are not more than
            covariates, or covariates repeat each other.
    """
    group = np.zeros(len(direct), dtype=np.int64) if group is None else group
    count = int(group.max(initial=0)) + 1 if groups is None else groups
    _check(direct, sampling, covariates, group)
    together = np.zeros(len(direct), dtype=np.int64)
    start = _moment_variance(direct, sampling, covariates)
    size = np.bincount(group, minlength=count)
    small = size < least
    alone, settled = _scoring(direct, sampling, covariates, together, np.array([start]), np.array([True]), method)
    variance: FloatArray = np.full(count, float(alone[0]))
    if count > 1 and not small.all():
        variance, converged = _scoring(direct, sampling, covariates, group, variance, ~small, method)
        settled = settled and converged
    weight = 1 / np.maximum(variance[group] + sampling, _floor(sampling))
    inverse = np.asarray(np.linalg.inv(_gram(covariates, weight)), dtype=np.float64)
    coefficients = inverse @ (covariates.T @ (weight * direct))
    information: FloatArray = np.where(small, (weight**2).sum(), np.bincount(group, weight**2, count))
    leverage = weight**2 * np.einsum("ij,jk,ik->i", covariates, inverse, covariates)
    lost = np.where(small, leverage.sum(), np.bincount(group, leverage, count))
    bias = -lost / information if method == "ml" else np.zeros(count)
    variance_error: FloatArray = 2 / information
    return FayHerriot(method, coefficients, inverse, variance, variance_error, bias, small, settled)


def predict_fay_herriot(
    model: FayHerriot,
    covariates: FloatArray,
    direct: FloatArray | None = None,
    sampling: FloatArray | None = None,
    group: IntArray | None = None,
) -> Prediction:
    """Predict areas: with a direct estimate by the empirical best predictor, without one by x'β.

    Args:
        model: the fit; areas with a direct estimate are those that it was fitted on.
        covariates: (n, p).
        direct: (n,) NaN where an area has none; none has by default.
        sampling: (n,) their variances.
        group: (n,) from 0; one group by default.

    Returns:
        Of an area without a direct estimate the mean squared error is A + x' Var(β) x.
    """
    n = len(covariates)
    group = np.zeros(n, dtype=np.int64) if group is None else group
    direct = np.full(n, np.nan) if direct is None else direct
    sampling = np.full(n, np.nan) if sampling is None else sampling
    known = np.isfinite(direct) & np.isfinite(sampling)
    psi = np.where(known, sampling, 1.0)
    variance, error, bias = model.variance[group], model.variance_error[group], model.variance_bias[group]
    total = np.maximum(variance + psi, np.finfo(np.float64).tiny)
    share = np.where(known, variance / total, 0.0)
    share = np.where(known & (psi == 0), 1.0, share)
    synthetic = covariates @ model.coefficients
    location = synthetic + share * np.where(known, direct - synthetic, 0.0)
    of_coefficients = np.einsum("ij,jk,ik->i", covariates, model.covariance, covariates)
    g1, g2, g3 = share * psi, (1 - share) ** 2 * of_coefficients, psi**2 / total**3 * error
    second = g1 + g2 + 2 * g3 - bias * (1 - share) ** 2
    return Prediction(location, np.where(known, second, variance + of_coefficients), share)


def restricted_log_likelihood(
    variance: FloatArray,
    direct: FloatArray,
    sampling: FloatArray,
    covariates: FloatArray,
    group: IntArray,
    method: Method,
) -> float:
    """Return the log-likelihood of A up to a constant, restricted or with β at its best."""
    weight = 1 / np.maximum(variance[group] + sampling, _floor(sampling))
    gram = _gram(covariates, weight)
    coefficients = np.linalg.solve(gram, covariates.T @ (weight * direct))
    residual = direct - covariates @ coefficients
    found = 0.5 * float(np.log(weight).sum() - weight @ residual**2)
    penalty = 0.5 * float(np.linalg.slogdet(gram)[1]) if method == "reml" else 0.0
    return found - penalty


def _scoring(
    direct: FloatArray,
    sampling: FloatArray,
    x: FloatArray,
    group: IntArray,
    start: FloatArray,
    free: npt.NDArray[np.bool_],
    method: Method,
) -> tuple[FloatArray, bool]:
    """Maximise the likelihood over the free variances; those at 0 stay there while the score points below."""
    variance, count = start.copy(), len(start)
    height = restricted_log_likelihood(variance, direct, sampling, x, group, method)
    for _ in range(_ITERATIONS):
        weight = 1 / np.maximum(variance[group] + sampling, _floor(sampling))
        inverse = np.linalg.inv(_gram(x, weight))
        residual = weight * (direct - x @ (inverse @ (x.T @ (weight * direct))))
        leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
        trace = np.bincount(group, weight, count)
        information = np.diag(np.bincount(group, weight**2, count))
        if method == "reml":
            trace = trace - np.bincount(group, weight**2 * leverage, count)
            information = information - 2 * np.diag(np.bincount(group, weight**3 * leverage, count))
            parts = np.stack([_gram(x[group == g], weight[group == g] ** 2) @ inverse for g in range(count)])
            information = information + np.einsum("gij,hji->gh", parts, parts)
        score = 0.5 * (np.bincount(group, residual**2, count) - trace)
        active = free & ~((variance <= 0) & (score <= 0))
        if not active.any():
            return variance, True
        step = np.zeros(count)
        step[active] = np.linalg.lstsq(0.5 * information[np.ix_(active, active)], score[active], rcond=None)[0]
        for _ in range(40):
            moved = np.maximum(variance + step, 0.0)
            reached = restricted_log_likelihood(moved, direct, sampling, x, group, method)
            if reached >= height - 1e-12 * abs(height):
                break
            step = step / 2
        else:
            return variance, True
        change = float(np.abs(moved - variance).max())
        variance, height = moved, max(reached, height)
        if change <= TOLERANCE * (float(variance.max()) + float(np.median(sampling)) + 1e-300):
            return variance, True
    return variance, False


def _moment_variance(direct: FloatArray, sampling: FloatArray, x: FloatArray) -> float:
    """Return Prasad and Rao's moment estimate of A, at least a hundredth of the residual variance: where to start."""
    inverse = np.linalg.inv(_gram(x, np.ones(len(x))))
    residual = direct - x @ (inverse @ (x.T @ direct))
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    freedom = len(x) - x.shape[1]
    total = float(residual @ residual)
    excess = total - float(sampling @ (1 - leverage))
    return float(max(excess / freedom, 0.01 * total / freedom))


def _gram(x: FloatArray, weight: FloatArray) -> FloatArray:
    return np.asarray(x.T @ (x * weight[:, None]))


def _floor(sampling: FloatArray) -> float:
    """Return what a total variance is at least, so that exact direct estimates with A = 0 do not divide by zero."""
    return 1e-12 * float(np.median(sampling)) + 1e-300


def _check(direct: FloatArray, sampling: FloatArray, x: FloatArray, group: IntArray) -> None:
    if x.ndim != 2 or not len(direct) == len(sampling) == len(x) == len(group):
        raise TableError(
            f"small areas: expected n direct estimates, variances and groups and an (n, p) matrix, found "
            f"{len(direct)}, {len(sampling)}, {len(group)} and {x.shape}; take all from the same areas"
        )
    if not (
        np.isfinite(direct).all() and np.isfinite(sampling).all() and np.isfinite(x).all() and (sampling >= 0).all()
    ):
        raise TableError(
            "small areas: expected finite estimates and covariates and variances of at least 0, found others; leave "
            "out areas without a direct estimate when fitting"
        )
    if len(direct) <= x.shape[1] or np.linalg.matrix_rank(x) < x.shape[1]:
        raise TableError(
            f"small areas: expected more areas than covariates, none of which repeats another, found {len(direct)} "
            f"areas and {x.shape[1]} covariates of rank {np.linalg.matrix_rank(x)}; use fewer covariates"
        )
