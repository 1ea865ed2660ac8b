"""A straight line from one look at the cells to what vegetation plots show, where it pays on plots held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plant_traits.grid import FloatArray

IntArray = npt.NDArray[np.int64]

NONE, SHIFT, LINE, SHIFT_BY_BIOME, LINE_BY_BIOME = "none", "shift", "line", "shift by biome", "line by biome"
FORMS = (NONE, SHIFT, LINE, SHIFT_BY_BIOME, LINE_BY_BIOME)
CELLS_OF_PRIOR = 20.0
GAIN_IN_ERRORS = 1.0
"""A line is taken where it lowers the held-out squared error by more than this many standard errors of the gain."""
LIMIT = 3.0
LEAST_CELLS = 20
LEAST_BLOCKS = 5
_ROUNDS = 8
_NO_SPREAD = 1e-20  # of the squares of a look, by which it varies no more than by rounding


@dataclass(frozen=True)
class Recalibration:
    """A line by group: plots = intercept + slope · look.

    Attributes:
        form: one of ``FORMS``.
        intercept: (g,) working space.
        slope: (g,).
        bias: mean of look - plots before, limited and weighted as in the fit; NaN without cells.
        gain: share by which the held-out mean squared error falls, by the best form.
        gain_error: standard error of that share over blocks.
    """

    form: str
    intercept: FloatArray
    slope: FloatArray
    bias: float
    gain: float
    gain_error: float

    def apply(self, look: FloatArray, group: IntArray) -> FloatArray:
        """Return the recalibrated look, (n,)."""
        return np.asarray(self.intercept[group] + self.slope[group] * look)


def recalibrate(
    look: FloatArray,
    plot: FloatArray,
    weight: FloatArray,
    group: IntArray,
    groups: int,
    fold: IntArray,
    block: IntArray,
    forms: Sequence[str] = FORMS,
) -> Recalibration:
    """Fit each form of line and take the best on held-out blocks, if it beats none clearly.

    Forms by biome draw a biome's line towards that of all cells as by ``CELLS_OF_PRIOR`` cells. Residuals beyond
    ``LIMIT`` robust standard deviations count as that many, in the fit and in the comparison. A line is taken where
    the fall of the summed squared error on held-out folds exceeds ``GAIN_IN_ERRORS`` standard errors over blocks.

    Args:
        look: (n,) working space.
        plot: (n,) means of plots; cells where either is NaN are left out.
        weight: (n,) inverse variances of the plots' departures, up to a factor.
        group: (n,) from 1; 0 where unknown.
        groups: how many there are, group 0 included.
        fold: (n,) number of the fold that holds the cell out.
        block: (n,) spatial block, each within one fold.
        forms: forms to compare.
    """
    known = np.isfinite(look) & np.isfinite(plot)
    x, y, w, g, f = look[known], plot[known], weight[known], group[known], fold[known]
    identity = (np.zeros(groups), np.ones(groups))
    if len(x) == 0:
        return Recalibration(NONE, *identity, float("nan"), 0.0, 0.0)
    shift = float(_fit(SHIFT, x, y, w, g, groups)[0][0])
    blocks, at = np.unique(block[known], return_inverse=True)
    if len(x) < LEAST_CELLS or len(blocks) < LEAST_BLOCKS or len(np.unique(f)) < 2:
        return Recalibration(NONE, *identity, -shift, 0.0, 0.0)
    errors = {form: np.empty(len(x)) for form in (NONE, *forms)}
    for number in np.unique(f):
        out = f == number
        for form, error in errors.items():
            intercept, slope = _fit(form, x[~out], y[~out], w[~out], g[~out], groups)
            error[out] = y[out] - intercept[g[out]] - slope[g[out]] * x[out]
    limit = LIMIT * _robust_spread(errors[NONE], w)
    losses = {form: np.minimum(np.abs(e) * np.sqrt(w), limit) ** 2 for form, e in errors.items()}
    best = min((form for form in forms if form != NONE), key=lambda form: float(losses[form].sum()))
    by_block = np.bincount(at, losses[NONE] - losses[best], len(blocks))
    before = float(losses[NONE].sum())
    gain = float(by_block.sum())
    gain_error = float(np.sqrt(len(blocks)) * by_block.std(ddof=1))
    taken = best if gain > GAIN_IN_ERRORS * gain_error else NONE
    intercept, slope = _fit(taken, x, y, w, g, groups)
    scale = max(before, 1e-300)
    return Recalibration(taken, intercept, slope, -shift, gain / scale, gain_error / scale)


def line_of_form(
    form: str, look: FloatArray, plot: FloatArray, weight: FloatArray, group: IntArray, groups: int
) -> Recalibration:
    """Fit a line of a form that was chosen before; arguments are those of ``recalibrate``, without its comparison."""
    known = np.isfinite(look) & np.isfinite(plot)
    x, y, w, g = look[known], plot[known], weight[known], group[known]
    shift = float(_fit(SHIFT, x, y, w, g, groups)[0][0]) if len(x) else float("nan")
    intercept, slope = _fit(form, x, y, w, g, groups)
    return Recalibration(form, intercept, slope, -shift, float("nan"), float("nan"))


def _fit(
    form: str, x: FloatArray, y: FloatArray, weight: FloatArray, group: IntArray, groups: int
) -> tuple[FloatArray, FloatArray]:
    """Return (intercepts, slopes) by group of one form, of limited residuals."""
    intercept, slope = np.zeros(groups), np.ones(groups)
    if form == NONE or len(x) == 0:
        return intercept, slope
    centre = float(weight @ x / weight.sum())
    spread = float(weight @ (x - centre) ** 2)
    sloped = form in (LINE, LINE_BY_BIOME) and spread > _NO_SPREAD * float(weight @ x**2)
    middle = x + np.median(y - x)
    limited = middle + _clipped(y - middle, weight)
    for _ in range(_ROUNDS):
        rest = limited - x
        shift = float(weight @ rest / weight.sum())
        tilt = float(weight @ ((x - centre) * (rest - shift))) / spread if sloped else 0.0
        intercept, slope = np.full(groups, shift - tilt * centre), np.full(groups, 1.0 + tilt)
        if form in (SHIFT_BY_BIOME, LINE_BY_BIOME):
            own_shift, own_tilt = _by_group(
                x - centre, rest - shift - tilt * (x - centre), weight, group, groups, sloped
            )
            own_shift[0] = own_tilt[0] = 0.0
            intercept, slope = intercept + own_shift - own_tilt * centre, slope + own_tilt
        fitted = intercept[group] + slope[group] * x
        limited = fitted + _clipped(y - fitted, weight)
    return intercept, slope


def _by_group(
    x: FloatArray, rest: FloatArray, weight: FloatArray, group: IntArray, groups: int, sloped: bool
) -> tuple[FloatArray, FloatArray]:
    """Return each group's own shift and tilt by ridge regression, solved in closed form."""
    ridge = CELLS_OF_PRIOR * float(weight.mean())
    s_w = np.bincount(group, weight, groups) + ridge
    s_x, s_r = np.bincount(group, weight * x, groups), np.bincount(group, weight * rest, groups)
    if not sloped:
        return s_r / s_w, np.zeros(groups)
    s_xx = np.bincount(group, weight * x**2, groups) + ridge * float(weight @ x**2 / weight.sum())
    s_xr = np.bincount(group, weight * x * rest, groups)
    determinant = s_w * s_xx - s_x**2
    return (s_xx * s_r - s_x * s_xr) / determinant, (s_w * s_xr - s_x * s_r) / determinant


def _clipped(residual: FloatArray, weight: FloatArray) -> FloatArray:
    """Return residuals cut to ``LIMIT`` robust standard deviations."""
    limit = LIMIT * _robust_spread(residual, weight) / np.sqrt(weight)
    return np.asarray(np.clip(residual, -limit, limit))


def _robust_spread(residual: FloatArray, weight: FloatArray) -> float:
    """Return 1.4826 times the median absolute residual in units of its standard deviation, never 0."""
    scaled = np.abs(residual) * np.sqrt(weight)
    return float(max(1.4826 * np.median(scaled), 1e-6 * max(float(scaled.max()), 1e-300)))
