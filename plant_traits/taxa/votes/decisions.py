"""The form that every rule's names have, so that rules compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plant_traits.name_schemas import RULE_DECISION
from plant_traits.taxa.votes.vote_table import VoteTable


def decisions(
    votes: VoteTable,
    name: pd.Index[str] | pd.Series | NDArray[Any],
    confidence: NDArray[np.float64],
    accuracy: NDArray[np.float64],
    reason: NDArray[np.object_],
    rank: NDArray[Any] | None = None,
) -> pd.DataFrame:
    """Lay out the names of a rule, one row per observation of the table, columns ``RULE_DECISION``.

    Args:
        votes: the votes that were counted.
        name: each observation's name, null where it has none.
        confidence: what speaks for the name, in the rule's own unit of votes.
        accuracy: share of that in all that was said, 0 to 1.
        reason: why the rule does not accept the name, null where it does.
        rank: rank of each name, where the rule knows ranks.
    """
    frame = pd.DataFrame(
        {
            "observation_id": votes.observations,
            "name": pd.Series(name, dtype="str"),
            "rank": pd.Series([None] * len(name) if rank is None else rank, dtype="str"),
            "confidence": confidence,
            "accuracy": accuracy,
            "valid": pd.isna(reason),
            "n_votes": np.bincount(votes.observation, minlength=len(votes.observations)),
            "reason": pd.Series(reason, dtype="str"),
        }
    )
    return frame.reindex(columns=RULE_DECISION.names)


def reasons(n: int, *of_rows: tuple[NDArray[np.bool_], str]) -> NDArray[np.object_]:
    """Return reasons by row: the last whose rows include it, null where none does."""
    found = np.full(n, None, dtype=object)
    for rows, reason in of_rows:
        found[rows] = reason
    return found
