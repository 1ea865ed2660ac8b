"""The probability of a wrong label, where it is known which labels are wrong."""

import numpy as np
import pytest

from plant_traits.model.wrong_labels import wrong_label_probability


def test_the_probability_of_a_wrong_label_is_what_it_says() -> None:
    generator = np.random.default_rng(11)
    n = 20_000
    truth = generator.normal(size=(n, 3)) * 2
    label = truth + generator.normal(size=(n, 3))
    wrong = generator.random(n) < 0.2
    label[wrong] = (generator.normal(size=(n, 3)) * 2 + generator.normal(size=(n, 3)))[wrong]
    # standard deviations that are too wide by a factor change nothing: scales are estimated
    probability, share = wrong_label_probability(label, truth, np.full((n, 3), 5.0), np.arange(n), seed=0)
    assert share == pytest.approx(0.2, abs=0.03)
    for low, high in ((0.0, 0.1), (0.2, 0.5), (0.5, 0.8), (0.9, 1.01)):
        within = (probability >= low) & (probability < high)
        assert within.sum() > 100
        # the share is the smallest of three findings, so probabilities err on the side of acquittal
        assert -0.03 < wrong[within].mean() - probability[within].mean() < 0.15


def test_without_any_prediction_no_label_is_doubted() -> None:
    nothing = np.full((30, 2), np.nan)
    probability, share = wrong_label_probability(np.ones((30, 2)), nothing, nothing, np.arange(30), seed=0)
    assert probability.tolist() == [0.0] * 30
    assert share == 0.0


def test_labels_of_the_same_species_are_no_example_of_wrong_ones() -> None:
    generator = np.random.default_rng(3)
    species = generator.integers(0, 2, 4000)
    centre = np.where(species == 0, -3.0, 3.0)[:, None] + np.zeros((1, 2))
    label = centre + generator.normal(size=(4000, 2))  # labels differ within a species, as where they know their place
    wrong = generator.random(4000) < 0.1
    label[wrong] -= 2 * centre[wrong]
    ones = np.ones((4000, 2))
    probability, share = wrong_label_probability(label, centre, ones, np.where(wrong, 1 - species, species), seed=0)
    assert share == pytest.approx(0.1, abs=0.03)
    assert ((probability > 0.5) == wrong).mean() > 0.99


def test_labels_beyond_all_measure_are_wrong_all_the_same() -> None:
    generator = np.random.default_rng(4)
    expected = generator.normal(size=(2000, 2)) * 1e4  # species differ by thousands of standard deviations
    label = expected + generator.normal(size=(2000, 2))
    label[:300] = np.roll(label[:300], 1, axis=0)
    probability, share = wrong_label_probability(label, expected, np.ones((2000, 2)), np.arange(2000), seed=0)
    assert (probability[:300] > 0.5).all()
    assert (probability[300:] < 0.5).all()
    assert share == pytest.approx(300 / 2000, rel=1e-3)


def test_poor_predictions_accuse_few_right_labels() -> None:
    generator = np.random.default_rng(6)
    signal = generator.normal(size=(4000, 4))
    for correlation in (0.5, 0.6, 0.7, 0.9):
        expected = correlation * signal
        label = expected + np.sqrt(1 - correlation**2) * generator.normal(size=(4000, 4))
        probability, share = wrong_label_probability(label, expected, np.ones((4000, 4)), np.arange(4000), seed=0)
        assert share < 0.15
        assert (probability > 0.5).mean() < 0.03
