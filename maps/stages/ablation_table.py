"""Stage: the scores of a model's variants as a page, a figure and a Markdown table."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from data_catalog import Trait
from maps.report.ablation_table import Evaluation, write_evaluation
from plant_traits.errors import TableError
from plant_traits.model.variants import VARIANTS
from plant_traits.steps import Summary

SCORES = "scores.csv"


def write_ablation_table(destination: Path, *, scores: Path, name: str, traits: Sequence[Trait] = ()) -> Summary:
    """Write ``evaluation.html``, ``evaluation.md`` and ``evaluation.png``, and copy ``scores.csv``.

    Args:
        destination: an empty folder.
        scores: output of ``gather_scores``.
        name: of the run, for the heading.
        traits: their names in tables and their order; a trait that is not among them goes by its id.

    Returns:
        Counts of scores, variants and files.

    Raises:
        TableError: the scores cannot be read, lack a column or are none.
    """
    path = scores / SCORES
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: expected scores of variants as CSV: {error}; evaluate the variants again") from error
    evaluation = Evaluation(
        title=f"Variants of the model of the run {name}",
        scores=table,
        variant_names=variant_names(table["variant"].astype(str)) if "variant" in table.columns else {},
        trait_names={trait.id: trait.name for trait in traits},
    )
    written = write_evaluation(evaluation, destination)
    shutil.copyfile(path, destination / SCORES)
    return {
        "in": {"scores": len(table)},
        "out": {"variants": len(evaluation.variants), "files": len(written) + 1},
    }


def variant_names(variants: Iterable[str]) -> dict[str, str]:
    """Return what each variant is called: ``full, dinov2-small`` is ``photo and place, dinov2-small``."""
    names = {}
    for variant in dict.fromkeys(variants):
        name, *rest = variant.split(", ")
        names[variant] = ", ".join([VARIANTS[name].title if name in VARIANTS else name, *rest])
    return names
