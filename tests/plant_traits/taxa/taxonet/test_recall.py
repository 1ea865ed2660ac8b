"""Macro recall by part of the tail and by rank, by hand and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.recall import evaluate_names, parts_of_tail


def test_parts() -> None:
    assert parts_of_tail([101, 100, 20, 19, 1]).tolist() == ["head", "middle", "middle", "tail", "tail"]


def test_recall_by_hand() -> None:
    counts = [500, 50, 3, 2]
    genus = np.array([0, 0, 1, 1])
    family = np.array([0, 0, 0, -1])
    labels = [0, 0, 1, 1, 2, 2]
    named = [0, 1, 0, 1, 2, 1]
    found = evaluate_names(named, labels, counts, {"genus": genus, "family": family})
    assert found.macro == pytest.approx(0.5)
    assert found.by_part == {"head": 0.5, "middle": 0.5, "tail": 0.5}
    assert found.by_rank["genus"] == pytest.approx((4 / 4 + 1 / 2) / 2)
    assert found.by_rank["family"] == 1.0
    assert np.isnan(found.by_class[3])


def test_an_unknown_taxon_never_counts_as_right() -> None:
    found = evaluate_names([1, 0], [0, 0], [5, 5], {"family": np.array([0, -1])})
    assert found.by_rank["family"] == 0.5


def test_macro_recall_is_balanced_accuracy() -> None:
    rng = np.random.default_rng(0)
    labels, named = rng.integers(0, 9, 300), rng.integers(0, 9, 300)
    found = evaluate_names(named, labels, np.full(9, 30))
    assert found.macro == pytest.approx(balanced_accuracy_score(labels, named), rel=1e-12)
    assert found.accuracy == (labels == named).mean()


@pytest.mark.parametrize(("named", "labels"), [([], []), ([0, 1], [0]), ([0], [2]), ([0], [-1])])
def test_bad_input_is_refused(named: list[int], labels: list[int]) -> None:
    with pytest.raises(ModelError, match="recall of names"):
        evaluate_names(named, labels, [5, 5])
