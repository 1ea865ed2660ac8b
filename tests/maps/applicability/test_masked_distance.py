"""Distances with missing coordinates, against hand-worked vectors, scikit-learn and a loop over all pairs."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import nan_euclidean_distances

from maps.applicability import masked_distance
from maps.applicability.masked_distance import LEAST_SHARED, mean_pairwise_distance, nearest_distance
from plant_traits.errors import TableError

FloatArray = npt.NDArray[np.float64]
NAN = math.nan


def one_distance(a: FloatArray, b: FloatArray, weight: FloatArray) -> float:
    """The definition, coordinate by coordinate."""
    shared = [k for k in range(len(weight)) if math.isfinite(a[k]) and math.isfinite(b[k])]
    whole = math.fsum(w * w for w in weight)
    of_shared = math.fsum(weight[k] ** 2 for k in shared)
    if whole == 0 or of_shared < LEAST_SHARED * whole:
        return math.inf
    return math.sqrt(math.fsum((weight[k] * (a[k] - b[k])) ** 2 for k in shared) * whole / of_shared)


def scattered(generator: np.random.Generator, rows: int, columns: int, missing: float) -> FloatArray:
    points = generator.normal(size=(rows, columns))
    points[generator.random(points.shape) < missing] = NAN
    return points


def test_hand_worked() -> None:
    points = np.array([[0.0, 0.0], [3.0, 4.0]])
    queries = np.array([[3.0, 0.0], [3.0, 5.0], [NAN, 4.5]])
    # 3 and 4 away from the two points; 1 away from the second; half of the weights known: 0.5 * sqrt(2).
    np.testing.assert_allclose(nearest_distance(queries, points, np.ones(2)), [3.0, 1.0, math.sqrt(0.5)], atol=1e-12)
    # With weights 1 and 3 the first axis counts less: 3 and 12; 3; and 0.5 * 3 * sqrt(10 / 9).
    np.testing.assert_allclose(
        nearest_distance(queries, points, np.array([1.0, 3.0])), [3.0, 3.0, 0.5 * math.sqrt(10)], atol=1e-12
    )
    assert mean_pairwise_distance(np.array([[0.0, 0], [3, 4], [0, 4]]), np.ones(2)) == pytest.approx((5 + 4 + 3) / 3)


def test_too_little_in_common_is_no_distance() -> None:
    points = np.array([[1.0, NAN, NAN], [NAN, 2.0, 2.0]])
    queries = np.array([[1.0, 7.0, 7.0], [1.0, NAN, NAN], [NAN, NAN, NAN]])
    found = nearest_distance(queries, points, np.ones(3))
    assert found[0] == pytest.approx(math.sqrt(50 * 3 / 2))  # a third is too little to be near the first point
    assert np.isinf(found[1:]).all()
    assert math.isnan(mean_pairwise_distance(points, np.ones(3)))


def test_coordinates_of_no_weight_do_not_count_even_where_missing() -> None:
    points, queries = np.array([[0.0, NAN]]), np.array([[2.0, 100.0]])
    assert nearest_distance(queries, points, np.array([1.0, 0.0])).tolist() == [2.0]
    assert np.isinf(nearest_distance(queries, points, np.zeros(2))).all()


def test_agrees_with_scikit_learn_for_equal_weights() -> None:
    generator = np.random.default_rng(1)
    queries, points = scattered(generator, 700, 6, 0.05), scattered(generator, 400, 6, 0.05)
    theirs = nan_euclidean_distances(queries, points)
    shared = np.isfinite(queries).astype(int) @ np.isfinite(points).astype(int).T
    expected = np.where(shared >= 3, theirs, np.inf).min(axis=1)
    np.testing.assert_allclose(nearest_distance(queries, points, np.ones(6)), expected, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(0, 12),
    n=st.integers(0, 12),
    columns=st.integers(1, 5),
    missing=st.sampled_from([0.0, 0.2, 0.7]),
    large=st.sampled_from([1, 256]),
)
def test_agrees_with_a_loop_over_pairs_by_tree_and_one_by_one(
    seed: int, m: int, n: int, columns: int, missing: float, large: int
) -> None:
    generator = np.random.default_rng(seed)
    queries, points = scattered(generator, m, columns, missing), scattered(generator, n, columns, missing)
    weight = generator.choice([0.0, 0.5, 1.0, 3.0], columns)
    expected = [min((one_distance(q, p, weight) for p in points), default=math.inf) for q in queries]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masked_distance, "_TREE_QUERIES", large)
        patch.setattr(masked_distance, "_PAIRS", 17)
        found = nearest_distance(queries, points, weight)
        mean = mean_pairwise_distance(points, weight)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    pairs = [d for a, b in combinations(points, 2) if math.isfinite(d := one_distance(a, b, weight))]
    np.testing.assert_allclose(mean, np.mean(pairs) if pairs else NAN, atol=1e-6)


@pytest.mark.parametrize(
    ("columns", "weight"), [(2, [1.0, 1.0, 1.0]), (3, [1.0, -1.0, 1.0]), (3, [1.0, math.inf, 1.0]), (3, [1.0, NAN, 1])]
)
def test_what_does_not_fit_is_refused(columns: int, weight: list[float]) -> None:
    with pytest.raises(TableError, match="align the columns"):
        nearest_distance(np.zeros((1, columns)), np.zeros((2, 3)), np.array(weight))
