"""Apply matrix products to blocks of one fixed number of rows, so that a row's result depends on that row alone.

How a matrix product divides its sums, and with that the last bits of each row's result, depends on the number of rows.
What is compared exactly later on, such as its rank among kept scores, must not depend on which rows stood beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

ROWS = 64
"""Rows of a block. Another number gives other last bits, so this is part of the code and no setting."""


def filled(rows: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Return rows followed by as many zeros as bring them to a size."""
    out = np.zeros((size, *rows.shape[1:]), dtype=rows.dtype)
    out[: len(rows)] = rows
    return out


def by_blocks(
    apply: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], rows: npt.NDArray[Any], out: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Fill ``out`` with what a function makes of rows, ``ROWS`` at a time, the last block filled up with zeros.

    Args:
        apply: given (``ROWS``, ...), returns as many rows; no row's result may need another row.
        rows: (n, ...).
        out: (n, ...), written in place and returned.
    """
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        out[start : start + ROWS] = apply(some if len(some) == ROWS else filled(some, ROWS))[: len(some)]
    return out
