from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.small_area.errors import CellErrors, Looks, combine, fit_cell_errors
from plant_traits.errors import TableError
from plant_traits.grid import FloatArray

SHARED, PLACE, COMMON, FAR = 0.2, 0.5, 0.15, 0.8


def draw(seed: int, n: int, *, photos: float = 0.6, plots: float = 0.6, power: float = 0.0) -> Looks:
    """Looks at n cells of two biomes with errors of the variances above; some cells lack photos, plots or both."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1, n)
    has_d, has_p = rng.random(n) < photos, rng.random(n) < plots
    stated = np.exp(rng.normal(0, 0.4, n))
    relative = (stated / np.exp(np.log(stated).mean())) ** power
    root = np.linalg.cholesky(np.array([[SHARED, COMMON], [COMMON, PLACE]]))
    of_d, of_z = root @ rng.normal(size=(2, n))
    of_z = np.where(has_d, of_z, rng.normal(0, np.sqrt(FAR), n)) * np.sqrt(relative)
    sampling, plot_error = rng.gamma(1.0, 0.3, n) + 0.02, 0.3 / rng.integers(1, 4, n)
    return Looks(
        np.where(has_d, truth + of_d + rng.normal(size=n) * np.sqrt(sampling), np.nan),
        np.where(has_d, sampling, np.nan),
        truth + of_z,
        stated,
        np.where(has_p, truth + rng.normal(size=n) * np.sqrt(plot_error), np.nan),
        plot_error,
        rng.integers(1, 3, n),
    )


def test_variances_are_found() -> None:
    errors = fit_cell_errors(draw(1, 12_000), 3)
    assert errors.shared[0] == pytest.approx(SHARED, abs=0.03)
    assert errors.place[0] == pytest.approx(PLACE, abs=0.04)
    assert errors.common[0] == pytest.approx(COMMON, abs=0.03)
    assert errors.place_without[0] == pytest.approx(FAR, abs=0.04)
    assert errors.power == pytest.approx(0.0, abs=0.1)


def test_variances_agree_with_cross_products_of_residuals() -> None:
    looks = draw(2, 12_000)
    known = np.isfinite(looks.direct) & np.isfinite(looks.plot)
    of_d, of_z = (looks.plot - looks.direct)[known], (looks.plot - looks.geospatial)[known]
    v, s = looks.plot_error[known], looks.sampling[known]
    errors = fit_cell_errors(looks, 3)
    assert errors.shared[0] == pytest.approx(np.mean(of_d**2 - s - v), abs=0.03)
    assert errors.place[0] == pytest.approx(np.mean(of_z**2 - v), abs=0.03)
    assert errors.common[0] == pytest.approx(np.mean(of_d * of_z - v), abs=0.03)


def test_cells_without_plots_tell_of_the_covariance() -> None:
    few = fit_cell_errors(draw(3, 4_000, plots=0.05), 3)
    assert few.shared[0] + few.place[0] - 2 * few.common[0] == pytest.approx(SHARED + PLACE - 2 * COMMON, abs=0.05)


def test_stated_variance_is_followed_where_errors_go_with_it() -> None:
    looks = draw(4, 8_000, power=1.0)
    errors = fit_cell_errors(looks, 3)
    assert errors.power == pytest.approx(1.0, abs=0.15)
    assert errors.typical == pytest.approx(np.exp(np.log(looks.stated).mean()))
    combined = combine(looks, errors)
    far = ~np.isfinite(looks.direct)
    relative = (looks.stated[far] / errors.typical) ** errors.power
    np.testing.assert_allclose(combined.variance[far], errors.place_without[looks.group[far]] * relative)


def test_one_cell_in_a_hundred_adds_at_most_a_third_however_wrong() -> None:
    looks = draw(5, 3_000)
    wrong = looks.plot.copy()
    wrong[::100] += 1e4
    clean, spoilt = fit_cell_errors(looks, 3), fit_cell_errors(replace(looks, plot=wrong), 3)
    for name in ("shared", "place", "common", "place_without"):
        assert 0.9 < getattr(spoilt, name)[0] / getattr(clean, name)[0] < 4 / 3


def test_group_of_few_cells_stays_near_all_and_one_without_is_all() -> None:
    looks = draw(6, 3_000)
    group = np.where(np.arange(3_000) < 4, 2, 1)
    errors = fit_cell_errors(replace(looks, group=group), 4)
    for name in ("shared", "place", "common", "place_without"):
        of = getattr(errors, name)
        assert of[3] == pytest.approx(of[0], rel=1e-3)
        assert of[2] == pytest.approx(of[0], rel=0.35)
    assert errors.three[3] == 0
    assert errors.three[1] + errors.three[2] == errors.three[0]


def test_biomes_that_differ_are_told_apart() -> None:
    looks = draw(7, 8_000)
    rng = np.random.default_rng(0)
    noisy = looks.geospatial + np.where(looks.group == 2, rng.normal(0, 1.0, 8_000), 0.0)
    errors = fit_cell_errors(replace(looks, geospatial=noisy), 3)
    assert errors.place[1] == pytest.approx(PLACE, abs=0.07)
    assert errors.place[2] == pytest.approx(PLACE + 1.0, abs=0.15)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(12, 60), photos=st.floats(0, 1), scale=st.floats(1e-3, 1e3))
def test_matrix_is_positive_definite_and_weights_are_shares(seed: int, n: int, photos: float, scale: float) -> None:
    looks = draw(seed, n, photos=photos, plots=1.0)
    scaled = Looks(
        scale * looks.direct,
        scale**2 * looks.sampling,
        scale * looks.geospatial,
        looks.stated,
        scale * looks.plot,
        scale**2 * looks.plot_error,
        looks.group,
    )
    errors = fit_cell_errors(scaled, 3)
    assert (errors.shared > 0).all()
    assert (errors.shared * errors.place - errors.common**2 > 0).all()
    combined = combine(scaled, errors)
    assert ((combined.photo_share >= 0) & (combined.photo_share <= 1)).all()
    assert (combined.variance > 0).all()


def errors_of(shared: float, place: float, common: float, far: float = FAR) -> CellErrors:
    one, none = np.ones(1), np.zeros(1, dtype=np.int64)
    return CellErrors(shared * one, place * one, far * one, common * one, none, none, none, 0.0, 1.0)


def one_cell(direct: float, sampling: float, geospatial: float) -> Looks:
    def array(value: float) -> FloatArray:
        return np.array([value])

    return Looks(
        array(direct), array(sampling), array(geospatial), array(1.0), array(np.nan), array(0.0), np.zeros(1, np.int64)
    )


def test_no_other_weight_has_less_variance() -> None:
    found = combine(one_cell(2.0, 0.3, 1.0), errors_of(0.2, 0.6, 0.1))
    weight = np.linspace(0, 1, 100_001)
    variance = weight**2 * 0.5 + (1 - weight) ** 2 * 0.6 + 2 * weight * (1 - weight) * 0.1
    assert found.variance[0] == pytest.approx(variance.min(), rel=1e-8)
    assert found.photo_share[0] == pytest.approx(weight[variance.argmin()], abs=1e-5)
    assert found.location[0] == pytest.approx(1.0 + found.photo_share[0])


@pytest.mark.parametrize(
    ("errors", "sampling", "share", "variance"),
    [
        (errors_of(0.2, 0.5, 0.3), 3.0, (0.5 - 0.3) / (0.5 + 3.2 - 0.6), None),
        (errors_of(0.4, 0.3, 0.33), 0.0, 0.0, 0.3),  # place is better than photos ever get
        (errors_of(0.1, 0.9, 0.2), 0.0, 1.0, 0.1),  # photos are better than any share of place
    ],
)
def test_weights_are_cut_to_shares(errors: CellErrors, sampling: float, share: float, variance: float | None) -> None:
    found = combine(one_cell(1.0, sampling, 0.0), errors)
    assert found.photo_share[0] == pytest.approx(share)
    assert found.location[0] == pytest.approx(share)
    if variance is not None:
        assert found.variance[0] == pytest.approx(variance)


def test_cell_with_one_look_has_that_one() -> None:
    errors = errors_of(0.2, 0.6, 0.1)
    island = combine(one_cell(2.0, 0.3, np.nan), errors)
    assert (island.location[0], island.photo_share[0]) == (2.0, 1.0)
    assert island.variance[0] == pytest.approx(0.5)
    empty = combine(one_cell(np.nan, np.nan, 1.5), errors)
    assert (empty.location[0], empty.photo_share[0], empty.variance[0]) == (1.5, 0.0, FAR)
    nothing = combine(one_cell(np.nan, np.nan, np.nan), errors)
    assert np.isnan([nothing.location[0], nothing.photo_share[0], nothing.variance[0]]).all()


def test_too_few_plots_and_bad_looks_are_named() -> None:
    looks = draw(8, 9, plots=1.0)
    with pytest.raises(TableError, match="at least 10 mapped cells with plots, found 9"):
        fit_cell_errors(looks, 3)
    with pytest.raises(TableError, match="plot_error of at least 0"):
        replace(looks, plot_error=np.full(9, -1.0))
    with pytest.raises(TableError, match="the same cells"):
        replace(looks, plot=np.zeros(3))
