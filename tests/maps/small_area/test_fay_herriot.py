from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from maps.small_area.fay_herriot import FayHerriot, Method, fit_fay_herriot, predict_fay_herriot
from plant_traits.errors import TableError

Array = npt.NDArray[np.float64]


def draw(
    seed: int, n: int, variances: tuple[float, ...] = (0.5,)
) -> tuple[Array, Array, Array, npt.NDArray[np.int64], Array]:
    """Direct estimates, their variances, covariates, groups and true means of n areas."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % len(variances)
    x = np.column_stack([np.ones(n), rng.normal(size=n)])
    sampling = rng.gamma(2.0, 0.3, n) + 0.02
    truth = x @ [1.0, 0.7] + rng.normal(size=n) * np.sqrt(np.asarray(variances)[group])
    return truth + rng.normal(size=n) * np.sqrt(sampling), sampling, x, group, truth


def dense_log_likelihood(
    variance: Array, y: Array, sampling: Array, x: Array, group: npt.NDArray[np.int64], method: Method
) -> float:
    """The likelihood by its definition, with n × n matrices."""
    v = np.diag(variance[group] + sampling)
    inverse = np.linalg.inv(v)
    beta = np.linalg.solve(x.T @ inverse @ x, x.T @ inverse @ y)
    residual = y - x @ beta
    found = -0.5 * np.linalg.slogdet(v)[1] - 0.5 * residual @ inverse @ residual
    return float(found - (0.5 * np.linalg.slogdet(x.T @ inverse @ x)[1] if method == "reml" else 0.0))


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(("n", "variances"), [(15, (0.5,)), (60, (0.2, 1.5)), (90, (0.1, 0.6, 1.2))])
def test_variances_are_where_the_dense_likelihood_is_highest(
    method: Method, n: int, variances: tuple[float, ...]
) -> None:
    y, sampling, x, group, _ = draw(n, n, variances)
    fitted = fit_fay_herriot(y, sampling, x, group, method=method)
    found = minimize(
        lambda p: -dense_log_likelihood(np.exp(p), y, sampling, x, group, method),
        np.zeros(len(variances)),
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000},
    )
    assert fitted.converged
    np.testing.assert_allclose(fitted.variance, np.exp(found.x), rtol=1e-5, atol=1e-9)
    inverse = np.linalg.inv(np.diag(fitted.variance[group] + sampling))
    np.testing.assert_allclose(fitted.covariance, np.linalg.inv(x.T @ inverse @ x), rtol=1e-9)
    np.testing.assert_allclose(fitted.coefficients, fitted.covariance @ x.T @ inverse @ y, rtol=1e-9)


@pytest.mark.parametrize(("method", "freedom"), [("reml", 18), ("ml", 20)])
def test_equal_sampling_variances_have_a_closed_form(method: Method, freedom: int) -> None:
    rng = np.random.default_rng(5)
    x = np.column_stack([np.ones(20), np.arange(20.0)])
    y = x @ [2.0, 0.1] + rng.normal(0, 1.5, 20)
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    fitted = fit_fay_herriot(y, np.full(20, 0.3), x, method=method)
    assert fitted.variance[0] == pytest.approx(residual @ residual / freedom - 0.3, rel=1e-8)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_variance_is_zero_where_areas_scatter_less_than_their_sampling(method: Method) -> None:
    y = np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02, 0.98, 1.0, 1.0, 1.01])
    fitted = fit_fay_herriot(y, np.full(11, 0.5), np.ones((11, 1)), method=method)
    assert fitted.variance[0] == 0.0
    assert fitted.converged
    predicted = predict_fay_herriot(fitted, np.ones((11, 1)), y, np.full(11, 0.5))
    np.testing.assert_allclose(predicted.location, y.mean())
    np.testing.assert_array_equal(predicted.direct_share, np.zeros(11))


def dense_mean_squared_error(model: FayHerriot, sampling: Array, x: Array) -> Array:
    """g1 + g2 + 2 g3 of one group, an area at a time."""
    a = float(model.variance[0])
    information = sum(1 / (a + s) ** 2 for s in sampling)
    gram = sum(np.outer(row, row) / (a + s) for row, s in zip(x, sampling, strict=True))
    found = []
    for row, s in zip(x, sampling, strict=True):
        shrinkage = s / (a + s)
        g1 = a * s / (a + s)
        g2 = shrinkage**2 * row @ np.linalg.solve(gram, row)
        g3 = s**2 / (a + s) ** 3 * 2 / information
        found.append(g1 + g2 + 2 * g3)
    return np.array(found)


def test_mean_squared_error_is_the_sum_of_its_terms() -> None:
    y, sampling, x, _, _ = draw(3, 25)
    fitted = fit_fay_herriot(y, sampling, x)
    predicted = predict_fay_herriot(fitted, x, y, sampling)
    np.testing.assert_allclose(predicted.mean_squared_error, dense_mean_squared_error(fitted, sampling, x), rtol=1e-10)
    a = fitted.variance[0]
    expected = a / (a + sampling) * y + sampling / (a + sampling) * (x @ fitted.coefficients)
    np.testing.assert_allclose(predicted.location, expected, rtol=1e-10)


def test_mean_squared_error_by_maximum_likelihood_makes_up_for_the_bias_of_the_variance() -> None:
    y, sampling, x, _, _ = draw(3, 25)
    fitted = fit_fay_herriot(y, sampling, x, method="ml")
    total = fitted.variance[0] + sampling
    gram = (x.T / total) @ x
    bias = -np.trace(np.linalg.solve(gram, (x.T / total**2) @ x)) / (1 / total**2).sum()
    assert fitted.variance_bias[0] == pytest.approx(bias, rel=1e-10)
    predicted = predict_fay_herriot(fitted, x, y, sampling).mean_squared_error
    expected = dense_mean_squared_error(fitted, sampling, x) - bias * (sampling / total) ** 2
    np.testing.assert_allclose(predicted, expected, rtol=1e-10)


def test_mean_squared_error_is_that_of_repeated_draws() -> None:
    errors, told, naive = [], [], []
    for seed in range(200):
        y, sampling, x, _, truth = draw(1000, 20)
        rng = np.random.default_rng(seed)
        truth = x @ [1.0, 0.7] + rng.normal(0, np.sqrt(0.5), 20)
        y = truth + rng.normal(size=20) * np.sqrt(sampling)
        fitted = fit_fay_herriot(y, sampling, x)
        predicted = predict_fay_herriot(fitted, x, y, sampling)
        errors.append((predicted.location - truth) ** 2)
        told.append(predicted.mean_squared_error)
        naive.append(predicted.direct_share * sampling)
    assert np.mean(told) == pytest.approx(np.mean(errors), rel=0.06)
    assert np.mean(naive) < 0.9 * np.mean(errors)


def test_area_without_direct_estimate_has_the_covariates_prediction() -> None:
    y, sampling, x, group, _ = draw(8, 40, (0.3, 0.9))
    fitted = fit_fay_herriot(y, sampling, x, group)
    new = np.array([[1.0, 2.0], [1.0, -1.0]])
    predicted = predict_fay_herriot(fitted, new, group=np.array([0, 1]))
    np.testing.assert_allclose(predicted.location, new @ fitted.coefficients)
    of_coefficients = [row @ fitted.covariance @ row for row in new]
    np.testing.assert_allclose(predicted.mean_squared_error, fitted.variance + of_coefficients)
    np.testing.assert_array_equal(predicted.direct_share, [0.0, 0.0])


def test_exact_direct_estimate_is_kept() -> None:
    y, sampling, x, _, _ = draw(2, 30)
    sampling[4] = 0.0
    predicted = predict_fay_herriot(fit_fay_herriot(y, sampling, x), x, y, sampling)
    assert predicted.location[4] == pytest.approx(y[4])
    assert predicted.mean_squared_error[4] == pytest.approx(0.0, abs=1e-12)


def test_small_group_takes_the_variance_of_all() -> None:
    y, sampling, x, _, _ = draw(11, 60)
    group = np.where(np.arange(60) < 4, 1, 0)
    fitted = fit_fay_herriot(y, sampling, x, group, groups=3)
    together = fit_fay_herriot(y, sampling, x)
    np.testing.assert_array_equal(fitted.pooled, [False, True, True])
    np.testing.assert_allclose(fitted.variance[1:], together.variance[0])
    assert fitted.variance[0] != pytest.approx(together.variance[0], rel=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100), shift=st.floats(-50, 50))
def test_order_and_unit_do_not_matter(seed: int, scale: float, shift: float) -> None:
    y, sampling, x, group, _ = draw(seed, 40, (0.3, 0.8))
    order = np.random.default_rng(seed).permutation(40)
    plain = predict_fay_herriot(fit_fay_herriot(y, sampling, x, group), x, y, sampling, group)
    z, s = scale * y + shift, scale**2 * sampling
    moved = predict_fay_herriot(
        fit_fay_herriot(z[order], s[order], x[order], group[order]), x[order], z[order], s[order], group[order]
    )
    np.testing.assert_allclose(moved.location, (scale * plain.location + shift)[order], rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(moved.mean_squared_error, scale**2 * plain.mean_squared_error[order], rtol=1e-5)


def test_one_area_is_too_few() -> None:
    with pytest.raises(TableError, match=r"more areas than covariates.* found 1 areas and 1 covariates"):
        fit_fay_herriot(np.ones(1), np.ones(1), np.ones((1, 1)))


def test_bad_input_is_named() -> None:
    y, sampling, x, _, _ = draw(1, 20)
    with pytest.raises(TableError, match="none of which repeats another"):
        fit_fay_herriot(y, sampling, np.column_stack([x, x[:, 1]]))
    with pytest.raises(TableError, match="variances of at least 0"):
        fit_fay_herriot(y, -sampling, x)
    with pytest.raises(TableError, match="finite estimates"):
        fit_fay_herriot(np.where(np.arange(20) == 3, np.nan, y), sampling, x)
    with pytest.raises(TableError, match="found 20, 19, 20"):
        fit_fay_herriot(y, sampling[1:], x)
