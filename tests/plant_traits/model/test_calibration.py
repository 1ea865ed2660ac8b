"""Variance factors and conformal quantiles: exact ranks, agreement with crepes, fallback to the parent, bad input."""

import math
from dataclasses import replace

import numpy as np
import pytest
from crepes import ConformalRegressor

from plant_traits.errors import ModelError
from plant_traits.model.calibration import (
    LEVELS,
    Calibration,
    conformal_quantile,
    fit_calibration,
    group_names,
    smallest_group,
    uncalibrated,
)


def made(
    sizes: dict[str, int], *, scale: float = 2.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Return one kind of prediction of one trait, errors ``scale`` times as wide as predicted: (1, n, 1) arrays."""
    rng = np.random.default_rng(seed)
    groups = [group for group, size in sizes.items() for _ in range(size)]
    n = len(groups)
    mean, sigma = rng.normal(size=(1, n, 1)), rng.uniform(0.2, 1.5, (1, n, 1))
    wider = np.array([1.0 + 0.5 * sorted(sizes).index(group) for group in groups])[:, None]
    observed = mean[0] + scale * wider * sigma[0] * rng.standard_t(5, (n, 1))
    return mean, sigma**2, observed, np.ones((1, n), dtype=bool), groups


@pytest.mark.parametrize(
    ("n", "level", "rank"),
    [(9, 0.9, 9), (8, 0.9, math.inf), (19, 0.95, 19), (18, 0.95, math.inf), (1, 0.5, 1), (10, 0.8, 9), (4, 0.8, 4),
     (339, 0.95, 323), (0, 0.5, math.inf)],
)  # fmt: skip
def test_the_quantile_is_the_score_of_the_stated_rank(n: int, level: float, rank: float) -> None:
    scores = np.random.default_rng(n).permutation(np.arange(1, n + 1))  # a score is its own rank
    assert conformal_quantile(scores, level) == rank


def test_the_smallest_groups() -> None:
    assert [smallest_group(level) for level in LEVELS] == [1, 4, 9, 19]
    assert all(math.isfinite(conformal_quantile(np.ones(smallest_group(level)), level)) for level in LEVELS)
    assert all(math.isinf(conformal_quantile(np.ones(smallest_group(level) - 1), level)) for level in LEVELS)


def test_nan_scores_are_refused() -> None:
    with pytest.raises(ModelError, match="2 NaN among 3"):
        conformal_quantile([1.0, np.nan, np.nan], 0.9)


def test_intervals_agree_with_crepes() -> None:
    # Sizes whose (n + 1) α is no whole number: there crepes truncates a float that lies just below it.
    mean, variance, observed, present, groups = made({"herb": 57, "shrub": 31, "tree": 82})
    fitted = fit_calibration(mean, variance, observed, present, groups, ["height"])
    rng = np.random.default_rng(9)
    new_mean, new_sigma = rng.normal(size=200), rng.uniform(0.1, 2.0, 200)
    new_groups = rng.choice(["herb", "shrub", "tree"], 200)
    oracle = ConformalRegressor()
    bins = np.array(groups)
    oracle.fit(observed[:, 0] - mean[0, :, 0], sigmas=np.sqrt(variance[0, :, 0]), bins=bins)
    whole = ConformalRegressor()
    whole.fit(observed[:, 0] - mean[0, :, 0], sigmas=np.sqrt(variance[0, :, 0]))
    at = fitted.rows(list(new_groups))
    for index, level in enumerate(LEVELS):
        sigma = new_sigma * np.sqrt(fitted.variance_factor[0, at, 0])
        reach = fitted.quantile[0, at, 0, index] * sigma
        expected = oracle.predict_int(new_mean, sigmas=new_sigma, bins=new_groups, confidence=level)
        np.testing.assert_allclose(np.stack([new_mean - reach, new_mean + reach], 1), expected, rtol=0, atol=1e-12)
        reach = fitted.quantile[0, 0, 0, index] * new_sigma * np.sqrt(fitted.variance_factor[0, 0, 0])
        expected = whole.predict_int(new_mean, sigmas=new_sigma, confidence=level)
        np.testing.assert_allclose(np.stack([new_mean - reach, new_mean + reach], 1), expected, rtol=0, atol=1e-12)


def test_factors_make_the_mean_squared_score_one_in_every_group() -> None:
    mean, variance, observed, present, groups = made({"herb": 40, "shrub": 25, "tree": 60})
    fitted = fit_calibration(mean, variance, observed, present, groups, ["height"])
    factor = fitted.variance_factor[0, fitted.rows(groups), 0]
    squared = (observed[:, 0] - mean[0, :, 0]) ** 2 / (variance[0, :, 0] * factor)
    for group in ("herb", "shrub", "tree"):
        assert squared[np.array(groups) == group].mean() == pytest.approx(1.0)
    assert len({round(x, 6) for x in fitted.variance_factor[0, :, 0]}) == 4
    assert fitted.n[0, :, 0].tolist() == [125, 40, 25, 60]


def test_a_small_group_takes_what_it_cannot_tell_from_its_parent() -> None:
    mean, variance, observed, present, groups = made({"herb": 50, "shrub": 1, "tree": 10})
    fitted = fit_calibration(mean, variance, observed, present, groups, ["height"])
    whole, _, shrub, tree = (fitted.quantile[0, index, 0] for index in range(4))
    assert fitted.groups == ("all", "herb", "shrub", "tree")
    assert fitted.variance_factor[0, 2:, 0].tolist() == [fitted.variance_factor[0, 0, 0]] * 2
    assert shrub[1:].tolist() == whole[1:].tolist()  # one record tells the 50 % quantile alone
    assert tree[3] == whole[3]  # ten tell all but that of 95 %
    assert tree[2] != whole[2]
    assert fitted.rows(["fern", "shrub", "all"]).tolist() == [0, 2, 0]


def test_biomes_are_a_second_level() -> None:
    groups = group_names(["tree", "tree", None, "herb", float("nan"), ""], ["polar", None, "polar", "arid", None, ""])
    assert groups == ["tree/polar", "tree", "all/polar", "herb/arid", "all", "all"]
    assert group_names(["tree", None]) == ["tree", "all"]
    mean, variance, observed, present, names = made({"tree/arid": 30, "tree/polar": 5, "herb": 30})
    fitted = fit_calibration(mean, variance, observed, present, names, ["height"])
    assert fitted.groups == ("all", "herb", "tree", "all/arid", "all/polar", "tree/arid", "tree/polar")
    assert fitted.n[0, :, 0].tolist() == [65, 30, 35, 30, 5, 30, 5]
    whole, tree = 0, 2
    assert fitted.variance_factor[0, 6, 0] == fitted.variance_factor[0, tree, 0]  # the tree's, not that of all
    assert fitted.variance_factor[0, 6, 0] != fitted.variance_factor[0, whole, 0]
    assert fitted.variance_factor[0, 4, 0] == fitted.variance_factor[0, whole, 0]  # five of all polar plants
    assert fitted.quantile[0, 6, 0, 2] == fitted.quantile[0, tree, 0, 2]
    assert fitted.quantile[0, 3, 0].tolist() == fitted.quantile[0, 5, 0].tolist()  # all arid plants are trees
    assert fitted.rows(["tree/tropical", "herb/arid", "all/arid", "all/tropical"]).tolist() == [2, 1, 3, 0]


# Growth forms within biomes, and records that lack either; again no (n + 1) α is a whole number, of any union.
CROSSED = {"herb/arid": 57, "herb/polar": 23, "tree/arid": 31, "tree/tropical": 82, "tree": 12, "all/polar": 22}


@pytest.mark.parametrize("level", LEVELS)
def test_intervals_within_biomes_agree_with_crepes(level: float) -> None:
    mean, variance, observed, present, groups = made(CROSSED)
    fitted = fit_calibration(mean, variance, observed, present, groups, ["height"])
    residual, sigma = observed[:, 0] - mean[0, :, 0], np.sqrt(variance[0, :, 0])
    form = np.array([group.split("/")[0] for group in groups])
    biome = np.array([[*group.split("/"), ""][1] for group in groups])
    rng = np.random.default_rng(4)
    new_mean, new_sigma = rng.normal(size=50), rng.uniform(0.1, 2.0, 50)

    def reach(group: str) -> np.ndarray:
        row = fitted.rows([group])[0]
        scaled = new_sigma * np.sqrt(fitted.variance_factor[0, row, 0])
        return np.asarray(scaled * fitted.quantile[0, row, 0, LEVELS.index(level)])

    def bins(kept: np.ndarray, names: np.ndarray, group: str) -> np.ndarray:
        oracle = ConformalRegressor()
        oracle.fit(residual[kept], sigmas=sigma[kept], bins=names[kept])
        found = oracle.predict_int(new_mean, sigmas=new_sigma, bins=np.full(50, group), confidence=level)
        return np.asarray(found[:, 1] - new_mean)

    within = np.array([f"{x}/{y}" for x, y in zip(form, biome, strict=True)])
    for group in ("herb/arid", "herb/polar", "tree/arid", "tree/tropical"):
        np.testing.assert_allclose(reach(group), bins(biome != "", within, group), rtol=0, atol=1e-12)
    for group in ("arid", "polar", "tropical"):  # records of any growth form, or of none
        np.testing.assert_allclose(reach(f"all/{group}"), bins(biome != "", biome, group), rtol=0, atol=1e-12)
    for group in ("herb", "tree"):  # records of any biome, or of none; also what an unseen biome takes
        np.testing.assert_allclose(reach(f"{group}/temperate"), bins(form != "all", form, group), rtol=0, atol=1e-12)
    everything = np.full(len(groups), "all")
    kept = np.ones(len(groups), dtype=bool)
    for group in ("all", "shrub", "all/temperate"):
        np.testing.assert_allclose(reach(group), bins(kept, everything, "all"), rtol=0, atol=1e-12)


def test_a_small_biome_takes_what_it_cannot_tell_from_its_growth_form_level_by_level() -> None:
    mean, variance, observed, present, groups = made({"tree/arid": 60, "tree/polar": 10, "herb/polar": 9}, seed=1)
    fitted = fit_calibration(mean, variance, observed, present, groups, ["height"])
    row = {group: index for index, group in enumerate(fitted.groups)}
    polar, tree, both, whole = (fitted.quantile[0, row[x], 0] for x in ("tree/polar", "tree", "all/polar", "all"))
    assert polar[3] == tree[3]  # ten records tell all but the 95 % interval
    assert polar[2] != tree[2]
    assert both[3] != whole[3]  # nineteen tell that too
    assert fitted.n[0, row["all/polar"], 0] == 19


def test_the_order_of_records_does_not_matter() -> None:
    mean, variance, observed, present, groups = made({"herb": 40, "tree": 60})
    order = np.random.default_rng(3).permutation(100)
    first = fit_calibration(mean, variance, observed, present, groups, ["height"])
    second = fit_calibration(
        mean[:, order], variance[:, order], observed[order], present[:, order], [groups[i] for i in order], ["height"]
    )
    np.testing.assert_allclose(second.quantile, first.quantile, rtol=1e-12)
    np.testing.assert_allclose(second.variance_factor, first.variance_factor, rtol=1e-12)


def test_a_trait_without_observations_is_unbounded_and_counted() -> None:
    mean, variance, observed, present, groups = made({"tree": 30})
    both = np.concatenate([observed, np.full_like(observed, np.nan)], axis=1)
    fitted = fit_calibration(
        np.repeat(mean, 2, axis=2), np.repeat(variance, 2, axis=2), both, present, groups, ["height", "sla"]
    )
    assert fitted.n[0, :, 1].tolist() == [0, 0]
    assert fitted.variance_factor[0, :, 1].tolist() == [1.0, 1.0]
    assert np.isinf(fitted.quantile[0, :, 1]).all()
    assert np.isfinite(fitted.quantile[0, :, 0]).all()


def test_absent_records_take_no_part() -> None:
    mean, variance, observed, present, groups = made({"tree": 60})
    present[0, 30:] = False
    mean[0, 30:] = np.nan
    fitted = fit_calibration(mean, variance, observed, present, groups, ["height"])
    half = fit_calibration(mean[:, :30], variance[:, :30], observed[:30], present[:, :30], groups[:30], ["height"])
    assert fitted.n[0, 0, 0] == 30
    np.testing.assert_allclose(fitted.quantile, half.quantile, rtol=1e-12)


@pytest.mark.parametrize("what", ["mean", "variance", "zero", "label"])
def test_predictions_and_labels_that_are_no_numbers_are_refused(what: str) -> None:
    mean, variance, observed, present, groups = made({"tree": 30})
    if what == "mean":
        mean[0, 3] = np.nan
    elif what == "label":
        observed[3] = np.inf
    else:
        variance[0, 3] = np.nan if what == "variance" else 0.0
    with pytest.raises(ModelError, match="found 1 others, of \\['height'\\]"):
        fit_calibration(mean, variance, observed, present, groups, ["height"])


def fitted() -> Calibration:
    mean, variance, observed, present, groups = made({"tree": 30, "herb": 30})
    return fit_calibration(mean, variance, observed, present, groups, ["height"])


def test_a_calibration_knows_its_levels() -> None:
    assert fitted().level(0.9) == 2
    with pytest.raises(ModelError, match=r"calibrated levels .*found 0.99"):
        fitted().level(0.99)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"traits": ("sla",)}, "in this order"),
        ({"groups": ("tree", "all", "herb")}, "begin with 'all'"),
        ({"groups": ("all", "herb", "tree/arid")}, "every parent"),
        ({"groups": ("all/arid", "herb", "tree")}, "begin with 'all'"),
        ({"n": np.zeros((1, 2, 1), np.int64)}, "n of shape"),
        ({"variance_factor": np.zeros((1, 3, 1))}, "3 factors"),
        ({"quantile": np.full((1, 3, 1, 4), np.nan)}, "12 quantiles"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    fitted().check(("height",), 1)
    with pytest.raises(ModelError, match=message):
        replace(fitted(), **change).check(("height",), 1)


def test_without_calibration_variances_stay_and_nothing_is_bounded() -> None:
    plain = uncalibrated(["height", "sla"], 3)
    plain.check(("height", "sla"), 3)
    assert (plain.variance_factor == 1).all()
    assert np.isinf(plain.quantile).all()
