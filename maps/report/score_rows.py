"""Shape scores, differences and interval coverage into the rows of the report's tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from maps.report.inputs import ReportInputs
from plant_traits.errors import InputError

FloatArray = npt.NDArray[np.float64]

SCALE_NAMES = {"ln": "natural logarithm", "natural": "natural scale", "log1p": "ln(1 + x), as published"}
CELL_NAMES = {"shared": "the cells that all maps share", "own": "each map's own cells"}
_SCALE_ORDER = ("ln", "natural", "log1p")
_CELL_ORDER = ("shared", "own")
_SCORE_KEY = ["reference", "scale", "cells", "map", "trait"]


def headline_scores(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Return the published map's first score per trait: first reference, first scale, shared cells before own."""
    if not len(inputs.scores):
        return []
    rows = inputs.scores[inputs.scores["map"] == inputs.published_name]
    found = []
    for trait in inputs.traits:
        mine = rows[rows["trait"] == trait.id]
        mine = mine.assign(_scale=_rank(mine["scale"], _SCALE_ORDER), _cells=_rank(mine["cells"], _CELL_ORDER))
        mine = mine.sort_values(["_scale", "_cells"], kind="stable")
        if len(mine):
            first = mine.iloc[0]
            found.append({"name": trait.name, **{str(key): first[key] for key in inputs.scores.columns}})
    return found


def score_tables(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Return one table per reference, scale and choice of cells: rows are maps, column groups are traits.

    The best of each column is marked only on shared cells, since maps scored on different cells do not compare.

    Raises:
        InputError: a map has two scores for the same trait, reference, scale and cells.
    """
    scores = inputs.scores
    if not len(scores):
        return []
    doubled = scores.duplicated(_SCORE_KEY)
    if doubled.any():
        raise InputError(
            f"the scores hold {int(doubled.sum())} rows twice, "
            f"first {scores.loc[doubled, _SCORE_KEY].iloc[0].to_dict()}; "
            "expected one row per map, reference, trait, scale and cells; concatenate each comparison once"
        )
    ordered = [trait.id for trait in inputs.traits]
    ordered += [name for name in dict.fromkeys(scores["trait"]) if name not in ordered]
    tables: list[dict[str, Any]] = []
    references = list(dict.fromkeys(scores["reference"]))
    keyed = scores.assign(
        _reference=_rank(scores["reference"], references),
        _scale=_rank(scores["scale"], _SCALE_ORDER),
        _cells=_rank(scores["cells"], _CELL_ORDER),
    )
    for _, part in keyed.groupby(["_reference", "_scale", "_cells", "reference", "scale", "cells"], sort=True):
        reference, scale, cells = (str(part[name].iloc[0]) for name in ("reference", "scale", "cells"))
        traits = [name for name in ordered if name in set(part["trait"])]
        tables.append(
            {
                "reference": reference,
                "scale": SCALE_NAMES.get(scale, scale),
                "cells": CELL_NAMES.get(cells, cells),
                "shared": cells == "shared",
                "first_scale": part["_scale"].iloc[0] == keyed.loc[keyed["reference"] == reference, "_scale"].min(),
                "traits": [inputs.trait_name(name) for name in traits],
                "rows": _score_rows(part, traits, inputs.published_name, mark_best=cells == "shared"),
            }
        )
    return tables


def _score_rows(part: pd.DataFrame, traits: Sequence[str], published: str, *, mark_best: bool) -> list[dict[str, Any]]:
    indexed = part.set_index(["map", "trait"]).sort_index()
    names = list(dict.fromkeys(part["map"]))
    names.sort(key=lambda name: name != published)
    best = part.groupby("trait").agg({"pearson_r": "max", "r2": "max", "nmae": "min"})
    rows = []
    for name in names:
        row: list[dict[str, Any] | None] = []
        for trait in traits:
            if (name, trait) not in indexed.index:
                row.append(None)
                continue
            score = indexed.loc[(name, trait)]
            marks = {
                metric: bool(mark_best and len(names) > 1 and score[metric] == best.loc[trait, metric])
                for metric in ("pearson_r", "r2", "nmae")
            }
            row.append({**{str(key): score[key] for key in score.index}, "best": marks})
        rows.append({"map": name, "published": name == published, "scores": row})
    return rows


def difference_rows(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Return the differences between maps, each with whether its interval leaves out zero."""
    if inputs.differences is None:
        return []
    table = inputs.differences.rename(columns={"difference_low": "low", "difference_high": "high"})
    records = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    rows: list[dict[str, Any]] = [{"reference": None, "n": None, **record} for record in records]
    return [
        {**row, "name": inputs.trait_name(str(row["trait"])), "distinct": bool(row["low"] > 0 or row["high"] < 0)}
        for row in rows
    ]


def coverage_rows(inputs: ReportInputs) -> dict[str, Any]:
    """Return observed coverage as rows of map and trait by columns of nominal level, with n."""
    if inputs.coverage is None or not len(inputs.coverage):
        return {"levels": [], "rows": []}
    table = _coverage_by_map(inputs, inputs.coverage)
    levels = sorted(set(table["level"]))
    rows = []
    for (name, trait), part in table.groupby(["map", "trait"], sort=False):
        observed = dict(zip(part["level"], part["coverage"], strict=True))
        rows.append(
            {
                "map": name,
                "trait": inputs.trait_name(str(trait)),
                "observed": [observed.get(level) for level in levels],
                "n": int(part["n"].max()),
            }
        )
    return {"levels": levels, "rows": rows}


KINDS = {
    "rich": "of 20 photos or more",
    "sparse": "of fewer photos",
    "none": "without photos",
    "all": "all with plots",
}


def plot_coverage_rows(inputs: ReportInputs) -> dict[str, Any]:
    """Return how often intervals held plots' means: a row per trait and kind of cell, over all biomes."""
    table = inputs.plot_coverage
    if table is None or not len(table):
        return {"levels": [], "rows": []}
    levels = [int(name.removeprefix("calibrated_")) for name in table.columns if name.startswith("calibrated_")]
    together = {(row["trait"], row["kind"]): row for row in table[table["biome"].isna()].to_dict("records")}
    rows = [
        {
            "trait": trait.name,
            "kind": label,
            "n": int(row["n"]),
            "observed": [(float(row[f"calibrated_{level}"]), float(row[f"raw_{level}"])) for level in levels],
            "rmse": float(row["rmse"]),
        }
        for trait in inputs.traits
        for kind, label in KINDS.items()
        if (row := together.get((trait.id, kind))) is not None
    ]
    return {"levels": levels, "rows": rows}


def reliability_lines(inputs: ReportInputs) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return trait name to (nominal level, observed coverage) of the published map, else of the first map."""
    if inputs.coverage is None or not len(inputs.coverage):
        return {}
    table = _coverage_by_map(inputs, inputs.coverage)
    names = list(dict.fromkeys(table["map"]))
    chosen = inputs.published_name if inputs.published_name in names else names[0]
    mine = table[table["map"] == chosen].dropna(subset=["level", "coverage"])
    return {
        inputs.trait_name(str(trait)): (part["level"].to_numpy(np.float64), part["coverage"].to_numpy(np.float64))
        for trait, part in mine.groupby("trait", sort=False)
    }


def _coverage_by_map(inputs: ReportInputs, table: pd.DataFrame) -> pd.DataFrame:
    return table if "map" in table else table.assign(map=inputs.published_name)


def _rank(column: pd.Series[Any], order: Sequence[str]) -> pd.Series[int]:
    ranks = {name: index for index, name in enumerate(order)}
    return column.map(lambda name: ranks.get(name, len(order))).astype("int64")
