"""Held-out predictions: honest cross-calibration by blocks, scores by growth form, and what cannot be scored."""

from dataclasses import replace

import numpy as np
import pytest

from data_catalog import Trait
from plant_traits.errors import ModelError
from plant_traits.model.held_out import HeldOut
from plant_traits.model.validation import calibrate, cross_calibrate, evaluate, within_species

TRAITS = tuple(
    Trait(id=name, name=name, definition="d", unit="m", valid_range=(0.01, 100.0)) for name in ("height", "sla")
)
FORMS = ("herb", "shrub", "tree")


def held_out(n: int = 3000, blocks: int = 30, scale: float = 1.6, seed: int = 0) -> HeldOut:
    """Errors are ``scale`` times as wide as predicted for herbs, 1.5 and 2 times that for shrubs and trees."""
    rng = np.random.default_rng(seed)
    form = rng.integers(0, 3, n)
    mean, sigma = rng.normal(size=(3, n, 2)), rng.uniform(0.3, 1.0, (3, n, 2))
    noise = rng.normal(size=(n, 2)) * (1 + 0.5 * form)[:, None] * scale
    present = np.ones((3, n), dtype=bool)
    present[:2, : n // 10] = False  # a tenth without a photo
    observed = mean[2] + noise * sigma[2]
    mean[0], sigma[0], mean[1], sigma[1] = mean[2], sigma[2], mean[2], sigma[2]
    for part in (mean, sigma):
        part[~present] = np.nan
    return HeldOut(
        rows=np.arange(n),
        block=rng.integers(0, blocks, n),
        groups=tuple(FORMS[i] for i in form),
        present=present,
        mean=mean,
        variance=sigma**2,
        centre=observed,
        drawn=observed,
        measured=np.full((n, 2), np.nan),
    )


def test_cross_calibrated_intervals_hold_what_they_promise_for_every_growth_form() -> None:
    held = held_out()
    scores = evaluate(held, cross_calibrate(held, TRAITS), TRAITS)
    for modalities, n in (("image+geospatial", 2700), ("image", 2700), ("geospatial", 3000)):
        found = scores[modalities]["height"]
        assert found["n"] == n
        assert found["coverage"]["level"] == [0.5, 0.8, 0.9, 0.95]
        assert found["coverage"]["as_predicted"][2] < 0.62  # 1.645 / 3.2 standard deviations for trees
        for form in FORMS:
            part = found["by_growth_form"][form]
            for level, share in zip([0.5, 0.8, 0.9, 0.95], part["coverage"]["conformal"], strict=True):
                assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / part["n"])
        assert found["crps"] < found["crps_as_predicted"]
        assert found["gaussian_nll"] < found["gaussian_nll_as_predicted"]
        assert sum(found["pit"]["calibrated"]) == sum(found["pit"]["as_predicted"]) == n
        assert max(found["pit"]["calibrated"]) < 1.25 * n / 10 < max(found["pit"]["as_predicted"])


def test_a_record_never_bears_on_its_own_calibration() -> None:
    held = held_out(n=400, blocks=8)
    before = cross_calibrate(held, TRAITS)
    drawn = held.drawn.copy()
    drawn[held.block == 3] += 50.0
    after = cross_calibrate(replace(held, drawn=drawn), TRAITS)
    own = held.block == 3
    assert np.array_equal(after.factor[2, own], before.factor[2, own])
    assert np.array_equal(after.quantile[2, own], before.quantile[2, own])
    changed = (after.factor[2] != before.factor[2]).any(axis=1)
    assert changed.sum() >= 200  # the records of the other parts


def test_in_one_block_nothing_is_stated_after_calibration() -> None:
    held = replace(held_out(n=100), block=np.zeros(100, dtype=np.int64))
    found = evaluate(held, cross_calibrate(held, TRAITS), TRAITS)["geospatial"]["height"]
    assert (
        found["gaussian_nll"] is found["crps"] is found["pit"]["calibrated"] is found["coverage"]["conformal"] is None
    )
    assert found["coverage"]["as_predicted"] is not None
    assert np.isfinite(calibrate(held, TRAITS).quantile).all()


def test_a_growth_form_of_few_records_tells_only_how_many() -> None:
    held = held_out(n=100)
    groups = ["tree"] * 99 + ["all"]
    found = evaluate(replace(held, groups=tuple(groups)), cross_calibrate(held, TRAITS), TRAITS)["geospatial"]["sla"]
    assert found["by_growth_form"]["unknown"] == {"n": 1}
    assert found["by_growth_form"]["tree"]["n"] == 99


def test_an_all_missing_trait_is_left_out_and_its_intervals_are_unbounded() -> None:
    held = held_out(n=200)
    nothing = np.column_stack([held.drawn[:, 0], np.full(200, np.nan)])
    held = replace(held, centre=nothing, drawn=nothing)
    assert set(evaluate(held, cross_calibrate(held, TRAITS), TRAITS)["image"]) == {"height"}
    calibration = calibrate(held, TRAITS)
    assert np.isinf(calibration.quantile[:, :, 1]).all()
    assert (calibration.n[:, :, 1] == 0).all()


def test_no_held_out_records_at_all() -> None:
    held = held_out(n=0)
    assert evaluate(held, cross_calibrate(held, TRAITS), TRAITS) == {}
    assert (calibrate(held, TRAITS).variance_factor == 1).all()


def test_a_prediction_that_is_no_number_is_refused() -> None:
    held = held_out(n=100)
    held.mean[2, 50, 1] = np.nan
    with pytest.raises(ModelError, match="1 others, of \\['sla'\\]"):
        calibrate(held, TRAITS)


def test_within_species_asks_for_plants_that_share_a_species() -> None:
    held = held_out(n=40)
    species = [f"Rosa {i // 2}" for i in range(40)]
    assert within_species(held, TRAITS, species) == {}  # nothing measured
    measured = np.full((40, 2), np.nan)
    measured[:20, 0] = held.mean[2, :20, 0] * 2 + np.repeat(np.arange(10), 2) * 9
    measured[:8, 1] = 1.0
    found = within_species(replace(held, measured=measured), TRAITS, species)
    assert found["geospatial"] == {"height": {"pearson_r": pytest.approx(1.0), "n": 20, "groups": 10}}
    assert "sla" not in found["geospatial"]  # eight plants are too few


def test_biomes_are_told_apart_where_they_are_known() -> None:
    held = held_out(n=300)
    groups = (*(["tree/arid", "tree", "herb/polar"][k % 3] for k in range(299)), "herb/arid")
    found = evaluate(replace(held, groups=groups), cross_calibrate(held, TRAITS), TRAITS)["geospatial"]["sla"]
    assert {name: one["n"] for name, one in found["by_biome"].items()} == {"unknown": 100, "arid": 101, "polar": 99}
    herbs = found["by_growth_form"]["herb"]["by_biome"]
    assert herbs["arid"] == {"n": 1}
    assert herbs["polar"]["coverage"]["level"] == [0.5, 0.8, 0.9, 0.95]
    assert "by_biome" not in evaluate(held, cross_calibrate(held, TRAITS), TRAITS)["geospatial"]["sla"]
