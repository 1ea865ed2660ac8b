"""Weights of classes that give species at risk, from a plain list of names, more say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import ModelError, TableError
from plant_traits.taxa.names import matching_key
from plant_traits.taxa.prediction_sets.scores import FloatArray

COLUMN = "species"


@dataclass(frozen=True)
class RiskWeights:
    """The weight ω of each class: γ/W for a species at risk and 1/W for another, with W such that they sum to 1.

    Attributes:
        weights: (k,) ω.
        at_risk: (k,) whether a class is a listed species.
        not_classes: listed species, as matching keys, that are no class of the model, sorted.
        unreadable: listed names that name no single species, as written, sorted.
    """

    weights: FloatArray
    at_risk: npt.NDArray[np.bool_]
    not_classes: tuple[str, ...]
    unreadable: tuple[str, ...]


def read_species_at_risk(path: Path) -> tuple[str, ...]:
    """Read a list of species: UTF-8 comma-separated text with a column ``species``; other columns are left alone.

    Returns:
        The names as written, without empty ones, in the file's order.

    Raises:
        TableError: the file is not there or cannot be read, or it lacks the column.
    """
    try:
        table = pd.read_csv(path, dtype="str", encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TableError(
            f"species at risk {path}: expected UTF-8 comma-separated text with a header: {error}"
        ) from error
    if COLUMN not in table:
        raise TableError(
            f"species at risk {path}: expected a column {COLUMN!r}, found {list(table.columns)}; name the column so"
        )
    names = table[COLUMN].dropna().str.strip()
    return tuple(names[names != ""])


def risk_weights(classes: Sequence[str], at_risk: Sequence[str], gamma: float) -> RiskWeights:
    """Weight classes by whether they are listed, names being matched by their matching key.

    Args:
        classes: the k species that the model knows.
        at_risk: listed names, as ``read_species_at_risk`` returns them.
        gamma: γ, how many times more a species at risk counts; at least 1.

    Raises:
        ModelError: γ is below 1, or there is no class.
    """
    if not (np.isfinite(gamma) and gamma >= 1) or not len(classes):
        raise ModelError(f"species at risk: expected classes and γ of at least 1, found {len(classes)} and {gamma}")
    listed = pd.Series(list(at_risk), dtype="str")
    keys = matching_key(listed)
    own = matching_key(pd.Series(list(classes), dtype="str"))
    risky = own.isin(keys.dropna()).to_numpy(dtype=bool) & own.notna().to_numpy(dtype=bool)
    raw = np.where(risky, gamma, 1.0)
    return RiskWeights(
        weights=raw / raw.sum(),
        at_risk=risky,
        not_classes=tuple(sorted(set(keys.dropna()) - set(own.dropna()))),
        unreadable=tuple(sorted(set(listed[keys.isna()]))),
    )
