"""Shape the model's scores on held-out records into the report's section on the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maps.report.figures_model import CoveragePanel, PitPanel
from maps.report.inputs import ReportInputs
from plant_traits.covariates.biomes import BIOMES

COMPARED_WITH = {
    "held_out": "labels: a measurement, or for photos a draw from the distribution of the trait within the species",
    "truth": "the true values of the photographed plants, known in a virtual world; intervals are calibrated on labels",
}
OTHER_SPLITS = {"held_out": "splits", "truth": "truth_splits"}
"""Where the training metrics hold scores of records that were held out otherwise than by region."""

SPLIT_WORDS = {"regions": "other regions", "species": "other species", "photos": "other photos"}

TABLE_LEVEL = 0.9
"""Level of the intervals in the tables by biome and by what was held out."""

OWN_KEYS = (*COMPARED_WITH, *OTHER_SPLITS.values(), "within_species", "made_of")
"""Entries of the training metrics that this section shows, and the table of the rest does not."""

_LINES = {"as_predicted": "as predicted", "scaled": "variance calibrated", "conformal": "conformal"}


def model_section(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Return one part for each kind of value the held-out predictions were compared with.

    Returns:
        key, compared_with, scores (rows of modalities × trait), levels, coverage (rows of trait × growth form) and the
        modalities they are of: photos with their place where there are any. Where records have biomes also biomes (the
        columns) and by_biome (rows of trait × growth form); where more than regions was held out also splits (rows of
        trait × what was held out).
    """
    return [
        part for key, words in COMPARED_WITH.items() if (part := _part(inputs, key, words, inputs.training.get(key)))
    ]


def coverage_panels(inputs: ReportInputs, key: str) -> list[CoveragePanel]:
    """Return the reliability panels of the modalities that the section shows."""
    panels = []
    for trait, score in _shown(inputs.training.get(key))[1].items():
        found = score["coverage"]
        lines = {
            label: np.asarray(found[name], dtype=np.float64)
            for name, label in _LINES.items()
            if found.get(name) is not None
        }
        panels.append(CoveragePanel(inputs.trait_name(trait), np.asarray(found["level"], dtype=np.float64), lines))
    return panels


def pit_panels(inputs: ReportInputs, key: str) -> list[PitPanel]:
    """Return the PIT panels of the modalities that the section shows."""
    return [
        PitPanel(inputs.trait_name(trait), score["pit"]["as_predicted"], score["pit"]["calibrated"])
        for trait, score in _shown(inputs.training.get(key))[1].items()
    ]


def _part(inputs: ReportInputs, key: str, words: str, found: object) -> dict[str, Any] | None:
    modalities, shown = _shown(found)
    if not isinstance(found, Mapping) or not shown:
        return None
    traits = list(dict.fromkeys(trait for by_trait in found.values() for trait in by_trait))
    scores = [
        {
            "modalities": kind,
            "name": inputs.trait_name(trait),
            "first": kind == next(kind for kind in found if trait in found[kind]),
            "score": found[kind][trait],
            "within": _within(inputs, key, kind, trait, found[kind][trait]),
        }
        for trait in traits
        for kind in found
        if trait in found[kind]
    ]
    levels = next(iter(shown.values()))["coverage"]["level"]
    rows = [
        row for trait, score in shown.items() for row in _coverage_rows(inputs.trait_name(trait), score, len(levels))
    ]
    biomes = _biomes(shown)
    return {
        "key": key,
        "compared_with": words,
        "modalities": modalities,
        "scores": scores,
        "levels": levels,
        "coverage": rows,
        "biomes": biomes,
        "table_level": TABLE_LEVEL,
        "by_biome": [
            row for trait, score in shown.items() for row in _biome_rows(inputs.trait_name(trait), score, biomes)
        ],
        "splits": _split_rows(inputs, shown, modalities, inputs.training.get(OTHER_SPLITS[key])),
        "has_within": any(row["within"] is not None for row in scores),
    }


def _shown(found: object) -> tuple[str, dict[str, Any]]:
    """Return the first modalities with scores of the present shape, and their scores by trait."""
    if isinstance(found, Mapping):
        for modalities, by_trait in found.items():
            if isinstance(by_trait, Mapping) and by_trait:
                scores = {k: v for k, v in by_trait.items() if isinstance(v, Mapping) and "coverage" in v}
                if scores:
                    return str(modalities), scores
    return "", {}


def _within(
    inputs: ReportInputs, key: str, modalities: str, trait: str, score: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Return the within-species correlation: of the true values, or of measured plants."""
    if key == "truth":
        return score.get("within_species")
    measured = inputs.training.get("within_species")
    by_trait = measured.get(modalities) if isinstance(measured, Mapping) else None
    return by_trait.get(trait) if isinstance(by_trait, Mapping) else None


def _coverage_rows(name: str, score: Mapping[str, Any], levels: int) -> list[dict[str, Any]]:
    """Return the rows of one trait: all records, then each growth form; None where there are too few."""
    return [
        {
            "name": name,
            "group": group,
            "n": found["n"],
            "first": index == 0,
            "before": (found.get("coverage") or {}).get("as_predicted") or [None] * levels,
            "after": (found.get("coverage") or {}).get("conformal") or [None] * levels,
        }
        for index, (group, found) in enumerate(_groups(score))
    ]


def _biome_rows(name: str, score: Mapping[str, Any], biomes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of one trait, all records and then each growth form, with a cell for each biome."""
    return [
        {
            "name": name,
            "group": group,
            "first": index == 0,
            "cells": [_biome_cell(found.get("by_biome", {}).get(biome)) for biome in biomes],
        }
        for index, (group, found) in enumerate(_groups(score))
        if found.get("by_biome")
    ]


def _biome_cell(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return n and the share held, None where there are too few records or no such interval."""
    return {"n": (found or {}).get("n", 0), "share": _share_held(found or {})}


def _share_held(score: Mapping[str, Any]) -> float | None:
    """Return the share within the conformal interval of ``TABLE_LEVEL``, None where there is none."""
    coverage = score.get("coverage") or {}
    levels, held = coverage.get("level") or [], coverage.get("conformal")
    return held[levels.index(TABLE_LEVEL)] if held and TABLE_LEVEL in levels else None


def _split_rows(
    inputs: ReportInputs, regions: Mapping[str, Any], modalities: str, others: object
) -> list[dict[str, Any]]:
    """Return the rows of each trait, one per kind of held-out record; none where only regions were held out."""
    if not isinstance(others, Mapping):
        return []
    splits = {"regions": regions} | {
        name: by_modalities.get(modalities, {})
        for name, by_modalities in others.items()
        if isinstance(by_modalities, Mapping)
    }
    if not any(found for name, found in splits.items() if name != "regions"):
        return []
    return [
        {
            "name": inputs.trait_name(trait),
            "first": name == "regions",
            "split": SPLIT_WORDS.get(name, name),
            "score": found[trait],
            "share": _share_held(found[trait]),
        }
        for trait in regions
        for name, found in splits.items()
        if trait in found
    ]


def _groups(score: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the scores of all records of a trait, then of each growth form."""
    return [("all", score), *score.get("by_growth_form", {}).items()]


def _biomes(shown: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the biomes that any trait was scored in, in their order, then those of no such name."""
    found = {biome for score in shown.values() for _, group in _groups(score) for biome in group.get("by_biome", {})}
    return [*(biome for biome in BIOMES if biome in found), *sorted(found - set(BIOMES))]
