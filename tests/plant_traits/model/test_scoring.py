"""Scores of probabilistic predictions against integrals, torch, scipy and values by hand."""

from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from plant_traits.model.scoring import (
    accuracy,
    coverage,
    gaussian_crps,
    gaussian_nll,
    normal_quantile,
    pearson,
    pit_counts,
    within_group_correlation,
)

RNG = np.random.default_rng(1)
Y, MEAN, VARIANCE = RNG.normal(size=20) * 2, RNG.normal(size=20), RNG.uniform(0.1, 4, 20)


def test_the_likelihood_is_that_of_torch() -> None:
    normal = torch.distributions.Normal(torch.from_numpy(MEAN), torch.from_numpy(np.sqrt(VARIANCE)))
    expected = -normal.log_prob(torch.from_numpy(Y)).numpy()
    np.testing.assert_allclose(gaussian_nll(Y, MEAN, VARIANCE), expected, rtol=1e-12)


def test_the_crps_is_the_integral_of_the_squared_difference_of_distributions() -> None:
    for y, mean, variance in zip(Y, MEAN, VARIANCE, strict=True):
        cdf = NormalDist(mean, variance**0.5).cdf
        below = integrate.quad(lambda x, cdf=cdf: cdf(x) ** 2, mean - 40, y, limit=400)[0]
        above = integrate.quad(lambda x, cdf=cdf: (1 - cdf(x)) ** 2, y, mean + 40, limit=400)[0]
        assert gaussian_crps(np.array([y]), np.array([mean]), np.array([variance]))[0] == pytest.approx(
            below + above, abs=1e-7
        )


def test_the_crps_of_a_standard_normal_at_its_mean() -> None:
    found = gaussian_crps(np.zeros(1), np.zeros(1), np.ones(1))[0]
    assert found == pytest.approx(0.23369497725510913, abs=1e-14)  # (√2 - 1) / √π


def test_normal_quantiles() -> None:
    for level in (0.5, 0.8, 0.9, 0.95):
        assert normal_quantile(level) == pytest.approx(NormalDist().inv_cdf(0.5 + level / 2), abs=1e-12)


def test_pit_counts_by_hand() -> None:
    # Φ(-3) = .001, Φ(0) = .5 (on the edge, so in the bin above), Φ(1) = .841, Φ(9) = 1 (the last bin is closed)
    y = np.array([-6.0, 0.0, 2.0, 18.0])
    assert pit_counts(y, np.zeros(4), np.full(4, 4.0)) == [1, 0, 0, 0, 0, 1, 0, 0, 1, 1]


def test_pit_of_its_own_distribution_is_even() -> None:
    y = stats.norm(3, 2).ppf((np.arange(1000) + 0.5) / 1000)
    assert pit_counts(y, np.full(1000, 3.0), np.full(1000, 4.0)) == [100] * 10


def test_accuracy_by_hand() -> None:
    y = np.arange(101.0)
    found = accuracy(y, y + 4.9)
    assert found["n"] == 101
    assert found["pearson_r"] == pytest.approx(1.0)
    assert found["rmse"] == pytest.approx(4.9)
    assert found["nmae"] == pytest.approx(0.05)  # 4.9 of the range from 1 to 99
    assert found["r2"] == pytest.approx(1 - 4.9**2 / 850)  # the variance of 0..100 is (101² - 1) / 12
    flat = accuracy(np.ones(3), np.arange(3.0))
    assert flat["pearson_r"] is flat["r2"] is flat["nmae"] is None


def test_correlation_needs_variation() -> None:
    assert pearson(np.array([1.0]), np.array([2.0])) is None
    assert pearson(np.ones(4), np.arange(4.0)) is None
    assert pearson(Y, MEAN) == pytest.approx(stats.pearsonr(Y, MEAN).statistic)


def test_coverage_before_and_after_by_hand() -> None:
    y = np.array([0.5, 1.0, 1.9, 3.0])
    found = coverage(
        y, np.zeros(4), np.ones(4), np.full(4, 4.0), np.tile([0.5, np.inf], (4, 1)), [0.5, 0.95]
    )  # normal quantiles .674 and 1.960
    assert found == {
        "level": [0.5, 0.95],
        "as_predicted": [0.25, 0.75],
        "scaled": [0.5, 1.0],  # standard deviation 2: 1.349 and 3.920
        "conformal": [0.5, 1.0],  # 1 is within 0.5 · 2
        "unbounded": [0, 4],
    }


def test_without_calibration_there_is_no_coverage_after_it() -> None:
    nothing = np.full(4, np.nan)
    found = coverage(np.zeros(4), np.zeros(4), np.ones(4), nothing, np.full((4, 1), np.nan), [0.9])
    assert found["as_predicted"] == [1.0]
    assert found["scaled"] is found["conformal"] is found["unbounded"] is None


def test_within_species_the_order_of_species_says_nothing() -> None:
    species = ["a"] * 3 + ["b"] * 3 + ["c", None]
    y = np.array([1.0, 2.0, 3.0, 11.0, 12.0, 13.0, 50.0, 7.0])
    opposite = np.array([3.0, 2.0, 1.0, 103.0, 102.0, 101.0, 500.0, 7.0])
    assert np.corrcoef(y, opposite)[0, 1] > 0.9
    found = within_group_correlation(y, opposite, species)
    assert found == {"pearson_r": pytest.approx(-1.0), "n": 6, "groups": 2}


def test_within_species_skips_what_is_missing() -> None:
    y = np.array([1.0, np.nan, 3.0, 4.0])
    mean = np.array([1.0, 2.0, np.nan, 9.0])
    assert within_group_correlation(y, mean, ["a"] * 4) == {"pearson_r": pytest.approx(1.0), "n": 2, "groups": 1}
    assert within_group_correlation(y, mean, ["a", "b", "c", "d"]) == {"pearson_r": None, "n": 0, "groups": 0}
