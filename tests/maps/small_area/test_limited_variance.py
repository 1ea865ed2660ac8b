from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, norm

from maps.small_area.limited_variance import (
    KEPT_OF_ONE,
    KEPT_OF_TWO,
    LIMIT_OF_ONE,
    LIMIT_OF_TWO,
    MOST_POWER,
    fit_power,
    fit_variance,
    kept,
)


def test_constants_are_those_of_the_normal_distribution() -> None:
    tail = 2 * norm.sf(np.sqrt(LIMIT_OF_ONE))
    assert chi2.ppf(1 - tail, 2) == pytest.approx(LIMIT_OF_TWO, rel=1e-6)
    u = np.linspace(-12, 12, 400_001)
    mean = float((np.minimum(u**2, LIMIT_OF_ONE) * norm.pdf(u)).sum() * (u[1] - u[0]))
    assert mean == pytest.approx(KEPT_OF_ONE, abs=1e-7)
    assert 1 - np.exp(-LIMIT_OF_TWO / 2) == pytest.approx(KEPT_OF_TWO, abs=1e-7)


def test_variance_of_normal_residuals_is_found_beside_the_known_part() -> None:
    rng = np.random.default_rng(1)
    known = rng.gamma(2.0, 0.5, 40_000)
    residual = rng.normal(size=40_000) * np.sqrt(0.7 + known)
    assert fit_variance(residual, known, 1.0, 1.0) == pytest.approx(0.7, rel=0.05)


def test_variance_goes_with_what_is_relative() -> None:
    rng = np.random.default_rng(2)
    relative = rng.gamma(2.0, 0.5, 40_000)
    residual = rng.normal(size=40_000) * np.sqrt(0.7 * relative + 0.2)
    assert fit_variance(residual, np.full(40_000, 0.2), 1.0, 1.0, relative) == pytest.approx(0.7, rel=0.03)


def test_no_size_of_a_few_outliers_matters() -> None:
    rng = np.random.default_rng(3)
    residual = rng.normal(size=5_000)
    residual[:50] = 30.0
    far = residual.copy()
    far[:50] = 1e6
    known = np.zeros(5_000)
    assert fit_variance(residual, known, 1.0, 1.0) == pytest.approx(1.0, rel=0.15)
    assert fit_variance(far, known, 1.0, 1.0) == pytest.approx(fit_variance(residual, known, 1.0, 1.0), rel=1e-3)


def test_variance_without_excess_goes_to_zero_and_without_residuals_is_the_centre() -> None:
    rng = np.random.default_rng(4)
    assert fit_variance(rng.normal(0, 0.5, 5_000), np.ones(5_000), 0.3, 1.0) < 0.01
    assert fit_variance(np.empty(0), np.empty(0), 0.3, 20.0) == pytest.approx(0.3)


def test_prior_weighs_as_many_residuals_as_it_says() -> None:
    # With nothing known and no outlier the mode is (n · s² / kept + weight · centre) / (n + weight).
    residual = np.tile([1.0, -1.0], 10)
    expected = (20 * 1.0 / KEPT_OF_ONE + 30 * 3.0) / 50
    assert fit_variance(residual, np.zeros(20), 3.0, 30.0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("power", [0.0, 0.6, 1.2])
def test_power_of_the_stated_variance_is_found(power: float) -> None:
    rng = np.random.default_rng(5)
    stated = np.exp(rng.normal(0, 0.5, 30_000))
    residual = rng.normal(size=30_000) * np.sqrt(0.4 * stated**power + 0.1)
    assert fit_power(residual, np.full(30_000, 0.1), stated, 0.5) == pytest.approx(power, abs=0.06)


def test_power_stays_within_its_bounds() -> None:
    rng = np.random.default_rng(6)
    stated = np.exp(rng.normal(0, 0.5, 5_000))
    for sign, expected in ((-1.0, 0.0), (5.0, MOST_POWER)):
        residual = rng.normal(size=5_000) * stated ** (sign / 2)
        assert fit_power(residual, np.zeros(5_000), stated, 1.0) == pytest.approx(expected, abs=1e-6)
    assert fit_power(np.empty(0), np.empty(0), np.empty(0), 1.0) == 0.0


def test_kept_is_the_share_within_the_limit() -> None:
    np.testing.assert_allclose(kept(np.array([0.0, 4.0, 9.0, 36.0]), 9.0), [1.0, 1.0, 1.0, 0.25])
