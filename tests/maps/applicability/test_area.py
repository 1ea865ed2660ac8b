"""The dissimilarity index and its threshold, by hand and against a loop over all points and folds."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from maps.applicability.area import ApplicabilityArea, area_of_applicability


def test_hand_worked_on_a_line() -> None:
    # Folds a: 0, 1; b: 3, 7. Nearest in the other fold: 0 -> 3, 1 -> 2, 3 -> 2, 7 -> 6.
    # Pairs: 1, 3, 7, 2, 6, 4, mean 23 / 6. Sorted distances 2, 2, 3, 6: quartiles 2 and 3.75, whisker 6.375 > 6.
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    area = area_of_applicability(points, np.array([0, 0, 1, 1]), np.ones(1))
    assert area.mean_distance == pytest.approx(23 / 6)
    assert area.threshold == pytest.approx(6 / (23 / 6))
    places = np.array([[2.0], [13.0], [13.1], [-6.0], [math.nan]])
    index = area.dissimilarity(places)
    np.testing.assert_allclose(index[:4], np.array([1.0, 6.0, 6.1, 6.0]) * 6 / 23, rtol=1e-12)
    assert math.isnan(index[4])
    assert area.outside(index).tolist() == [False, False, True, False, True]


def test_the_whisker_leaves_out_a_lone_training_point() -> None:
    # 20 places a step apart, alternating folds, each 1 from the other fold, and one 100 away: quartiles 1 and 1.
    points = np.append(np.arange(20.0), 119.0)[:, None]
    area = area_of_applicability(points, np.arange(21) % 2, np.ones(1))
    assert area.threshold * area.mean_distance == pytest.approx(1.0)
    assert area.outside(area.dissimilarity(np.array([[50.0], [19.9], [119.0]]))).tolist() == [True, False, False]


def test_the_nearest_of_all_other_folds_counts_and_never_one_of_the_own() -> None:
    generator = np.random.default_rng(5)
    points, fold = generator.normal(size=(60, 3)), generator.integers(0, 4, 60)
    weight = np.array([0.5, 0.3, 0.2])
    scaled = points * weight
    own = [min(math.dist(scaled[i], scaled[j]) for j in range(60) if fold[j] != fold[i]) for i in range(60)]
    mean = np.mean([math.dist(scaled[i], scaled[j]) for i in range(60) for j in range(i)])
    lower, upper = np.quantile(own, [0.25, 0.75])
    area = area_of_applicability(points, fold, weight)
    assert area.mean_distance == pytest.approx(mean)
    assert area.threshold == pytest.approx(min(upper + 1.5 * (upper - lower), max(own)) / mean)


def test_a_place_counts_once_in_its_fold() -> None:
    generator = np.random.default_rng(6)
    points, fold = generator.normal(size=(30, 2)), np.arange(30) % 3
    points[0, 1] = math.nan
    once = area_of_applicability(points, fold, np.ones(2))
    many = area_of_applicability(np.repeat(points, 5, axis=0), np.repeat(fold, 5), np.ones(2))
    assert (many.threshold, many.mean_distance) == pytest.approx((once.threshold, once.mean_distance))
    assert len(many.points) == 30


def test_scale_of_the_weights_and_order_do_not_matter() -> None:
    generator = np.random.default_rng(7)
    points, fold, places = generator.normal(size=(50, 2)), np.arange(50) % 4, generator.normal(size=(9, 2))
    one = area_of_applicability(points, fold, np.array([1.0, 2.0]))
    other = area_of_applicability(points[::-1], fold[::-1], np.array([10.0, 20.0]))
    assert other.threshold == pytest.approx(one.threshold)
    np.testing.assert_allclose(other.dissimilarity(places), one.dissimilarity(places))


def test_a_sample_of_pairs_is_close_to_all_of_them() -> None:
    points, fold = np.random.default_rng(8).normal(size=(1500, 4)), np.arange(1500) % 4
    whole = area_of_applicability(points, fold, np.ones(4), most_paired=1500)
    part = area_of_applicability(points, fold, np.ones(4), most_paired=400)
    assert part.mean_distance == pytest.approx(whole.mean_distance, rel=0.03)
    assert part.mean_distance != whole.mean_distance
    again = area_of_applicability(points, fold, np.ones(4), most_paired=400)
    assert again.threshold == part.threshold


def test_one_fold_alone_leaves_the_threshold_unknown_and_every_place_outside() -> None:
    area = area_of_applicability(np.arange(6.0)[:, None], np.zeros(6, dtype=np.int64), np.ones(1))
    assert math.isnan(area.threshold)
    index = area.dissimilarity(np.array([[2.0], [7.0]]))
    np.testing.assert_allclose(index, [0.0, 2 / area.mean_distance])
    assert area.outside(index).tolist() == [True, True]


@pytest.mark.parametrize("points", [np.ones((6, 1)), np.ones((1, 1)), np.empty((0, 1))])
def test_points_that_do_not_differ_tell_nothing(points: npt.NDArray[np.float64]) -> None:
    area = area_of_applicability(points, np.arange(len(points)), np.ones(1))
    index = area.dissimilarity(np.array([[1.0], [2.0]]))
    assert np.isnan([area.mean_distance, area.threshold, *index]).all()
    assert area.outside(index).all()


def test_folds_that_share_too_few_covariates_leave_the_threshold_unknown() -> None:
    west = [[1.0, math.nan, math.nan, 0.0], [2.0, math.nan, math.nan, 0.0]]
    east = [[math.nan, 1.0, 3.0, math.nan], [math.nan, 2.0, 3.0, math.nan]]
    area = area_of_applicability(np.array(west + east), np.array([0, 0, 1, 1]), np.ones(4))
    assert area.mean_distance > 0
    assert math.isnan(area.threshold)


def test_unknown_dissimilarity_is_outside() -> None:
    area = ApplicabilityArea(np.zeros((1, 1)), np.ones(1), 1.0, 0.5)
    assert area.outside(np.array([0.5, 0.6, math.nan])).tolist() == [False, True, True]
