"""Coverage over photos, classes and weighted classes."""

import tracemalloc

import numpy as np
import pytest

from plant_traits.errors import ModelError
from plant_traits.taxa.prediction_sets import scores as score_module
from plant_traits.taxa.prediction_sets.coverage import evaluate_sets, summarise_coverage
from plant_traits.taxa.prediction_sets.scores import Score
from plant_traits.taxa.prediction_sets.thresholds import SetRule


def test_coverage_by_hand() -> None:
    covered = np.array([True, True, True, False, False, True])
    labels = np.array([0, 0, 0, 0, 1, 3])  # coverage 3/4, 0, none, 1
    found = summarise_coverage(covered, labels, np.array([1.0, 2.0, 5.0, 1.0]), 1.5, 0.0)
    assert found.marginal == pytest.approx(4 / 6)
    assert found.macro == pytest.approx((0.75 + 0 + 1) / 3)
    assert found.weighted_macro == pytest.approx((0.75 + 0 + 1) / 4)  # the class without photos brings no weight
    assert found.classes_without_photos == 1 and np.isnan(found.by_class[2])


def test_sets_are_measured() -> None:
    rule = SetRule(Score("softmax", np.ones(3)), 0.8, np.array([0.5, 0.5, 0.9]))
    probabilities = np.array([[0.6, 0.2, 0.2], [0.3, 0.65, 0.05], [0.45, 0.48, 0.07]])
    found = evaluate_sets(rule, probabilities, [2, 0, 1])  # sets {0, 2}, {1}, {}
    assert (found.marginal, found.mean_size, found.empty) == (pytest.approx(1 / 3), 1.0, pytest.approx(1 / 3))
    assert found.by_class.tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("photos", "weights"), [(0, [1.0, 1, 1]), (2, [1.0, 1]), (2, [1.0, -1, 1]), (2, [np.nan, 1, 1])]
)
def test_bad_input_is_refused(photos: int, weights: list[float]) -> None:
    rule = SetRule(Score("softmax", np.ones(3)), 0.8, np.full(3, 0.5))
    with pytest.raises(ModelError, match="coverage of sets"):
        evaluate_sets(rule, np.full((photos, 3), 1 / 3), np.zeros(photos, dtype=np.int64), weights)


def test_memory_does_not_grow_with_the_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_module, "CHUNK_ENTRIES", 50_000)
    rule = SetRule(Score("softmax", np.ones(250)), 0.9, np.full(250, 0.99))
    probabilities = np.full((24_000, 250), 1 / 250, dtype=np.float32)  # 24 MB, 6 million scores
    labels = np.arange(24_000) % 250
    tracemalloc.start()
    evaluate_sets(rule, probabilities, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000
