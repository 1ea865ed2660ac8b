"""Variances of errors by penalised maximum likelihood, such that no single residual dominates.

A residual that lies farther out than all but 0.27 % of normal ones counts as lying there (Huber's Proposal 2, with the
limit at three standard deviations), and so does a pair of residuals by its Mahalanobis distance. Variances are scaled
by what the limit takes from normal errors, so they are unbiased for these; heavier tails count in part, which leaves
them to the calibration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize, root

from plant_traits.grid import FloatArray

LIMIT_OF_ONE = 9.0
"""Squared distance, in standard deviations, that one residual counts for at most."""
LIMIT_OF_TWO = 11.829158
"""The same for a pair of residuals: as rare among normal ones."""
KEPT_OF_ONE, KEPT_OF_TWO = 0.99500728, 0.99730020
"""What these limits leave of a normal's variance."""
ROUNDS = 6
"""Limits are set anew from the fitted variances this many times."""
MOST_POWER = 2.0
POWER_OF_PRIOR = 0.5
_TINY = 1e-300


def fit_variance(
    residual: FloatArray, known: FloatArray, centre: float, weight: float, relative: FloatArray | float = 1.0
) -> float:
    """Return A of residuals of variance A · relative + known.

    Args:
        residual: (n,).
        known: (n,) the known part of their variances.
        centre: of the inverse gamma prior of A; where there is no residual it is the result.
        weight: of the prior, in residuals.
        relative: (n,) or one for all.
    """
    centre = max(centre, _TINY)
    squares = residual**2 / KEPT_OF_ONE

    def loss(p: FloatArray) -> tuple[float, FloatArray]:
        own = np.exp(p[0]) * relative
        total = own + known
        inverse = centre / np.exp(p[0])
        slope = (own * (1 / total - squares / total**2)).sum() + weight * (1 - inverse)
        return float((np.log(total) + squares / total).sum() + weight * (p[0] + inverse)), np.array([slope])

    found = np.array([np.log(centre)])
    for _ in range(ROUNDS if len(residual) else 0):
        total = np.exp(found[0]) * relative + known
        squares = residual**2 * kept(residual**2 / total, LIMIT_OF_ONE) / KEPT_OF_ONE
        found = minimum(loss, found)
    return float(np.exp(found[0]))


def fit_power(residual: FloatArray, known: FloatArray, stated: FloatArray, centre: float) -> float:
    """Return the power k of the stated variance that residuals go with: of variance A · stated^k + known.

    Its prior is normal about 0 with a standard deviation of ``POWER_OF_PRIOR``, so without evidence it is 0.

    Args:
        residual: (n,).
        known: (n,) the known part of their variances.
        stated: (n,) positive, about 1.
        centre: of the prior of A, which has the weight of one residual.

    Returns:
        From 0 to ``MOST_POWER``.
    """
    logarithm = np.log(stated)
    centre = max(centre, _TINY)
    squares = residual**2 / KEPT_OF_ONE

    def loss(p: FloatArray) -> tuple[float, FloatArray]:
        own = np.exp(p[0] + p[1] * logarithm)
        total = own + known
        inverse = centre / np.exp(p[0])
        slope = own * (1 / total - squares / total**2)
        prior = p[0] + inverse + (p[1] / POWER_OF_PRIOR) ** 2
        gradient = np.array([slope.sum() + 1 - inverse, slope @ logarithm + 2 * p[1] / POWER_OF_PRIOR**2])
        return float((np.log(total) + squares / total).sum() + prior), gradient

    found = np.array([np.log(centre), 0.0])
    for _ in range(ROUNDS if len(residual) else 0):
        total = np.exp(found[0] + found[1] * logarithm) + known
        squares = residual**2 * kept(residual**2 / total, LIMIT_OF_ONE) / KEPT_OF_ONE
        found = minimum(loss, found, bounds=[(None, None), (0.0, MOST_POWER)])
    return float(found[1])


def kept(squared_distance: FloatArray, limit: float) -> FloatArray:
    """Return the share of each squared distance that the limit leaves, 1 within it."""
    return np.asarray(np.minimum(1.0, limit / np.maximum(squared_distance, _TINY)))


def minimum(
    loss: Callable[[FloatArray], tuple[float, FloatArray]],
    start: FloatArray,
    bounds: Sequence[tuple[float | None, float | None]] | None = None,
) -> FloatArray:
    """Return where a smooth function of a few parameters is least, from there, to the precision of its gradient.

    Where the descent stops short, solving for a gradient of zero goes on, so that the result does not hang on the order
    of sums.

    Args:
        loss: the function and its gradient.
        start: where to begin.
        bounds: of the parameters; those that end at a bound stay there.
    """
    found: FloatArray = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200}).x
    limits = [(None, None)] * len(found) if bounds is None else bounds
    free = np.array([x not in limit for x, limit in zip(found.tolist(), limits, strict=True)])

    def gradient(part: FloatArray) -> FloatArray:
        moved = found.copy()
        moved[free] = part
        return np.asarray(loss(moved)[1][free])

    solved = root(gradient, found[free], tol=1e-13)
    polished = found.copy()
    polished[free] = solved.x
    within = all(
        (low is None or x >= low) and (high is None or x <= high)
        for x, (low, high) in zip(polished.tolist(), limits, strict=True)
    )
    value = loss(found)[0]
    better = within and np.isfinite(polished).all() and loss(polished)[0] <= value + 1e-9 * (1 + abs(value))
    return polished if better else found
