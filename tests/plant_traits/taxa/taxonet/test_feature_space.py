"""Scores from two Gaussian models, against densities from elsewhere; they survive as tensors; bad input."""

import numpy as np
import pytest
from scipy import stats

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.feature_space import FeatureSpace, fit_feature_space, space_of_tensors, space_tensors


def photos(counts: np.ndarray, seed: int, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Return features in 6 of 10 dimensions: species about 5, photos about their species."""
    rng = np.random.default_rng(seed)
    centres = 5 + spread * np.random.default_rng(50).normal(size=(len(counts), 6))
    labels = np.repeat(np.arange(len(counts)), counts)
    along = centres[labels] + rng.normal(size=(len(labels), 6))
    beside = 0.01 * rng.normal(size=(len(labels), 4))
    return np.concatenate([along, beside], axis=1).astype(np.float32), labels


COUNTS = np.array([80, 60, 40, 30, 20, 10, 5, 2])


def test_scores_are_ratios_of_densities() -> None:
    space = fit_feature_space(*photos(COUNTS, 0), 8)
    new, _ = photos(np.full(8, 2), 1)
    x = ((new - space.mean) / space.deviation) @ space.axes @ space.contrast
    unseen = stats.norm(0, np.sqrt(1 + space.spread)).logpdf(x).sum(axis=1)
    expected = np.stack(
        [
            stats.norm(centre, np.sqrt(doubt)).logpdf(x).sum(axis=1) - unseen
            for centre, doubt in zip(space.centres, space.doubt, strict=True)
        ],
        axis=1,
    )
    np.testing.assert_allclose(space.species_scores(new), expected, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(space.open_set_scores(new), expected.max(axis=1), rtol=1e-8, atol=1e-8)


def test_centres_of_rare_species_are_drawn_in_and_in_doubt() -> None:
    space = fit_feature_space(*photos(COUNTS, 0), 8)
    n = COUNTS[:, None]
    np.testing.assert_allclose(space.doubt, 1 + 1 / (n + 1 / space.spread), rtol=1e-10)
    features, labels = photos(COUNTS, 0)
    x = ((features - space.mean) / space.deviation) @ space.axes @ space.contrast
    mean = x[labels == 7].mean(axis=0)
    np.testing.assert_allclose(space.centres[7], mean * 2 / (2 + 1 / space.spread), rtol=1e-8)
    within = np.concatenate([x[labels == k] - x[labels == k].mean(axis=0) for k in range(8)])
    np.testing.assert_allclose((within**2).sum(axis=0) / (len(x) - 8), 1, rtol=0.02)


def test_known_species_are_told_from_others_and_plants_from_what_lies_far_out() -> None:
    space = fit_feature_space(*photos(COUNTS, 0), 8)
    known, labels = photos(np.full(8, 50), 2)
    assert (space.species_scores(known).argmax(axis=1) == labels).mean() > 0.95
    rng = np.random.default_rng(3)
    strangers = known[:100] * 0 + np.concatenate([5 + 3 * rng.normal(size=(100, 6)), np.zeros((100, 4))], axis=1)
    threshold = np.quantile(space.open_set_scores(known), 0.05)
    assert (space.open_set_scores(strangers) < threshold).mean() > 0.6
    beside = known[:100].copy()
    beside[:, 8] += 2.0  # nothing that photos of plants ever show
    least = space.plant_scores(known).min()
    assert (space.plant_scores(beside) < least).all()
    own, labels = photos(COUNTS, 0)
    assert space.plant_scores(own).mean() == pytest.approx(-1.0)
    fewer = fit_feature_space(own, labels, 8, largest=7)
    assert fewer.axes.shape == (10, 7)
    assert fewer.plant_scores(own).mean() == pytest.approx(-2.0, abs=0.05)


def test_rows_do_not_depend_on_each_other_and_none_is_fine() -> None:
    space = fit_feature_space(*photos(COUNTS, 0), 8)
    new, _ = photos(np.full(8, 3), 4)
    for scores in (space.plant_scores, space.open_set_scores):
        np.testing.assert_allclose(scores(new)[5:9], scores(new[5:9]), rtol=1e-9)
        assert scores(new[:0]).shape == (0,)


def test_a_space_survives_as_tensors() -> None:
    space = fit_feature_space(*photos(COUNTS, 0), 8)
    read = space_of_tensors(space_tensors(space))
    assert isinstance(read, FeatureSpace)
    new, _ = photos(np.full(8, 3), 5)
    np.testing.assert_allclose(read.open_set_scores(new), space.open_set_scores(new), rtol=1e-9)
    np.testing.assert_allclose(read.plant_scores(new), space.plant_scores(new), rtol=1e-9)
    tensors = space_tensors(space)
    del tensors["axes"]
    with pytest.raises(KeyError, match="axes"):
        space_of_tensors(tensors)


def test_features_that_do_not_vary_do_no_harm() -> None:
    features, labels = photos(COUNTS, 0)
    still = np.concatenate([features, np.full((len(features), 3), 7.0, dtype=np.float32)], axis=1)
    space = fit_feature_space(still, labels, 8)
    assert np.isfinite(space.plant_scores(still)).all() and np.isfinite(space.open_set_scores(still)).all()


def test_bad_input_is_refused() -> None:
    features, labels = photos(COUNTS, 0)
    with pytest.raises(ModelError, match="finite features"):
        fit_feature_space(np.where(features > 9, np.nan, features), labels, 8)
    with pytest.raises(ModelError, match="finite features"):
        fit_feature_space(features, labels[:-1], 8)
    with pytest.raises(ModelError, match="1 classes without"):
        fit_feature_space(features, labels, 9)
    with pytest.raises(ModelError, match="two species or more"):
        fit_feature_space(features[:5], np.zeros(5, dtype=int), 1)
    with pytest.raises(ModelError, match="two species or more"):
        fit_feature_space(features[:8], np.arange(8), 8)
