"""Between a trait's canonical unit and the space the model works in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data_catalog import Trait

FloatArray = npt.NDArray[np.float64]


def to_working(trait: Trait, value: npt.ArrayLike) -> FloatArray:
    """Bring values in ``trait.unit`` to the working space; what is not positive becomes NaN under a logarithm."""
    natural = np.asarray(value, dtype=np.float64)
    if trait.working_space == "identity":
        return natural
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(natural > 0, np.log(natural), np.nan)


def from_working(trait: Trait, value: npt.ArrayLike) -> FloatArray:
    """Bring a working-space location back to ``trait.unit``: under a logarithm this is the median."""
    working = np.asarray(value, dtype=np.float64)
    return working if trait.working_space == "identity" else np.exp(working)


def mean_from_working(trait: Trait, location: npt.ArrayLike, variance: npt.ArrayLike) -> FloatArray:
    """Natural-scale mean of plants whose working-space values have that location and variance.

    Args:
        trait: the trait.
        location: working-space mean.
        variance: variance among the plants in working space (species and individuals), not a squared standard error.

    Returns:
        exp(location + variance / 2) under a logarithm, the location itself otherwise.
    """
    working = np.asarray(location, dtype=np.float64)
    if trait.working_space == "identity":
        return working
    return np.exp(working + 0.5 * np.asarray(variance, dtype=np.float64))


def in_valid_range(trait: Trait, value: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Tell which values in ``trait.unit`` are credible for a single plant."""
    natural = np.asarray(value, dtype=np.float64)
    low, high = trait.valid_range
    return np.asarray((natural >= low) & (natural <= high))
