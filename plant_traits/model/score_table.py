"""Scores of a model on its held-out splits as a tidy table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

COLUMNS = (
    "variant", "split", "compared_with", "modalities", "growth_form", "trait", "n", "pearson_r", "r2", "rmse", "nmae",
    "gaussian_nll", "crps", "coverage_50", "coverage_80", "coverage_90", "coverage_95", "within_species_r",
    "within_species_n",
)  # fmt: skip

_PLAIN = ("n", "pearson_r", "r2", "rmse", "nmae", "gaussian_nll", "crps")


def score_table(variant: str, metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Lay a model's metrics out as rows, columns ``COLUMNS``.

    Args:
        variant: name of the model's variant.
        metrics: of ``train`` and ``score_plants``.

    Returns:
        One row per split (regions, species, photos), what it is compared with (labels, truth), modalities, growth
        form (``all`` first) and trait; what was not scored is NaN.
    """
    sources = [("labels", "regions", metrics.get("held_out", {})), ("truth", "regions", metrics.get("truth", {}))]
    sources += [("labels", name, scores) for name, scores in metrics.get("splits", {}).items()]
    sources += [("truth", name, scores) for name, scores in metrics.get("truth_splits", {}).items()]
    rows = [
        {"variant": variant, "split": split, "compared_with": compared_with, "modalities": modalities, **row}
        for compared_with, split, scores in sources
        for modalities, by_trait in scores.items()
        for trait, score in by_trait.items()
        for row in _rows(trait, score)
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    measured = metrics.get("within_species", {})
    for modalities, by_trait in measured.items():
        for trait, found in by_trait.items():
            own = (table[["split", "compared_with", "modalities", "growth_form", "trait"]] == [
                "regions", "labels", modalities, "all", trait]).all(axis=1)  # fmt: skip
            table.loc[own, ["within_species_r", "within_species_n"]] = [found["pearson_r"], found["n"]]
    return table


def _rows(trait: str, score: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for form, found in {"all": score, **score.get("by_growth_form", {})}.items():
        row: dict[str, Any] = {"growth_form": form, "trait": trait} | {key: found.get(key) for key in _PLAIN}
        coverage = found.get("coverage", {})
        conformal = coverage.get("conformal")
        if conformal is not None:
            row |= {
                f"coverage_{round(100 * level)}": share
                for level, share in zip(coverage["level"], conformal, strict=True)
            }
        within = found.get("within_species", {})
        yield row | {"within_species_r": within.get("pearson_r"), "within_species_n": within.get("n")}
