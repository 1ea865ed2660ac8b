"""Simpler rules to compare with: most votes, two thirds of the votes, and votes weighed by agreement with the most."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plant_traits.taxa.votes.candidates import Candidates
from plant_traits.taxa.votes.decisions import decisions, reasons
from plant_traits.taxa.votes.vote_table import VoteTable
from plant_traits.taxa.votes.vote_weights import as_weight, fixed_point

SINGLE_VOTE = "single vote"
NO_AGREEMENT = "no agreement"
NO_WEIGHT = "no weight"


def majority_names(votes: VoteTable) -> pd.DataFrame:
    """Name each observation by most of its votes, a tie going to the first in name order; every name is valid.

    Returns:
        Columns ``RULE_DECISION``; confidence is the number of votes for the name.
    """
    candidates, names, count, total = _most(votes)
    name = votes.taxa.take(candidates.taxon[names])
    return decisions(votes, name, count.astype(np.float64), count / total, reasons(len(names)))


def two_thirds_names(votes: VoteTable) -> pd.DataFrame:
    """Name an observation where two thirds of two votes or more agree, and only there.

    Returns:
        Columns ``RULE_DECISION``; confidence is the number of votes for the name that has most, accuracy its share,
        also where it is not given.
    """
    candidates, names, count, total = _most(votes)
    reason = reasons(len(names), (3 * count < 2 * total, NO_AGREEMENT), (total < 2, SINGLE_VOTE))
    name = pd.Series(votes.taxa.take(candidates.taxon[names])).where(pd.isna(reason))
    return decisions(votes, name, count.astype(np.float64), count / total, reason)


def worker_agreement_names(votes: VoteTable) -> pd.DataFrame:
    """Name each observation by votes weighed with their users' agreement with the most votes (WAWA).

    A user weighs the share of his votes that are the name of most votes. A tie goes to that name, else to the first in
    name order. A name is valid where somebody of any weight gave it.

    Returns:
        Columns ``RULE_DECISION``; confidence is the weight of the votes for the name.
    """
    candidates, names, _, _ = _most(votes)
    n_users = len(votes.users)
    agreed = candidates.of_vote == names[votes.observation]
    given = np.bincount(votes.user, minlength=n_users)
    share = np.bincount(votes.user[agreed], minlength=n_users) / np.maximum(given, 1)
    gathered = candidates.gathered(fixed_point(share)[votes.user])
    names = candidates.heaviest(gathered, names)
    weight, total = gathered[names], candidates.totals(gathered)
    return decisions(
        votes,
        votes.taxa.take(candidates.taxon[names]),
        as_weight(weight),
        weight / np.maximum(total, 1),
        reasons(len(names), (weight == 0, NO_WEIGHT)),
    )


def _most(votes: VoteTable) -> tuple[Candidates, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the candidates, those with most votes, their numbers of votes, and the numbers of all votes."""
    candidates = Candidates.of(votes.observation, votes.taxon)
    gathered = candidates.gathered(np.ones(len(votes), dtype=np.int64))
    names = candidates.heaviest(gathered)
    return candidates, names, gathered[names], candidates.totals(gathered)
