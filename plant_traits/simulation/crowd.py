"""A simulated crowd that names plants: few experts, many novices, some spammers, and long-tailed species.

Species look alike in small groups, and a novice who errs mostly gives the group's most common species: errors agree
with each other, so that most votes may be wrong. Species have Zipf's frequencies. Novices are many and give a few names
each; experts and spammers are few and give many, and experts turn to rare species more than to common ones. Who
observes also votes on what others observed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plant_traits.errors import InputError
from plant_traits.simulation.seeds import stream
from plant_traits.taxa.votes.vote_table import AiVotes, VoteTable

KINDS = ("expert", "novice", "spammer", "adversary")
Kind = Literal["expert", "novice", "spammer", "adversary"]

_GROUP = 4  # species that look alike


@dataclass(frozen=True)
class CrowdSettings:
    """Size and composition of a crowd.

    Attributes:
        observations: their number.
        users: number of users who are not adversaries.
        species: number of species; every one is observed.
        experts: share of users who name nearly every species rightly.
        spammers: share of users who name at random.
        adversaries: number of further users who seek to get wrong names accepted, as a share of ``users``.
        zeal: votes of an adversary, as a multiple of an average user's.
        agreeing: adversaries who give an observation the same wrong name.
        votes: mean number of votes on an observation, its author's included.
        expert_skill: chance that an expert names a species rightly.
        novice_skill: the same of a novice, for the most and for the least common species.
        expert_votes: share of the votes on the most and on the least common species that experts give.
        spam: share of all votes that spammers give.
    """

    observations: int = 20_000
    users: int = 3_000
    species: int = 600
    experts: float = 0.02
    spammers: float = 0.02
    adversaries: float = 0.0
    zeal: float = 1.0
    agreeing: int = 2
    votes: float = 1.35
    expert_skill: float = 0.97
    novice_skill: tuple[float, float] = (0.85, 0.45)
    expert_votes: tuple[float, float] = (0.2, 0.5)
    spam: float = 0.05

    def __post_init__(self) -> None:
        if not self.observations >= self.species >= 2 * _GROUP or self.users < 10:
            raise InputError(
                f"crowd: expected at least {2 * _GROUP} species, as many observations or more, and 10 users, found "
                f"{self.species}, {self.observations} and {self.users}"
            )
        if self.votes < 1 or self.agreeing < 1 or self.zeal <= 0 or self.experts + self.spammers > 1:
            raise InputError(
                "crowd: expected a vote or more an observation, one adversary or more at a time with zeal, and shares "
                "of users that sum up to 1 at most"
            )


@dataclass(frozen=True)
class Crowd:
    """The votes of a crowd and the truth.

    Attributes:
        votes: names of the table are the species, in order.
        species: names of the species, in name order.
        truth: code of each observation's species.
        author: code of the user who made each observation.
        kind: code of each user's kind, a place in ``KINDS``.
    """

    votes: VoteTable
    species: list[str]
    truth: NDArray[np.int64]
    author: NDArray[np.int64]
    kind: NDArray[np.int64]


def simulate_crowd(settings: CrowdSettings, seed: int) -> Crowd:
    """Simulate observations and votes of a crowd.

    Adversaries leave everybody else's observations and votes as they are without them: they add votes only.

    Args:
        settings: size and composition.
        seed: of everything that is drawn.
    """
    n_users, n_species, n = settings.users, settings.species, settings.observations
    rng = stream(seed, "crowd")
    kind = np.full(n_users, KINDS.index("novice"))
    n_experts, n_spammers = round(settings.experts * n_users), round(settings.spammers * n_users)
    kind[:n_experts] = KINDS.index("expert")
    kind[n_experts : n_experts + n_spammers] = KINDS.index("spammer")
    rank = rng.permutation(n_species)  # 0 is the most common
    share = 1.0 / (1.0 + rank)
    truth = np.concatenate([np.arange(n_species), rng.choice(n_species, n - n_species, p=share / share.sum())])
    observation = np.concatenate([np.arange(n), np.repeat(np.arange(n), rng.poisson(settings.votes - 1.0, n))])
    user = _voters(rng, settings, kind, rank[truth[observation]])
    author = user[:n]
    taxon = _names(rng, settings, kind[user], truth[observation], rank)
    n_adversaries = round(settings.adversaries * n_users)
    if n_adversaries:
        where, who, what = _adversaries(stream(seed, "adversaries"), settings, truth, n_adversaries)
        observation = np.concatenate([observation, where])
        user = np.concatenate([user, who + n_users])
        taxon = np.concatenate([taxon, what])
        kind = np.concatenate([kind, np.full(n_adversaries, KINDS.index("adversary"))])
    first = ~pd.Series(observation * np.int64(len(kind)) + user).duplicated().to_numpy()  # nobody votes twice
    species = [f"Genus{k // _GROUP:05d} species{k:05d}" for k in range(n_species)]
    votes = VoteTable.from_codes(
        pd.Index([f"observation {k}" for k in range(n)]),
        pd.Index([f"user {k}" for k in range(len(kind))]),
        pd.Index(species),
        observation[first].astype(np.int32),
        user[first].astype(np.int32),
        taxon[first].astype(np.int32),
        user[first] == author[observation[first]],
    )
    return Crowd(votes, species, truth, author, kind)


def with_model(crowd: Crowd, skill: float, seed: int) -> Crowd:
    """Return the crowd with the votes of an identification model on every observation.

    Args:
        crowd: the crowd.
        skill: chance that the model names an observation rightly; else it gives a look-alike or any other species. Its
            probabilities are higher where it is right (Beta 5, 2) than where it is wrong (Beta 2, 4).
        seed: of the model's mistakes.
    """
    rng = stream(seed, "model")
    n, n_species = len(crowd.truth), len(crowd.species)
    first, within = crowd.truth // _GROUP * _GROUP, crowd.truth % _GROUP
    likely = np.minimum(first + (within + rng.integers(1, _GROUP, n)) % _GROUP, n_species - 1)
    other = np.where(rng.random(n) < 0.7, likely, rng.integers(0, n_species, n))
    name = np.where(rng.random(n) < skill, crowd.truth, other)
    score = np.where(name == crowd.truth, rng.beta(5.0, 2.0, n), rng.beta(2.0, 4.0, n))
    return replace(crowd, votes=replace(crowd.votes, ai=AiVotes(name.astype(np.int32), score)))


def _voters(
    rng: np.random.Generator, settings: CrowdSettings, kind: NDArray[np.int64], rank: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Draw who gives each vote, by the rank of the species voted on; users of a kind differ in how active they are."""
    common, rare = settings.expert_votes
    of_expert = common + (rare - common) * np.log1p(rank) / np.log1p(settings.species - 1)
    draw = rng.random(len(rank))
    of_kind = np.where(draw < of_expert, KINDS.index("expert"), KINDS.index("novice"))
    of_kind = np.where(draw > 1.0 - settings.spam, KINDS.index("spammer"), of_kind)
    activity = rng.lognormal(0.0, 1.0, len(kind))
    voter = np.empty(len(rank), dtype=np.int64)
    for code in range(KINDS.index("adversary")):
        members, votes = np.flatnonzero(kind == code), np.flatnonzero(of_kind == code)
        if len(votes):
            pool = members if len(members) else np.flatnonzero(kind == KINDS.index("novice"))
            voter[votes] = rng.choice(pool, len(votes), p=activity[pool] / activity[pool].sum())
    return voter


def _names(
    rng: np.random.Generator,
    settings: CrowdSettings,
    kind: NDArray[np.int64],
    truth: NDArray[np.int64],
    rank: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Draw the name that each vote gives."""
    n, n_species = len(truth), len(rank)
    common, rare = settings.novice_skill
    skill = common + (rare - common) * np.log1p(rank[truth]) / np.log1p(n_species - 1)
    skill = np.where(kind == KINDS.index("expert"), settings.expert_skill, skill)
    group = truth // _GROUP * _GROUP
    members = np.minimum(group[:, None] + np.arange(_GROUP), n_species - 1)
    order = np.argsort(rank[members], axis=1, kind="stable")
    likely = np.take_along_axis(members, order, axis=1)
    look_alike = np.where(likely[:, 0] == truth, likely[:, 1], likely[:, 0])
    anything = rng.integers(0, n_species, n)
    mistaken = np.where(rng.random(n) < 0.8, look_alike, anything)
    name = np.where(rng.random(n) < skill, truth, mistaken)
    return np.where(kind == KINDS.index("spammer"), anything, name)


def _adversaries(
    rng: np.random.Generator, settings: CrowdSettings, truth: NDArray[np.int64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Draw the votes of users who, some at a time, give the same wrong name to an observation."""
    together = min(settings.agreeing, n)
    each = max(round(settings.zeal * settings.votes * settings.observations / settings.users), 1)
    n_targets = min(max(n * each // together, 1), settings.observations)
    targets = rng.choice(settings.observations, n_targets, replace=False)
    who = (rng.integers(0, n, n_targets)[:, None] + np.arange(together)) % n
    wrong = (truth[targets] + rng.integers(1, settings.species, n_targets)) % settings.species
    return np.repeat(targets, together), who.ravel(), np.repeat(wrong, together)
