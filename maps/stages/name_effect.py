"""Stage: what the gate of names did - the names accepted, at which rank and why, and what that does to cells."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from maps.comparison.name_effect import NamesTold, effect_of_names, errors_of_namings
from maps.stages.cells import read_estimates
from maps.stages.comparison import REFERENCES, read_compared
from plant_traits.name_schemas import NAME_DECISION
from plant_traits.run_spec import RunSpec
from plant_traits.schemas import read_table
from plant_traits.stages.name_gate import ASIDE_TABLE, DECISIONS
from plant_traits.steps import Summary
from plant_traits.taxa.gate.rule import SET_ASIDE

COUNTS, EFFECT, ERRORS = "name_counts.parquet", "name_effect.parquet", "name_errors.parquet"


def tell_names(
    destination: Path,
    *,
    spec: RunSpec,
    decisions: Path,
    accepted: Path,
    stated: Path,
    comparison: Path,
) -> Summary:
    """Count the decisions of the gate, and meet the cells of photos under accepted names with those under stated ones.

    Predictions are the same under both; the names say which photos count and to which species they belong. Writes
    ``name_counts.parquet``, ``name_effect.parquet`` and ``name_errors.parquet``, see ``NamesTold``, and
    ``set_aside.csv``.

    Args:
        destination: an empty folder.
        spec: the run.
        decisions: output of ``gather_decisions``.
        accepted: output of ``estimate_cells`` under the names that the gate accepted.
        stated: output of ``estimate_cells`` under the names as stated.
        comparison: output of ``compare_maps``, for its references.

    Returns:
        Counts of observations in, and of names by rank out.
    """
    table = read_table(decisions / DECISIONS, NAME_DECISION, ["rank", "reason", "stated", "name"])
    table["renamed"] = (table["rank"] == "species") & (table["name"] != table["stated"])
    counts = table.groupby(["rank", "reason"])["renamed"].agg(n="size", renamed="sum").reset_index()
    published = spec.profile.published_estimator
    ours, theirs = (read_estimates(folder, "photo", [published])[published] for folder in (accepted, stated))
    references = read_compared(comparison, REFERENCES, spec.traits, spec.grid)
    shutil.copyfile(decisions / ASIDE_TABLE, destination / ASIDE_TABLE)
    counts.to_parquet(destination / COUNTS, index=False)
    effect_of_names(ours, theirs, spec.traits).to_parquet(destination / EFFECT, index=False)
    errors_of_namings(ours, theirs, references, spec.traits, spec.grid).to_parquet(destination / ERRORS, index=False)
    by_rank = counts.groupby("rank")["n"].sum()
    return {
        "in": {"observations": int(counts["n"].sum())},
        "out": {f"names at {str(rank).replace('_', ' ')}": int(n) for rank, n in by_rank.items() if rank != SET_ASIDE},
        "set aside": {"names": int(by_rank.get(SET_ASIDE, 0))},
    }


def read_names(folder: Path) -> NamesTold:
    """Return what ``tell_names`` wrote."""
    return NamesTold(*(pd.read_parquet(folder / name) for name in (COUNTS, EFFECT, ERRORS)))
