"""The choice of a rule: each kind is the function it names, and wrong choices are refused."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from plant_traits.errors import InputError
from plant_traits.taxa.votes.ai_option import AiOption
from plant_traits.taxa.votes.taxonomy import Taxonomy
from plant_traits.taxa.votes.vote_rule import RuleKind, VoteRule
from plant_traits.taxa.votes.vote_table import VoteTable

# Whom each rule believes: the author of two names that others confirmed, or three newcomers against him.
VOTES = [
    ("a", "author", "Aa", True), ("a", "p", "Aa", False), ("a", "q", "Aa", False),
    ("b", "author", "Bb", True), ("b", "r", "Bb", False), ("b", "s", "Bb", False),
    ("x", "author", "Aa", True), ("x", "t", "Bb", False), ("x", "u", "Bb", False), ("x", "v", "Bb", False),
]  # fmt: skip


def table() -> VoteTable:
    return VoteTable.of(pd.DataFrame(VOTES, columns=["observation_id", "user", "taxon", "author"]))


def taxonomy() -> Taxonomy:
    rows = [("Aa", "Xx", "species"), ("Bb", "Xx", "species"), ("Xx", None, "genus")]
    return Taxonomy.of(pd.DataFrame(rows, columns=["taxon", "parent", "rank"]))


@pytest.mark.parametrize(
    ("rule", "name", "valid"),
    [
        (VoteRule(), "Bb", False),  # 0.6884 of the weight, and from newcomers
        (VoteRule("majority"), "Bb", True),
        (VoteRule("two_thirds"), "Bb", True),
        (VoteRule("worker_agreement"), "Bb", True),
        (VoteRule("community"), "Bb", True),
    ],
)
def test_each_kind_names_by_its_own_rule(rule: VoteRule, name: str, valid: bool) -> None:
    row = rule.names(table(), taxonomy()).set_index("observation_id").loc["x"]
    assert (row["name"], bool(row["valid"])) == (name, valid)


def test_the_default_asks_for_a_history_and_the_published_rule_does_not() -> None:
    votes = VoteTable.of(
        pd.DataFrame(
            [("x", "author", "Aa", True), *(("x", f"u{k}", "Bb", False) for k in range(3))],
            columns=["observation_id", "user", "taxon", "author"],
        )
    )
    assert VoteRule().names(votes)["valid"].tolist() == [False]
    assert VoteRule(overruling_species=0).names(votes)["valid"].tolist() == [True]


def test_parameters_are_json_and_tell_rules_apart() -> None:
    rules = [VoteRule(), VoteRule("majority"), VoteRule(overruling_species=0), VoteRule(ai=AiOption("fixed"))]
    assert len({json.dumps(rule.parameters, sort_keys=True) for rule in rules}) == len(rules)


def test_wrong_choices_are_refused() -> None:
    kind: RuleKind = "best"  # type: ignore[assignment]
    with pytest.raises(InputError, match="expected one of plantnet, community"):
        VoteRule(kind)
    with pytest.raises(InputError, match="0 species or more"):
        VoteRule(overruling_species=-1)
    with pytest.raises(InputError, match="Pl@ntNet's rule only"):
        VoteRule("majority", ai=AiOption("fixed"))
    with pytest.raises(InputError, match="climbs a taxonomy"):
        VoteRule("community").names(table())
