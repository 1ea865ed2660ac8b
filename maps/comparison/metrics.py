"""Score a map against truth, cells weighted by area, with intervals from a spatial block bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from data_catalog import Trait
from plant_traits.errors import GridError
from plant_traits.traits import from_working

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Scale = Literal["ln", "log1p", "natural"]

SCALES: tuple[Scale, ...] = get_args(Scale)
BLOCK_DEGREES = 5.0
RESAMPLES = 1000
MINIMUM_BLOCKS = 5


@dataclass(frozen=True)
class Scores:
    """Area-weighted agreement of a map with the truth; NaN where undefined.

    Attributes:
        n: cells compared.
        pearson_r: weighted Pearson correlation.
        spearman_rho: weighted Pearson correlation of weighted mid-ranks (see :func:`weighted_ranks`).
        r2: 1 - Σw(truth - map)² / Σw(truth - weighted mean of the truth)²; can be negative.
        bias: weighted mean of map - truth.
        mae: weighted mean of |map - truth|.
        rmse: square root of the weighted mean of (map - truth)².
        nmae: mae over the range of the truth from its 1st to its 99th percentile (unweighted, linear).
        nrmse: rmse over the same range.
        slope: weighted least-squares slope of the truth on the map (observed on predicted); 1 is unbiased.
    """

    n: int
    pearson_r: float
    spearman_rho: float
    r2: float
    bias: float
    mae: float
    rmse: float
    nmae: float
    nrmse: float
    slope: float


def to_scale(trait: Trait, working: npt.ArrayLike, scale: Scale) -> FloatArray:
    """Bring working-space values to the scale of a comparison.

    Args:
        trait: the trait.
        working: working-space values, any shape.
        scale: natural logarithm, log(1 + natural value) as published, or the trait's unit.

    Returns:
        The values; NaN where a logarithm does not exist.
    """
    values = np.asarray(working, dtype=np.float64)
    if scale == "ln" and trait.working_space == "ln":
        return values
    natural = from_working(trait, values)
    if scale == "natural":
        return natural
    floor, logarithm = (0.0, np.log) if scale == "ln" else (-1.0, np.log1p)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(natural > floor, logarithm(natural), np.nan)


def score(truth: npt.ArrayLike, estimate: npt.ArrayLike, weight: npt.ArrayLike) -> Scores:
    """Compare a map with the truth over the cells where both have a value.

    Args:
        truth: any shape, on the scale of the comparison.
        estimate: the map, same shape and scale.
        weight: cell areas, same shape.

    Returns:
        The scores; all but ``n`` are NaN with fewer than two cells.
    """
    y, x, w = _paired(truth, estimate, weight)
    if y.size < 2:
        return Scores(y.size, *(float("nan"),) * 9)
    w = w / w.sum()
    error = x - y
    mae, rmse = float(w @ np.abs(error)), float(np.sqrt(w @ error**2))
    spread = float(np.diff(np.percentile(y, [1, 99]))[0])
    y_centred, x_centred = y - w @ y, x - w @ x
    variance_y, variance_x = float(w @ y_centred**2), float(w @ x_centred**2)
    return Scores(
        n=int(y.size),
        pearson_r=weighted_pearson(y, x, w),
        spearman_rho=weighted_pearson(weighted_ranks(y, w), weighted_ranks(x, w), w),
        r2=1.0 - _ratio(rmse**2, variance_y),
        bias=float(w @ error),
        mae=mae,
        rmse=rmse,
        nmae=_ratio(mae, spread),
        nrmse=_ratio(rmse, spread),
        slope=_ratio(float(w @ (y_centred * x_centred)), variance_x),
    )


def weighted_pearson(a: npt.ArrayLike, b: npt.ArrayLike, weight: npt.ArrayLike) -> float:
    """Return the weighted Pearson correlation of two complete vectors, NaN if either is constant."""
    x, y, w = (np.asarray(v, dtype=np.float64) for v in (a, b, weight))
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    w = w / w.sum()
    x, y = x - w @ x, y - w @ y
    r = _ratio(float(w @ (x * y)), float(np.sqrt((w @ x**2) * (w @ y**2))))
    return float(np.clip(r, -1.0, 1.0))


def weighted_ranks(values: npt.ArrayLike, weight: npt.ArrayLike) -> FloatArray:
    """Rank values by weight: the weight of all smaller values plus half the weight of the tied ones.

    With equal weights these are the usual mid-ranks, up to a linear map, so Spearman's ρ is the usual one.

    Args:
        values: (n,) without NaN.
        weight: (n,) positive.

    Returns:
        (n,) ranks as shares of the total weight.
    """
    w = np.asarray(weight, dtype=np.float64)
    _, group = np.unique(np.asarray(values), return_inverse=True)
    tied = np.bincount(group, w)
    below = np.cumsum(tied) - tied
    return np.asarray((below + 0.5 * tied)[group] / w.sum())


def bootstrap_pearson(
    truth: npt.ArrayLike,
    estimates: Sequence[npt.ArrayLike],
    weight: npt.ArrayLike,
    block: npt.ArrayLike,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> FloatArray:
    """Resample whole spatial blocks with replacement and return the weighted Pearson r of each resample.

    A resample draws as many blocks as there are; since r depends on sums over cells only, the sums of each block
    are computed once and combined by multinomial counts. All maps see the same resamples, so the differences of
    columns are resamples of the difference.

    Args:
        truth: (n,).
        estimates: m maps, each (n,). Cells where the truth or any map is missing are left out.
        weight: (n,) cell areas.
        block: (n,) block number of each cell.
        seed: of the resampling.
        resamples: how many.

    Returns:
        (resamples, m); NaN throughout with fewer than five blocks, where an interval would mean nothing.
    """
    y = np.asarray(truth, dtype=np.float64)
    maps = np.stack([np.asarray(estimate, dtype=np.float64) for estimate in estimates])
    keep = np.isfinite(y) & np.isfinite(maps).all(axis=0)
    y, maps, w = y[keep], maps[:, keep], np.asarray(weight, dtype=np.float64)[keep]
    _, index = np.unique(np.asarray(block)[keep], return_inverse=True)
    n_blocks = int(index.max()) + 1 if index.size else 0
    if n_blocks < MINIMUM_BLOCKS:
        return np.full((resamples, len(maps)), np.nan)
    w = w / w.sum()
    y, maps = y - w @ y, maps - (maps @ w)[:, None]
    drawn = _drawn(n_blocks, resamples, seed)

    def resampled(terms: FloatArray) -> FloatArray:
        return np.asarray(drawn @ np.bincount(index, w * terms, minlength=n_blocks))

    total, mean_y = resampled(np.ones_like(y)), resampled(y)
    variance_y = resampled(y**2) - mean_y**2 / total
    columns = []
    for x in maps:
        mean_x = resampled(x)
        covariance = resampled(x * y) - mean_x * mean_y / total
        variance_x = resampled(x**2) - mean_x**2 / total
        with np.errstate(invalid="ignore", divide="ignore"):
            columns.append(np.clip(covariance / np.sqrt(variance_x * variance_y), -1.0, 1.0))
    return np.stack(columns, axis=1)


@lru_cache(maxsize=16)
def _drawn(n_blocks: int, resamples: int, seed: int) -> FloatArray:
    """Return how often each resample draws each block; the same for all maps on as many blocks, and slow to draw."""
    random = np.random.default_rng(seed)
    return random.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=resamples).astype(np.float64)


def interval(samples: npt.ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of resampled values, leaving out resamples where they are undefined."""
    values = np.asarray(samples, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _paired(
    truth: npt.ArrayLike, estimate: npt.ArrayLike, weight: npt.ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    y, x, w = (np.asarray(v, dtype=np.float64) for v in (truth, estimate, weight))
    if not y.shape == x.shape == w.shape:
        raise GridError(f"truth, map and weights must have one shape, found {y.shape}, {x.shape} and {w.shape}")
    keep = np.isfinite(y) & np.isfinite(x)
    return y[keep], x[keep], w[keep]


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else float("nan")
