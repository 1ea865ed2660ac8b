"""Variances of species and observers by restricted maximum likelihood (REML), pooled over many cells.

Each cell has a mean of its own; species and observers act within their cell. Since the photos' variances are known, the
photos of one species by one observer in one cell enter through their moments alone: what is left of their likelihood
depends neither on the variances of the effects nor on the mean (``collapsed_constant``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maps.estimators.crossed_effects import BoolArray, CellBlock, CellCovariances
from plant_traits.grid import FloatArray, IntArray

_MOST_STEPS = 100
_TOLERANCE = 1e-9  # of a step, relative to the variances
_DAMPING = 1e-10  # relative; species and observers that cannot be told apart share the variance


@dataclass(frozen=True)
class VarianceComponents:
    """Variances of the effects in each group of cells.

    Attributes:
        variance: (groups, 2) of species and of observers, working space squared.
        covariance: (groups, 2, 2) of those estimates, the inverse of the average information; 0 for a variance on
            its boundary 0.
        log_likelihood: (groups,) restricted, without the constant of the collapsed photos.
        converged: (groups,) whether the steps came to rest.
        steps: (groups,) steps taken.
    """

    variance: FloatArray
    covariance: FloatArray
    log_likelihood: FloatArray
    converged: BoolArray
    steps: IntArray


@dataclass(frozen=True)
class _Evaluation:
    """Log-likelihood (groups,), its gradient (groups, 2) and the average information (groups, 2, 2)."""

    log_likelihood: FloatArray
    score: FloatArray
    information: FloatArray


def estimate_components(
    blocks: Sequence[CellBlock], y: FloatArray, group: IntArray, start: FloatArray, informed: BoolArray
) -> VarianceComponents:
    """Maximise the restricted likelihood of every group of cells.

    Newton's steps with the average information (Gilmour, Thompson & Cullis 1995); a variance that would fall below 0
    stays at 0 while the gradient holds it there, and a step that lowers the likelihood is halved.

    Args:
        blocks: the cells, from ``cell_blocks``.
        y: (rows,) means of the rows, sum wy / sum w.
        group: (cells,) group of each cell, 0 to n_groups - 1; -1 leaves a cell out.
        start: (groups, 2) where to start.
        informed: (groups, 2) whether some cell of the group has two species, and two observers, or more. A variance
            that the cells say nothing about stays where it starts and counts as known.

    Returns:
        The estimates.
    """
    n_groups = len(start)
    best = start.astype(np.float64).copy()
    at = _evaluate(blocks, y, group, best)
    step = _newton(best, at, informed)
    active = np.ones(n_groups, dtype=bool)
    converged = np.zeros(n_groups, dtype=bool)
    steps = np.zeros(n_groups, dtype=np.int64)
    for _ in range(_MOST_STEPS):
        resting = active & (np.abs(step).max(axis=1, initial=0.0) <= _TOLERANCE * best.sum(axis=1))
        converged |= resting
        active &= ~resting
        if not active.any():
            break
        steps[active] += 1
        trial = np.where(active[:, None], best + step, best)
        found = _evaluate(blocks, y, np.where(active[group] & (group >= 0), group, -1), trial)
        slack = 1e-12 * np.abs(at.log_likelihood)
        better = active & (found.log_likelihood >= at.log_likelihood - slack)
        best[better] = trial[better]
        at = _Evaluation(
            np.where(better, found.log_likelihood, at.log_likelihood),
            np.where(better[:, None], found.score, at.score),
            np.where(better[:, None, None], found.information, at.information),
        )
        step = np.where(better[:, None], _newton(best, at, informed), 0.5 * step)
    return VarianceComponents(best, _covariance(best, at, informed), at.log_likelihood, converged, steps)


def log_likelihood(
    blocks: Sequence[CellBlock], y: FloatArray, group: IntArray, variance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the restricted log-likelihood of every group, (groups,), and its gradient by the variances, (groups, 2).

    With n rows in c cells it is -1/2 (log det V + log det X' V^-1 X + y' P y + (n - c) log 2 pi), X the cells.
    """
    found = _evaluate(blocks, y, group, variance)
    return found.log_likelihood, found.score


def collapsed_constant(n: FloatArray, sum_w: FloatArray, sum_wy: FloatArray, sum_wy2: FloatArray) -> FloatArray:
    """Return what collapsing photos to rows takes from the log-likelihood, less sum log w / 2 over the photos.

    That sum is a constant too, but not a function of the moments. Each argument has shape (rows,), as has the result.
    """
    scatter = sum_wy2 - sum_wy**2 / sum_w
    return np.asarray(-0.5 * (scatter + np.log(sum_w) + (n - 1.0) * np.log(2.0 * np.pi)))


def _evaluate(blocks: Sequence[CellBlock], y: FloatArray, group: IntArray, variance: FloatArray) -> _Evaluation:
    n_groups = len(variance)
    total = np.zeros((n_groups, 6))
    for block in blocks:
        of_cell = group[block.cells]
        wanted = of_cell >= 0
        if not wanted.any():
            continue
        statistics = _of_block(block, y[block.rows], variance[of_cell])
        for k in range(6):
            total[:, k] += np.bincount(of_cell[wanted], statistics[wanted, k], n_groups)
    information = total[:, [3, 4, 4, 5]].reshape(n_groups, 2, 2)
    return _Evaluation(total[:, 0], total[:, 1:3], information)


def _of_block(block: CellBlock, y: FloatArray, variance: FloatArray) -> FloatArray:
    """Return log-likelihood, two gradients and three entries of the average information of every cell, (cells, 6)."""
    covariances = CellCovariances(block, variance[:, 0], variance[:, 1])
    rough = block.by_cell(block.weight * y) / block.by_cell(block.weight)
    centred = y - rough[block.cell_of_row]  # P does not see a cell's mean; this keeps its digits
    ones, solved = covariances.solve(np.stack([np.ones_like(y), centred], axis=-1)).T
    precision = block.by_cell(ones)
    residual = solved - (block.by_cell(solved) / precision)[block.cell_of_row] * ones
    rows = np.bincount(block.cell_of_row)
    log_likelihood = -0.5 * (
        covariances.log_determinants()
        + np.log(precision)
        + block.by_cell(centred * residual)
        + (rows - 1.0) * np.log(2.0 * np.pi)
    )
    trace = covariances.traces() - block.squares(ones) / precision[:, None]
    score = -0.5 * (trace - block.squares(residual))
    species, observer = block.spread(residual)
    of_species, of_observer = covariances.solve(np.stack([species, observer], axis=-1)).T
    mean_species, mean_observer = block.by_cell(of_species), block.by_cell(of_observer)
    information = 0.5 * np.stack(
        [
            block.by_cell(species * of_species) - mean_species**2 / precision,
            block.by_cell(species * of_observer) - mean_species * mean_observer / precision,
            block.by_cell(observer * of_observer) - mean_observer**2 / precision,
        ],
        axis=-1,
    )
    return np.concatenate([log_likelihood[:, None], score, information], axis=-1)


def _damped(information: FloatArray) -> FloatArray:
    size = np.trace(information, axis1=1, axis2=2)
    return np.asarray(information + (_DAMPING * size + np.finfo(float).tiny)[:, None, None] * np.eye(2))


def _newton(variance: FloatArray, at: _Evaluation, informed: BoolArray) -> FloatArray:
    """Return the step to the largest value of the quadratic model where no variance is negative."""
    information = _damped(at.information)
    own = np.stack([information[:, 0, 0], information[:, 1, 1]], axis=-1)
    candidates = []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        both = np.linalg.solve(information, at.score[:, :, None])[:, :, 0]
        candidates.append(np.asarray(both, dtype=np.float64))
        for k in (0, 1):  # effect k goes to 0, the other follows as far as it may
            to_zero = -variance[:, k]
            other = (at.score[:, 1 - k] - information[:, 0, 1] * to_zero) / own[:, 1 - k]
            step = np.empty_like(variance)
            step[:, k], step[:, 1 - k] = to_zero, np.maximum(other, -variance[:, 1 - k])
            candidates.append(step)
    best, gain = np.zeros_like(variance), np.full(len(variance), -np.inf)
    for step in candidates:
        allowed = np.where(informed, step, 0.0)
        value = (at.score * allowed).sum(axis=1) - 0.5 * np.einsum("gi,gij,gj->g", allowed, information, allowed)
        chosen = (variance + allowed >= -1e-15 * variance.sum(axis=1, keepdims=True)).all(axis=1) & (value > gain)
        best[chosen], gain[chosen] = allowed[chosen], value[chosen]
    return np.maximum(best, -variance)


def _covariance(variance: FloatArray, at: _Evaluation, informed: BoolArray) -> FloatArray:
    free = informed & (variance > 0)
    both = free[:, :, None] & free[:, None, :]
    information = _damped(np.where(both, at.information, np.eye(2)))
    return np.where(both, np.linalg.inv(information), 0.0)
