"""Weak labels: each epoch, a fresh draw per photo from the distribution of the trait within its species."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

FloatArray = npt.NDArray[np.float64]


def draw_labels(
    median: FloatArray,
    sd: FloatArray,
    low: FloatArray,
    high: FloatArray,
    measured: FloatArray,
    *,
    seed: int,
    epoch: int,
) -> FloatArray:
    """Draw one label per photo and trait from a two-sided normal truncated to its species' bounds.

    The side is drawn first, each with probability one half, then the distance from the median: a half-normal
    truncated at that side's bound. So the median of the draws is the species median however lopsided the bounds are,
    where a plain truncated normal would drift towards the wider side. Draws depend on nothing but ``seed`` and
    ``epoch``. Where a bound is missing or on the wrong side of the median, that side is unbounded or shrinks to it.

    Args:
        median: species medians, (n, traits), working space, NaN where the species has none.
        sd: standard deviations within the species, same shape; NaN counts as zero.
        low: lower bounds, NaN where there is none.
        high: upper bounds, NaN where there is none.
        measured: values measured on the plant itself, NaN where not; a measurement is its own label.
        seed: of the training run.
        epoch: every epoch draws afresh.

    Returns:
        Labels (n, traits), working space, NaN where the trait is neither measured nor known for the species.
    """
    generator = np.random.default_rng([seed, epoch])
    upwards = generator.random(median.shape) < 0.5
    uniform = generator.random(median.shape)
    spread = np.where(sd > 0, sd, 0.0)
    room = np.maximum(np.where(upwards, high - median, median - low), 0.0)
    room = np.where(np.isnan(room), np.inf, room)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = ndtr(np.where(spread > 0, room / spread, 0.0))  # probability below the bound
    distance = spread * ndtri(np.clip(0.5 + uniform * (reach - 0.5), 0.5, 1 - 1e-12))
    drawn = median + np.where(upwards, distance, -distance)
    return np.where(np.isnan(measured), drawn, measured)
