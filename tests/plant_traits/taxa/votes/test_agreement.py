"""Majority, two thirds and worker agreement on hand-worked votes and against a plain implementation."""

from __future__ import annotations

from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plant_traits.errors import TableError
from plant_traits.name_schemas import RULE_DECISION
from plant_traits.taxa.votes.agreement import (
    NO_AGREEMENT,
    NO_WEIGHT,
    SINGLE_VOTE,
    majority_names,
    two_thirds_names,
    worker_agreement_names,
)
from plant_traits.taxa.votes.rule_scores import score_rule
from plant_traits.taxa.votes.vote_table import VoteTable

VOTES = {
    "one": {"a": "Bb"},
    "tie": {"a": "Bb", "b": "Aa"},
    "two thirds": {"a": "Bb", "b": "Bb", "c": "Aa"},
    "three fifths": {"a": "Bb", "b": "Bb", "c": "Aa", "d": "Aa", "e": "Bb"},
}


def table(votes: dict[str, dict[str, str]]) -> VoteTable:
    rows = [(o, user, taxon, False) for o, given_ in votes.items() for user, taxon in given_.items()]
    return VoteTable.of(pd.DataFrame(rows, columns=["observation_id", "user", "taxon", "author"]))


def by_id(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index("observation_id")


def test_majority_names_all_and_a_tie_goes_to_the_first_name() -> None:
    found = by_id(majority_names(table(VOTES)))
    assert found["name"].to_dict() == {"one": "Bb", "tie": "Aa", "two thirds": "Bb", "three fifths": "Bb"}
    assert found["confidence"].to_dict() == {"one": 1, "tie": 1, "two thirds": 2, "three fifths": 3}
    assert found["accuracy"].tolist() == pytest.approx([1, 1 / 2, 2 / 3, 3 / 5])
    assert found["valid"].all()
    assert found["n_votes"].tolist() == [1, 2, 3, 5]


def test_two_thirds_names_only_where_two_thirds_of_two_votes_agree() -> None:
    found = by_id(two_thirds_names(table(VOTES)))
    assert found["reason"].fillna("").to_dict() == {
        "one": SINGLE_VOTE,
        "tie": NO_AGREEMENT,
        "two thirds": "",
        "three fifths": NO_AGREEMENT,
    }
    assert found["valid"].tolist() == [False, False, True, False]
    assert found["name"].dropna().to_dict() == {"two thirds": "Bb"}


def test_worker_agreement_weighs_users_by_their_share_of_majority_names() -> None:
    # a agrees with the majority in 3 of 4, b in 3 of 3 (the tie goes to Aa), c in 0 of 2, d in 0 of 1, e in 1 of 1.
    found = by_id(worker_agreement_names(table(VOTES)))
    assert found["name"].to_dict() == {"one": "Bb", "tie": "Aa", "two thirds": "Bb", "three fifths": "Bb"}
    assert found["confidence"].tolist() == pytest.approx([0.75, 1.0, 1.75, 2.75])
    assert found["accuracy"].tolist() == pytest.approx([1.0, 1 / 1.75, 1.0, 1.0])


def test_votes_without_any_agreement_have_no_weight() -> None:
    votes = {"x": {"a": "Aa", "b": "Aa", "c": "Zz"}, "y": {"c": "Mm", "a": "Bb", "b": "Bb"}}
    assert worker_agreement_names(table(votes))["valid"].all()
    alone = {f"x{k}": {"a": "Aa", "b": "Aa", f"c{k}": "Zz"} for k in range(2)} | {"y": {"c0": "Zz", "c1": "Aa"}}
    found = by_id(worker_agreement_names(table(alone)))
    assert found.loc["y", ["name", "valid"]].tolist() == ["Aa", True]
    none = by_id(worker_agreement_names(table({"p": {"a": "Aa", "b": "Bb"}, "q": {"b": "Bb", "c": "Aa"}})))
    assert none["valid"].all()
    assert NO_WEIGHT not in set(none["reason"].dropna())


def test_columns_are_those_of_every_rule_and_no_votes_give_no_names() -> None:
    for rule in (majority_names, two_thirds_names, worker_agreement_names):
        found = rule(table({}))
        assert (list(found.columns), len(found)) == (RULE_DECISION.names, 0)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_observations=st.integers(1, 30), n_taxa=st.integers(1, 8))
def test_equals_counting_vote_by_vote(seed: int, n_observations: int, n_taxa: int) -> None:
    rng = np.random.default_rng(seed)
    votes = {
        f"o{k}": {f"u{u}": f"t{rng.integers(n_taxa)}" for u in rng.choice(9, int(rng.integers(1, 9)), replace=False)}
        for k in range(n_observations)
    }
    most, agreed, cast = {}, Counter[str](), Counter[str]()
    for key, ballots in votes.items():
        counted = Counter(ballots.values())
        most[key] = min(counted, key=lambda name: (-counted[name], name))
        cast.update(ballots.keys())
        agreed.update(user for user, name in ballots.items() if name == most[key])
    majority, thirds, weighed = (
        by_id(rule(table(votes))) for rule in (majority_names, two_thirds_names, worker_agreement_names)
    )
    for key, ballots in votes.items():
        share = Fraction(Counter(ballots.values())[most[key]], len(ballots))
        assert majority.loc[key, "name"] == most[key]
        assert majority.loc[key, "accuracy"] == pytest.approx(float(share))
        assert bool(thirds.loc[key, "valid"]) == (share >= Fraction(2, 3) and len(ballots) >= 2)
        sums: dict[str, Fraction] = defaultdict(Fraction)
        for user, name in ballots.items():
            sums[name] += Fraction(round(agreed[user] / cast[user] * 2**36), 2**36)
        best = max(sums.values())
        tied = sorted(name for name in sums if sums[name] == best)
        chosen = most[key] if most[key] in tied else tied[0]
        assert weighed.loc[key, "name"] == chosen
        assert bool(weighed.loc[key, "valid"]) == (best > 0)
        assert weighed.loc[key, "confidence"] == pytest.approx(float(best), abs=1e-9)


def test_scores_on_four_observations_worked_by_hand() -> None:
    decisions = pd.DataFrame(
        {
            "observation_id": ["p", "q", "r", "s", "unknown"],
            "name": ["Aa", "Bb", "Aa", "Cc", "Aa"],
            "valid": [True, True, False, False, True],
            "n_votes": [2, 2, 1, 2, 5],
        }
    )
    truth = pd.DataFrame({"observation_id": ["p", "q", "r", "s"], "taxon": ["Aa", "Aa", "Aa", "Cc"]})
    found = score_rule(decisions, truth)
    assert (found.observations, found.species) == (4, 2)
    assert (found.accuracy, found.accepted, found.accepted_accuracy) == (0.75, 0.5, 0.5)
    assert (found.species_named, found.species_kept) == (1.0, 0.5)
    assert score_rule(decisions, truth, least_votes=2).observations == 3
    with pytest.raises(TableError, match="none of its observations"):
        score_rule(decisions, truth.assign(observation_id="elsewhere" + truth["observation_id"]))
    with pytest.raises(TableError, match="two rows"):
        score_rule(decisions, pd.concat([truth, truth]))
