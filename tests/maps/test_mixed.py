from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from maps.crossed_effects import cell_blocks
from maps.estimators import estimate, mean, mixed, mixed_with_components
from maps.mixed import MINIMUM_CELLS, generalised_least_squares
from maps.moments import merge
from maps.variance_components import VarianceComponents
from plant_traits.schemas import MOMENTS


def moments_of(photos: pd.DataFrame) -> pd.DataFrame:
    """Moments of photos with cell, trait, species, observer, y and v."""
    w, y = 1 / photos["v"], photos["y"]
    frame = photos[["cell", "trait", "species", "observer"]].assign(
        evidence="photo",
        n=1,
        sum_w=w,
        sum_wy=w * y,
        sum_wy2=w * y * y,
        sum_y=y,
        sum_y2=y * y,
        sum_v=photos["v"],
        sum_w2=w * w,
        sum_aleatoric=0.5 * photos["v"],
    )
    return merge([frame[MOMENTS.names]])


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
    covariance = np.array([[[0.02, -0.001], [-0.001, 0.003]]])
    components = VarianceComponents(
        np.array([[a, b]]), covariance, np.zeros(1), np.ones(1, dtype=bool), np.zeros(1, dtype=np.int64)
    )
    blocks = list(cell_blocks(1 / photos["v"].to_numpy(), species, observer, cell))
    y, group = photos["y"].to_numpy(), np.zeros(8, dtype=np.int64)
    location, error, freedom = generalised_least_squares(blocks, y, group, components)
    for c, own in photos.groupby("cell"):
        expected, expected_error, slope = dense(own, a, b)
        assert location[c] == pytest.approx(expected, rel=1e-12)
        assert error[c] == pytest.approx(expected_error, rel=1e-10)
        satterthwaite = 2 * expected_error**4 / (slope @ covariance[0] @ slope)
        assert freedom[c] == pytest.approx(max(satterthwaite, 1.0), rel=1e-9)


def test_estimates_from_moments_equal_dense_algebra_photo_by_photo() -> None:
    photos = draw(1, 30, 25)
    found, components = mixed_with_components(moments_of(photos))
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


def test_diagnostics_are_those_of_the_other_estimators_but_plants_vary_as_pooled_species_do() -> None:
    moments = moments_of(draw(2, 20, 15))
    found, components = mixed_with_components(moments)
    other = mean(moments)
    same = ["cell", "trait", "n_photos", "n_species", "n_observers", "n_effective", "tau2", "i2"]
    pd.testing.assert_frame_equal(found[same], other[same])
    photos = moments.groupby("cell")[["n", "sum_aleatoric"]].sum()
    expected = components.loc[0, "species_variance"] + photos["sum_aleatoric"] / photos["n"]
    np.testing.assert_allclose(found["variance_among_plants"], expected)


def test_intervals_cover_in_rich_and_sparse_cells_and_the_error_is_far_below_that_of_the_mean() -> None:
    # 1,500 cells covered with probability .95 lie within these bounds 999 times in 1,000.
    for n, gain in ((60, 0.80), (15, 0.93), (4, 0.97)):
        moments = moments_of(draw(3, 1500, n))
        found, other = mixed(moments), mean(moments)
        covered = ((found["interval_lower"] < 0) & (found["interval_upper"] > 0)).mean()
        assert 0.931 < covered < 0.968
        assert (found["location"] ** 2).mean() ** 0.5 < gain * (other["location"] ** 2).mean() ** 0.5
    assert (found["n_species"] <= 4).all()


def test_few_cells_widen_the_interval() -> None:
    """Where the variances come from two cells of 15 photos, normal intervals cover about 93 %, these about 95 %."""
    photos = draw(4, 400, 15)
    photos["trait"] = "pair " + (photos["cell"] // 2).astype(str)
    found = mixed(moments_of(photos))
    covered = (found["interval_lower"].lt(0) & found["interval_upper"].gt(0)).mean()
    assert 0.92 < covered < 0.98
    assert (found["location"].abs() < 1.96 * found["standard_error"]).mean() < covered - 0.01


def test_a_biome_has_variances_of_its_own_where_its_cells_suffice() -> None:
    quiet, loud = draw(5, 40, 30, sd=(0.1, 0.05)), draw(6, 40, 30, sd=(0.8, 0.5), first=100)
    few = draw(7, MINIMUM_CELLS - 1, 30, sd=(0.8, 0.5), first=200)
    unknown = draw(8, 2, 30, first=300)
    moments = moments_of(pd.concat([quiet, loud, few, unknown]))
    biome = {c: "quiet" for c in range(40)} | {c: "loud" for c in range(100, 140)} | {c: "few" for c in range(200, 209)}
    found, components = mixed_with_components(moments, biome)
    assert components["biome"].fillna("all").tolist() == ["loud", "quiet", "all"]
    assert components["cells"].tolist() == [40, 40, MINIMUM_CELLS - 1 + 2]
    assert components["cells_of_species"].tolist() == [40, 40, 91]
    loud_found, quiet_found, all_found = components["species_variance"]
    assert quiet_found < 0.03 < all_found < loud_found
    pd.testing.assert_frame_equal(estimate(moments, "mixed", biome=biome), found)
    apart = mixed(moments_of(quiet))
    pd.testing.assert_frame_equal(found.head(40), apart, rtol=1e-8)
    together = mixed(moments).set_index("cell")
    for column in ("location", "standard_error"):
        np.testing.assert_allclose(found.set_index("cell").loc[200:, column], together.loc[200:, column], rtol=1e-7)


def test_traits_do_not_share_variances() -> None:
    height, sla = draw(9, 20, 20, sd=(0.2, 0.1)), draw(10, 20, 20, sd=(0.9, 0.6)).assign(trait="sla")
    found, components = mixed_with_components(moments_of(pd.concat([height, sla])))
    assert components["trait"].tolist() == ["height", "sla"]
    for name, own in (("height", height), ("sla", sla)):
        rows = found[found["trait"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, mixed(moments_of(own)), check_exact=True)


@pytest.mark.parametrize("seed", range(3))
def test_neither_the_order_of_rows_nor_of_merges_matters(seed: int) -> None:
    photos = draw(seed, 25, 20)
    whole = mixed(moments_of(photos))
    shuffled = moments_of(photos).sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(mixed(shuffled), whole, check_exact=True)
    shard = np.random.default_rng(seed).integers(0, 4, len(photos))
    parts = [moments_of(photos[shard == k]) for k in range(4)]
    for merged in (merge(parts), merge([merge(parts[2:]), merge(parts[:2])])):
        pd.testing.assert_frame_equal(mixed(merged), whole, rtol=1e-9, atol=1e-10)


def test_where_no_cell_has_two_species_the_photos_variance_stands_in() -> None:
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
    found, components = mixed_with_components(moments_of(photos))
    assert components.loc[0, ["species_variance", "observer_variance"]].tolist() == [pytest.approx(0.4), 0.0]
    assert found["location"].tolist() == [pytest.approx(1.5), pytest.approx(5.0)]
    np.testing.assert_allclose(found["standard_error"], [(0.4 + 0.25) ** 0.5, (0.4 + 0.2) ** 0.5])
    np.testing.assert_allclose(found["interval_upper"], [1.5 + 1.95996 * 0.65**0.5, 5 + 1.95996 * 0.6**0.5], rtol=1e-5)
    assert components.loc[0, ["cells", "cells_of_species", "cells_of_observers"]].tolist() == [2, 0, 0]


def test_no_moments_give_no_estimates() -> None:
    found, components = mixed_with_components(moments_of(draw(0, 2, 3)).head(0))
    assert len(found) == 0
    assert len(components) == 0
    assert "species_variance" in components
