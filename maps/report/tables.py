"""Shape a run's counts, scores and metrics into the rows of the report's tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from data_catalog import Trait
from maps.product.layers import QUALITY, SOURCE
from maps.report.inputs import ReportInputs, StageRecord
from maps.report.model_section import OWN_KEYS
from maps.report.score_rows import headline_scores
from maps.report.typography import count_text, number_text, quantity_text

FloatArray = npt.NDArray[np.float64]

_FLOW_ROW_HEIGHT, _FLOW_BOX_HEIGHT = 58, 38


def anchor(text: str) -> str:
    """Return a fragment identifier made of plain letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def summarise(inputs: ReportInputs) -> dict[str, Any]:
    """Return the headline: cells mapped, photos used, and the published map's score for each trait."""
    product = inputs.product
    wanted = [trait.id for trait in inputs.traits]
    value = product["value"].sel(trait=wanted).notnull()
    source = product["source"].sel(trait=wanted)
    # Under a trait axis a photo counts once, in the trait that uses most photos of its cell.
    photos = product["n_photos"]
    photos = photos.sel(trait=wanted).max("trait") if "trait" in photos.dims else photos
    return {
        "cells": int(value.any("trait").sum()),
        "cells_from_photos": int(((source == SOURCE["photos"]) & value).any("trait").sum()),
        "photos": round(float(photos.fillna(0).sum(dtype="float64"))),
        "published": inputs.published_name,
        "scores": headline_scores(inputs),
    }


def trait_facts(product: xr.Dataset, trait: Trait) -> list[tuple[str, str]]:
    """Return a trait's key figures as (label, text); ``product`` holds that trait only, (lat, lon)."""
    value = np.asarray(product["value"], dtype=np.float64)
    source = np.asarray(product["source"])
    mapped = np.isfinite(value)
    error = np.asarray(product["standard_error"], dtype=np.float64)
    quartiles = np.nanpercentile(value, (25, 50, 75)) if mapped.any() else np.full(3, np.nan)

    def median_error(flag: int) -> str:
        chosen = error[(source == flag) & np.isfinite(error)]
        return number_text(float(np.median(chosen)) if chosen.size else None)

    return [
        ("cells mapped", count_text(int(mapped.sum()))),
        ("mostly from photos", count_text(int((mapped & (source == SOURCE["photos"])).sum()))),
        ("mostly from climate and soil", count_text(int((mapped & (source == SOURCE["geospatial"])).sum()))),
        *_quality_facts(product, mapped),
        ("median cell", quantity_text(float(quartiles[1]))),
        ("middle half of cells", f"{quantity_text(float(quartiles[0]))} to {quantity_text(float(quartiles[2]))}"),
        ("median standard error, photos", median_error(SOURCE["photos"])),
        ("median standard error, climate and soil", median_error(SOURCE["geospatial"])),
    ]


def _quality_facts(product: xr.Dataset, mapped: npt.NDArray[np.bool_]) -> list[tuple[str, str]]:
    """Return how many cells carry each of the flags that ask for caution."""
    quality = np.asarray(product["quality"])
    labels = {
        "single_species": "of a single species",
        "few_photos": "with few photos",
        "outside_applicability": "outside the area of applicability",
    }
    return [(label, count_text(int((mapped & (quality == QUALITY[flag])).sum()))) for flag, label in labels.items()]


def ledger(stages: Sequence[StageRecord]) -> list[dict[str, Any]]:
    """Return one row per stage: what went in, what came out, other counts, and each loss with its reason."""
    return [
        {
            "stage": stage,
            "taken": [_counted(key, n) for key, n in stage.counts.items() if _direction(key) == "in"],
            "given": [_counted(key, n) for key, n in stage.counts.items() if _direction(key) == "out"],
            "other": [_counted(key, n) for key, n in stage.counts.items() if _direction(key) == ""],
            "losses": [(reason.replace("_", " "), n) for reason, n in stage.losses.items()],
            "lost": sum(stage.losses.values()),
        }
        for stage in stages
    ]


def flow_diagram(stages: Sequence[StageRecord]) -> dict[str, Any]:
    """Return the geometry and words of the flow diagram: a column of stages, losses branching to the right."""
    nodes = []
    for index, stage in enumerate(stages):
        counts = list(stage.counts.items())
        last = next((item for item in counts if _direction(item[0]) == "out"), counts[-1] if counts else None)
        losses = sorted(stage.losses.items(), key=lambda item: (-item[1], item[0]))
        losses = [(reason.replace("_", " "), n) for reason, n in losses if n]
        words = [f"{reason} {count_text(n)}" for reason, n in losses[:3]]
        if len(losses) > 3:
            words.append(f"{len(losses) - 3} more reasons {count_text(sum(n for _, n in losses[3:]))}")
        nodes.append(
            {
                "y": index * _FLOW_ROW_HEIGHT + 2,
                "name": stage.name,
                "out": "" if last is None else _counted(*last),
                "lost": "" if not losses else f"−{count_text(sum(n for _, n in losses))}",
                "reasons": " · ".join(words),
                "last": index == len(stages) - 1,
            }
        )
    return {
        "nodes": nodes,
        "height": len(nodes) * _FLOW_ROW_HEIGHT - (_FLOW_ROW_HEIGHT - _FLOW_BOX_HEIGHT) + 4,
        "box": _FLOW_BOX_HEIGHT,
        "step": _FLOW_ROW_HEIGHT,
    }


def _direction(key: str) -> str:
    return key.rsplit("_", 1)[-1] if key in ("in", "out") or key.endswith(("_in", "_out")) else ""


def _counted(key: str, n: int) -> str:
    noun = re.sub(r"_?(in|out)$", "", key) if _direction(key) else key
    return f"{count_text(n)} {noun.replace('_', ' ')}".rstrip()


def training_table(inputs: ReportInputs) -> dict[str, Any]:
    """Return the training metrics: a row per trait, a column per metric; what is no mapping is listed apart.

    Scores of held-out records have a section of their own.
    """
    training = {key: value for key, value in inputs.training.items() if key not in OWN_KEYS}
    nested = {key: dict(flatten(value)) for key, value in training.items() if isinstance(value, Mapping)}
    single = flatten({key: value for key, value in training.items() if not isinstance(value, Mapping)})
    columns = list(dict.fromkeys(metric for metrics in nested.values() for metric in metrics))
    return {
        "columns": columns,
        "rows": [
            {"name": inputs.trait_name(key), "values": [metrics.get(column, "–") for column in columns]}
            for key, metrics in nested.items()
        ],
        "single": single,
    }


def flatten(value: Any, path: str = "") -> list[tuple[str, str]]:  # noqa: ANN401 - plain nested data
    """Flatten nested mappings and lists to (dotted path, text), in order."""
    if isinstance(value, Mapping):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
        parts = [(str(index + 1), part) for index, part in enumerate(value)]
    else:
        return [(path, _plain(value))]
    return [item for key, part in parts for item in flatten(part, f"{path}.{key}" if path else key)]


def _plain(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float | np.floating):
        return quantity_text(float(value), 4).rstrip("0").rstrip(".") if value % 1 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(part) for part in value) or "–"
    return str(value)
