"""Scores of names on a hand-worked example, and their bad inputs."""

import numpy as np
import pytest

from plant_traits.errors import ModelError
from plant_traits.taxa.prediction_sets.scores import Score, chunks, make_score, training_frequencies

PREVALENCE = np.array([0.5, 0.3, 0.2])
OMEGA = np.array([0.2, 0.2, 0.6])  # γ = 3 for the last of three: W = 5
PHOTO = np.array([[0.78, 0.05, 0.17]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("softmax", [0.22, 0.95, 0.83]),
        ("pas", [-1.56, -1 / 6, -0.85]),
        ("wpas", [-0.312, -1 / 30, -0.51]),
    ],
)
def test_scores_by_hand(kind: str, expected: list[float]) -> None:
    score = make_score(kind, 3, PREVALENCE, OMEGA)  # type: ignore[arg-type]
    np.testing.assert_allclose(score.of_all(PHOTO), [expected], rtol=1e-12)
    for label in range(3):
        assert score.of_label(PHOTO, [label])[0] == score.of_all(PHOTO)[0, label]


def test_the_score_of_a_label_is_the_same_bits_in_single_precision() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(40), 500).astype(np.float32)
    labels = rng.integers(0, 40, 500)
    prevalence = rng.dirichlet(np.ones(40))
    for score in (make_score("softmax", 40), make_score("pas", 40, prevalence)):
        everything = score.of_all(probabilities)
        assert np.array_equal(score.of_label(probabilities, labels), everything[np.arange(500), labels])


def test_a_class_never_trained_on_fits_no_photo() -> None:
    score = make_score("pas", 3, [0.6, 0.4, 0.0])
    found = score.of_all(np.array([[0.1, 0.1, 0.8], [0.5, 0.5, 0.0]]))
    assert np.isposinf(found[:, 2]).all() and np.isfinite(found[:, :2]).all()
    assert np.isposinf(score.of_label(np.array([[0.1, 0.1, 0.8]]), [2])[0])


def test_training_frequencies() -> None:
    assert training_frequencies([0, 0, 2, 0], 4).tolist() == [0.75, 0.0, 0.25, 0.0]
    with pytest.raises(ModelError, match="found none"):
        training_frequencies(np.empty(0, dtype=np.int64), 4)


@pytest.mark.parametrize(
    ("kind", "prevalence", "weights", "told"),
    [
        ("entropy", None, None, "expected a score of softmax"),
        ("pas", None, None, "training frequencies"),
        ("pas", [0.5, 0.5], None, r"shape \(2,\)"),
        ("pas", [0.5, 0.6, -0.1], None, "1 others"),
        ("pas", [0.0, 0.0, 0.0], None, "training frequencies"),
        ("wpas", [0.5, 0.3, 0.2], None, "weights"),
        ("wpas", [0.5, 0.3, 0.2], [1.0, 0.0, 1.0], "positive"),
        ("pas", [0.5, np.nan, 0.5], None, "finite"),
    ],
)
def test_bad_scores_are_refused(kind: str, prevalence: object, weights: object, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        make_score(kind, 3, prevalence, weights)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("probabilities", "labels", "told"),
    [
        (np.full((2, 2), 0.5), [0, 1], "posteriors of 3 classes"),
        (np.full((2, 3), 1 / 3), [0], "one label per row"),
        (np.full((2, 3), 1 / 3), [0, 3], "classes 0 to 2"),
        (np.full((2, 3), 1 / 3), [0, -1], "classes 0 to 2"),
        (np.full((2, 3), 1 / 3), [0.0, 1.0], "float64"),
        (np.array([[4.0, -3.0, 0.0]]), [0], "apply the softmax"),
        (np.array([[np.nan, 0.5, 0.5]]), [1], "from 0 to 1"),
    ],
)
def test_bad_posteriors_and_labels_are_refused(probabilities: np.ndarray, labels: list[int], told: str) -> None:
    with pytest.raises(ModelError, match=told):
        Score("softmax", np.ones(3)).of_label(probabilities, labels)


def test_chunks_cover_every_row_once_and_are_bounded() -> None:
    parts = chunks(100_000, 1_000)
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert (parts[0].start, parts[-1].stop) == (0, 100_000)
    assert max(part.stop - part.start for part in parts) * 1_000 <= 4_000_000
    assert chunks(3, 10**9) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert chunks(0, 5) == []
