"""Scores of held-out predictions against single plants: measured ones, and those whose true values are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from data_catalog import Trait
from plant_traits.errors import TableError
from plant_traits.model.trained_model import TrainedModel
from plant_traits.model.validation import cross_calibrate, evaluate, within_species


def score_plants(model: TrainedModel, records: pd.DataFrame, truth: Path | None) -> dict[str, Any]:
    """Score a freshly trained model's held-out predictions against single plants.

    The calibration is that of the labels, so the coverage of true values is a finding and not a fit.

    Args:
        model: as ``train`` returned it; one without held-out predictions has no scores.
        records: ``species`` and ``photo_id`` of all training rows, in their order.
        truth: the true values of photographed plants, known in a virtual world alone: a Parquet table of
            ``photo_id``, ``true_species`` and ``true_<trait>`` in working space.

    Returns:
        within_species, of measured plants; and truth, where it is given, as ``validation.evaluate`` returns it.

    Raises:
        TableError: the true values cannot be read or lack a column.
    """
    held = model.held_out
    if held is None:
        return {}
    rows = records.iloc[held.rows]
    scores: dict[str, Any] = {"within_species": within_species(held, model.traits, _names(rows["species"]))}
    if truth is None:
        return scores
    known = read_true_values(truth, model.traits).reindex(rows["photo_id"].astype(object))
    values = known[[f"true_{trait.id}" for trait in model.traits]].to_numpy(dtype=np.float64)
    crossed = cross_calibrate(held, model.traits)
    with_truth = replace(held, centre=values, drawn=values)
    return scores | {"truth": evaluate(with_truth, crossed, model.traits, _names(known["true_species"]))}


def read_true_values(path: Path, traits: Sequence[Trait]) -> pd.DataFrame:
    """Return ``true_species`` and ``true_<trait>`` by photo id, the first row of each photo.

    Raises:
        TableError: the file cannot be read or lacks a column.
    """
    columns = ["photo_id", "true_species", *(f"true_{trait.id}" for trait in traits)]
    try:
        table = pd.read_parquet(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise TableError(
            f"true values {path} cannot be read: {error}; expected a Parquet table of {columns}"
        ) from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise TableError(f"true values {path}: expected the columns {columns}, missing {missing}; make the world again")
    return table[columns].dropna(subset="photo_id").drop_duplicates("photo_id").set_index("photo_id")


def _names(species: pd.Series) -> list[str | None]:
    return [name if isinstance(name, str) else None for name in species]
