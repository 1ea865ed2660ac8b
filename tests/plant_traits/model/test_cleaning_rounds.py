"""Cleaning rounds: which photos go, and why, on made-up photos of which some carry another species' label."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest

from data_catalog import ModelSettings, Trait
from plant_traits.errors import ModelError
from plant_traits.model import cleaning_rounds
from plant_traits.model.cleaning_rounds import DROPPED, FOLDS, clean
from plant_traits.model.ensemble import Fitting, fit_ensemble
from plant_traits.model.trained_model import TrainedModel
from plant_traits.model.training_set import TrainingSet

Array = npt.NDArray[np.float64]
TRAITS = tuple(
    Trait(id=f"trait{i}", name="t", definition="d", unit="m", valid_range=(0.01, 100.0), likelihood="gaussian")
    for i in range(4)
)
SPECIES, PHOTOLESS = 40, 60


@dataclass(frozen=True)
class Answer:
    """What ``predict`` returns, as far as cleaning reads it."""

    mean: npt.NDArray[np.float32]
    variance_aleatoric: npt.NDArray[np.float32]
    variance_epistemic: npt.NDArray[np.float32]


def herbarium(n: int = 900, share: float = 0.15, seed: int = 0) -> tuple[TrainingSet, npt.NDArray[np.bool_]]:
    """Photos of 40 species that show six image features; a share of them bears the label of another species.

    Two photos each are of one occasion and wrong together. The last ``PHOTOLESS`` records have no photo, and labels of
    which nothing is right.
    """
    generator = np.random.default_rng(seed)
    looks = generator.normal(size=(SPECIES, 6))
    median = looks @ generator.normal(size=(6, 4)) / 2 + generator.normal(size=(SPECIES, 4)) * 0.1
    species = np.repeat(generator.integers(0, SPECIES, n // 2), 2)
    occasion = np.repeat(np.arange(n // 2), 2)
    image = (looks[species] + generator.normal(size=(n, 6)) * 0.3).astype(np.float32)
    wrong = np.repeat(generator.random(n // 2) < share, 2)
    stated = np.where(wrong, (species + np.repeat(generator.integers(1, SPECIES, n // 2), 2)) % SPECIES, species)
    label = median[stated]
    label[n - PHOTOLESS :] = 50.0
    image[n - PHOTOLESS :] = np.nan
    wrong[n - PHOTOLESS :] = False
    training = TrainingSet(
        image_features=image,
        covariates=np.arange(n, dtype=np.float64)[:, None],
        covariate_names=("number",),
        latitude=generator.uniform(-60, 80, n),
        longitude=generator.uniform(-180, 180, n),
        measured=np.full_like(label, np.nan),
        label_median=label,
        label_sd=np.full_like(label, 0.2),
        label_low=label - 0.4,
        label_high=label + 0.4,
        growth_form=[("tree", "shrub", "herb")[i % 3] for i in stated],
        species=[f"Planta {i}" for i in stated],
        occasion=occasion,
        biome=[None] * n,
    )
    return training, wrong


@pytest.fixture
def least_squares(monkeypatch: pytest.MonkeyPatch) -> Callable[[TrainingSet], TrainedModel]:
    """Models that are linear regressions of the labels on the image features, of one standard deviation per trait."""

    def fit(training: TrainingSet) -> TrainedModel:
        photo = training.present()[0]
        x, y = training.features()[photo].astype(float), training.centres()[photo]
        x = np.column_stack([np.ones(len(x)), x])
        slopes, sds = np.zeros((x.shape[1], y.shape[1])), np.ones(y.shape[1])
        for column in range(y.shape[1]):
            known = ~np.isnan(y[:, column])
            if known.any():
                slopes[:, column] = np.linalg.lstsq(x[known], y[known, column], rcond=None)[0]
                sds[column] = np.std(y[known, column] - x[known] @ slopes[:, column])
        return cast(TrainedModel, (slopes, sds))

    def predict(model: object, images: Array, covariates: object, *, device: str) -> Answer:
        slopes, sds = cast(tuple[Array, Array], model)
        mean = np.column_stack([np.ones(len(images)), images.astype(float)]) @ slopes
        variance = np.broadcast_to(sds**2 / 2, mean.shape)
        return Answer(mean.astype(np.float32), variance.astype(np.float32), variance.astype(np.float32))

    monkeypatch.setattr(cleaning_rounds, "predict", predict)
    return fit


def scripted(monkeypatch: pytest.MonkeyPatch, rounds: list[tuple[Array, Array]]) -> Callable[..., TrainedModel]:
    """Models that say of record i, which its covariate numbers, row i of the given means and sds, round by round."""
    calls = iter(rounds)

    def predict(model: object, images: object, covariates: Array, *, device: str) -> Answer:
        mean, sd = (part[covariates[:, 0].astype(int)] for part in cast(tuple[Array, Array], model))
        # a third and two thirds: the total is what counts
        return Answer(mean.astype(np.float32), (sd**2 / 3).astype(np.float32), (sd**2 * 2 / 3).astype(np.float32))

    monkeypatch.setattr(cleaning_rounds, "predict", predict)
    return lambda training: cast(TrainedModel, next(calls))


def test_cross_fitting_finds_photos_with_the_label_of_another_species(
    least_squares: Callable[[TrainingSet], TrainedModel],
) -> None:
    for seed in range(3):
        training, wrong = herbarium(seed=seed)
        found = clean(training, least_squares, "cross_fitted", seed=seed)
        recall, precision = (~found.keep)[wrong].mean(), wrong[~found.keep].mean()
        assert recall > 0.6, (seed, recall)
        assert precision > 0.85, (seed, precision)
        assert found.wrong_share == pytest.approx(wrong[:-PHOTOLESS].mean(), abs=0.04)


def test_cross_fitting_costs_little_where_every_label_is_right(
    least_squares: Callable[[TrainingSet], TrainedModel],
) -> None:
    for seed in range(3):
        found = clean(herbarium(share=0.0, seed=seed)[0], least_squares, "cross_fitted", seed=seed)
        assert len(found.dropped) <= 0.01 * (900 - PHOTOLESS)
        assert found.wrong_share is not None
        assert found.wrong_share < 0.01


def test_a_network_finds_them_too() -> None:
    training, wrong = herbarium()
    settings = ModelSettings(
        ensemble=1, hidden=32, blocks=1, epochs=6, batch_size=64, learning_rate=1e-2, dropout=0.0, refit=False
    )
    how = Fitting(TRAITS, settings, "e1")
    nobody = training.rows(np.zeros(len(wrong), dtype=bool))
    photos = replace(training, covariates=np.full((len(wrong), 1), np.nan))
    photos = replace(photos, label_median=np.where(photos.label_median == 50.0, np.nan, photos.label_median))
    found = clean(photos, lambda part: fit_ensemble(how, part, nobody).model, "cross_fitted", seed=1)
    assert (~found.keep)[wrong].mean() > 0.6
    assert wrong[~found.keep].mean() > 0.8


def test_photos_are_judged_by_models_that_saw_nothing_of_their_occasion(monkeypatch: pytest.MonkeyPatch) -> None:
    training, _ = herbarium()
    judged: list[npt.NDArray[np.int64]] = []

    def predict(model: object, images: object, covariates: Array, *, device: str) -> Answer:
        rows = covariates[:, 0].astype(int)
        assert not set(training.occasion[rows]) & cast(set[int], model)
        judged.append(rows)
        zeros = np.zeros((len(rows), 4), dtype=np.float32)
        return Answer(zeros, zeros + 1, zeros)

    def fit(part: TrainingSet) -> TrainedModel:
        photo = part.present()[0]
        assert (~photo).sum() == PHOTOLESS  # they belong to no fold and are always there
        return cast(TrainedModel, set(part.occasion[photo]))

    monkeypatch.setattr(cleaning_rounds, "predict", predict)
    clean(training, fit, "cross_fitted", largest_share=1.0)
    assert len(judged) == FOLDS
    assert sorted(np.concatenate(judged)) == list(range(900 - PHOTOLESS))  # each once


def test_given_groups_stand_for_occasions(monkeypatch: pytest.MonkeyPatch) -> None:
    training, _ = herbarium()
    groups = np.arange(900) % 7
    seen: list[set[int]] = []

    def fit(part: TrainingSet) -> TrainedModel:
        seen.append(set(groups[part.covariates[part.present()[0], 0].astype(int)].tolist()))
        return cast(TrainedModel, seen[-1])

    def predict(model: object, images: object, covariates: Array, *, device: str) -> Answer:
        assert not set(groups[covariates[:, 0].astype(int)].tolist()) & cast(set[int], model)
        zeros = np.zeros((len(covariates), 4), dtype=np.float32)
        return Answer(zeros, zeros + 1, zeros)

    monkeypatch.setattr(cleaning_rounds, "predict", predict)
    clean(training, fit, "cross_fitted", groups=groups, largest_share=1.0)
    assert len(seen) > 1


def test_published_rounds_agree_with_a_restatement(monkeypatch: pytest.MonkeyPatch) -> None:
    training, _ = herbarium(n=500)
    generator = np.random.default_rng(5)
    rounds = [
        (training.label_median + generator.normal(size=(500, 4)), generator.gamma(3.0, size=(500, 4))) for _ in range(2)
    ]
    rounds[1][0][:200] += 4.0
    found = clean(training, scripted(monkeypatch, rounds), "published")

    photo = list(range(500 - PHOTOLESS))
    first, second = set(), set()
    bounds = [np.percentile(rounds[0][1][photo, t], 95) for t in range(4)]
    for row in photo:
        if not all(rounds[0][1][row, t] < bounds[t] for t in range(4)):
            first.add(row)
    left = [row for row in photo if row not in first]
    for t in range(4):
        labels = training.label_median[photo, t]
        half = (np.percentile(labels, 99) - np.percentile(labels, 1)) / 2
        bound = np.percentile(rounds[1][1][left, t], 95)
        for row in left:
            error = abs(training.label_median[row, t] - rounds[1][0][row, t])
            if rounds[1][1][row, t] >= bound and error > half:
                second.add(row)
    assert len(first) > 50
    assert len(second) > 5
    by_round = found.dropped.groupby("round")["row"].agg(set)
    assert by_round[1] == first
    assert by_round[2] == second
    assert set(np.flatnonzero(~found.keep)) == first | second
    assert found.rounds == (
        {"round": 1, "photos": len(photo), "dropped": len(first)},
        {"round": 2, "photos": len(left), "dropped": len(second)},
    )
    assert found.counts() == {
        "photo uncertain (round 1)": len(first),
        "photo uncertain and off (round 2)": len(second),
    }


def test_the_table_tells_why(monkeypatch: pytest.MonkeyPatch) -> None:
    training, _ = herbarium(n=260)
    sd = np.tile(np.linspace(1.0, 1.1, 260)[:, None], 4)
    sd[[7, 8]] = [[1, 1, 9, 1], [1, 5, 8, 1]]
    still = (training.label_median, sd)
    bound = np.quantile(sd[:200], 0.95, axis=0)
    found = clean(training, scripted(monkeypatch, [still, still]), "published").dropped.set_index("row")
    assert list(found.reset_index().columns) == list(DROPPED)
    assert found.index.is_unique
    assert found.loc[7, ["round", "reason", "trait"]].tolist() == [1, "uncertain", 2]
    assert found.loc[7, ["value", "threshold", "label", "predicted", "sd"]].to_numpy(float) == pytest.approx(
        [9.0, bound[2], training.label_median[7, 2], training.label_median[7, 2], 9.0], rel=1e-5
    )
    assert found.loc[8, "trait"] == 2  # the one further beyond its bound
    assert (found["value"] >= found["threshold"]).all()


def test_the_table_tells_why_a_label_is_contradicted(least_squares: Callable[[TrainingSet], TrainedModel]) -> None:
    training, _ = herbarium()
    found = clean(training, least_squares, "cross_fitted")
    table = found.dropped
    assert set(table["reason"]) == {"label contradicted"}
    assert table["row"].tolist() == np.flatnonzero(~found.keep).tolist()
    assert (table["value"] > 0.5).all()
    assert (table["threshold"] == 0.5).all()
    assert table["label"].to_numpy() == pytest.approx(training.label_median[table["row"], table["trait"]])
    assert found.counts() == {"photo label contradicted (round 1)": len(table)}


@pytest.mark.parametrize("rule", ["published", "cross_fitted"])
def test_a_trait_without_labels_decides_nothing(
    rule: cleaning_rounds.Rule, least_squares: Callable[[TrainingSet], TrainedModel]
) -> None:
    training, _ = herbarium()
    without = training.label_median.copy()
    without[:, 3] = np.nan
    without[:19, 3] = 99.0  # fewer than bear witness
    parts = {name: getattr(training, name)[:, :3] for name in ("measured", "label_median", "label_sd")}
    bounds = {name: getattr(training, name)[:, :3] for name in ("label_low", "label_high")}

    kept = clean(replace(training, label_median=without), least_squares, rule, largest_share=1.0)
    expected = clean(replace(training, **parts, **bounds), least_squares, rule, largest_share=1.0)
    assert kept.keep.tolist() == expected.keep.tolist()
    assert (kept.dropped["trait"] < 3).all()
    assert len(kept.dropped) > 0


def test_photos_with_one_known_trait_are_judged_by_it(least_squares: Callable[[TrainingSet], TrainedModel]) -> None:
    training, wrong = herbarium()
    label = training.label_median.copy()
    label[:300, 1:] = np.nan
    label[300:310] = np.nan
    found = clean(replace(training, label_median=label), least_squares, "cross_fitted")
    of_one = found.dropped[found.dropped["row"] < 300]
    assert len(of_one) >= 5
    assert (of_one["trait"] == 0).all()
    assert wrong[of_one["row"]].mean() > 0.7
    assert found.keep[300:310].all()
    of_four = found.dropped["row"] >= 310
    recall = [wrong[rows].sum() / wrong[part].sum() for rows, part in (
        (of_one["row"], slice(300)), (found.dropped.loc[of_four, "row"], slice(310, None))
    )]  # fmt: skip
    assert recall[0] < recall[1]  # one trait tells less than four


def test_records_without_a_photo_are_never_dropped(
    least_squares: Callable[[TrainingSet], TrainedModel],
) -> None:
    for rule in ("published", "cross_fitted"):
        found = clean(herbarium()[0], least_squares, rule, largest_share=1.0)
        assert found.keep[-PHOTOLESS:].all()


def test_it_repeats_itself(least_squares: Callable[[TrainingSet], TrainedModel]) -> None:
    training, _ = herbarium()
    first, again, other = (clean(training, least_squares, "cross_fitted", seed=seed) for seed in (3, 3, 4))
    assert first.dropped.equals(again.dropped)
    assert not first.dropped.equals(other.dropped)


def test_dropping_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    training, _ = herbarium()
    same = (training.label_median, np.ones((900, 4)))  # nothing is below a percentile of equal values
    with pytest.raises(ModelError, match=r"at most 30% of 840 photos, found 840 to drop.*photo uncertain"):
        clean(training, scripted(monkeypatch, [same, same]), "published")


def test_nothing_is_judged_where_there_is_too_little() -> None:
    training, _ = herbarium()

    def fit(part: TrainingSet) -> TrainedModel:
        raise AssertionError(part)

    for rule in ("published", "cross_fitted"):
        for bare in (replace(training, image_features=None), training.rows(np.arange(900) >= 900 - PHOTOLESS - 19)):
            found = clean(bare, fit, rule)
            assert found.keep.all()
            assert list(found.dropped.columns) == list(DROPPED)
            assert found.counts() == {}
            assert found.skipped is not None
            assert found.skipped.startswith("no trait has 20 labels")
    alone = clean(training, fit, "cross_fitted", groups=np.zeros(900, dtype=np.int64))
    assert alone.keep.all()
    assert alone.skipped is not None
    assert "one fold" in alone.skipped


def test_models_that_know_nothing_do_not_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    training, _ = herbarium()
    answer = (np.zeros((900, 4)), np.ones((900, 4)))
    found = clean(training, scripted(monkeypatch, [answer] * FOLDS), "cross_fitted")
    assert found.keep.all()
    assert found.dropped.empty
    assert found.wrong_share == pytest.approx(1.0, abs=0.1)
    assert found.skipped is not None
    assert found.skipped.startswith("the models cannot tell")
