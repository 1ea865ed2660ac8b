"""Coarser names: acceptance at the finest rank, and coverage that never falls from rank to rank."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant_traits.errors import ModelError
from plant_traits.taxa.prediction_sets.hierarchy import (
    NOT_ACCEPTED,
    RANKS,
    UNKNOWN,
    coverage_by_rank,
    finest_rank,
    make_hierarchy,
    taxon_probabilities,
)
from plant_traits.taxa.prediction_sets.scores import make_score
from plant_traits.taxa.prediction_sets.thresholds import fit_rule

CLASSES = pd.DataFrame(
    {
        "species": ["Quercus robur", "Quercus ilex", "Fagus sylvatica", "Rosa canina", "Bellis perennis"],
        "genus": ["Quercus", "Quercus", "Fagus", "Rosa", "Bellis"],
        "family": ["Fagaceae", "Fagaceae", "Fagaceae", "Rosaceae", None],
        "growth_form": ["tree", "tree", "tree", "shrub", "herb"],
    }
)


def stated(*rows: tuple[str | None, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(RANKS))


def test_names_are_accepted_at_the_finest_rank() -> None:
    hierarchy = make_hierarchy(CLASSES)
    names = stated(
        ("Quercus robur", "Quercus", "Fagaceae", "tree"),  # in the set
        ("Quercus robur", "Quercus", "Fagaceae", "tree"),  # its genus is
        ("Quercus robur", "Quercus", "Fagaceae", "tree"),  # its family is
        ("Quercus pubescens", "Quercus", "Fagaceae", "tree"),  # no class of the model, its genus is in the set
        ("Sorbus aria", "Sorbus", "Malaceae", "tree"),  # only its growth form is known and in the set
        ("Quercus robur", "Quercus", "Fagaceae", "tree"),  # nothing of it
        ("Bellis perennis", "Bellis", None, "herb"),  # an unknown family matches no family
        ("Bellis annua", None, None, "herb"),
        ("Quercus robur", "Quercus", "Fagaceae", "tree"),  # an empty set
    )
    sets = np.array(
        [
            [1, 0, 0, 0, 0],
            [0, 1, 0, 0, 0],
            [0, 0, 1, 1, 0],
            [1, 0, 0, 0, 1],
            [0, 0, 1, 0, 0],
            [0, 0, 0, 1, 1],
            [0, 0, 0, 1, 0],
            [0, 0, 0, 0, 1],
            [0, 0, 0, 0, 0],
        ],
        dtype=bool,
    )
    expected = [0, 1, 2, 1, 3, NOT_ACCEPTED, NOT_ACCEPTED, 3, NOT_ACCEPTED]
    assert finest_rank(sets, hierarchy, hierarchy.codes_of(names)).tolist() == expected


@given(st.integers(0, 2**32 - 1))
def test_coverage_never_falls_towards_coarser_ranks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = 12
    genus = rng.integers(0, 6, k)
    family, form = genus % 3, (genus % 3) % 2  # nested, as taxa are
    table = {"species": [f"s{x}" for x in range(k)], "genus": [f"g{x}" for x in genus]}
    table |= {"family": [f"f{x}" for x in family], "growth_form": [f"w{x}" for x in form]}
    hierarchy = make_hierarchy(pd.DataFrame(table))
    sets = rng.random((50, k)) < rng.random()
    found = list(coverage_by_rank(sets, hierarchy, rng.integers(0, k, 50)).values())
    assert found == sorted(found)


def test_a_right_name_is_accepted_at_some_rank_with_the_nominal_probability() -> None:
    rng = np.random.default_rng(4)
    hierarchy = make_hierarchy(CLASSES)
    labels = rng.integers(0, 5, 6000)
    logits = rng.normal(size=(6000, 5))
    logits[np.arange(6000), labels] += 1.0
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rule = fit_rule(make_score("softmax", 5), probabilities[:3000], labels[:3000], 0.8)
    sets, truth = rule.members(probabilities[3000:]), labels[3000:]
    accepted = finest_rank(sets, hierarchy, hierarchy.codes[:, truth])
    covered = coverage_by_rank(sets, hierarchy, truth)
    assert np.mean(accepted == 0) == covered["species"]
    assert abs(covered["species"] - 0.8) < 0.03
    assert covered["species"] < covered["genus"] < covered["growth_form"]
    assert np.mean(accepted < NOT_ACCEPTED) == covered["growth_form"]


def test_posteriors_of_taxa_are_sums() -> None:
    hierarchy = make_hierarchy(CLASSES)
    probabilities = np.array([[0.1, 0.2, 0.3, 0.15, 0.25]])
    assert hierarchy.taxa[1] == ("Bellis", "Fagus", "Quercus", "Rosa")
    np.testing.assert_allclose(
        taxon_probabilities(probabilities, hierarchy.codes[1], 4), [[0.25, 0.3, 0.3, 0.15]], rtol=1e-12
    )
    assert hierarchy.codes[2, 4] == UNKNOWN
    np.testing.assert_allclose(taxon_probabilities(probabilities, hierarchy.codes[2], 2), [[0.6, 0.15]], rtol=1e-12)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ModelError, match="missing \\['family'\\]"):
        make_hierarchy(CLASSES.drop(columns="family"))
    with pytest.raises(ModelError, match="1 repeated"):
        make_hierarchy(pd.concat([CLASSES, CLASSES.head(1)]))
    hierarchy = make_hierarchy(CLASSES)
    with pytest.raises(ModelError, match="sets of 5 species"):
        finest_rank(np.ones((2, 4), dtype=bool), hierarchy, np.zeros((4, 2), dtype=np.int64))
    with pytest.raises(ModelError, match="sets of 5 species"):
        finest_rank(np.ones((2, 5), dtype=bool), hierarchy, np.zeros((4, 3), dtype=np.int64))
