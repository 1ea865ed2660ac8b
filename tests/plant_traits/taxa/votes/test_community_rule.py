"""iNaturalist's rule on hand-worked trees and against a plain implementation node by node."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plant_traits.errors import TableError
from plant_traits.taxa.votes.agreement import NO_AGREEMENT, SINGLE_VOTE
from plant_traits.taxa.votes.community_rule import ABOVE_SPECIES, community_names
from plant_traits.taxa.votes.taxonomy import Taxonomy
from plant_traits.taxa.votes.vote_table import VoteTable

TREE = {
    "Life": (None, "stateofmatter"),
    "Fabaceae": ("Life", "family"),
    "Acacia": ("Fabaceae", "genus"),
    "Acacia dealbata": ("Acacia", "species"),
    "Acacia retinodes": ("Acacia", "species"),
    "Senna": ("Fabaceae", "genus"),
    "Senna tora": ("Senna", "species"),
    "Senna tora alba": ("Senna tora", "subspecies"),
    "Rosaceae": ("Life", "family"),
    "Rosa canina": ("Rosaceae", "species"),
}
Given = tuple[str, bool | None]  # taxon, disagreement


def taxonomy() -> Taxonomy:
    return Taxonomy.of(pd.DataFrame([(t, p, r) for t, (p, r) in TREE.items()], columns=["taxon", "parent", "rank"]))


def table(observations: dict[str, list[Given]]) -> VoteTable:
    rows = [
        (key, f"u{k}", taxon, k == 0, k, disagreement)
        for key, given_ in observations.items()
        for k, (taxon, disagreement) in enumerate(given_)
    ]
    columns = ["observation_id", "user", "taxon", "author", "sequence", "disagreement"]
    return VoteTable.of(pd.DataFrame(rows, columns=columns))


def named(*votes: str | Given) -> pd.Series:
    given_ = [vote if isinstance(vote, tuple) else (vote, False) for vote in votes]
    return community_names(table({"x": given_}), taxonomy()).iloc[0]


def test_two_who_agree_on_a_species() -> None:
    row = named("Senna tora", "Senna tora")
    assert row[["name", "rank", "confidence", "accuracy", "valid"]].tolist() == ["Senna tora", "species", 2, 1.0, True]


def test_two_of_three_are_not_more_than_two_thirds() -> None:
    row = named("Senna tora", "Senna tora", "Acacia dealbata")
    assert row[["name", "rank", "valid", "reason"]].tolist() == ["Fabaceae", "family", False, ABOVE_SPECIES]
    row = named("Senna tora", "Senna tora", "Acacia dealbata", "Senna tora")
    assert row[["name", "accuracy", "valid"]].tolist() == ["Senna tora", 0.75, True]


def test_a_coarser_identification_supports_what_contains_it_only() -> None:
    assert named("Senna tora", "Senna")["name"] == "Senna"
    row = named("Senna", "Senna tora", "Senna tora")
    assert row[["name", "accuracy"]].tolist() == ["Senna tora", 1.0]


def test_one_identification_gives_no_name() -> None:
    row = named("Senna tora")
    assert pd.isna(row["name"])
    assert (row["reason"], row["valid"], row["n_votes"]) == (SINGLE_VOTE, False, 1)


def test_a_finer_name_than_the_species_is_valid() -> None:
    assert named("Senna tora alba", "Senna tora alba")[["rank", "valid"]].tolist() == ["subspecies", True]


def test_a_later_disagreement_from_above_counts_against_the_species() -> None:
    assert named("Senna tora", "Senna tora", ("Senna", True))["name"] == "Senna"
    assert named("Senna tora", "Senna tora", ("Senna", None))["name"] == "Senna"
    assert named("Senna tora", "Senna tora", ("Senna", False))["name"] == "Senna tora"
    assert named(("Senna", True), "Senna tora", "Senna tora")["name"] == "Senna tora"
    row = named("Senna tora", "Senna tora", ("Senna", True), "Senna tora")
    assert row[["name", "accuracy"]].tolist() == ["Senna tora", 0.75]


def test_families_that_disagree_meet_at_the_root() -> None:
    row = named("Rosa canina", "Senna tora", "Rosa canina")
    assert row[["name", "reason"]].tolist() == ["Life", ABOVE_SPECIES]


def test_without_a_common_root_there_is_no_name() -> None:
    tree = pd.DataFrame({"taxon": ["Aa", "Bb"], "parent": [None, None], "rank": ["species", "species"]})
    row = community_names(table({"x": [("Aa", False), ("Bb", False)]}), Taxonomy.of(tree)).iloc[0]
    assert pd.isna(row["name"])
    assert row["reason"] == NO_AGREEMENT


Explained = tuple[str, bool | None, str | None]  # taxon, disagreement, what it is with


def explained(*votes: Explained) -> pd.Series:
    rows = [
        ("x", f"u{k}", taxon, k == 0, k, disagreement, finer) for k, (taxon, disagreement, finer) in enumerate(votes)
    ]
    columns = ["observation_id", "user", "taxon", "author", "sequence", "disagreement", "disagrees_with"]
    return community_names(VoteTable.of(pd.DataFrame(rows, columns=columns)), taxonomy()).iloc[0]


TORA, DEALBATA = ("Senna tora", None, None), ("Acacia dealbata", None, None)
RETINODES = ("Acacia retinodes", None, None)


def test_an_explicit_disagreement_counts_against_its_branch_whenever_others_named_it() -> None:
    # Two of two for the species, and one of the family who disagrees with one of its two genera.
    row = explained(TORA, ("Fabaceae", True, "Senna tora"), TORA)
    assert row[["name", "confidence"]].tolist() == ["Fabaceae", 3]  # Senna and Senna tora: 2 / (2 + 1), not above 2/3
    row = explained(("Senna", True, "Senna tora"), TORA, TORA)  # first by number, which does not help
    assert row[["name", "confidence"]].tolist() == ["Senna", 3]


def test_an_explicit_disagreement_counts_against_what_lies_beside_within_the_branch() -> None:
    # The family disagrees with one acacia, and so with the genus of acacias and all in it.
    row = explained(DEALBATA, ("Fabaceae", True, "Acacia dealbata"), RETINODES, RETINODES, RETINODES)
    assert row[["name", "accuracy"]].tolist() == ["Acacia", 0.8]  # 4 / (4 + 1); the species 3 / (3 + 1 + 1)


def test_an_explicit_disagreement_leaves_other_branches_alone() -> None:
    row = explained(TORA, ("Fabaceae", True, "Senna tora"), *[DEALBATA] * 3)
    assert row[["name", "accuracy"]].tolist() == ["Acacia dealbata", 0.75]  # Senna tora alone speaks against it


def test_a_disagreement_with_what_nobody_stands_for_any_more_counts_against_nothing() -> None:
    row = explained(DEALBATA, DEALBATA, ("Acacia", True, "Acacia retinodes"))
    assert row[["name", "accuracy"]].tolist() == ["Acacia dealbata", 1.0]


def test_a_disagreement_that_is_not_with_a_finer_name_counts_as_another_name_only() -> None:
    row = explained(DEALBATA, DEALBATA, DEALBATA, ("Fabaceae", True, "Rosa canina"), ("Fabaceae", True, None))
    assert row[["name", "accuracy"]].tolist() == ["Acacia dealbata", 1.0]
    row = explained(DEALBATA, DEALBATA, ("Fabaceae", True, "Quercus robur"))  # not in the tree
    assert row["name"] == "Acacia dealbata"


def test_where_nobody_was_asked_an_ancestor_counts_against_what_was_named_earlier() -> None:
    assert explained(TORA, TORA, ("Senna", None, None))["name"] == "Senna"
    assert explained(("Senna", None, None), TORA, TORA)["name"] == "Senna tora"
    assert explained(TORA, TORA, ("Senna", False, "Senna tora"))["name"] == "Senna tora"


def lineage_of(taxon: str) -> list[str]:
    parent = TREE[taxon][0]
    return [taxon, *(lineage_of(parent) if parent else [])]


def plain_explained(votes: list[Explained]) -> tuple[str, int, Fraction] | None:
    """The rule with what was disagreed with, taxon by taxon."""
    named = {node for name, _, _ in votes for node in lineage_of(name)}
    best = None
    for taxon in named:
        inside = [k for k, (name, _, _) in enumerate(votes) if taxon in lineage_of(name)]
        above = [k for k, (name, _, _) in enumerate(votes) if name in lineage_of(taxon)[1:]]
        against = 0
        for k in above:
            name, disagreement, finer = votes[k]
            if disagreement is None:
                against += k > inside[0]
            elif disagreement and finer in named and name in lineage_of(str(finer))[1:]:
                branch = lineage_of(str(finer))[: lineage_of(str(finer)).index(name)]
                against += bool(set(branch) & set(lineage_of(taxon)))
        score = Fraction(len(inside), len(votes) - len(above) + against)
        passes = len(inside) >= 2 and score > Fraction(2, 3)
        if passes and (best is None or len(lineage_of(taxon)) > len(lineage_of(best[0]))):
            best = (taxon, len(inside), score)
    return best


@settings(max_examples=60, deadline=None)
@given(
    observations=st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(TREE)),
                st.sampled_from([True, False, None]),
                st.sampled_from([None, *sorted(TREE)]),
            ),
            min_size=1,
            max_size=7,
        ),
        min_size=1,
        max_size=6,
    ),
    block=st.integers(1, 20),
)
def test_explicit_disagreements_equal_the_rule_taxon_by_taxon(observations: list[list[Explained]], block: int) -> None:
    rows = [
        (f"o{o}", f"u{k}", taxon, k == 0, k, disagreement, finer)
        for o, votes in enumerate(observations)
        for k, (taxon, disagreement, finer) in enumerate(votes)
    ]
    columns = ["observation_id", "user", "taxon", "author", "sequence", "disagreement", "disagrees_with"]
    votes_table = VoteTable.of(pd.DataFrame(rows, columns=columns))
    found = community_names(votes_table, taxonomy(), block).set_index("observation_id")
    for o, votes in enumerate(observations):
        expected, row = plain_explained(votes), found.loc[f"o{o}"]
        if expected is None:
            assert pd.isna(row["name"])
        else:
            assert (row["name"], row["confidence"]) == expected[:2]
            assert row["accuracy"] == pytest.approx(float(expected[2]))


def plain(votes: list[Given]) -> tuple[str, int, Fraction] | None:
    """The rule, taxon by taxon."""

    def lineage(taxon: str) -> list[str]:
        parent = TREE[taxon][0]
        return [taxon, *(lineage(parent) if parent else [])]

    best = None
    for taxon in {node for name, _ in votes for node in lineage(name)}:
        inside = [k for k, (name, _) in enumerate(votes) if taxon in lineage(name)]
        above = [k for k, (name, _) in enumerate(votes) if name in lineage(taxon)[1:]]
        outside = len(votes) - len(inside) - len(above)
        against = sum(1 for k in above if votes[k][1] is not False and k > inside[0])
        score = Fraction(len(inside), len(inside) + outside + against)
        passes = len(inside) >= 2 and score > Fraction(2, 3)
        if passes and (best is None or len(lineage(taxon)) > len(lineage(best[0]))):
            best = (taxon, len(inside), score)
    return best


@settings(max_examples=50, deadline=None)
@given(
    observations=st.lists(
        st.lists(
            st.tuples(st.sampled_from(sorted(TREE)), st.sampled_from([True, False, None])), min_size=1, max_size=7
        ),
        min_size=1,
        max_size=12,
    ),
    block=st.integers(1, 20),
)
def test_equals_the_rule_taxon_by_taxon(observations: list[list[Given]], block: int) -> None:
    votes = {f"o{k}": given_ for k, given_ in enumerate(observations)}
    found = community_names(table(votes), taxonomy(), block).set_index("observation_id")
    for key, given_ in votes.items():
        expected, row = plain(given_), found.loc[key]
        if expected is None:
            assert pd.isna(row["name"])
            assert not row["valid"]
        else:
            assert (row["name"], row["confidence"]) == expected[:2]
            assert row["accuracy"] == pytest.approx(float(expected[2]))
            assert bool(row["valid"]) == (TREE[expected[0]][1] in {"species", "subspecies"} and len(given_) > 1)


def test_a_name_that_the_taxonomy_lacks_is_an_error() -> None:
    with pytest.raises(TableError, match="1 names that were voted for are not in it, such as Quercus"):
        community_names(table({"x": [("Quercus", False)]}), taxonomy())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", None, "genus"), ("a", None, "genus")], "more than one row"),
        ([("a", "b", "species")], "parents have no row, such as 'b'"),
        ([("a", "b", "species"), ("b", "a", "genus")], "a name above itself"),
    ],
)
def test_a_broken_tree_is_an_error(rows: list[tuple[str, str | None, str]], message: str) -> None:
    with pytest.raises(TableError, match=message):
        Taxonomy.of(pd.DataFrame(rows, columns=["taxon", "parent", "rank"]))
    with pytest.raises(TableError, match="are missing"):
        Taxonomy.of(pd.DataFrame({"taxon": ["a"]}))


def test_a_tree_from_lineages_takes_the_most_frequent_parent() -> None:
    rows = [("Senna tora", "Senna", "Fabaceae")] * 2 + [("Senna tora", "Cassia", "Fabaceae"), (None, "Rosa", None)]
    tree = Taxonomy.of_lineages(pd.DataFrame(rows, columns=["species", "genus", "family"]))
    parents = {
        name: tree.taxa[chain[1]] if len(chain) > 1 and chain[1] >= 0 else None
        for name, chain in zip(tree.taxa, tree.lineage, strict=True)
    }
    assert parents == {
        "Senna tora": "Senna",
        "Senna": "Fabaceae",
        "Cassia": "Fabaceae",
        "Rosa": None,
        "Fabaceae": None,
    }
    assert np.array_equal(tree.rank[tree.taxa.get_indexer(["Rosa", "Fabaceae"])], ["genus", "family"])


def ancestry_table() -> pd.DataFrame:
    rows = [
        (48460, None, "stateofmatter", "Life", "true"),
        (1, "48460", "kingdom", "Animalia", "true"),
        (47126, "48460", "kingdom", "Plantae", "true"),
        (50, "48460/47126", "genus", "Salvia", "true"),
        (51, "48460/47126/50", "species", "Salvia pratensis", "true"),
        (52, "48460/47126/50", "species", "Salvia retired", "false"),
        (53, "48460/1", "genus", "Morus", "true"),
        (60, "48460/47126", "genus", "Oldgenus", "false"),
        (61, "48460/47126/60", "species", "Oldgenus novus", "true"),
    ]
    return pd.DataFrame(rows, columns=["taxon_id", "ancestry", "rank", "name", "active"])


def test_a_tree_from_the_open_table_of_taxa_is_that_below_its_root() -> None:
    tree = Taxonomy.of_ancestry(ancestry_table(), 47126)
    chains = [[tree.taxa[code] for code in chain if code >= 0] for chain in tree.lineage]
    assert chains == [
        ["Plantae"],
        ["Salvia", "Plantae"],
        ["Salvia pratensis", "Salvia", "Plantae"],
        ["Oldgenus", "Plantae"],
        ["Oldgenus novus", "Oldgenus", "Plantae"],
    ]
    assert tree.rank.tolist() == ["kingdom", "genus", "species", "genus", "species"]


def test_a_table_of_taxa_without_the_root_or_with_two_alike_is_an_error() -> None:
    with pytest.raises(TableError, match="taxon 9 is not in the table"):
        Taxonomy.of_ancestry(ancestry_table(), 9)
    with pytest.raises(TableError, match="more than one row"):
        Taxonomy.of_ancestry(
            ancestry_table().replace({"active": {"false": "true"}, "name": {"Salvia retired": "Salvia"}}), 47126
        )
    with pytest.raises(TableError, match="active"):
        Taxonomy.of_ancestry(ancestry_table().drop(columns="active"), 47126)
