"""Keep a calibrated rule in a file, together with the species its thresholds belong to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from plant_traits.errors import ModelError
from plant_traits.taxa.prediction_sets.scores import KINDS, Score
from plant_traits.taxa.prediction_sets.thresholds import SetRule

FORMAT = "plant-traits-name-sets-1"


def save_rule(rule: SetRule, species: Sequence[str], path: Path) -> None:
    """Write a rule as one safetensors file.

    Args:
        rule: the calibrated rule.
        species: the k classes in its order.
        path: the file.

    Raises:
        ModelError: there are more or fewer species than classes.
    """
    if len(species) != rule.score.classes:
        raise ModelError(f"rule of name sets: expected {rule.score.classes} species, found {len(species)}")
    described = {
        "format": FORMAT,
        "kind": rule.score.kind,
        "level": rule.level,
        "fill_empty": rule.fill_empty,
        "species": list(species),
    }
    arrays = {"scale": rule.score.scale, "thresholds": rule.thresholds}
    save_file(arrays, path, metadata={"rule": json.dumps(described, ensure_ascii=False)})


def load_rule(path: Path, species: Sequence[str]) -> SetRule:
    """Read a rule of ``save_rule`` for a model that knows these species in this order.

    Raises:
        ModelError: the file is not there, is no such rule, or belongs to other species.
    """
    try:
        with safe_open(path, framework="np") as opened:
            described = json.loads((opened.metadata() or {})["rule"])
            scale, thresholds = opened.get_tensor("scale"), opened.get_tensor("thresholds")
        found, kind = described["species"], described["kind"]
        level, fill_empty = float(described["level"]), bool(described["fill_empty"])
        if described["format"] != FORMAT or kind not in KINDS or not scale.shape == thresholds.shape == (len(found),):
            raise ValueError(f"format {described['format']!r}, score {kind!r}, {scale.shape} and {thresholds.shape}")
        if np.isnan(thresholds).any() or not np.isfinite(scale).all() or (scale < 0).any() or not 0 < level < 1:
            raise ValueError("numbers that no rule has")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"rule of name sets {path}: expected a file of save_rule in the format {FORMAT}: {error}; calibrate again"
        ) from error
    if found != list(species):
        differ = sum(one != other for one, other in zip(found, species, strict=False)) + abs(len(found) - len(species))
        raise ModelError(
            f"rule of name sets {path}: expected the {len(species)} species of the model in its order, found "
            f"{len(found)} of which {differ} differ; calibrate with this model"
        )
    return SetRule(Score(kind, scale), level, thresholds, fill_empty)
