"""What each part of a model is worth: scores of its variants as a Markdown table and as a page with one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maps.report.figures_training import VariantPanel, draw_variants
from maps.report.model_facts import SPLITS, words
from maps.report.page_templates import inline_image, page_template
from maps.report.typography import count_text, number_text
from plant_traits.errors import TableError
from plant_traits.model.trained_model import MODALITIES

PAGE, MARKDOWN, PICTURE = "evaluation.html", "evaluation.md", "evaluation.png"
NEEDED = ("variant", "split", "compared_with", "modalities", "trait", "n", "pearson_r")
COMPARED_WITH = {"labels": "labels", "truth": "true values"}
EVERY_FORM = "all"

_SCORES = {
    "r2": ("R²", 2),
    "rmse": ("RMSE", 2),
    "nmae": ("nMAE", 2),
    "gaussian_nll": ("NLL", 2),
    "crps": ("CRPS", 3),
}
_LEVELS = (50, 80, 90, 95)


@dataclass(frozen=True)
class Evaluation:
    """Scores of variants and how they are called.

    Attributes:
        title: heading of the page.
        scores: one row per variant, split, compared_with, modalities and trait, and growth_form where it is told;
            columns ``NEEDED`` and any of r2, rmse, nmae, gaussian_nll, crps, coverage_50 to coverage_95,
            within_species_r and within_species_n.
        variant_names: display name by variant.
        trait_names: display name by trait, in display order; traits that it lacks follow.
        baseline: the variant that knows climate and soil alone; where there is no such variant, the first variant's
            predictions from the place alone take its part.
    """

    title: str
    scores: pd.DataFrame
    variant_names: Mapping[str, str] = field(default_factory=dict)
    trait_names: Mapping[str, str] = field(default_factory=dict)
    baseline: str = "place"

    def __post_init__(self) -> None:
        missing = [column for column in NEEDED if column not in self.scores.columns]
        if missing:
            raise TableError(
                f"scores of variants: the columns {missing} are missing; expected {NEEDED}, found "
                f"{list(self.scores.columns)}; evaluate the variants again"
            )

    @property
    def overall(self) -> pd.DataFrame:
        """The rows of all growth forms together, each variant by the most modalities that it was scored with."""
        scores = self._all_forms
        rank = scores["modalities"].map({name: place for place, name in enumerate(MODALITIES)}).fillna(len(MODALITIES))
        return scores[rank == rank.groupby(scores["variant"]).transform("min")]

    @property
    def traits(self) -> dict[str, str]:
        """Trait id to display name, in display order."""
        found = list(dict.fromkeys(self.scores["trait"]))
        ordered = [
            *(name for name in self.trait_names if name in found),
            *(x for x in found if x not in self.trait_names),
        ]
        return {name: self.trait_names.get(name, name.replace("_", " ")) for name in ordered}

    @property
    def splits(self) -> list[str]:
        """The splits that were scored: regions, species, photos, then any other."""
        found = list(dict.fromkeys(self.scores["split"]))
        return [*(name for name in SPLITS if name in found), *(name for name in found if name not in SPLITS)]

    @property
    def compared_with(self) -> list[str]:
        """What predictions were compared with: labels, then true values."""
        found = set(self.scores["compared_with"])
        return [*(name for name in COMPARED_WITH if name in found), *sorted(found - set(COMPARED_WITH))]

    @property
    def variants(self) -> dict[str, str]:
        """Variant to what it is called in a table, with its modalities, in the order of the scores."""
        kinds = self.overall.drop_duplicates("variant").set_index("variant")["modalities"]
        return {name: self.variant_names.get(name, name) for name in kinds.index}

    @property
    def _all_forms(self) -> pd.DataFrame:
        if "growth_form" not in self.scores.columns:
            return self.scores
        return self.scores[self.scores["growth_form"] == EVERY_FORM]

    def baseline_r(self, split: str, compared_with: str, trait: str) -> float | None:
        """Return the correlation that climate and soil alone reach, None where it was not scored."""
        scores = self._all_forms
        of_place = scores[(scores["modalities"] == "geospatial") & (scores["trait"] == trait)]
        of_place = of_place[(of_place["split"] == split) & (of_place["compared_with"] == compared_with)]
        own = of_place[of_place["variant"] == self.baseline]
        found = own if len(own) else of_place
        return None if found.empty else float(found["pearson_r"].iloc[0])


def write_evaluation(evaluation: Evaluation, folder: Path) -> list[str]:
    """Write ``evaluation.md``, ``evaluation.html`` and ``evaluation.png``; the same scores give the same bytes.

    Returns:
        Names of the files written.

    Raises:
        TableError: there are no scores.
    """
    if evaluation.scores.empty:
        raise TableError("scores of variants: expected at least one row, found none; evaluate some variants first")
    split = evaluation.splits[0]
    compared_with = evaluation.compared_with[-1]
    png = draw_variants(
        panels(evaluation, split, compared_with),
        score=f"r with {COMPARED_WITH.get(compared_with, compared_with)}",
        baseline="climate and soil alone",
    )
    html = page_template("evaluation.html.j2").render(
        title=evaluation.title,
        traits=evaluation.traits,
        splits=[(name, *SPLITS.get(name, (name, ""))) for name in evaluation.splits],
        figure=inline_image(png),
        figure_split=SPLITS.get(split, (split, ""))[0],
        figure_words=COMPARED_WITH.get(compared_with, compared_with),
        simulated="truth" in evaluation.compared_with,
        correlations=[
            (COMPARED_WITH.get(key, key), correlation_rows(evaluation, key)) for key in evaluation.compared_with
        ],
        details=[
            (COMPARED_WITH.get(key, key), SPLITS.get(name, (name, ""))[0], head, rows)
            for key in evaluation.compared_with
            for name in evaluation.splits
            for head, rows in [detail_rows(evaluation, name, key)]
            if rows
        ],
        forms=form_rows(evaluation),
    )
    (folder / PICTURE).write_bytes(png)
    (folder / PAGE).write_text(html, encoding="utf-8", newline="\n")
    (folder / MARKDOWN).write_text(markdown(evaluation), encoding="utf-8", newline="\n")
    return [MARKDOWN, PAGE, PICTURE]


def markdown(evaluation: Evaluation) -> str:
    """Return compact tables for a document: correlations on every split, then all scores on the first."""
    parts = []
    names = [SPLITS.get(name, (name, ""))[0] for name in evaluation.splits]
    for key in evaluation.compared_with:
        parts.append(f"Correlation r with {COMPARED_WITH.get(key, key)}, on {' / '.join(names)}:\n")
        head = ["variant", *evaluation.traits.values()]
        rows = [
            [row["name"], *(" / ".join(number_text(x) for x in cell) for cell in row["cells"])]
            for row in correlation_rows(evaluation, key)
        ]
        parts.append(_markdown_table(head, rows, left=1))
    split = evaluation.splits[0]
    for key in evaluation.compared_with:
        head, rows = detail_rows(evaluation, split, key)
        if rows:
            parts.append(f"All scores on {names[0]}, compared with {COMPARED_WITH.get(key, key)}:\n")
            parts.append(_markdown_table(head, rows, left=3))
    return "\n".join(parts)


def correlation_rows(evaluation: Evaluation, compared_with: str) -> list[dict[str, Any]]:
    """Return a row per variant: name, baseline, cells (per trait the correlation on each split, NaN where none)."""
    scores = evaluation.overall
    chosen = scores[scores["compared_with"] == compared_with].to_dict("records")
    found = {(row["variant"], row["trait"], row["split"]): float(row["pearson_r"]) for row in chosen}
    scored = {row["variant"] for row in chosen}
    return [
        {
            "name": name,
            "baseline": variant == evaluation.baseline,
            "cells": [
                [found.get((variant, trait, split), np.nan) for split in evaluation.splits]
                for trait in evaluation.traits
            ],
        }
        for variant, name in evaluation.variants.items()
        if variant in scored
    ]


def detail_rows(evaluation: Evaluation, split: str, compared_with: str) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of all scores of one split: variant, trait, modalities, then figures as text.

    Scores that no variant has make no column.
    """
    scores = evaluation.overall
    chosen = scores[(scores["split"] == split) & (scores["compared_with"] == compared_with)]
    plain = {name: look for name, look in _SCORES.items() if name in chosen.columns and chosen[name].notna().any()}
    levels = [x for x in _LEVELS if f"coverage_{x}" in chosen.columns and chosen[f"coverage_{x}"].notna().any()]
    within = "within_species_r" in chosen.columns and chosen["within_species_r"].notna().any()
    head = ["variant", "trait", "from", "n", "r", *(title for title, _ in plain.values()), *(f"{x} %" for x in levels)]
    head += ["r within species"] if within else []
    rows = []
    by_key = {(row["variant"], row["trait"]): row for row in chosen.to_dict("records")}
    for variant, name in evaluation.variants.items():
        for trait, title in evaluation.traits.items():
            row = by_key.get((variant, trait))
            if row is None:
                continue
            texts = [
                name,
                title,
                words(str(row["modalities"])),
                count_text(int(row["n"])),
                number_text(row["pearson_r"]),
            ]
            texts += [number_text(row[column], digits) for column, (_, digits) in plain.items()]
            texts += [_percent(row[f"coverage_{level}"]) for level in levels]
            rows.append([*texts, *([_within(row)] if within else [])])
    return head, rows


def form_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the first variant's scores by growth form on the first split and labels: n, r and coverage as text."""
    scores, first = evaluation.scores, next(iter(evaluation.variants), None)
    if "growth_form" not in scores.columns or first is None or "coverage_90" not in scores.columns:
        return []
    richest = evaluation.overall.loc[evaluation.overall["variant"] == first, "modalities"].iloc[0]
    chosen = scores[(scores["variant"] == first) & (scores["modalities"] == richest)]
    chosen = chosen[
        (chosen["split"] == evaluation.splits[0]) & (chosen["compared_with"] == evaluation.compared_with[0])
    ]
    return [
        {
            "name": title,
            "form": "all plants" if row["growth_form"] == EVERY_FORM else str(row["growth_form"]),
            "first": index == 0,
            "n": count_text(int(row["n"])),
            "r": number_text(row["pearson_r"]),
            "coverage": [_percent(row.get(f"coverage_{level}")) for level in _LEVELS],
        }
        for trait, title in evaluation.traits.items()
        for index, row in enumerate(chosen[chosen["trait"] == trait].to_dict("records"))
    ]


def panels(evaluation: Evaluation, split: str, compared_with: str) -> list[VariantPanel]:
    """Return the figure's panels: the correlation of every variant, per trait, with the baseline's."""
    scores = evaluation.overall
    chosen = scores[(scores["split"] == split) & (scores["compared_with"] == compared_with)]
    by_key = {(row["variant"], row["trait"]): row["pearson_r"] for row in chosen.to_dict("records")}
    return [
        VariantPanel(
            title,
            {name: float(by_key.get((variant, trait), np.nan)) for variant, name in evaluation.variants.items()},
            evaluation.baseline_r(split, compared_with, trait),
        )
        for trait, title in evaluation.traits.items()
    ]


def _percent(share: float | None) -> str:
    return number_text(None if share is None else 100 * share, 0) + (
        " %" if share is not None and np.isfinite(share) else ""
    )


def _within(row: Mapping[Any, Any]) -> str:
    r, n = row["within_species_r"], row.get("within_species_n")
    text = number_text(r)
    return text if n is None or not np.isfinite(n) or not np.isfinite(r) else f"{text} ({count_text(int(n))})"


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Return a Markdown table whose columns after the first ``left`` are set to the right."""
    ruler = [":--" if index < left else "--:" for index in range(len(head))]
    lines = [[_cell(text) for text in line] for line in (head, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], ruler, *lines[1:])) + "\n"


def _cell(text: str) -> str:
    """Escape what would end a cell or start a tag."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
