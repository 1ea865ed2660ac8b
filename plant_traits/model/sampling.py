"""How often a training run draws each record."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

PLACE_DEGREES = 0.25
"""Records within one such cell count as one place."""


def sampling_weights(
    latitude: FloatArray,
    longitude: FloatArray,
    growth_form: Sequence[str | None],
    *,
    growth_form_balance: float,
    place_balance: float,
) -> FloatArray:
    """Return how often each record is drawn, summing to one.

    A record's weight is the size of its growth form to the power ``-growth_form_balance`` times the number of records
    of its place to the power ``-place_balance``: 0 draws records evenly, 1 draws groups evenly. Unknown growth forms
    are a group of their own; records without coordinates are places of their own.
    """
    forms = pd.Series(list(growth_form), dtype="object").fillna("unknown")
    known = ~(np.isnan(latitude) | np.isnan(longitude))
    cells = pd.DataFrame(_cells(latitude, longitude, PLACE_DEGREES)).assign(known=known)
    crowd = np.where(known, cells.groupby([0, 1, "known"])[0].transform("size").to_numpy(dtype=float), 1.0)
    place = crowd**-place_balance
    mass = pd.Series(place).groupby(forms.to_numpy()).transform("sum").to_numpy(dtype=float)
    weight = place * mass**-growth_form_balance
    return np.asarray(weight / weight.sum())


def _cells(latitude: FloatArray, longitude: FloatArray, degrees: float) -> npt.NDArray[np.int64]:
    points = np.nan_to_num(np.stack([latitude, longitude], axis=1), nan=0.0)
    return np.floor(points / degrees).astype(np.int64)
