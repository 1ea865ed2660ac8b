"""Stage: what the gate of names did - the names accepted, at which rank and why, and what that does to cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from maps.comparison.name_effect import NamesTold, effect_of_names, errors_of_namings
from maps.stages.cells import read_estimates
from maps.stages.comparison import REFERENCES, read_compared
from plant_traits.run_spec import RunSpec
from plant_traits.stages.name_gate import COUNTS_TABLE
from plant_traits.steps import Summary
from plant_traits.taxa.gate.rule import SET_ASIDE

EFFECT, ERRORS = "name_effect.parquet", "name_errors.parquet"


@dataclass(frozen=True)
class GateOutputs:
    """Where a run keeps what is known of its gate of names.

    Attributes:
        decisions: output of ``gather_decisions``.
        effect: output of ``tell_names``.
    """

    decisions: Path
    effect: Path


def tell_names(
    destination: Path,
    *,
    spec: RunSpec,
    decisions: Path,
    accepted: Path,
    stated: Path,
    comparison: Path,
) -> Summary:
    """Meet the cells of photos under the names that the gate accepted with those under stated ones.

    Predictions are the same under both; the names say which photos count and to which species they belong. Writes
    ``name_effect.parquet`` and ``name_errors.parquet``, see ``NamesTold``.

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
    published = spec.profile.published_estimator
    ours, theirs = (read_estimates(folder, "photo", [published])[published] for folder in (accepted, stated))
    references = read_compared(comparison, REFERENCES, spec.traits, spec.grid)
    effect_of_names(ours, theirs, spec.traits).to_parquet(destination / EFFECT, index=False)
    errors_of_namings(ours, theirs, references, spec.traits, spec.grid).to_parquet(destination / ERRORS, index=False)
    by_rank = _counts(decisions).groupby("rank")["n"].sum()
    return {
        "in": {"observations": int(by_rank.sum())},
        "out": {f"names at {str(rank).replace('_', ' ')}": int(n) for rank, n in by_rank.items() if rank != SET_ASIDE},
        "set aside": {"names": int(by_rank.get(SET_ASIDE, 0))},
    }


def read_names(outputs: GateOutputs) -> NamesTold:
    """Return what a run can tell of its gate of names."""
    effect, errors = (pd.read_parquet(outputs.effect / name) for name in (EFFECT, ERRORS))
    return NamesTold(_counts(outputs.decisions), effect, errors)


def _counts(decisions: Path) -> pd.DataFrame:
    return pd.read_csv(decisions / COUNTS_TABLE, keep_default_na=False)
