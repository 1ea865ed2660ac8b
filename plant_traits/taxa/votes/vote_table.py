"""Who gave which name to which observation, as whole numbers: the one input of every rule that turns votes into names.

A table of nine million votes by 820,000 users takes 22 bytes a vote, or 26 with what was disagreed with, besides the
names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plant_traits.errors import TableError

_REQUIRED = ("observation_id", "user", "taxon", "author")
_AI_REQUIRED = ("observation_id", "taxon", "score")


@dataclass(frozen=True)
class AiVotes:
    """What an identification model says of each observation of a vote table.

    Attributes:
        taxon: code of the name it gives, -1 where it gives none; shape (observations,).
        score: its probability of that name, 0 to 1, NaN where none is known; shape (observations,).
    """

    taxon: NDArray[np.int32]
    score: NDArray[np.float64]


@dataclass(frozen=True)
class VoteTable:
    """Votes in order of observation, name and user; one per user and observation; every observation has one or more.

    Attributes:
        observations: ids of the observations; a code is a place in this index.
        users: ids of the users.
        taxa: names, in name order, so that a smaller code is the earlier name.
        observation: code of each vote's observation, ascending; shape (votes,).
        user: code of its user.
        taxon: code of the name given.
        author: whether the user made the observation.
        sequence: place of the vote in time; only its order counts.
        disagreement: 1 where the user said that he disagrees with a finer name, 0 where he did not or could not, -1
            where it is unknown whether he did.
        disagrees_with: code of that finer name, -1 where it is unknown or there is none; null where no vote tells.
        ai: what a model says of each observation, where one was asked.
        losses: rows that gave no vote, by reason.
    """

    observations: pd.Index[str]
    users: pd.Index[str]
    taxa: pd.Index[str]
    observation: NDArray[np.int32]
    user: NDArray[np.int32]
    taxon: NDArray[np.int32]
    author: NDArray[np.bool_]
    sequence: NDArray[np.int64]
    disagreement: NDArray[np.int8]
    disagrees_with: NDArray[np.int32] | None
    ai: AiVotes | None
    losses: Mapping[str, int]

    @classmethod
    def of(cls, votes: pd.DataFrame, ai: pd.DataFrame | None = None) -> Self:
        """Build the table from frames of ids and names.

        A vote without observation, user or name is lost; of several votes by a user on an observation the latest
        counts. What a model says of an observation without votes is lost.

        Args:
            votes: columns ``observation_id``, ``user``, ``taxon`` and ``author``; where they are there, also
                ``sequence`` (else the rows' order), ``disagreement`` and ``disagrees_with``, as in ``NAME_VOTE``.
            ai: columns ``observation_id``, ``taxon`` and ``score``, at most one row per observation.

        Raises:
            TableError: a column is missing, or the model names an observation twice.
        """
        _check(votes, _REQUIRED, "votes")
        whole = votes[["observation_id", "user", "taxon"]].notna().all(axis=1).to_numpy()
        kept = votes[whole]
        observation, observations = _factorized(kept["observation_id"])
        user, users = _factorized(kept["user"])
        taxon, names = _factorized(kept["taxon"])
        said = pd.DataFrame({"observation_id": [], "taxon": [], "score": []}) if ai is None else ai
        _check(said, _AI_REQUIRED, "model's votes")
        further = [said["taxon"], *([kept["disagrees_with"]] if "disagrees_with" in kept else [])]
        taxa = names
        for column in further:
            taxa = taxa.union(pd.Index(column.dropna().astype("str").unique()), sort=True)
        lost = {"incomplete": int((~whole).sum())}
        of_model, more = _ai_votes(said, observations, taxa)
        return cls.from_codes(
            observations,
            users,
            taxa,
            observation,
            user,
            taxa.get_indexer(names)[taxon].astype(np.int32),
            kept["author"].fillna(value=False).to_numpy(dtype=bool),
            sequence=kept["sequence"].to_numpy(dtype=np.int64) if "sequence" in kept else None,
            disagreement=_three_valued(kept["disagreement"]) if "disagreement" in kept else None,
            disagrees_with=_codes(kept["disagrees_with"], taxa) if "disagrees_with" in kept else None,
            ai=None if ai is None else of_model,
            losses=lost | more,
        )

    @classmethod
    def from_codes(
        cls,
        observations: pd.Index[str],
        users: pd.Index[str],
        taxa: pd.Index[str],
        observation: NDArray[np.int32],
        user: NDArray[np.int32],
        taxon: NDArray[np.int32],
        author: NDArray[np.bool_],
        *,
        sequence: NDArray[np.int64] | None = None,
        disagreement: NDArray[np.int8] | None = None,
        disagrees_with: NDArray[np.int32] | None = None,
        ai: AiVotes | None = None,
        losses: Mapping[str, int] | None = None,
    ) -> Self:
        """Build the table from codes: votes in any order, of which the latest of a user and observation counts.

        Raises:
            TableError: a code is out of range, an observation has no vote, or the names are not in name order.
        """
        _check_codes({"observation": (observation, observations), "user": (user, users), "taxon": (taxon, taxa)})
        if not taxa.is_monotonic_increasing or not taxa.is_unique:
            raise TableError("votes: expected each name once and in name order; sort the names before coding them")
        if np.bincount(observation, minlength=len(observations)).min(initial=1) == 0:
            raise TableError("votes: an observation has no vote; leave it out of the observations")
        order = np.arange(len(observation), dtype=np.int64) if sequence is None else sequence
        latest = _latest(observation, user, order, len(users))
        superseded = len(observation) - len(latest)
        key = observation[latest].astype(np.int64) * len(taxa) + taxon[latest]
        rows = latest[np.lexsort((user[latest], key))]
        return cls(
            observations,
            users,
            taxa,
            observation[rows],
            user[rows],
            taxon[rows],
            author[rows],
            order[rows],
            np.zeros(len(rows), dtype=np.int8) if disagreement is None else disagreement[rows],
            None if disagrees_with is None else disagrees_with[rows],
            ai,
            dict(losses or {}) | {"superseded": superseded},
        )

    def __len__(self) -> int:
        return len(self.observation)


def _check(frame: pd.DataFrame, required: tuple[str, ...], what: str) -> None:
    missing = [name for name in required if name not in frame.columns]
    if missing:
        raise TableError(f"{what}: columns {missing} are missing; found {list(frame.columns)}")


def _check_codes(codes: Mapping[str, tuple[NDArray[np.int32], pd.Index[str]]]) -> None:
    for name, (code, index) in codes.items():
        if len(code) and not 0 <= int(code.min()) <= int(code.max()) < len(index):
            raise TableError(f"votes: codes of {name} must lie from 0 to {len(index) - 1}")


def _factorized(column: pd.Series) -> tuple[NDArray[np.int32], pd.Index[str]]:
    """Return codes and distinct texts of a column without nulls, of text or of categories."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        used = column.cat.remove_unused_categories().cat
        return used.codes.to_numpy().astype(np.int32), pd.Index(used.categories.astype("str"))
    code, distinct = pd.factorize(column.astype("str"))
    return code.astype(np.int32), pd.Index(distinct)


def _codes(column: pd.Series, taxa: pd.Index[str]) -> NDArray[np.int32]:
    """Return the codes of names, -1 where null."""
    known = column.notna().to_numpy()
    codes = np.full(len(column), -1, dtype=np.int32)
    codes[known] = taxa.get_indexer(pd.Index(column[known].astype("str")))
    return codes


def _three_valued(column: pd.Series) -> NDArray[np.int8]:
    """Return 1, 0 or, where null, -1."""
    return np.asarray(column.astype("boolean").astype("Int8").fillna(-1), dtype=np.int8)


def _latest(
    observation: NDArray[np.int32], user: NDArray[np.int32], order: NDArray[np.int64], n_users: int
) -> NDArray[np.int64]:
    """Return the rows of each user's latest vote on each observation, the later row where two are as late."""
    in_time = np.argsort(order, kind="stable")
    key = observation.astype(np.int64) * n_users + user
    rows = in_time[np.argsort(key[in_time], kind="stable")]
    in_order = key[rows]
    last = np.ones(len(rows), dtype=bool)
    last[:-1] = in_order[1:] != in_order[:-1]
    return rows[last].astype(np.int64)


def _ai_votes(ai: pd.DataFrame, observations: pd.Index[str], taxa: pd.Index[str]) -> tuple[AiVotes, dict[str, int]]:
    """Lay a model's votes out by observation; count those that have no place there."""
    named = ai[ai["taxon"].notna() & ai["observation_id"].notna()]
    ids = pd.Index(named["observation_id"].astype("str"))
    if ids.has_duplicates:
        raise TableError(
            f"model's votes: {int(ids.duplicated().sum())} observations are named twice; keep one row each"
        )
    place = observations.get_indexer(ids)
    known = place >= 0
    taxon = np.full(len(observations), -1, dtype=np.int32)
    score = np.full(len(observations), np.nan)
    taxon[place[known]] = taxa.get_indexer(pd.Index(named["taxon"].astype("str")))[known]
    score[place[known]] = named["score"].to_numpy(dtype=np.float64)[known]
    losses = {"ai_incomplete": len(ai) - len(named), "ai_without_votes": int((~known).sum())}
    return AiVotes(taxon, score), losses if len(ai) else {}
