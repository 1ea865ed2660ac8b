"""The weight of a voter under Pl@ntNet's rule: it grows with the number of species that he has named rightly.

Weights are added as whole numbers of a small unit: sums do not depend on the order of the votes, and ties are exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNITS_PER_WEIGHT = 2**36
"""Steps of a fixed-point weight; rounding errs by less than 1e-11, and sums stay exact up to a weight of 1e7."""

_OFFSET = float(np.log(2.1))


def vote_weight(species: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``f(n) = sqrt(n) - n^0.2 + ln 2.1`` for numbers of species [Lefort et al. 2025].

    A newcomer (n = 0) and a voter of one species weigh 0.741937; n = 8 is the first number that weighs more than 2 and
    so validates an observation alone.
    """
    n = np.asarray(species, dtype=np.float64)
    return np.asarray(np.sqrt(n) - n**0.2 + _OFFSET, dtype=np.float64)


def counted_species(of_author: NDArray[np.int64], of_voter: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``n_author + n_vote / 10``, a half rounded up; in whole numbers, so exactly."""
    return (10 * of_author + of_voter + 5) // 10


def fixed_point(weight: NDArray[np.float64] | float) -> NDArray[np.int64]:
    """Return weights as whole numbers of units."""
    return np.asarray(np.rint(np.asarray(weight, dtype=np.float64) * UNITS_PER_WEIGHT), dtype=np.int64)


def as_weight(units: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return whole numbers of units as weights."""
    return np.asarray(units, dtype=np.float64) / UNITS_PER_WEIGHT
