"""Conformal thresholds and sets: a hand-worked example of ten photos, the guarantees over 200 splits, bad input."""

import math
from fractions import Fraction

import numpy as np
import pytest

from plant_traits.errors import ModelError
from plant_traits.model.calibration import conformal_quantile
from plant_traits.taxa.prediction_sets import scores as score_module
from plant_traits.taxa.prediction_sets.coverage import evaluate_sets
from plant_traits.taxa.prediction_sets.scores import make_score
from plant_traits.taxa.prediction_sets.thresholds import class_thresholds, fit_rule

PREVALENCE = np.array([0.5, 0.3, 0.2])
OMEGA = np.array([0.2, 0.2, 0.6])
LABELS = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2]
OF_THE_TRUTH = [0.9, 0.8, 0.7, 0.6, 0.45, 0.6, 0.5, 0.15, 0.4, 0.06]
NEW = np.array([[0.78, 0.05, 0.17], [0.2, 0.1, 0.7], [0.30, 0.66, 0.04], [0.88, 0.04, 0.08]])


def ten_photos() -> np.ndarray:
    """Return posteriors with the stated probability of the truth; the rest is shared by the others."""
    out = np.repeat((1 - np.array(OF_THE_TRUTH))[:, None] / 2, 3, axis=1)
    out[np.arange(10), LABELS] = OF_THE_TRUTH
    return out


# Scores of the truth, in order (the 9th of 10 is the threshold at 0.8: ⌈11 · 0.8⌉ = 9).
# softmax .1 .2 .3 .4 .4 .5 .55 .6 | .85 | .94
# pas    -2 -2 -1.8 -1.667 -1.6 -1.4 -1.2 -.9 | -.5 | -.3
# wpas   -1.2 -.4 -.36 -.333 -.32 -.28 -.24 -.18 | -.18 | -.1
@pytest.mark.parametrize(
    ("kind", "threshold", "sets"),
    [
        ("softmax", 0.85, [{0, 2}, {0, 2}, {0, 1}, {0}]),
        ("pas", -0.5, [{0, 2}, {2}, {0, 1}, {0}]),
        ("wpas", -0.18, [{0, 2}, {2}, {1}, {0, 2}]),
    ],
)
def test_ten_photos_by_hand(kind: str, threshold: float, sets: list[set[int]]) -> None:
    score = make_score(kind, 3, PREVALENCE, OMEGA)  # type: ignore[arg-type]
    rule = fit_rule(score, ten_photos(), LABELS, 0.8)
    np.testing.assert_allclose(rule.thresholds, threshold, rtol=1e-12)
    assert [set(np.flatnonzero(row)) for row in rule.members(NEW)] == sets


def test_class_wise_and_interpolated_thresholds_by_hand() -> None:
    score = make_score("softmax", 3)
    own = fit_rule(score, ten_photos(), LABELS, 0.8, scope="class_wise").thresholds
    np.testing.assert_allclose(own, [0.55, math.inf, math.inf], rtol=1e-12)  # ranks 5 of 5, 4 of 3, 3 of 2
    own = fit_rule(score, ten_photos(), LABELS, 0.5, scope="class_wise").thresholds
    np.testing.assert_allclose(own, [0.3, 0.5, 0.94], rtol=1e-12)  # ranks 3, 2, 2
    between = fit_rule(score, ten_photos(), LABELS, 0.8, scope="interpolated", tau=0.9).thresholds
    np.testing.assert_allclose(between, [0.9 * 0.55 + 0.085, 0.9 + 0.085, 0.9 + 0.085], rtol=1e-12)


def test_interpolation_ends_at_its_two_parts() -> None:
    score = make_score("softmax", 3)
    alone = fit_rule(score, ten_photos(), LABELS, 0.8, scope="interpolated", tau=0.0)
    assert np.array_equal(alone.thresholds, fit_rule(score, ten_photos(), LABELS, 0.8).thresholds)
    apart = fit_rule(score, ten_photos(), LABELS, 0.8, scope="interpolated", tau=1.0)
    own = fit_rule(score, ten_photos(), LABELS, 0.8, scope="class_wise").thresholds
    assert np.array_equal(apart.thresholds, np.minimum(own, 1.0))


def test_class_thresholds_are_the_conformal_quantiles_of_each_class() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 12, 700) ** 2 % 15
    scores = rng.normal(size=700).round(1)  # with ties
    for level in (0.5, 0.8, 0.9, 0.95):
        expected = [conformal_quantile(scores[labels == k], level) for k in range(15)]
        assert class_thresholds(scores, labels, 15, level).tolist() == expected


def test_an_infinite_threshold_admits_every_class_the_unseen_ones_too() -> None:
    score = make_score("pas", 3, [0.7, 0.3, 0.0])
    rule = fit_rule(score, ten_photos(), LABELS, 0.9)  # two of ten are of the unseen class: above 1 - level
    assert np.isposinf(rule.thresholds).all() and rule.members(NEW).all()
    strict = fit_rule(score, ten_photos()[:9], LABELS[:9], 0.8)
    assert np.isfinite(strict.thresholds).all() and not strict.members(NEW)[:, 2].any()


def test_empty_sets_stay_empty_or_take_the_best_name() -> None:
    score = make_score("softmax", 3)
    sure = np.array([[0.98, 0.01, 0.01]] * 10)
    rule = fit_rule(score, sure, [0] * 10, 0.8)
    unsure = np.array([[0.3, 0.4, 0.3], [0.99, 0.0, 0.01]])
    assert rule.members(unsure).tolist() == [[False, False, False], [True, False, False]]
    filled = fit_rule(score, sure, [0] * 10, 0.8, fill_empty=True)
    assert filled.members(unsure).tolist() == [[False, True, False], [True, False, False]]
    assert filled.members(unsure[:0]).shape == (0, 3)


def test_chunks_make_the_same_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet(np.full(30, 0.2), 400)
    rule = fit_rule(make_score("softmax", 30), probabilities[:200], rng.integers(0, 30, 200), 0.5)
    whole = rule.members(probabilities)
    monkeypatch.setattr(score_module, "CHUNK_ENTRIES", 7 * 30)
    parts = list(rule.in_chunks(probabilities))
    assert max(len(sets) for _, sets in parts) == 7
    assert np.array_equal(np.concatenate([sets for _, sets in parts]), whole)


def long_tail(rng: np.random.Generator, photos: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return posteriors (of a classifier that leans towards common classes), labels and frequencies."""
    frequency = 1 / np.arange(1, classes + 1) ** 1.3
    frequency /= frequency.sum()
    labels = rng.choice(classes, photos, p=frequency)
    logits = 1.3 * np.log(frequency) + rng.normal(size=(photos, classes))
    logits[np.arange(photos), labels] += 4.5
    wide = np.exp(logits - logits.max(axis=1, keepdims=True))
    return wide / wide.sum(axis=1, keepdims=True), labels, frequency


@pytest.mark.parametrize("kind", ["softmax", "pas", "wpas"])
def test_marginal_coverage_is_nominal_over_200_splits(kind: str) -> None:
    rng = np.random.default_rng([11, len(kind)])
    found, photos = [], 399
    for _ in range(200):
        probabilities, labels, frequency = long_tail(rng, 2 * photos, 20)
        omega = np.where(np.arange(20) > 15, 5.0, 1.0)
        score = make_score(kind, 20, frequency, omega)  # type: ignore[arg-type]
        rule = fit_rule(score, probabilities[:photos], labels[:photos], 0.9)
        found.append(evaluate_sets(rule, probabilities[photos:], labels[photos:]).marginal)
    spread = math.sqrt(0.09 * (1 / photos + 1 / photos))
    expected = 360 / 400  # ⌈400 · 0.9⌉ of 400
    assert abs(np.mean(found) - expected) < 3 * spread / math.sqrt(200)
    assert np.std(found) == pytest.approx(spread, rel=0.2)  # the variance of a beta-binomial, nearly


def test_macro_coverage_of_class_wise_sets_is_nominal_over_200_splits() -> None:
    rng = np.random.default_rng(12)
    differences, variance = [], []
    for _ in range(200):
        probabilities, labels, _ = long_tail(rng, 1600, 12)
        rule = fit_rule(make_score("softmax", 12), probabilities[:800], labels[:800], 0.9, scope="class_wise")
        found = evaluate_sets(rule, probabilities[800:], labels[800:])
        n = np.bincount(labels[:800], minlength=12)
        rank = np.array([math.ceil((int(size) + 1) * Fraction(9, 10)) for size in n])
        nominal = np.where(rank > n, 1.0, rank / (n + 1))  # what exchangeability gives each class, exactly
        seen = found.photos_of_class > 0
        assert (nominal >= 0.9).all()
        differences.append(found.macro - nominal[seen].mean())
        each = nominal * (1 - nominal) * (1 / np.maximum(found.photos_of_class, 1) + 1 / (n + 2))
        variance.append(each[seen].sum() / seen.sum() ** 2)
    assert abs(np.mean(differences)) < 3 * math.sqrt(np.mean(variance) / 200)


def test_prevalence_adjustment_gains_macro_coverage_and_weights_protect_the_listed() -> None:
    rng = np.random.default_rng(13)
    probabilities, labels, frequency = long_tail(rng, 40_000, 60)
    listed = np.arange(60) % 7 == 6
    omega = np.where(listed, 10.0, 1.0) / np.where(listed, 10.0, 1.0).sum()
    found = {}
    for kind in ("softmax", "pas", "wpas"):
        rule = fit_rule(make_score(kind, 60, frequency, omega), probabilities[:20_000], labels[:20_000], 0.9)  # type: ignore[arg-type]
        found[kind] = evaluate_sets(rule, probabilities[20_000:], labels[20_000:], omega)
    assert found["pas"].macro > found["softmax"].macro + 0.1
    assert all(abs(x.marginal - 0.9) < 0.01 for x in found.values())
    assert found["wpas"].by_class[listed].mean() > found["pas"].by_class[listed].mean() + 0.02
    assert found["wpas"].weighted_macro > found["pas"].weighted_macro


@pytest.mark.parametrize(
    ("level", "scope", "kind", "told"),
    [
        (1.0, "marginal", "softmax", "between 0 and 1"),
        (0.0, "marginal", "softmax", "between 0 and 1"),
        (0.9, "by_rank", "softmax", "scope of marginal"),
        (0.9, "interpolated", "pas", "softmax scores"),
    ],
)
def test_bad_rules_are_refused(level: float, scope: str, kind: str, told: str) -> None:
    score = make_score(kind, 3, PREVALENCE)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=told):
        fit_rule(score, ten_photos(), LABELS, level, scope=scope)  # type: ignore[arg-type]


def test_other_bad_input_is_refused() -> None:
    score = make_score("softmax", 3)
    with pytest.raises(ModelError, match="τ from 0 to 1"):
        fit_rule(score, ten_photos(), LABELS, 0.8, scope="interpolated", tau=1.5)
    with pytest.raises(ModelError, match="2 NaN"):
        class_thresholds(np.array([np.nan, 1.0, np.nan]), [0, 1, 2], 3, 0.9)
    with pytest.raises(ModelError, match="posteriors of 3 classes"):
        fit_rule(score, ten_photos(), LABELS, 0.8).members(np.ones((2, 4)) / 4)
