from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from maps.small_area.calibration import fit_factors, group_of_cell, kind_of_cell, scores
from plant_traits.model.calibration import LEVELS, conformal_quantile

NORMAL = norm.ppf(0.5 + np.asarray(LEVELS) / 2)


def names(*counts: tuple[str, int]) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    return np.array([name for name, n in counts for _ in range(n)], dtype=object)


def blocks(n: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.arange(n, dtype=np.int64) % count


def widened(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Student's t over normal, at every level."""
    return np.asarray(student.ppf(0.5 + np.asarray(LEVELS) / 2, count - 1) / NORMAL)


def test_factor_is_the_conformal_quantile_over_that_of_a_normal() -> None:
    rng = np.random.default_rng(1)
    score = np.abs(rng.normal(0, 2.0, 300))
    group = names(("arid", 200), ("polar", 100))
    factors = fit_factors(score, group, blocks(300, 30))
    assert factors.groups == ("all", "arid", "polar")
    assert factors.n.tolist() == [300, 200, 100]
    assert factors.blocks.tolist() == [30, 30, 30]
    for index, own in enumerate((score, score[:200], score[200:])):
        expected = [conformal_quantile(own, level) for level in LEVELS] / NORMAL * widened(30)
        np.testing.assert_allclose(factors.factor[index], expected)
    assert factors.of(names(("polar", 1), ("tropical", 1))).tolist() == [factors.factor[2, 3], factors.factor[0, 3]]
    assert factors.of(names(("arid", 1)), 0.5)[0] == factors.factor[1, 0]


def test_small_group_takes_the_factor_of_all_level_by_level() -> None:
    score = np.linspace(0.01, 3, 118)
    factors = fit_factors(score, names(("arid", 100), ("polar", 18)), blocks(118, 118))
    assert factors.factor[2, 3] == factors.factor[0, 3]  # 95 % takes 19 cells
    assert factors.factor[2, 2] == pytest.approx(
        conformal_quantile(score[100:], 0.9) / NORMAL[2] * widened(18)[2]
    )  # 90 % takes 9


def test_few_blocks_widen_the_intervals_and_very_few_take_the_factor_of_all() -> None:
    score = np.abs(np.random.default_rng(2).normal(0, 1.0, 400))
    group = names(("arid", 200), ("polar", 200))
    of_polar = np.concatenate([np.arange(200), 500 + blocks(200, 5)])
    factors = fit_factors(score, group, of_polar)
    assert factors.blocks.tolist() == [205, 200, 5]
    # 95 % of Student's t with 4 degrees of freedom: 2.7764.
    expected = conformal_quantile(score[200:], 0.95) / 1.959964 * 2.7764451 / 1.959964
    assert factors.factor[2, 3] == pytest.approx(expected, rel=1e-6)
    four = fit_factors(score, group, np.concatenate([np.arange(200), 500 + blocks(200, 4)]))
    assert four.factor[2].tolist() == four.factor[0].tolist()
    one = fit_factors(score, group, np.zeros(400, dtype=np.int64))
    np.testing.assert_array_equal(one.factor, np.ones((3, 4)))


def test_too_few_cells_leave_errors_as_they_are() -> None:
    factors = fit_factors(np.linspace(1, 5, 18), names(("arid", 18)), blocks(18, 18))
    assert factors.factor[:, 3].tolist() == [1.0, 1.0]
    assert factors.factor[0, 2] > 1
    exact = fit_factors(np.zeros(100), names(("arid", 100)), blocks(100, 100))
    np.testing.assert_array_equal(exact.factor, np.ones((2, 4)))
    nothing = fit_factors(np.full(3, np.nan), names(("arid", 3)), blocks(3, 3))
    np.testing.assert_array_equal(nothing.factor, np.ones((1, 4)))


def test_weights_say_how_many_cells_a_score_stands_for() -> None:
    score = np.arange(1.0, 101.0)
    group = names(("all", 100))
    # The ten largest scores stand for 5 cells each: of 140 cells, and 1.4 for the new one, half is at the 71st score.
    weight = np.where(score > 90, 5.0, 1.0)
    block, wider = blocks(100, 100), widened(100)
    assert fit_factors(score, group, block, weight).factor[0, 0] * NORMAL[0] == pytest.approx(71.0 * wider[0])
    # 95 % is 134.33 of 140: 90 + 9 · 5 = 135 at the 99th.
    assert fit_factors(score, group, block, weight).factor[0, 3] * NORMAL[3] == pytest.approx(99.0 * wider[3])
    plain = fit_factors(score, group, block)
    np.testing.assert_allclose(fit_factors(score, group, block, np.full(100, 7.0)).factor, plain.factor)
    nearly = fit_factors(score, group, block, np.where(score == 1, 7.0 + 1e-9, 7.0))
    np.testing.assert_allclose(nearly.factor, plain.factor)


def test_scores_hold_the_plots_own_error() -> None:
    found = scores(np.array([3.0, 1.0]), np.array([3.0, 1.0]), np.array([1.0, np.nan]), np.array([1.0, 1.0]))
    assert found[0] == pytest.approx(1.0)
    assert np.isnan(found[1])


def test_kinds_and_groups() -> None:
    assert kind_of_cell(np.array([0.0, 1, 19, 20])).tolist() == ["none", "sparse", "sparse", "rich"]
    assert group_of_cell(np.array(["arid", None, np.nan], dtype=object)).tolist() == ["arid", "all", "all"]
