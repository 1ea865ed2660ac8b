from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from maps.estimators.crossed_effects import cell_blocks
from maps.estimators.estimate import mean, mixed, mixed_equal, variance_components
from maps.estimators.mixed import CellComponents, predict_means
from maps.moments.addition import merge

MomentsOf = Callable[..., pd.DataFrame]


def draw(
    seed: int,
    cells: int,
    n: int,
    *,
    pools: tuple[int, int] = (25, 15),
    sd: tuple[float, float] = (0.35, 0.15),
    first: int = 0,
) -> pd.DataFrame:
    """Photos of species of Zipf's frequencies by observers; the true mean of every cell is 0."""
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, pools[0] + 1)
    species = rng.choice(pools[0], (cells, n), p=frequency / frequency.sum())
    observer = rng.integers(0, pools[1], (cells, n))
    v = 0.09 * np.exp(rng.normal(0, 1, (cells, n)))
    y = np.take_along_axis(rng.normal(0, sd[0], (cells, pools[0])), species, 1) + rng.normal(0, np.sqrt(v))
    y += np.take_along_axis(rng.normal(0, sd[1], (cells, pools[1])), observer, 1)
    return pd.DataFrame(
        {
            "cell": first + np.repeat(np.arange(cells), n),
            "trait": "height",
            "species": species.ravel().astype(str),
            "observer": observer.ravel().astype(str),
            "y": y.ravel(),
            "v": v.ravel(),
        }
    )


def draw_shares(
    seed: int, cells: int, n: int, *, own_choice: float = 0.0, observers: int = 15
) -> tuple[pd.DataFrame, np.ndarray]:
    """Photos of cells, and the shares of species of their communities, which differ from cell to cell.

    With probability ``own_choice`` a photo shows the species that its observer chose once in that cell.
    """
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, 26) ** rng.uniform(0.7, 1.3, (cells, 1))
    share /= share.sum(axis=1, keepdims=True)
    cumulative = share.cumsum(axis=1)

    def species(size: int) -> np.ndarray:
        return (rng.uniform(size=(cells, size, 1)) * (1 - 1e-12) > cumulative[:, None]).sum(axis=2)

    observer = rng.integers(0, observers, (cells, n))
    chosen = np.take_along_axis(species(observers), observer, 1)
    shown = np.where(rng.uniform(size=(cells, n)) < own_choice, chosen, species(n))
    of_species, of_observer = rng.normal(0, 0.35, (cells, 25)), rng.normal(0, 0.15, (cells, observers))
    v = 0.09 * np.exp(rng.normal(0, 1, (cells, n)))
    y = np.take_along_axis(of_species, shown, 1) + np.take_along_axis(of_observer, observer, 1)
    columns = {"cell": np.repeat(np.arange(cells), n), "trait": "height", "v": v.ravel()}
    columns |= {"species": shown.ravel().astype(str), "observer": observer.ravel().astype(str)}
    columns["y"] = (y + rng.normal(0, np.sqrt(v))).ravel()
    return pd.DataFrame(columns), (share * of_species).sum(axis=1)


def components_of(n: int, a: float, b: float, covariance: np.ndarray | None = None) -> CellComponents:
    """The same components for n cells."""
    covariance = np.zeros((2, 2)) if covariance is None else covariance
    variances = (np.tile([a, b], (n, 1)), np.tile(covariance, (n, 1, 1)))
    return CellComponents(*variances, np.full(n, 0.1), np.zeros(n), np.ones(n), np.zeros(n))


def dense(own: pd.DataFrame, a: float, b: float) -> tuple[float, float, np.ndarray]:
    """Return mean, standard error and the slopes of the variance by a and b, with V written out."""
    y, species, observer = (own[name].to_numpy() for name in ("y", "species", "observer"))
    by_species, by_observer = (group[:, None] == group for group in (species, observer))
    inverse = np.linalg.inv(np.diag(own["v"]) + a * by_species + b * by_observer)
    ones = inverse.sum(axis=0)
    variance = 1 / ones.sum()
    slope = variance**2 * np.array([ones @ by_species @ ones, ones @ by_observer @ ones])
    return ones @ y * variance, variance**0.5, slope


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), a=st.sampled_from([0.0, 0.1225, 4.0]), b=st.sampled_from([0.0, 0.0225]))
def test_means_errors_and_degrees_of_freedom_equal_dense_algebra(seed: int, a: float, b: float) -> None:
    photos = draw(seed, 8, 20, pools=(6, 5))
    photos["y"] += 1000.0
    species, observer = (photos.groupby(["cell", name]).ngroup().to_numpy() for name in ("species", "observer"))
    cell = photos["cell"].to_numpy()
    covariance = np.array([[0.02, -0.001], [-0.001, 0.003]])
    blocks = list(cell_blocks(1 / photos["v"].to_numpy(), species, observer, cell))
    none = np.zeros(len(photos))
    means = predict_means(blocks, photos["y"].to_numpy(), components_of(8, a, b, covariance), none, np.zeros(8))
    location, error, freedom = means.location, means.standard_error, means.degrees_of_freedom
    for c, own in photos.groupby("cell"):
        expected, expected_error, slope = dense(own, a, b)
        assert location[c] == pytest.approx(expected, rel=1e-12)
        assert error[c] == pytest.approx(expected_error, rel=1e-10)
        satterthwaite = 2 * expected_error**4 / (slope @ covariance @ slope)
        assert freedom[c] == pytest.approx(max(satterthwaite, 1.0), rel=1e-9)


def henderson(own: pd.DataFrame, a: float, b: float, share: pd.Series) -> tuple[float, float]:
    """Return the prediction of mu + sum of q_s a_s and the variance of its error, from the mixed-model equations."""
    species, observer = (pd.get_dummies(own[name]).astype(float) for name in ("species", "observer"))
    design = np.column_stack([np.ones(len(own)), species, observer])
    prior = np.diag([0.0, *np.full(species.shape[1], 1 / a), *np.full(observer.shape[1], 1 / b)])
    inverse = np.linalg.inv(design.T @ (design / own["v"].to_numpy()[:, None]) + prior)
    wanted = np.concatenate([[1.0], share.reindex(species.columns), np.zeros(observer.shape[1])])
    return wanted @ inverse @ design.T @ (own["y"] / own["v"]).to_numpy(), wanted @ inverse @ wanted


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), a=st.sampled_from([0.01, 0.1225, 4.0]), b=st.sampled_from([1e-3, 0.0225]))
def test_predictions_with_shares_equal_the_mixed_model_equations(seed: int, a: float, b: float) -> None:
    photos = draw(seed, 6, 20, pools=(6, 5))
    species, observer = (photos.groupby(["cell", name]).ngroup().to_numpy() for name in ("species", "observer"))
    blocks = list(cell_blocks(1 / photos["v"].to_numpy(), species, observer, photos["cell"].to_numpy()))
    covariance = np.array([[0.02, -0.001], [-0.001, 0.003]])
    share, share_error = np.random.default_rng(seed).uniform(0, 0.05, len(photos)), np.linspace(0, 0.1, 6)
    found = predict_means(blocks, photos["y"].to_numpy(), components_of(6, a, b, covariance), share, share_error)
    for c, own in photos.assign(share=share).groupby("cell"):
        shares = own.groupby("species")["share"].sum()
        location, variance = henderson(own, a, b, shares)
        assert found.location[c] == pytest.approx(location, rel=1e-9, abs=1e-9)
        assert found.standard_error[c] == pytest.approx((variance + a * share_error[c]) ** 0.5, rel=1e-9)
        by_a, by_b = (
            (henderson(own, a + x, b + y, shares)[1] - henderson(own, a - x, b - y, shares)[1]) / (2 * (x + y))
            for x, y in ((1e-4 * a, 0.0), (0.0, 1e-4 * b))
        )
        slope = np.array([by_a + share_error[c], by_b])
        satterthwaite = 2 * found.standard_error[c] ** 4 / (slope @ covariance @ slope)
        assert found.degrees_of_freedom[c] == pytest.approx(max(satterthwaite, 1.0), rel=1e-4)


def test_community_means_from_moments_equal_the_equations_photo_by_photo(moments_of: MomentsOf) -> None:
    photos = draw(1, 30, 25)
    found, components = mixed(moments_of(photos)), variance_components(moments_of(photos)).iloc[0]
    spread = (1 - components["concentration"]) / components["concentration"]
    for _, row in found.iterrows():
        own = photos[photos["cell"] == row["cell"]]
        of_row = own.groupby(["species", "observer"])["y"].transform("mean")
        level = np.exp(-components["variance_slope"] * (of_row - own["y"].mean()))
        among_plants = 0.5 * own["v"].mean()
        own = own.assign(v=own["v"] * components["noise"] * level)
        of_observer = own.groupby("observer")["y"].transform("size")
        draws = 1 / (1 + components["clumping"] * (of_observer - 1))
        share = draws.groupby(own["species"]).sum() / (draws.sum() + spread)
        location, variance = henderson(own, components["species_variance"], components["observer_variance"], share)
        unsure = (1 - (share**2).sum()) / (draws.sum() + spread + 1)
        assert row["location"] == pytest.approx(location, abs=1e-9)
        expected = (variance + components["species_variance"] * unsure) ** 0.5
        assert row["standard_error"] == pytest.approx(expected, rel=1e-9)
        differing = components["species_variance"] * (1 - (share**2).sum() - unsure)
        assert row["variance_among_plants"] == pytest.approx(differing + among_plants, rel=1e-9)


def test_one_photo_is_off_by_how_its_species_differs_from_the_community(moments_of: MomentsOf) -> None:
    """Of one plant of a community of concentration c, the species is off by the species variance times 1 - c."""
    moments = moments_of(pd.concat([draw(2, 200, 15), draw(3, 1, 1, first=900)]))
    row, components = mixed(moments).set_index("cell").loc[900], variance_components(moments).iloc[0]
    photo = moments[moments["cell"] == 900].iloc[0]
    of_species = components["species_variance"] * (1 - components["concentration"])
    expected = of_species + components["observer_variance"] + photo["sum_v"]
    assert row["location"] == pytest.approx(photo["sum_y"])
    assert row["standard_error"] == pytest.approx(expected**0.5)
    assert row["variance_among_plants"] == pytest.approx(of_species + photo["sum_aleatoric"])


def test_estimates_from_moments_equal_dense_algebra_photo_by_photo(moments_of: MomentsOf) -> None:
    photos = draw(1, 30, 25)
    found, components = mixed_equal(moments_of(photos)), variance_components(moments_of(photos))
    a, b = components.loc[0, ["species_variance", "observer_variance"]]
    assert (a, b) == (pytest.approx(0.1225, rel=0.4), pytest.approx(0.0225, rel=0.9))
    for _, row in found.iterrows():
        location, error, slope = dense(photos[photos["cell"] == row["cell"]], a, b)
        assert row["location"] == pytest.approx(location, abs=1e-10)
        assert row["standard_error"] == pytest.approx(error, rel=1e-10)
        errors = components.loc[0, ["species_variance_error", "observer_variance_error"]].to_numpy(dtype=float)
        # The two estimates are nearly uncorrelated, so that these come close to the degrees of freedom.
        freedom = 2 * error**4 / ((slope * errors) ** 2).sum()
        half = row["interval_upper"] - row["location"]
        assert half == pytest.approx(student.ppf(0.975, freedom) * error, rel=2e-3)
        assert row["location"] - row["interval_lower"] == pytest.approx(half)


def test_diagnostics_are_those_of_the_other_estimators_but_plants_vary_as_pooled_species_do(
    moments_of: MomentsOf,
) -> None:
    moments = moments_of(draw(2, 20, 15))
    found, components = mixed_equal(moments), variance_components(moments)
    other = mean(moments)
    pd.testing.assert_frame_equal(mixed(moments)[list(found)[6:-1]], found[list(found)[6:-1]])
    same = ["cell", "trait", "n_photos", "n_species", "n_observers", "n_effective", "tau2", "i2"]
    pd.testing.assert_frame_equal(found[same], other[same])
    photos = moments.groupby("cell")[["n", "sum_aleatoric"]].sum()
    expected = components.loc[0, "species_variance"] + photos["sum_aleatoric"] / photos["n"]
    np.testing.assert_allclose(found["variance_among_plants"], expected)


def coverage(found: pd.DataFrame, truth: np.ndarray | float) -> float:
    return float(((found["interval_lower"] < truth) & (found["interval_upper"] > truth)).mean())


def test_intervals_cover_in_rich_and_sparse_cells_and_the_error_is_far_below_that_of_the_mean(
    moments_of: MomentsOf,
) -> None:
    # 1,500 cells covered with probability .95 lie within these bounds 999 times in 1,000.
    for n, gain in ((60, 0.80), (15, 0.93), (4, 0.97)):
        moments = moments_of(draw(3, 1500, n))
        found, other = mixed_equal(moments), mean(moments)
        assert 0.931 < coverage(found, 0.0) < 0.968
        assert (found["location"] ** 2).mean() ** 0.5 < gain * (other["location"] ** 2).mean() ** 0.5
    assert (found["n_species"] <= 4).all()


@pytest.mark.parametrize(("n", "gain"), [(60, 0.90), (15, 0.92), (4, 0.93)])
def test_intervals_cover_the_community_mean_with_less_error_than_the_mean(
    moments_of: MomentsOf, n: int, gain: float
) -> None:
    photos, community = draw_shares(n, 1500, n)
    moments = moments_of(photos)
    found, other = mixed(moments), mean(moments)
    assert 0.931 < coverage(found, community) < 0.968
    assert ((found["location"] - community) ** 2).mean() < (gain**2) * ((other["location"] - community) ** 2).mean()


def test_photos_of_observers_who_repeat_a_species_count_as_fewer_draws(moments_of: MomentsOf) -> None:
    """Half of the pairs of photos of an observer show the species that the observer chose, 0.7 squared."""
    photos, community = draw_shares(7, 1500, 40, own_choice=0.7, observers=6)
    moments = moments_of(photos)
    components = variance_components(moments)
    assert components.loc[0, "clumping"] == pytest.approx(0.49, abs=0.03)
    found, naive = mixed(moments), mixed(moments, components=components.assign(clumping=0.0))
    assert 0.931 < coverage(found, community) < 0.968
    assert coverage(naive, community) < 0.90


def test_few_cells_widen_the_interval(moments_of: MomentsOf) -> None:
    """Where the variances come from two cells of 15 photos, normal intervals cover about 93 %, these about 95 %."""
    photos = draw(4, 400, 15)
    photos["trait"] = "pair " + (photos["cell"] // 2).astype(str)
    found = mixed_equal(moments_of(photos))
    covered = (found["interval_lower"].lt(0) & found["interval_upper"].gt(0)).mean()
    assert 0.92 < covered < 0.98
    assert (found["location"].abs() < 1.96 * found["standard_error"]).mean() < covered - 0.01


def test_traits_do_not_share_variances(moments_of: MomentsOf) -> None:
    height, sla = draw(9, 20, 20, sd=(0.2, 0.1)), draw(10, 20, 20, sd=(0.9, 0.6)).assign(trait="sla")
    moments = moments_of(pd.concat([height, sla]))
    found = mixed(moments)
    assert variance_components(moments)["trait"].tolist() == ["height", "sla"]
    for name, own in (("height", height), ("sla", sla)):
        rows = found[found["trait"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, mixed(moments_of(own)), check_exact=True)


@pytest.mark.parametrize("seed", range(3))
def test_neither_the_order_of_rows_nor_of_merges_matters(moments_of: MomentsOf, seed: int) -> None:
    photos = draw(seed, 25, 20)
    whole = mixed(moments_of(photos))
    shuffled = moments_of(photos).sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(mixed(shuffled), whole, check_exact=True)
    shard = np.random.default_rng(seed).integers(0, 4, len(photos))
    parts = [moments_of(photos[shard == k]) for k in range(4)]
    for merged in (merge(parts), merge([merge(parts[2:]), merge(parts[:2])])):
        pd.testing.assert_frame_equal(mixed(merged), whole, rtol=1e-9, atol=1e-10)


def test_where_no_cell_has_two_species_the_photos_variance_stands_in(moments_of: MomentsOf) -> None:
    photos = pd.DataFrame(
        {
            "cell": [3, 3, 9],
            "trait": "height",
            "species": ["a", "a", "b"],
            "observer": ["x", "x", "y"],
            "y": [1.0, 2.0, 5.0],
            "v": [0.5, 0.5, 0.2],
        }
    )
    found, components = mixed_equal(moments_of(photos)), variance_components(moments_of(photos))
    assert components.loc[0, ["species_variance", "observer_variance"]].tolist() == [pytest.approx(0.4), 0.0]
    assert found["location"].tolist() == [pytest.approx(1.5), pytest.approx(5.0)]
    np.testing.assert_allclose(found["standard_error"], [(0.4 + 0.25) ** 0.5, (0.4 + 0.2) ** 0.5])
    np.testing.assert_allclose(found["interval_upper"], [1.5 + 1.95996 * 0.65**0.5, 5 + 1.95996 * 0.6**0.5], rtol=1e-5)
    # Nothing is known of how many species a community has: two plants differ with probability 1/2.
    assert components.loc[0, ["concentration", "clumping"]].tolist() == [0.5, 1.0]
    community = mixed(moments_of(photos))
    assert community["location"].tolist() == [pytest.approx(1.5), pytest.approx(5.0)]
    np.testing.assert_allclose(community["standard_error"], [(0.2 + 0.25) ** 0.5, (0.2 + 0.2) ** 0.5])


def test_no_moments_give_no_estimates(moments_of: MomentsOf) -> None:
    none = moments_of(draw(0, 2, 3)).head(0)
    components = variance_components(none)
    assert len(mixed(none)) == len(mixed_equal(none)) == len(components) == 0
    assert "species_variance" in components
