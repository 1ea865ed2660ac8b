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
from plant_traits.model.training import Training
from plant_traits.model.validation import calibrations, evaluate, within_species


def score_plants(trained: Training, records: pd.DataFrame, truth: Path | None) -> dict[str, Any]:
    """Score a freshly trained model's held-out predictions against single plants.

    The calibration is that of the labels, so the coverage of true values is a finding and not a fit.

    Args:
        trained: as ``train`` returned it.
        records: ``species`` and ``photo_id`` of all training rows, in their order.
        truth: the true values of photographed plants, known in a virtual world alone: a Parquet table of
            ``photo_id``, ``true_species`` and ``true_<trait>`` in working space.

    Returns:
        within_species, of measured plants of the held-out regions; and where the truth is given, truth, of the same
        regions, and truth_splits, of the other splits, as ``validation.evaluate`` returns it.

    Raises:
        TableError: the true values cannot be read or lack a column.
    """
    traits = trained.model.traits
    scores: dict[str, Any] = {}
    if "regions" in trained.held_out:
        held = trained.held_out["regions"]
        scores["within_species"] = within_species(held, traits, _names(records["species"].iloc[held.rows]))
    if truth is None:
        return scores
    known = read_true_values(truth, traits)
    crossed = calibrations(trained.held_out, trained.model.calibration, traits)
    found: dict[str, Any] = {}
    for name, held in trained.held_out.items():
        of_rows = known.reindex(records["photo_id"].iloc[held.rows].astype(object))
        values = of_rows[[f"true_{trait.id}" for trait in traits]].to_numpy(dtype=np.float64)
        with_truth = replace(held, centre=values, drawn=values)
        found[name] = evaluate(with_truth, crossed[name], traits, _names(of_rows["true_species"]))
    return scores | {"truth": found.pop("regions", {}), "truth_splits": found}


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
