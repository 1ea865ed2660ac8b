"""The open-set threshold keeps what it says, and its scores by hand."""

import numpy as np
import pytest

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.open_set import (
    energy,
    familiarity,
    known_threshold,
    neighbour_likeness,
    score_open_set,
)


def test_the_threshold_is_the_fifth_percentile_of_the_known() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(1, 101)) / 100
    threshold = known_threshold(scores)
    assert threshold == 0.05
    assert (scores >= threshold).mean() >= 0.95
    assert (scores >= np.nextafter(0.06, 1)).mean() < 0.95


def test_scores_by_hand() -> None:
    found = score_open_set(0.5, known=[0.5, 0.9, 0.4, 0.8], unknown=[0.1, 0.5, 0.3])
    assert (found.true_positive_rate, found.true_negative_rate) == (0.75, pytest.approx(2 / 3))
    assert found.balanced_accuracy == pytest.approx((0.75 + 2 / 3) / 2)
    assert familiarity(np.array([[0.1, 0.7, 0.3], [-0.2, -0.5, -0.9]])).tolist() == [0.7, -0.2]


@pytest.mark.parametrize(("scores", "kept"), [([], 0.95), ([0.1, np.nan], 0.95), ([0.1, np.inf], 0.95), ([0.1], 1.0)])
def test_bad_thresholds_are_refused(scores: list[float], kept: float) -> None:
    with pytest.raises(ModelError, match="open-set threshold"):
        known_threshold(scores, kept)


def test_scores_need_both_kinds() -> None:
    with pytest.raises(ModelError, match="found 1 and 0"):
        score_open_set(0.5, [0.7], [])


def test_energy_by_hand_and_without_overflow() -> None:
    cosines = np.array([[0.0, np.log(3) / 2], [1.0, 1.0]])
    np.testing.assert_allclose(energy(cosines, 2.0), [np.log(4), 2 + np.log(2)], rtol=1e-12)
    np.testing.assert_allclose(energy(cosines, 5000.0)[1], 5000 + np.log(2), rtol=1e-12)


def test_likeness_to_the_last_of_the_nearest() -> None:
    reference = np.array([[2.0, 0.0], [0.0, 0.5], [-1.0, 0.0]])
    features = np.array([[3.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(neighbour_likeness(features, reference, 1), [1, np.sqrt(0.5)], rtol=1e-12)
    np.testing.assert_allclose(neighbour_likeness(features, reference, 2), [0, np.sqrt(0.5)], atol=1e-12)
    many = np.repeat(features, 1500, axis=0)
    np.testing.assert_allclose(neighbour_likeness(many, reference, 3), np.repeat([-1, -np.sqrt(0.5)], 1500), rtol=1e-12)
    for wrong in (0, 4):
        with pytest.raises(ModelError, match="1 to 3 neighbours"):
            neighbour_likeness(features, reference, wrong)
