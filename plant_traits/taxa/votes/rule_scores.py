"""How good the names of a rule are where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from plant_traits.errors import TableError


@dataclass(frozen=True)
class RuleScore:
    """Scores of one rule.

    Attributes:
        observations: observations whose truth is known.
        accuracy: share of them that the rule names rightly, accepted or not.
        accepted: share whose name it accepts.
        accepted_accuracy: share of these that are right.
        species: true species.
        species_named: share of them that the rule names somewhere, accepted or not.
        species_kept: share of them that it accepts rightly somewhere.
    """

    observations: int
    accuracy: float
    accepted: float
    accepted_accuracy: float
    species: int
    species_named: float
    species_kept: float


def score_rule(decisions: pd.DataFrame, truth: pd.DataFrame, least_votes: int = 1) -> RuleScore:
    """Score a rule's names against the truth of some observations.

    Args:
        decisions: columns ``RULE_DECISION``.
        truth: columns ``observation_id`` and ``taxon``.
        least_votes: observations with fewer votes are left out.

    Raises:
        TableError: none of the observations has a name and a truth, or the truth has one twice.
    """
    if truth["observation_id"].duplicated().any():
        raise TableError("truth: an observation has two rows; give each one")
    known = decisions[decisions["n_votes"] >= least_votes].merge(truth, on="observation_id")
    if known.empty:
        raise TableError("truth: none of its observations was voted on; are the ids of the same release?")
    right = known["name"] == known["taxon"]
    valid = known["valid"].astype(bool)
    species = known["taxon"].nunique()
    return RuleScore(
        observations=len(known),
        accuracy=float(right.mean()),
        accepted=float(valid.mean()),
        accepted_accuracy=float(right[valid].mean()),
        species=species,
        species_named=known["taxon"].drop_duplicates().isin(known["name"]).mean(),
        species_kept=known["taxon"][right & valid].nunique() / species,
    )
