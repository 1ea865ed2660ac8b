"""Score predictions with their variance: correlation, error, likelihood, CRPS, coverage, probability integrals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr, ndtri

FloatArray = npt.NDArray[np.float64]

PIT_BINS = 10


def gaussian_nll(observed: FloatArray, mean: FloatArray, variance: FloatArray) -> FloatArray:
    """Return -ln of the normal density, element by element."""
    return np.asarray(0.5 * (np.log(2 * np.pi * variance) + (observed - mean) ** 2 / variance))


def gaussian_crps(observed: FloatArray, mean: FloatArray, variance: FloatArray) -> FloatArray:
    """Return the continuous ranked probability score of a normal distribution, element by element.

    In closed form σ [z (2Φ(z) - 1) + 2φ(z) - 1/√π] with z = (y - μ) / σ [Gneiting & Raftery 2007]; in units of y.
    """
    sigma = np.sqrt(variance)
    z = (observed - mean) / sigma
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.asarray(sigma * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi)))


def pit_counts(observed: FloatArray, mean: FloatArray, variance: FloatArray, bins: int = PIT_BINS) -> list[int]:
    """Count the values Φ((y - μ) / σ) in equal bins from 0 to 1: even where the normal distributions are right."""
    counts, _ = np.histogram(ndtr((observed - mean) / np.sqrt(variance)), bins=bins, range=(0.0, 1.0))
    return [int(count) for count in counts]


def normal_quantile(level: float) -> float:
    """Return how many standard deviations a central normal interval of this probability reaches."""
    return float(ndtri(0.5 + level / 2))


def pearson(first: FloatArray, second: FloatArray) -> float | None:
    """Return the correlation, None where either does not vary."""
    if len(first) < 2 or np.ptp(first) <= 0 or np.ptp(second) <= 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def accuracy(observed: FloatArray, mean: FloatArray) -> dict[str, Any]:
    """Return n, pearson_r, r2, rmse and nmae of point predictions; None where the observations do not vary.

    nmae is the mean absolute error over the range from the 1st to the 99th percentile of the observations.
    """
    error = observed - mean
    spread = float(((observed - observed.mean()) ** 2).sum())
    low, high = np.percentile(observed, (1, 99))
    return {
        "n": len(observed),
        "pearson_r": pearson(observed, mean),
        "r2": 1 - float((error**2).sum()) / spread if spread > 0 else None,
        "rmse": float(np.sqrt((error**2).mean())),
        "nmae": float(np.abs(error).mean() / (high - low)) if high > low else None,
    }


def coverage(
    observed: FloatArray,
    mean: FloatArray,
    variance: FloatArray,
    factor: FloatArray,
    quantile: FloatArray,
    levels: Sequence[float],
) -> dict[str, Any]:
    """Return the share of observations within intervals, before and after calibration.

    Args:
        observed: (n,) values.
        mean: (n,) predicted.
        variance: (n,) before calibration.
        factor: (n,) variance factors, NaN where there is none.
        quantile: (n, levels) conformal quantiles in units of the calibrated standard deviation.
        levels: nominal probabilities.

    Returns:
        level, as_predicted (normal intervals of the variance before calibration), scaled (of the calibrated variance),
        conformal, all lists; unbounded, how many conformal intervals have no end. None where factors are missing.
    """
    distance = np.abs(observed - mean)
    raw, calibrated = np.sqrt(variance), np.sqrt(variance * factor)
    reach = [normal_quantile(level) for level in levels]
    known = bool(np.isfinite(factor).all())
    within = distance[:, None] <= quantile * calibrated[:, None]
    return {
        "level": [float(level) for level in levels],
        "as_predicted": [float((distance <= z * raw).mean()) for z in reach],
        "scaled": [float((distance <= z * calibrated).mean()) for z in reach] if known else None,
        "conformal": [float(share) for share in within.mean(axis=0)] if known else None,
        "unbounded": [int(count) for count in np.isinf(quantile).sum(axis=0)] if known else None,
    }


def within_group_correlation(observed: FloatArray, mean: FloatArray, group: Sequence[str | None]) -> dict[str, Any]:
    """Correlate predictions with observations after the mean of each group is taken from both.

    Groups of one record say nothing and are left out, as are records without a group, a prediction or an observation.

    Returns:
        pearson_r (None where nothing varies), n records and groups that took part.
    """
    table = pd.DataFrame({"y": observed, "mean": mean, "group": np.asarray(group, dtype=object)})
    table = table[np.isfinite(table["y"]) & np.isfinite(table["mean"])].dropna(subset="group")
    by_group = table.groupby("group")
    several = by_group["y"].transform("size") > 1
    centred = (table[["y", "mean"]] - by_group[["y", "mean"]].transform("mean"))[several]
    return {
        "pearson_r": pearson(centred["y"].to_numpy(), centred["mean"].to_numpy()),
        "n": len(centred),
        "groups": int(table.loc[several, "group"].nunique()),
    }
