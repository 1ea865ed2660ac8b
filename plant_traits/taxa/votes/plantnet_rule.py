"""Pl@ntNet's rule with feedback: names make voters, voters make names [Lefort et al. 2025].

Every round looks at each vote a few times in whole arrays; nothing is as large as users times names. Nine million votes
of 820,000 users need less than 2 GB, with the table of votes and the names (``benchmarks/votes.py``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plant_traits.errors import InputError
from plant_traits.name_schemas import VOTER
from plant_traits.taxa.votes.ai_option import AiOption
from plant_traits.taxa.votes.candidates import Candidates
from plant_traits.taxa.votes.decisions import decisions, reasons
from plant_traits.taxa.votes.vote_table import VoteTable
from plant_traits.taxa.votes.vote_weights import (
    UNITS_PER_WEIGHT,
    as_weight,
    counted_species,
    fixed_point,
    vote_weight,
)

LEAST_CONFIDENCE = 2
LEAST_ACCURACY = Fraction(7, 10)
MOST_ROUNDS = 50
OVERRULING_SPECIES = 2
"""Species that the gate of names asks of a user before he may help to overrule an author."""

_UNPROPOSED, _SILENT = -1, -2  # a model's name that no user gave, and no name of the model

LOW_CONFIDENCE = "low confidence"
LOW_ACCURACY = "low accuracy"
LOW_BOTH = "low confidence, low accuracy"
OVERRULED_BY_NEWCOMERS = "overruled by newcomers"


@dataclass(frozen=True)
class PlantnetNames:
    """What the rule made of a vote table.

    Attributes:
        decisions: columns ``RULE_DECISION``, one row per observation.
        voters: columns ``VOTER``, one row per user.
        rounds: rounds of feedback that were run.
        converged: whether the last of them changed no name and no validity.
        cycle: length of the cycle that names and validities run through, where they do.
    """

    decisions: pd.DataFrame
    voters: pd.DataFrame
    rounds: int
    converged: bool
    cycle: int | None


@dataclass(frozen=True)
class _Species:
    """Distinct pairs of user and name, to count a user's species.

    Attributes:
        of_vote: pair of each vote; shape (votes,).
        user: user of each pair.
    """

    of_vote: NDArray[np.int32]
    user: NDArray[np.int32]


@dataclass(frozen=True)
class _Judged:
    """Names and what speaks for them, by observation; weights in units.

    Attributes:
        candidate: the name.
        confidence: weight of the votes for it.
        total: weight of all votes.
        vouched: whether somebody gave it who may.
    """

    candidate: NDArray[np.int64]
    confidence: NDArray[np.int64]
    total: NDArray[np.int64]
    vouched: NDArray[np.bool_]

    @property
    def confident(self) -> NDArray[np.bool_]:
        return self.confidence >= LEAST_CONFIDENCE * UNITS_PER_WEIGHT

    @property
    def accurate(self) -> NDArray[np.bool_]:
        return self.confidence * LEAST_ACCURACY.denominator >= self.total * LEAST_ACCURACY.numerator

    @property
    def valid(self) -> NDArray[np.bool_]:
        return self.confident & self.accurate & self.vouched

    def digest(self) -> bytes:
        """Return a fingerprint of names and validities, and of who may be credited for them."""
        state = hashlib.blake2b(self.candidate.tobytes(), digest_size=16)
        for flags in (self.valid, self.vouched):
            state.update(np.packbits(flags).tobytes())
        return state.digest()


def plantnet_names(votes: VoteTable, ai: AiOption | None = None, *, overruling_species: int = 0) -> PlantnetNames:
    """Name observations by Pl@ntNet's rule.

    The first names are those of most votes. Then, round by round: a user's weight follows from the number of species
    that he named as the names now are, ``f(n_author + n_vote / 10)``; names follow from the weights, a tie going to the
    name that an observation has, else to the first in name order; and an observation is valid whose name has a
    confidence (weight of the votes for it) of 2 or more and an accuracy (share of that in the weight of all votes) of
    0.7 or more. The feedback ends when a round changes no name and no validity, or after 50 rounds. Names that come
    back to where they were run in a cycle: the result is that of round 50, and the cycle is told.

    As published, three users whom nobody knows outweigh an author whom nobody knows, and so do three accounts of one
    person. ``overruling_species`` asks for one among those who agree on a name that is not the author's to have been
    right about so many species, or for the model's vote; else the observation is not valid, and whoever agreed on it is
    not credited with a species for it. What the crowd confirms is as published.

    Args:
        votes: the votes.
        ai: how a model's votes count; not at all where null.
        overruling_species: number of species (n of the rule) of a user who may overrule an author; 0 for anybody, as
            published.

    Raises:
        InputError: a model's votes are to count but the table has none.
    """
    option = AiOption() if ai is None else ai
    if option.mode != "ignored" and votes.ai is None:
        raise InputError(f"AI votes: the mode {option.mode} needs a model's votes; build the vote table with them")
    ballots = _Ballots.of(votes, option)
    species = _species(votes)
    counted = np.zeros(len(votes.users), dtype=np.int64)
    now = ballots.judge(_units(counted), None, ballots.vouched(votes, counted, overruling_species))
    seen = {now.digest(): 0}
    of_author = of_voter = np.zeros(len(votes.users), dtype=np.int64)
    cycle, last, rounds, converged = None, MOST_ROUNDS, 0, False
    while rounds < last and not converged:
        of_author, of_voter = _counts(votes, species, ballots, now)
        counted = counted_species(of_author, of_voter)
        vouched = ballots.vouched(votes, counted, overruling_species)
        before, now = now, ballots.judge(_units(counted), now.candidate, vouched)
        rounds += 1
        state = now.digest()
        converged = state == before.digest()
        if cycle is None and not converged and state in seen:
            cycle = rounds - seen[state]
            last = rounds + (MOST_ROUNDS - rounds) % cycle
        seen[state] = rounds
    if cycle is not None:
        rounds = MOST_ROUNDS
    voters = pd.DataFrame({"user": votes.users, "n_author": of_author, "n_vote": of_voter})
    voters["weight"] = vote_weight(counted_species(of_author, of_voter))
    return PlantnetNames(_frame(votes, ballots, now), voters[VOTER.names], rounds, converged, cycle)


@dataclass(frozen=True)
class _Ballots:
    """The votes of users and, where it votes as they do, of the model.

    Attributes:
        candidates: names that they propose.
        user: user of each ballot, the number of users for the model.
        of_vote: candidate of each user's vote.
        model_units: weight of the model's ballots.
        against: candidate that an invalidating model names, or one of the two codes above; null where it has no such
            part.
    """

    candidates: Candidates
    user: NDArray[np.int32]
    of_vote: NDArray[np.int32]
    model_units: int
    against: NDArray[np.int64] | None

    @classmethod
    def of(cls, votes: VoteTable, option: AiOption) -> _Ballots:
        """Collect the ballots of a table under an option."""
        units = int(fixed_point(option.weight)[()])
        if option.mode in {"ignored", "invalidating"} or votes.ai is None:
            candidates = Candidates.of(votes.observation, votes.taxon)
            against = None
            if option.mode == "invalidating" and votes.ai is not None:
                against = _candidate_named(candidates, votes.ai.taxon, len(votes.taxa))
            return cls(candidates, votes.user, candidates.of_vote, units, against)
        says = votes.ai.taxon >= 0
        if option.threshold is not None:
            says &= votes.ai.score >= option.threshold
        where = np.flatnonzero(says).astype(np.int32)
        observation = np.concatenate([votes.observation, where])
        taxon = np.concatenate([votes.taxon, votes.ai.taxon[where]])
        user = np.concatenate([votes.user, np.full(len(where), len(votes.users), dtype=np.int32)])
        rows = np.argsort(observation.astype(np.int64) * len(votes.taxa) + taxon, kind="stable")
        candidates = Candidates.of(observation[rows], taxon[rows])
        of_ballot = np.empty(len(rows), dtype=np.int32)
        of_ballot[rows] = candidates.of_vote
        return cls(candidates, user[rows], of_ballot[: len(votes)], units, None)

    def vouched(self, votes: VoteTable, counted: NDArray[np.int64], least: int) -> NDArray[np.bool_] | None:
        """Return which candidates an author, the model or a user of that many species gave; null for all of them."""
        if least == 0:
            return None
        vouched = np.zeros(len(self.candidates.first_vote), dtype=bool)
        vouched[self.of_vote[votes.author | (counted >= least)[votes.user]]] = True
        vouched[self.candidates.of_vote[self.user == len(votes.users)]] = True
        return vouched

    def judge(
        self,
        units: NDArray[np.int64],
        incumbent: NDArray[np.int64] | None,
        vouched: NDArray[np.bool_] | None,
    ) -> _Judged:
        """Name each observation by the users' weights."""
        gathered = self.candidates.gathered(np.append(units, self.model_units)[self.user])
        names = self.candidates.heaviest(gathered, incumbent)
        total = self.candidates.totals(gathered)
        if self.against is not None:
            total = total + np.where((self.against != names) & (self.against != _SILENT), self.model_units, 0)
        known = np.ones(len(names), dtype=bool) if vouched is None else vouched[names]
        return _Judged(names, gathered[names], total, known)


def _candidate_named(candidates: Candidates, taxon: NDArray[np.int32], n_taxa: int) -> NDArray[np.int64]:
    """Return the candidate that the model names on each observation."""
    keys = candidates.observation.astype(np.int64) * n_taxa + candidates.taxon
    wanted = np.arange(len(taxon), dtype=np.int64) * n_taxa + taxon
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    found = np.where(keys[place] == wanted, place, _UNPROPOSED)
    return np.where(taxon < 0, _SILENT, found).astype(np.int64)


def _species(votes: VoteTable) -> _Species:
    keys = votes.user.astype(np.int64) * max(len(votes.taxa), 1) + votes.taxon
    distinct, of_vote = np.unique(keys, return_inverse=True)
    return _Species(of_vote.astype(np.int32), (distinct // max(len(votes.taxa), 1)).astype(np.int32))


def _counts(
    votes: VoteTable, species: _Species, ballots: _Ballots, now: _Judged
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count each user's species: as author of valid observations, and further ones on observations of others."""
    agreed = ballots.of_vote == now.candidate.astype(np.int32)[votes.observation]
    as_author = np.zeros(len(species.user), dtype=bool)
    as_author[species.of_vote[agreed & votes.author & now.valid[votes.observation]]] = True
    as_voter = np.zeros(len(species.user), dtype=bool)
    as_voter[species.of_vote[agreed & ~votes.author & now.vouched[votes.observation]]] = True
    n_users = len(votes.users)
    return (
        np.bincount(species.user[as_author], minlength=n_users).astype(np.int64),
        np.bincount(species.user[as_voter & ~as_author], minlength=n_users).astype(np.int64),
    )


def _units(species: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the weights of numbers of species, by a table of the numbers that occur."""
    return fixed_point(vote_weight(np.arange(int(species.max(initial=0)) + 1)))[species]


def _frame(votes: VoteTable, ballots: _Ballots, now: _Judged) -> pd.DataFrame:
    return decisions(
        votes,
        votes.taxa.take(ballots.candidates.taxon[now.candidate]),
        as_weight(now.confidence),
        now.confidence / np.maximum(now.total, 1),
        reasons(
            len(now.candidate),
            (~now.vouched, OVERRULED_BY_NEWCOMERS),
            (~now.confident, LOW_CONFIDENCE),
            (~now.accurate, LOW_ACCURACY),
            (~now.confident & ~now.accurate, LOW_BOTH),
        ),
    )
