"""The Pl@ntNet rule against its published vectors and a plain implementation vote by vote."""

from __future__ import annotations

import math
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plant_traits.errors import InputError, TableError
from plant_traits.name_schemas import RULE_DECISION, VOTER
from plant_traits.taxa.votes.ai_option import AiOption
from plant_traits.taxa.votes.plantnet_rule import (
    LOW_ACCURACY,
    LOW_BOTH,
    LOW_CONFIDENCE,
    OVERRULED_BY_NEWCOMERS,
    plantnet_names,
)
from plant_traits.taxa.votes.vote_table import VoteTable
from plant_traits.taxa.votes.vote_weights import counted_species, vote_weight

COLUMNS = ["observation_id", "user", "taxon", "author"]
Vote = tuple[str, str, str, bool]


def table(votes: list[Vote], ai: pd.DataFrame | None = None) -> VoteTable:
    return VoteTable.of(pd.DataFrame(votes, columns=COLUMNS), ai)


def by_id(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index(frame.columns[0])


def earned(user: str, species: int, tag: str = "") -> list[Vote]:
    """Observations that give a user n = species: of his own, each confirmed by two newcomers."""
    votes: list[Vote] = []
    for k in range(species):
        observation = f"{user}{tag}-{k:03d}"
        votes.append((observation, user, f"Species {k:03d}", True))
        votes += [(observation, f"{observation}-{j}", f"Species {k:03d}", False) for j in (1, 2)]
    return votes


@pytest.mark.parametrize(
    ("n", "weight"),
    [
        (0, 0.741937),
        (1, 0.741937),
        (2, 1.007453),
        (7, 1.911915),
        (8, 2.054648),
        (30, 4.244812),
        (100, 8.230051),
        (141, 9.925712),
    ],
)
def test_weight_of_a_number_of_species(n: int, weight: float) -> None:
    assert vote_weight(np.array([n]))[0] == pytest.approx(weight, abs=5e-7)


def test_tenths_of_a_species_are_rounded_half_up() -> None:
    of_voter = np.array([4, 5, 14, 15, 24, 25])
    assert counted_species(np.full(6, 3), of_voter).tolist() == [3, 4, 4, 5, 5, 6]


def test_the_expert_of_30_species_keeps_the_name_against_two_newcomers() -> None:
    votes = [
        *earned("expert", 30),
        ("contested", "expert", "Species 000", True),
        ("contested", "novice a", "Zz", False),
        ("contested", "novice b", "Zz", False),
    ]
    result = plantnet_names(table(votes))
    row = by_id(result.decisions).loc["contested"]
    assert row["name"] == "Species 000"
    assert row["confidence"] == pytest.approx(4.244812, abs=5e-7)
    assert row["accuracy"] == pytest.approx(0.740975, abs=5e-7)
    assert bool(row["valid"])
    assert row["n_votes"] == 3
    assert pd.isna(row["reason"])
    assert by_id(result.voters).loc["expert", ["n_author", "n_vote"]].tolist() == [30, 0]
    assert by_id(result.voters).loc["novice a", "weight"] == pytest.approx(0.741937, abs=5e-7)
    assert result.converged
    assert result.cycle is None


@pytest.mark.parametrize(("species", "overruled"), [(140, False), (141, True)])
def test_one_user_overrules_an_author_of_30_species_from_141_on(species: int, overruled: bool) -> None:
    votes = [
        *earned("author", 30),
        *earned("rival", species),
        ("contested", "author", "Aa", True),
        ("contested", "rival", "Species 000", False),
    ]
    row = by_id(plantnet_names(table(votes)).decisions).loc["contested"]
    assert row["name"] == "Species 000"
    assert bool(row["valid"]) is overruled
    assert pd.isna(row["reason"]) if overruled else row["reason"] == LOW_ACCURACY


@pytest.mark.parametrize(("species", "overruled"), [(39, False), (40, True)])
def test_two_users_overrule_an_author_of_30_species_from_40_each_on(species: int, overruled: bool) -> None:
    votes = [
        *earned("author", 30),
        *earned("rival", species),
        *earned("ally", species),
        ("contested", "author", "Aa", True),
        ("contested", "rival", "Species 000", False),
        ("contested", "ally", "Species 000", False),
    ]
    row = by_id(plantnet_names(table(votes)).decisions).loc["contested"]
    assert row["name"] == "Species 000"
    assert bool(row["valid"]) is overruled


def test_eight_species_validate_alone_and_seven_do_not() -> None:
    for species, valid in ((7, False), (8, True)):
        votes = [*earned("user", species), ("alone", "user", "Species 000", True)]
        row = by_id(plantnet_names(table(votes)).decisions).loc["alone"]
        assert bool(row["valid"]) is valid
        assert pd.isna(row["reason"]) if valid else row["reason"] == LOW_CONFIDENCE


def test_a_tie_of_newcomers_goes_to_the_first_name_and_stays_with_it() -> None:
    votes = [("x", "a", "Zz", True), ("x", "b", "Aa", False)]
    result = plantnet_names(table(votes))
    row = result.decisions.iloc[0]
    assert (row["name"], row["accuracy"], row["reason"]) == ("Aa", 0.5, LOW_BOTH)


def test_a_tie_goes_to_the_incumbent_before_the_first_name() -> None:
    # The model leads at first; then the user, of two species, weighs exactly what it weighs.
    option = AiOption("fixed", weight=float(vote_weight(np.array([2]))[0]))
    votes = [*earned("user", 2), ("x", "user", "Species 000", False)]
    for said, name in (("Zz", "Zz"), ("Aa", "Aa")):
        ai = pd.DataFrame({"observation_id": ["x"], "taxon": [said], "score": [1.0]})
        row = by_id(plantnet_names(table(votes, ai), option).decisions).loc["x"]
        assert (row["name"], row["accuracy"]) == (name, 0.5)


THREE_AGAINST_ONE = [("x", "author", "Aa", True), *(("x", f"newcomer {k}", "Zz", False) for k in range(3))]


def test_three_newcomers_overrule_an_author_as_published_and_not_where_a_history_is_asked() -> None:
    row = by_id(plantnet_names(table(THREE_AGAINST_ONE)).decisions).loc["x"]
    assert (row["name"], bool(row["valid"])) == ("Zz", True)
    row = by_id(plantnet_names(table(THREE_AGAINST_ONE), overruling_species=1).decisions).loc["x"]
    assert (row["name"], bool(row["valid"]), row["reason"]) == ("Zz", False, OVERRULED_BY_NEWCOMERS)


def test_newcomers_may_confirm_an_author() -> None:
    votes = [("x", "author", "Aa", True), ("x", "newcomer 1", "Aa", False), ("x", "newcomer 2", "Aa", False)]
    row = by_id(plantnet_names(table(votes), overruling_species=5).decisions).loc["x"]
    assert (row["name"], bool(row["valid"])) == ("Aa", True)


@pytest.mark.parametrize(("least", "valid"), [(2, True), (3, False)])
def test_one_of_enough_species_may_overrule_with_newcomers(least: int, valid: bool) -> None:
    votes = [*earned("known", 2), *THREE_AGAINST_ONE, ("x", "known", "Zz", False)]
    row = by_id(plantnet_names(table(votes), overruling_species=least).decisions).loc["x"]
    assert (row["name"], bool(row["valid"])) == ("Zz", valid)


def test_a_group_earns_nothing_by_overruling_authors_together() -> None:
    # Twenty names that three accounts push through together would make each of them known for n = 2.
    votes = [
        (f"x{k}", user, name, user == f"author {k}")
        for k in range(20)
        for user, name in ((f"author {k}", "Aa"), *((f"account {j}", f"Zz {k:02d}") for j in range(3)))
    ]
    published = plantnet_names(table(votes))
    assert published.decisions["valid"].all()
    assert by_id(published.voters).loc["account 0", "n_vote"] == 20
    asked = plantnet_names(table(votes), overruling_species=2)
    assert not asked.decisions["valid"].any()
    assert by_id(asked.voters).loc["account 0", "n_vote"] == 0


def test_a_model_that_agrees_vouches_for_newcomers() -> None:
    ai = pd.DataFrame({"observation_id": ["x"], "taxon": ["Zz"], "score": [0.9]})
    found = plantnet_names(table(THREE_AGAINST_ONE, ai), AiOption("fixed"), overruling_species=2)
    assert found.decisions["valid"].tolist() == [True]


def test_result_has_the_declared_columns_and_does_not_depend_on_the_order_of_rows() -> None:
    votes = earned("user", 5)
    result, turned = plantnet_names(table(votes)), plantnet_names(table(votes[::-1]))
    assert list(result.decisions.columns) == RULE_DECISION.names
    assert list(result.voters.columns) == VOTER.names
    for of_result, of_turned in ((result.decisions, turned.decisions), (result.voters, turned.voters)):
        pd.testing.assert_frame_equal(by_id(of_result).sort_index(), by_id(of_turned).sort_index())


# A plain reading of the rule, with dictionaries, one vote at a time, and weights as exact fractions of 2^36.


def unit(weight: float) -> Fraction:
    return Fraction(round(weight * 2**36), 2**36)


def f(n: int) -> float:
    return math.sqrt(n) - n**0.2 + math.log(2.1)


class Plain:
    """The rule, read aloud."""

    def __init__(self, votes: list[Vote], ai: dict[str, tuple[str, float]], option: AiOption, least: int = 0) -> None:
        self.votes: dict[str, dict[str, tuple[str, bool]]] = defaultdict(dict)
        for observation, user, taxon, author in votes:
            self.votes[observation][user] = (taxon, author)
        self.ai, self.option, self.least = ai, option, least
        self.known: set[str] = set()  # users of enough species
        self.users = sorted({user for ballots in self.votes.values() for user in ballots})

    def support(self, observation: str, weights: dict[str, Fraction]) -> dict[str, Fraction]:
        sums: dict[str, Fraction] = defaultdict(Fraction)
        for user, (taxon, _) in self.votes[observation].items():
            sums[taxon] += weights[user]
        if self.model_votes(observation):
            sums[self.ai[observation][0]] += unit(self.option.weight)
        return sums

    def model_votes(self, observation: str) -> bool:
        if observation not in self.ai:
            return False
        threshold = self.option.threshold
        return self.option.mode == "fixed" or (threshold is not None and self.ai[observation][1] >= threshold)

    def vouched(self, observation: str, name: str) -> bool:
        of_model = self.model_votes(observation) and self.ai[observation][0] == name
        return (
            self.least == 0
            or of_model
            or any(
                taxon == name and (author or user in self.known)
                for user, (taxon, author) in self.votes[observation].items()
            )
        )

    def judge(
        self, weights: dict[str, Fraction], incumbent: dict[str, str]
    ) -> dict[str, tuple[str, Fraction, Fraction, bool]]:
        judged = {}
        for observation in self.votes:
            sums = self.support(observation, weights)
            best = max(sums.values())
            tied = sorted(name for name, total in sums.items() if total == best)
            name = incumbent[observation] if incumbent.get(observation) in tied else tied[0]
            total = sum(sums.values())
            if self.option.mode == "invalidating" and observation in self.ai and self.ai[observation][0] != name:
                total += unit(self.option.weight)
            accuracy = sums[name] / total
            valid = accuracy >= Fraction(7, 10) and sums[name] >= 2 and self.vouched(observation, name)
            judged[observation] = (name, sums[name], accuracy, valid)
        return judged

    def run(self) -> tuple[dict[str, tuple[str, Fraction, Fraction, bool]], dict[str, tuple[int, int]], int, bool]:
        weights = {user: unit(f(0)) for user in self.users}
        judged = self.judge(weights, {})
        counts = {user: (0, 0) for user in self.users}
        may = {key: self.vouched(key, judged[key][0]) for key in judged}
        for rounds in range(1, 51):
            authored: dict[str, set[str]] = defaultdict(set)
            voted: dict[str, set[str]] = defaultdict(set)
            for observation, ballots in self.votes.items():
                name, _, _, valid = judged[observation]
                for user, (taxon, author) in ballots.items():
                    if taxon == name and author and valid:
                        authored[user].add(taxon)
                    if taxon == name and not author and may[observation]:
                        voted[user].add(taxon)
            counts = {user: (len(authored[user]), len(voted[user] - authored[user])) for user in self.users}
            species = {
                user: math.floor(Fraction(10 * mine + others, 10) + Fraction(1, 2))
                for user, (mine, others) in counts.items()
            }
            weights = {user: unit(f(n)) for user, n in species.items()}
            self.known = {user for user, n in species.items() if n >= self.least}
            before, judged = judged, self.judge(weights, {key: value[0] for key, value in judged.items()})
            may_before, may = may, {key: self.vouched(key, judged[key][0]) for key in judged}
            same = all(before[key][0] == judged[key][0] and before[key][3] == judged[key][3] for key in judged)
            if same and may == may_before:
                return judged, counts, rounds, True
        return judged, counts, 50, False


OPTIONS = [
    AiOption(),
    AiOption("fixed"),
    AiOption("invalidating"),
    AiOption("confident", threshold=0.5),
    AiOption("fixed", weight=0.741937),
]


@st.composite
def crowds(draw: st.DrawFn) -> tuple[list[Vote], dict[str, tuple[str, float]]]:
    n_observations = draw(st.integers(1, 40))
    n_users = draw(st.integers(1, 12))
    n_taxa = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mistaken = draw(st.sampled_from([0.0, 0.2, 0.5, 0.9]))
    votes: list[Vote] = []
    for k in range(n_observations):
        truth = int(rng.integers(n_taxa))
        voters = rng.choice(n_users, size=int(rng.integers(1, min(n_users, 6) + 1)), replace=False)
        author = int(voters[0]) if rng.random() < 0.8 else -1
        for user in voters:
            taxon = int(rng.integers(n_taxa)) if rng.random() < mistaken else truth
            votes.append((f"o{k}", f"u{user}", f"t{taxon:02d}", int(user) == author))
    ai = {
        f"o{k}": (f"t{int(rng.integers(n_taxa + 3)):02d}", float(rng.random()))
        for k in range(n_observations)
        if rng.random() < 0.7
    }
    return votes, ai


@settings(max_examples=300, deadline=None)
@given(crowd=crowds(), option=st.sampled_from(OPTIONS), least=st.sampled_from([0, 0, 1, 2, 4]))
def test_equals_the_rule_read_vote_by_vote(
    crowd: tuple[list[Vote], dict[str, tuple[str, float]]], option: AiOption, least: int
) -> None:
    votes, ai = crowd
    said = pd.DataFrame(
        [(key, name, score) for key, (name, score) in ai.items()], columns=["observation_id", "taxon", "score"]
    )
    expected, counts, rounds, converged = Plain(votes, ai, option, least).run()
    result = plantnet_names(table(votes, said), option, overruling_species=least)
    assert (result.rounds, result.converged) == (rounds, converged)
    for row in result.decisions.itertuples():
        name, confidence, accuracy, valid = expected[row.observation_id]
        assert (row.name, row.valid) == (name, valid)
        assert row.confidence == pytest.approx(float(confidence), rel=1e-15)
        assert row.accuracy == pytest.approx(float(accuracy), rel=1e-14)
        assert (row.reason is None or pd.isna(row.reason)) == valid
    for voter in result.voters.itertuples():
        assert (voter.n_author, voter.n_vote) == counts[voter.user]


def test_ai_of_weight_1_7_validates_with_one_newcomer_but_not_alone() -> None:
    said = pd.DataFrame({"observation_id": ["x", "y"], "taxon": ["Aa", "Aa"], "score": [0.9, 0.4]})
    votes = table([("x", "a", "Aa", True), ("y", "b", "Bb", True)], said)
    fixed = by_id(plantnet_names(votes, AiOption("fixed")).decisions)
    assert fixed.loc["x", ["name", "valid"]].tolist() == ["Aa", True]
    assert fixed.loc["x", "confidence"] == pytest.approx(1.7 + 0.741937, abs=1e-6)
    assert fixed.loc["y", ["name", "valid", "reason"]].tolist() == ["Aa", False, LOW_BOTH]
    confident = by_id(plantnet_names(votes, AiOption("confident", threshold=0.5)).decisions)
    assert bool(confident.loc["x", "valid"])
    assert confident.loc["y", "name"] == "Bb"


def test_invalidating_ai_takes_validity_away_and_gives_none() -> None:
    crowd = [("x", user, "Aa", user == "a") for user in "abc"] + [("y", user, "Aa", user == "d") for user in "de"]
    votes = [(str(o), str(u), str(t), bool(a)) for o, u, t, a in crowd]
    said = pd.DataFrame({"observation_id": ["x", "y"], "taxon": ["Zz", "Aa"], "score": [0.9, 0.9]})
    ignored = by_id(plantnet_names(table(votes, said)).decisions)
    invalidating = by_id(plantnet_names(table(votes, said), AiOption("invalidating")).decisions)
    assert ignored["valid"].tolist() == [True, False]
    assert invalidating["valid"].tolist() == [False, False]
    assert invalidating.loc["x", "name"] == "Aa"
    assert invalidating.loc["x", "accuracy"] == pytest.approx(2.225812 / (2.225812 + 1.7), abs=1e-6)
    assert invalidating.loc["y", "accuracy"] == 1.0


def test_a_cycle_is_told_and_the_result_is_that_of_round_50() -> None:
    found = None
    for seed in range(4000):
        rng = np.random.default_rng(seed)
        votes: list[Vote] = []
        for k in range(60):
            voters = rng.choice(8, size=int(rng.integers(2, 6)), replace=False)
            votes += [(f"o{k}", f"u{u}", f"t{int(rng.integers(3))}{k % 30:02d}", j == 0) for j, u in enumerate(voters)]
        result = plantnet_names(table(votes))
        if result.cycle is not None:
            found = votes, result
            break
    assert found is not None
    votes, result = found
    expected, _, rounds, converged = Plain(votes, {}, AiOption()).run()
    assert (rounds, converged) == (50, False)
    assert (result.rounds, result.converged) == (50, False)
    assert result.cycle is not None and result.cycle >= 2
    got = by_id(result.decisions)
    assert {key: (got.loc[key, "name"], got.loc[key, "valid"]) for key in expected} == {
        key: (value[0], value[3]) for key, value in expected.items()
    }


@pytest.mark.parametrize(
    "bad",
    [
        {"mode": "sometimes"},
        {"mode": "fixed", "weight": 0.0},
        {"mode": "fixed", "weight": math.nan},
        {"mode": "confident"},
        {"mode": "fixed", "threshold": 0.5},
        {"mode": "confident", "threshold": 1.5},
    ],
)
def test_an_option_that_says_nothing_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InputError, match="AI votes"):
        AiOption(**bad)  # type: ignore[arg-type]


def test_a_model_that_is_to_vote_must_have_voted() -> None:
    with pytest.raises(InputError, match="needs a model's votes"):
        plantnet_names(table([("x", "a", "Aa", True)]), AiOption("fixed"))


def test_no_votes_give_no_names() -> None:
    result = plantnet_names(table([]))
    assert (len(result.decisions), len(result.voters), result.converged) == (0, 0, True)


def test_vote_table_counts_what_it_loses_and_keeps_the_latest() -> None:
    frame = pd.DataFrame(
        [("x", "a", "Bb", True, 7), ("x", "a", "Aa", True, 9), ("x", "b", None, False, 1), ("x", "c", "Bb", False, 2)],
        columns=[*COLUMNS, "sequence"],
    )
    votes = VoteTable.of(frame)
    assert votes.losses == {"incomplete": 1, "superseded": 1}
    assert sorted(zip(votes.users[votes.user], votes.taxa[votes.taxon], strict=True)) == [("a", "Aa"), ("c", "Bb")]


def test_vote_table_refuses_what_it_cannot_read() -> None:
    with pytest.raises(TableError, match=r"columns \['author'\] are missing"):
        VoteTable.of(pd.DataFrame(columns=COLUMNS[:3]))
    twice = pd.DataFrame({"observation_id": ["x", "x"], "taxon": ["A", "B"], "score": [0.1, 0.2]})
    with pytest.raises(TableError, match="named twice"):
        table([("x", "a", "Aa", True)], twice)
    code = np.zeros(1, dtype=np.int32)
    one = pd.Index(["x"])
    with pytest.raises(TableError, match="name order"):
        VoteTable.from_codes(one, one, pd.Index(["b", "a"]), code, code, code, code == 0)
    with pytest.raises(TableError, match="must lie from 0 to 0"):
        VoteTable.from_codes(one, one, one, code, code + 1, code, code == 0)
    with pytest.raises(TableError, match="has no vote"):
        VoteTable.from_codes(pd.Index(["x", "y"]), one, one, code, code, code, code == 0)
