"""Shape what is known of a trained model into the rows of its page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from data_catalog import Trait
from maps.report import typography

SPLITS = {
    "regions": ("new regions", "whole spatial blocks that neither the fit nor its stopping saw"),
    "species": ("new species", "species of which the fit saw no record"),
    "photos": ("new photos", "other photos of species and regions that the fit saw"),
}
"""What a split holds out: its short name and what that means."""

MODALITY_WORDS = {
    "image+geospatial": "photo and place",
    "image": "photo alone",
    "geospatial": "place alone",
}
FIT_WORDS = {"": "the fit", "first": "the fit that is scored", "refit": "the last fit, to all records"}
HEADLINE_LEVEL = 0.9


@dataclass(frozen=True)
class Ingredient:
    """Something frozen that the model stands on.

    Attributes:
        role: what it reads, such as ``photos``.
        name: as the catalogue calls it.
        identity: hash of its weights and settings, empty where there is none.
        licence: the terms of its weights.
    """

    role: str
    name: str
    identity: str
    licence: str


@dataclass(frozen=True)
class ModelPage:
    """Everything the page shows.

    Attributes:
        title: heading of the page.
        card: the model's card as plain data, see ``plant_traits.model.checkpoint``.
        traits: what it predicts, in the order of its outputs.
        ingredients: the frozen encoders.
        curves: columns that ``draw_learning_curves`` reads; None where the training left none.
        dropped: ``round`` and ``reason`` of every record that cleaning rounds left out, and ``fit`` where each fit had
            rounds of its own; None without such rounds.
        files: name and SHA-256 of the files beside the page.
    """

    title: str
    card: Mapping[str, Any]
    traits: Sequence[Trait]
    ingredients: Sequence[Ingredient]
    curves: pd.DataFrame | None = None
    dropped: pd.DataFrame | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The card's scores."""
        found = self.card.get("metrics")
        return found if isinstance(found, Mapping) else {}

    @property
    def simulated(self) -> bool:
        """Whether the model was scored against true values, which virtual worlds alone know."""
        return bool(self.metrics.get("truth") or self.metrics.get("truth_splits"))


def typical_error(trait: Trait, rmse: float | None) -> str:
    """Set a root mean square error in working space for readers: a factor under a logarithm, else ± in the unit."""
    if rmse is None or not math.isfinite(rmse):
        return typography.MISSING
    if trait.working_space == "identity":
        return f"± {typography.quantity_text(rmse, 2)} {typography.unit_text(trait.unit)}"
    return f"×/÷ {typography.quantity_text(math.exp(rmse), 2)}"


def headlines(page: ModelPage) -> list[dict[str, Any]]:
    """Return per trait its score on held-out regions, from the most modalities that were scored."""
    found = []
    scores = _splits(page.metrics, "held_out").get("regions", {})
    for trait in page.traits:
        for modalities, by_trait in scores.items():
            score = by_trait.get(trait.id)
            if score and score.get("pearson_r") is not None:
                found.append(
                    {
                        "name": trait.name,
                        "r": score["pearson_r"],
                        "n": score["n"],
                        "error": typical_error(trait, score.get("rmse")),
                        "covered": covered(score, HEADLINE_LEVEL),
                        "modalities": words(modalities),
                    }
                )
                break
    return found


def split_table(page: ModelPage, key: str) -> dict[str, Any] | None:
    """Return the scores of every split side by side, a row per trait and modalities.

    Args:
        page: of the model.
        key: ``held_out`` (labels) or ``truth``.

    Returns:
        key, splits (name, words), rows (name, modalities, first, cells: a score per split, or None); None where nothing
        was scored.
    """
    scores = _splits(page.metrics, key)
    if not scores:
        return None
    rows = []
    for trait in page.traits:
        kinds = list(
            dict.fromkeys(kind for by_kind in scores.values() for kind in by_kind if trait.id in by_kind[kind])
        )
        rows += [
            {
                "name": trait.name,
                "modalities": words(kind),
                "first": index == 0,
                "cells": [_cell(trait, by_kind.get(kind, {}).get(trait.id)) for by_kind in scores.values()],
            }
            for index, kind in enumerate(kinds)
        ]
    splits = [dict(zip(("name", "words"), SPLITS.get(name, (name, "")), strict=True)) for name in scores]
    return {"key": key, "splits": splits, "rows": rows} if rows else None


def calibration_tables(page: ModelPage) -> list[dict[str, Any]]:
    """Return per modalities how far the intervals reach in each group: rows of groups, a cell per trait."""
    calibration = page.card["calibration"]
    levels, by_kind = calibration.get("levels", []), calibration.get("table", {})
    at = levels.index(HEADLINE_LEVEL) if HEADLINE_LEVEL in levels else None
    tables = []
    for kind, by_group in by_kind.items():
        rows = [
            {"group": group_words(group), "cells": [_reach(by_trait.get(trait.id), at) for trait in page.traits]}
            for group, by_trait in by_group.items()
        ]
        tables.append({"modalities": words(kind), "rows": rows})
    return tables


def cleaning_tables(dropped: pd.DataFrame | None) -> list[dict[str, Any]] | None:
    """Return what cleaning rounds left out, a table for each fit: words, n and rows of round, reason and n.

    Args:
        dropped: ``round`` and ``reason`` of every record, and ``fit`` where there were several; None without rounds.
    """
    if dropped is None:
        return None
    fits = dropped["fit"] if "fit" in dropped.columns else pd.Series("", index=dropped.index)
    tables = []
    for fit, rows in dropped.groupby(fits.to_numpy(), sort=True):
        sizes = rows.groupby(["round", "reason"], sort=True).size().reset_index(name="n")
        tables.append(
            {
                "words": FIT_WORDS.get(str(fit), str(fit)),
                "n": len(rows),
                "rows": list(zip(sizes["round"].astype(str), sizes["reason"].astype(str), sizes["n"], strict=True)),
            }
        )
    return tables


def covered(score: Mapping[str, Any], level: float) -> float | None:
    """Return the share of values within their conformal interval of that level, None where it is not known."""
    coverage = score.get("coverage") or {}
    levels, held = coverage.get("level") or [], coverage.get("conformal")
    return held[levels.index(level)] if held and level in levels else None


def words(modalities: str) -> str:
    """Return modalities as people say them."""
    return MODALITY_WORDS.get(modalities, modalities.replace("+", " + "))


def group_words(group: str) -> str:
    """Return a group of the calibration as people say it: ``tree/arid`` is ``tree, arid``, ``all`` all plants."""
    form, *places = group.split("/")
    return ", ".join(["all plants" if form == "all" else form, *places])


def _splits(metrics: Mapping[str, Any], key: str) -> dict[str, Mapping[str, Any]]:
    """Return split -> modalities -> trait -> score, in the order of ``SPLITS``; regions may stand apart."""
    apart = metrics.get(key)
    beside = metrics.get("splits" if key == "held_out" else "truth_splits")
    found = {"regions": apart} if apart else {}
    found |= beside if isinstance(beside, Mapping) else {}
    ordered = [*(name for name in SPLITS if name in found), *(name for name in found if name not in SPLITS)]
    return {name: kept for name in ordered if (kept := _scored(found[name]))}


def _scored(by_kind: object) -> dict[str, dict[str, Any]]:
    """Return modalities -> trait -> score, without what is none."""
    if not isinstance(by_kind, Mapping):
        return {}
    kept = {
        str(kind): {trait: score for trait, score in by_trait.items() if isinstance(score, Mapping) and "n" in score}
        for kind, by_trait in by_kind.items()
        if isinstance(by_trait, Mapping)
    }
    return {kind: by_trait for kind, by_trait in kept.items() if by_trait}


def _cell(trait: Trait, score: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if score is None:
        return None
    return {
        "n": score["n"],
        "r": score.get("pearson_r"),
        "r2": score.get("r2"),
        "error": typical_error(trait, score.get("rmse")),
        "covered": covered(score, HEADLINE_LEVEL),
    }


def _reach(found: Mapping[str, Any] | None, at: int | None) -> dict[str, Any] | None:
    if not found:
        return None
    quantiles = found.get("quantiles") or []
    return {
        "n": found.get("n", 0),
        "factor": found.get("variance_factor"),
        "reach": quantiles[at] if at is not None and at < len(quantiles) else None,
    }


def counted(metrics: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return what the card counts, as (words, number)."""
    counts = metrics.get("counts")
    if not isinstance(counts, Mapping):
        return []
    return [(str(name).replace("_", " "), n) for name, n in counts.items() if isinstance(n, int)]
