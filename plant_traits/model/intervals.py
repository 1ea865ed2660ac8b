"""Conformal intervals of predictions that were written to a table, from the calibration kept with the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import ModelError
from plant_traits.model.calibration import Calibration
from plant_traits.model.trained_model import MODALITIES

FloatArray = npt.NDArray[np.float64]


def reach(calibration: Calibration, modalities: Sequence[str], groups: Sequence[str], level: float) -> FloatArray:
    """Return how many calibrated standard deviations an interval reaches either way, for n inputs and t traits.

    Args:
        calibration: of the model that predicted.
        modalities: (n,) what each prediction rests on, one of ``MODALITIES`` or ``none``.
        groups: (n,) each input's group, from ``calibration.group_names``.
        level: one of the calibrated levels.

    Returns:
        (n, t); infinite where too few records were held out to tell, NaN for ``none``.

    Raises:
        ModelError: the model is not calibrated for the level, or a name is none of the modalities.
    """
    at = calibration.level(level)
    kind, unknown = _kinds(modalities)
    found = calibration.quantile[np.maximum(kind, 0), calibration.rows(groups), :, at]
    return np.where(unknown[:, None], np.nan, found)


def interval_ends(
    calibration: Calibration,
    predictions: pd.DataFrame,
    groups: Sequence[str],
    level: float,
) -> tuple[FloatArray, FloatArray]:
    """Return the conformal interval of every row of a table of predictions, in working space.

    The variances of such a table are calibrated already, so that mean ± reach · standard deviation is the interval. It
    holds the value of a single plant with the stated probability among records like those of the held-out blocks.

    Args:
        calibration: of the model that predicted.
        predictions: columns ``trait``, ``mean``, ``variance_aleatoric``, ``variance_epistemic`` and ``modalities`` of
            the ``PREDICTION`` schema, one row per input and trait.
        groups: (rows,) each row's group, as its variance was calibrated.
        level: one of the calibrated levels.

    Returns:
        Lower and upper ends, (rows,); infinite where too few records were held out to tell, NaN without a prediction.

    Raises:
        ModelError: a trait, the modalities or the level are not those of the calibration.
    """
    traits = predictions["trait"].to_numpy(dtype=object)
    column = pd.Index(calibration.traits, dtype=object).get_indexer(pd.Index(traits, dtype=object))
    if (column < 0).any():
        raise ModelError(
            f"intervals: expected predictions of the traits {calibration.traits}, found "
            f"{sorted(set(traits[column < 0]))}; use the calibration of the model that made them"
        )
    reached = reach(calibration, predictions["modalities"].tolist(), groups, level)[np.arange(len(column)), column]
    mean = predictions["mean"].to_numpy(dtype=np.float64)
    aleatoric, epistemic = (
        predictions[f"variance_{part}"].to_numpy(dtype=np.float64) for part in ("aleatoric", "epistemic")
    )
    half = reached * np.sqrt(aleatoric + epistemic)
    return mean - half, mean + half


def _kinds(modalities: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the calibration's row of each prediction, and which rest on nothing."""
    names = np.asarray(modalities, dtype=object)
    kind = pd.Index(MODALITIES, dtype=object).get_indexer(pd.Index(names, dtype=object)).astype(np.int64)
    nothing = np.asarray(names == "none", dtype=bool)
    strange = (kind < 0) & ~nothing
    if strange.any():
        raise ModelError(
            f"intervals: expected modalities among {(*MODALITIES, 'none')}, found {sorted(set(names[strange]))}; "
            "use the model that made the predictions"
        )
    return kind, nothing
