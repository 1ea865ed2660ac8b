from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from maps.estimators.random_effects import dersimonian_laird, paule_mandel, paule_mandel_by_group
from plant_traits.errors import PlantTraitsError

# Published example of statsmodels' combine_effects, also computed by metafor.
Y = (61, 61.4, 62.21, 62.3, 62.34, 62.6, 62.7, 62.84, 65.9)
V = (0.2025, 1.21, 0.09, 0.2025, 0.3844, 0.5625, 0.0676, 0.0225, 1.8225)


def test_paule_mandel_published_vector() -> None:
    result = paule_mandel(Y, V)
    assert float(result.tau2) == pytest.approx(0.705395309, abs=5e-10)
    assert float(result.location) == pytest.approx(62.4076199113, abs=5e-11)
    assert float(result.standard_error) == pytest.approx(0.338030603, abs=5e-10)
    assert float(result.standard_error_hk) == pytest.approx(0.338030603, abs=5e-10)
    assert float(result.q) == pytest.approx(24.8018977, abs=5e-8)


def test_dersimonian_laird_published_vector() -> None:
    result = dersimonian_laird(Y, V)
    assert float(result.tau2) == pytest.approx(0.288049247, abs=5e-10)
    assert float(result.location) == pytest.approx(62.390138604, abs=5e-10)
    assert float(result.standard_error) == pytest.approx(0.245749668, abs=5e-10)
    assert float(result.standard_error_hk) == pytest.approx(0.294776057, abs=5e-10)
    assert float(result.i2) == pytest.approx(1 - 8 / 24.8018977, abs=1e-9)


def test_two_estimates_have_a_closed_form() -> None:
    result = paule_mandel([1.5, 4.0], [0.25, 1.0])
    assert float(result.tau2) == pytest.approx((2.5**2 - 1.25) / 2, rel=1e-14)


def test_agreement_gives_no_heterogeneity() -> None:
    result = paule_mandel([2.0, 2.0, 2.0], [0.1, 0.2, 0.3])
    assert (float(result.tau2), float(result.i2), float(result.location)) == (0.0, 0.0, 2.0)


def test_one_estimate_has_no_heterogeneity_to_show() -> None:
    for combine in (paule_mandel, dersimonian_laird):
        result = combine([2.0], [0.25])
        assert np.isnan([result.tau2, result.i2, result.standard_error_hk]).all()
        assert (float(result.location), float(result.standard_error)) == (2.0, 0.5)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-3, 1.0, 30.0]))
def test_all_groups_at_once_equal_a_root_finder_one_by_one(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(12), rng.integers(1, 9, 12))
    y = rng.normal(0, scale, len(group))
    v = rng.gamma(0.7, 1.0, len(group)) + 1e-6
    together = paule_mandel_by_group(y, v, group, 12)
    for g in range(12):
        own = group == g
        alone = paule_mandel(y[own], v[own])
        assert float(alone.location) == together.location[g]
        if own.sum() < 2:
            continue

        def excess(tau2: float, y: np.ndarray = y[own], v: np.ndarray = v[own]) -> float:
            w = 1 / (v + tau2)
            return float((w * (y - (w @ y) / w.sum()) ** 2).sum() - (len(y) - 1))

        expected = brentq(excess, 0, 1e6, xtol=1e-13) if excess(0) > 0 else 0.0
        assert together.tau2[g] == pytest.approx(expected, rel=1e-8, abs=1e-10)


@pytest.mark.parametrize(("y", "v"), [([], []), ([1.0, 2.0], [1.0]), ([1.0], [0.0]), ([np.nan], [1.0]), ([1], [-1])])
def test_unusable_estimates_are_refused(y: list[float], v: list[float]) -> None:
    with pytest.raises(PlantTraitsError, match="finite positive variances"):
        paule_mandel(y, v)
