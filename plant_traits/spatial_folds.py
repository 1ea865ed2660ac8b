"""Square blocks of degrees, dealt to folds, so that what is held out lies apart from what is learned from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import GridError
from plant_traits.grid import IntArray


def block_of(latitude: npt.ArrayLike, longitude: npt.ArrayLike, block_degrees: float) -> IntArray:
    """Number the square block of degrees that each point falls in, (n,).

    Raises:
        GridError: the block size is not positive.
    """
    if block_degrees <= 0:
        raise GridError(f"blocks need a positive size in degrees, found {block_degrees}")
    row = np.floor((90.0 - np.asarray(latitude, np.float64)) / block_degrees).astype(np.int64)
    column = np.floor((np.asarray(longitude, np.float64) + 180.0) / block_degrees).astype(np.int64)
    return np.asarray(row * int(np.ceil(360.0 / block_degrees) + 1) + column)


def spatial_folds(block: IntArray, folds: int, told: npt.NDArray[np.bool_] | None = None) -> IntArray:
    """Deal spatial blocks to folds.

    A block's fold hangs on its number alone, so it stays what it is when others come or go. Where the blocks of the
    points that something is learned from are so few that all fall in one fold, each block is a fold of its own.

    Args:
        block: (n,) number of the block that holds each point.
        folds: number of folds.
        told: (n,) the points that something is learned from; all by default.

    Returns:
        (n,) numbers of folds.
    """
    block = np.asarray(block, dtype=np.int64)
    hashed = pd.util.hash_array(block, categorize=False)
    fold = (hashed % np.uint64(folds)).astype(np.int64)
    several = len(np.unique(fold if told is None else fold[told])) > 1
    return fold if several else np.unique(block, return_inverse=True)[1].astype(np.int64)
