from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.estimators.estimate import ESTIMATORS, estimate, inverse_variance, mean, mixed_equal, random_effects
from maps.moments.addition import merge
from plant_traits.errors import PlantTraitsError, TableError
from plant_traits.schemas import ESTIMATE, read_table, write_table

MomentsOf = Callable[..., pd.DataFrame]


def photos(*rows: tuple[int, str | None, str | None, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["cell", "species", "observer", "y", "v"]).assign(trait="height")


SMALL = photos((7, "a", "x", 1.0, 0.5), (7, "a", "z", 2.0, 0.5), (7, "b", "x", 4.0, 1.0))


def only_row(frame: pd.DataFrame) -> dict[str, float]:
    assert len(frame) == 1
    return frame.iloc[0].to_dict()


def test_mean_by_hand(moments_of: MomentsOf) -> None:
    row = only_row(mean(moments_of(SMALL)))
    assert row["location"] == pytest.approx(7 / 3)
    # residual sums: species -5/3 and 5/3, observers 1/3 and -1/3; the species' error is the largest
    assert row["standard_error"] == pytest.approx(10 / 9)
    assert row["interval_upper"] == pytest.approx(7 / 3 + 1.959963985 * 10 / 9)


def test_inverse_variance_by_hand(moments_of: MomentsOf) -> None:
    row = only_row(inverse_variance(moments_of(SMALL)))
    assert (row["location"], row["standard_error"]) == (pytest.approx(2.0), pytest.approx(5**-0.5))


def test_random_effects_by_hand(moments_of: MomentsOf) -> None:
    row = only_row(random_effects(moments_of(SMALL)))
    assert row["tau2"] == pytest.approx(2.5)
    assert row["location"] == pytest.approx(2.6)
    assert row["standard_error"] == pytest.approx(1.54**0.5)
    assert row["interval_upper"] - row["location"] == pytest.approx(12.7062047364 * 1.54**0.5)
    assert row["i2"] == pytest.approx(0.8)


def test_mixed_by_hand(moments_of: MomentsOf) -> None:
    # Observers x and z differ by no more than their photos' errors; with two species alone, REML is Paule-Mandel's.
    row = only_row(mixed_equal(moments_of(SMALL)))
    assert row["location"] == pytest.approx(2.6)
    assert row["standard_error"] == pytest.approx(1.54**0.5)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_diagnostics_by_hand(moments_of: MomentsOf, name: str) -> None:
    row = only_row(estimate(moments_of(SMALL), name))
    assert (row["cell"], row["trait"]) == (7, "height")
    assert (row["n_photos"], row["n_species"], row["n_observers"]) == (3, 2, 2)
    assert row["n_effective"] == pytest.approx(25 / 9)  # Kish: (2 + 2 + 1)^2 / (4 + 4 + 1)
    # One of two pairs by different observers shows one species: concentration 1/2, so 3 photos count beside 1, and the
    # shares are 2/4 and 1/4, with variances (1 - 5/16) / 5 in all.
    differ = 1 - 5 / 16 - 11 / 80 if name == "mixed" else 1.0
    assert row["variance_among_plants"] == pytest.approx(2.5 * differ + 1 / 3)


def test_equal_weights_are_all_effective(moments_of: MomentsOf) -> None:
    row = only_row(mean(moments_of(photos(*((0, s, "x", 1.0, 0.3) for s in "abcd")))))
    assert row["n_effective"] == pytest.approx(4.0)


def test_species_that_agree_by_chance_give_no_absurd_certainty(moments_of: MomentsOf) -> None:
    agreeing = moments_of(photos((0, "a", "x", 1.0, 0.5), (0, "b", "y", 1.0, 0.5)))
    assert only_row(random_effects(agreeing))["standard_error"] == pytest.approx(0.5)
    assert only_row(mean(agreeing))["standard_error"] == pytest.approx(0.5)


def test_a_cell_of_one_species_borrows_the_heterogeneity_of_the_others(moments_of: MomentsOf) -> None:
    alone = photos((8, "a", "x", 3.0, 0.5), (8, "a", "x", 3.0, 0.5))
    moments = moments_of(pd.concat([SMALL, alone]))
    for estimator in (mean, random_effects):
        row = estimator(moments).set_index("cell").loc[8]
        assert row["standard_error"] == pytest.approx((2.5 + 0.25) ** 0.5)
        assert row["interval_upper"] == pytest.approx(3.0 + 1.959963985 * (2.5 + 0.25) ** 0.5)
        assert np.isnan(row["tau2"])
        assert row["variance_among_plants"] == pytest.approx(2.5 + 0.25)


def test_without_any_cell_of_two_species_the_photos_variance_stands_in(moments_of: MomentsOf) -> None:
    row = only_row(random_effects(moments_of(photos((8, "a", "x", 3.0, 0.5), (8, "a", "x", 3.0, 0.5)))))
    assert row["standard_error"] == pytest.approx((0.5 + 0.25) ** 0.5)


def test_unnamed_photos_count_as_one_species_and_one_observer(moments_of: MomentsOf) -> None:
    row = only_row(mean(moments_of(photos((0, None, None, 1, 1), (0, None, None, 2, 1), (0, "a", "x", 3, 1)))))
    assert (row["n_species"], row["n_observers"]) == (2, 2)


def _two_way_by_loops(own: pd.DataFrame) -> float:
    residual = own["y"] - own["y"].mean()
    parts = {}
    for keys in (("species",), ("observer",), ("species", "observer")):
        sums = [residual[rows].sum() for rows in own.groupby(list(keys)).groups.values()]
        g = len(sums)
        parts[keys] = sum(x * x for x in sums) / len(own) ** 2 * (g / (g - 1) if g > 1 else 0)
    species, observer, both = parts.values()
    return max(species, observer, species + observer - both, own["v"].sum() / len(own) ** 2) ** 0.5


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_errors_of_the_mean_equal_plain_loops_and_order_does_not_matter(moments_of: MomentsOf, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 60
    table = pd.DataFrame(
        {
            "cell": rng.integers(0, 4, n),
            "trait": rng.choice(["height", "sla"], n),
            "species": rng.choice(list("abc"), n),
            "observer": rng.choice(list("xyz"), n),
            "y": rng.normal(0, 1, n),
            "v": rng.uniform(0.001, 0.02, n),
        }
    )
    moments = moments_of(table)
    found = mean(moments).set_index(["cell", "trait"])
    for key, own in table.groupby(["cell", "trait"]):
        assert found.loc[key, "n_observers"] == own["observer"].nunique()
        if own["species"].nunique() > 1:
            assert found.loc[key, "standard_error"] == pytest.approx(_two_way_by_loops(own), rel=1e-9)
    shuffled = moments.sample(frac=1, random_state=seed)
    for estimator in ESTIMATORS.values():
        pd.testing.assert_frame_equal(estimator(shuffled), estimator(moments), check_exact=True)


def test_no_moments_give_no_estimates_of_the_declared_types(moments_of: MomentsOf, tmp_path: Path) -> None:
    for name in ESTIMATORS:
        frame = estimate(moments_of(SMALL, "record"), name, "photo")
        write_table(frame, tmp_path / "estimates.parquet", ESTIMATE)
        assert len(read_table(tmp_path / "estimates.parquet", ESTIMATE)) == 0


def test_mixed_evidence_unknown_estimators_and_missing_columns_are_refused(moments_of: MomentsOf) -> None:
    both = merge([moments_of(SMALL, "photo"), moments_of(SMALL, "record")])
    with pytest.raises(TableError, match="one kind of evidence"):
        mean(both)
    pd.testing.assert_frame_equal(estimate(both, "mean"), mean(moments_of(SMALL)))
    with pytest.raises(PlantTraitsError, match="unknown estimator 'median'"):
        estimate(both, "median")
    with pytest.raises(TableError, match="sum_aleatoric"):
        random_effects(moments_of(SMALL).drop(columns="sum_aleatoric"))


def test_coverage_of_known_cells_is_as_simulated_in_the_field(moments_of: MomentsOf) -> None:
    """60 photos of 25 Zipf-distributed species (sd .35) by 15 observers (sd .15) per cell; the true mean is 0."""
    rng = np.random.default_rng(3)
    cells, n = 400, 60
    frequency = 1 / np.arange(1, 26)
    species = rng.choice(25, (cells, n), p=frequency / frequency.sum())
    observer = rng.integers(0, 15, (cells, n))
    v = rng.uniform(0.02, 0.3, (cells, n))
    y = np.take_along_axis(rng.normal(0, 0.35, (cells, 25)), species, 1)
    y = y + np.take_along_axis(rng.normal(0, 0.15, (cells, 15)), observer, 1) + rng.normal(0, np.sqrt(v))
    table = pd.DataFrame(
        {
            "cell": np.repeat(np.arange(cells), n),
            "trait": "height",
            "species": species.ravel().astype(str),
            "observer": observer.ravel().astype(str),
            "y": y.ravel(),
            "v": v.ravel(),
        }
    )
    moments = moments_of(table)
    covered = {}
    for name, estimator in ESTIMATORS.items():
        found = estimator(moments)
        covered[name] = float(((found["interval_lower"] < 0) & (found["interval_upper"] > 0)).mean())
    assert covered["inverse_variance"] < 0.6
    assert 0.82 < covered["mean"] < 0.94
    assert 0.88 < covered["random_effects"] < 0.97
    assert 0.92 < covered["mixed_equal"] < 0.98
