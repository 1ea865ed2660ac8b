from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data_catalog import Trait
from maps.comparison.metrics import (
    bootstrap_pearson,
    interval,
    score,
    to_scale,
    weighted_pearson,
    weighted_ranks,
)
from plant_traits.errors import GridError


def trait(space: str = "ln") -> Trait:
    return Trait.model_validate(
        {"id": "t", "name": "T", "definition": "-", "unit": "m", "working_space": space, "valid_range": (0.1, 10)}
    )


def test_hand_computed_scores() -> None:
    # Weights 1, 1, 2; truth 0, 2, 4 -> mean 2.5, variance 2.75; map 1, 2, 3: errors 1, 0, -1.
    found = score([0.0, 2.0, 4.0, np.nan, 5.0], [1.0, 2.0, 3.0, 1.0, np.nan], [1.0, 1.0, 2.0, 7.0, 7.0])
    assert found.n == 3
    assert found.pearson_r == pytest.approx(1.0)
    assert found.spearman_rho == pytest.approx(1.0)
    assert found.bias == pytest.approx(-0.25)
    assert found.mae == pytest.approx(0.75)
    assert found.rmse == pytest.approx(np.sqrt(0.75))
    assert found.r2 == pytest.approx(1 - 0.75 / 2.75)
    assert found.nmae == pytest.approx(0.75 / (3.96 - 0.04))  # numpy's percentiles of 0, 2, 4 at 1 and 99
    assert found.nrmse == pytest.approx(np.sqrt(0.75) / 3.92)
    assert found.slope == pytest.approx(2.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 60))
def test_integer_weights_act_as_repeated_cells(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    y, w = rng.integers(0, 8, n).astype(float), rng.integers(1, 5, n)
    x = y + rng.integers(-3, 4, n)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return
    found = score(y, x, w.astype(float))
    long_y, long_x = np.repeat(y, w), np.repeat(x, w)
    assert found.pearson_r == pytest.approx(stats.pearsonr(long_y, long_x)[0], abs=1e-9)
    assert found.spearman_rho == pytest.approx(stats.spearmanr(long_y, long_x)[0], abs=1e-9)
    assert found.slope == pytest.approx(stats.linregress(long_x, long_y).slope, abs=1e-9)
    assert found.r2 == pytest.approx(1 - np.sum((long_y - long_x) ** 2) / np.sum((long_y - long_y.mean()) ** 2))


def test_ranks_share_ties_by_weight() -> None:
    np.testing.assert_allclose(weighted_ranks([3.0, 1.0, 3.0, 9.0], [1.0, 2.0, 3.0, 4.0]), [0.4, 0.1, 0.4, 0.8])


def test_a_constant_map_and_too_few_cells_have_no_correlation() -> None:
    assert np.isnan(weighted_pearson([1.0, 2.0], [0.1, 0.1], [1.0, 3.0]))
    constant = score([1.0, 2.0, 3.0], [0.1, 0.1, 0.1], [1.0, 1.0, 1.0])
    assert np.isnan([constant.pearson_r, constant.spearman_rho, constant.slope]).all()
    assert constant.mae == pytest.approx(1.9)
    single = score([1.0], [2.0], [1.0])
    assert single.n == 1
    assert np.isnan([single.bias, single.rmse]).all()
    with pytest.raises(GridError, match="one shape"):
        score([1.0], [1.0, 2.0], [1.0])


def test_scales() -> None:
    working = np.array([0.0, np.log(3.0), np.nan])
    np.testing.assert_allclose(to_scale(trait(), working, "ln"), working)
    np.testing.assert_allclose(to_scale(trait(), working, "natural"), [1, 3, np.nan])
    np.testing.assert_allclose(to_scale(trait(), working, "log1p"), [np.log(2), np.log(4), np.nan])
    identity = trait("identity")
    np.testing.assert_allclose(to_scale(identity, [-2.0, np.e], "ln"), [np.nan, 1])
    np.testing.assert_allclose(to_scale(identity, [-2.0, np.e - 1], "log1p"), [np.nan, 1])
    np.testing.assert_allclose(to_scale(identity, [-2.0, 1.0], "natural"), [-2, 1])


def test_the_bootstrap_equals_resampling_the_cells_themselves() -> None:
    rng = np.random.default_rng(4)
    block = np.repeat(np.arange(12), 5)
    y, w = rng.normal(size=60) + 40, rng.uniform(1, 2, 60)
    x = y + rng.normal(size=60)
    fast = bootstrap_pearson(y, [x, -x], w, block, seed=9, resamples=20)
    drawn = np.random.default_rng(9).multinomial(12, np.full(12, 1 / 12), size=20)
    slow = [weighted_pearson(y, x, w * count[block]) for count in drawn]
    np.testing.assert_allclose(fast[:, 0], slow, atol=1e-12)
    np.testing.assert_allclose(fast[:, 1], -fast[:, 0], atol=1e-12)


def test_the_bootstrap_repeats_and_does_not_depend_on_the_order_of_cells() -> None:
    rng = np.random.default_rng(5)
    y, w, block = rng.normal(size=200), rng.uniform(1, 2, 200), rng.integers(0, 30, 200)
    x = y + rng.normal(size=200)
    x[:3] = np.nan
    first = bootstrap_pearson(y, [x], w, block, seed=1, resamples=50)
    order = rng.permutation(200)
    again = bootstrap_pearson(y[order], [x[order]], w[order], block[order], seed=1, resamples=50)
    np.testing.assert_allclose(first, again, atol=1e-12)
    assert not np.allclose(first, bootstrap_pearson(y, [x], w, block, seed=2, resamples=50))


def test_whole_blocks_widen_the_interval_of_clustered_cells() -> None:
    rng = np.random.default_rng(6)
    block = np.repeat(np.arange(40), 25)
    shared_y, shared_x = rng.normal(size=(2, 40))
    y, x = shared_y[block] + 0.1 * rng.normal(size=1000), (shared_x + shared_y)[block] + 0.1 * rng.normal(size=1000)
    w = np.ones(1000)
    by_block = np.diff(interval(bootstrap_pearson(y, [x], w, block, seed=1)))
    by_cell = np.diff(interval(bootstrap_pearson(y, [x], w, np.arange(1000), seed=1)))
    assert by_block[0] > 3 * by_cell[0]


def test_too_few_blocks_give_no_interval() -> None:
    samples = bootstrap_pearson([1.0, 2.0, 3.0], [[1.0, 2.0, 4.0]], [1.0, 1.0, 1.0], [0, 1, 2], seed=1, resamples=10)
    assert samples.shape == (10, 1)
    assert np.isnan(samples).all()
    assert np.isnan(interval(samples)).all()
    assert np.isnan(bootstrap_pearson([], [[]], [], [], seed=1, resamples=10)).all()
    assert interval(np.arange(101.0)) == pytest.approx((2.5, 97.5))
