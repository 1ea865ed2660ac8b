"""Deal observations to folds by who observed them, so that no photo is judged by a model that has seen its like."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.grid import Grid

BLOCKS = Grid.parse("1deg")


def observers_of(rows: pd.DataFrame) -> pd.Series:
    """Name what is kept together: the observer, or the 1° cell where the observer is unknown.

    Args:
        rows: columns observer, latitude and longitude.

    Returns:
        One text a row, index as given.
    """
    cells = BLOCKS.cell_of(rows["latitude"].to_numpy(), rows["longitude"].to_numpy())
    placed = pd.Series(cells, index=rows.index).astype("str")
    return rows["observer"].astype("str").where(rows["observer"].notna(), "cell " + placed)


def folds_of(groups: pd.Series, folds: int) -> npt.NDArray[np.int64]:
    """Return the fold of each group, (n,), from 0: a hash of its name, so that new groups move no old one.

    Args:
        groups: (n,) names.
        folds: how many folds there are.
    """
    codes, names = pd.factorize(groups)
    of_name = [int.from_bytes(hashlib.sha256(str(name).encode()).digest()[:8], "big") % folds for name in names]
    return np.asarray(of_name, dtype=np.int64)[codes] if len(names) else np.zeros(0, dtype=np.int64)
