"""What is held out bears on nothing that it scores: neither on weights, nor on its own calibration."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from data_catalog import ModelSettings, Trait
from plant_traits.model.calibration import Calibration, fit_calibration
from plant_traits.model.ensemble import FittedEnsemble, Fitting, fit_ensemble
from plant_traits.model.held_out import HeldOut
from plant_traits.model.training import Training, localised, train
from plant_traits.model.training_set import TrainingSet
from plant_traits.model.validation import calibrate, calibrations, cross_calibrate

TRAITS = tuple(
    Trait(id=name, name=name, definition="d", unit="m", valid_range=(0.01, 100.0)) for name in ("height", "sla")
)
SETTINGS = ModelSettings(
    ensemble=2, hidden=8, blocks=1, epochs=2, batch_size=64, learning_rate=5e-3, dropout=0.0, validation_share=0.3,
    species_share=0.1, photo_share=0.1, refit=False,
)  # fmt: skip
HOW = Fitting(TRAITS, SETTINGS, "e1")


def plants(n: int = 700) -> TrainingSet:
    """Photos of 30 species with weak labels and, every third, a measurement that follows the first covariate."""
    generator = np.random.default_rng(2)
    species = generator.integers(0, 30, n)
    looks = generator.normal(size=(30, 5))
    covariates = generator.normal(size=(n, 3))
    median = looks[species, :2]
    measured = median + 0.6 * covariates[:, :1] + generator.normal(size=(n, 2)) * 0.05
    measured[np.arange(n) % 3 > 0] = np.nan
    return TrainingSet(
        image_features=(looks[species] + generator.normal(size=(n, 5)) * 0.1).astype(np.float32),
        covariates=covariates,
        covariate_names=("a", "b", "c"),
        latitude=generator.uniform(-60, 80, n),
        longitude=generator.uniform(-180, 180, n),
        measured=measured,
        label_median=median,
        label_sd=np.full((n, 2), 0.2),
        label_low=median - 0.4,
        label_high=median + 0.4,
        growth_form=[("tree", "herb")[k % 2] for k in species],
        species=[f"Rosa {k}" for k in species],
        occasion=np.arange(n),
        biome=[("arid", "polar", None)[k % 3] for k in range(n)],
    )


@pytest.fixture(scope="module")
def trained() -> Training:
    return train(plants(), HOW)


def spoilt(splits: list[str], split: np.ndarray) -> TrainingSet:
    """Return the plants with other labels, photos and covariates in some splits."""
    training, chosen = plants(), np.isin(split, splits)
    assert chosen.sum() > 20
    assert training.image_features is not None
    image, covariates, measured = training.image_features.copy(), training.covariates.copy(), training.measured.copy()
    image[chosen] *= -3.0
    covariates[chosen] *= -2.0
    measured[chosen] = -5.0 * measured[chosen] + 40.0
    more = np.where(chosen, 30.0, 0.0)[:, None]
    return replace(
        training,
        image_features=image,
        covariates=covariates,
        measured=measured,
        label_median=training.label_median + more,
        label_low=training.label_low + more,
        label_high=training.label_high + more,
        growth_form=[None if out else form for form, out in zip(training.growth_form, chosen, strict=True)],
    )


def test_held_out_records_bear_on_no_weight(trained: Training) -> None:
    assert trained.model.metrics["place_response"]["height"]["variance_explained"] > 0.5
    again = train(spoilt(["regions", "species", "photos", "aside"], trained.split), HOW)
    assert np.array_equal(again.split, trained.split)
    assert again.model.networks_id == trained.model.networks_id
    assert again.model.metrics["place_response"] == trained.model.metrics["place_response"]
    for name in ("covariate_standardisation", "image_standardisation"):
        ours, theirs = getattr(again.model, name), getattr(trained.model, name)
        assert all(np.array_equal(getattr(ours, part), getattr(theirs, part)) for part in ("centre", "scale", "low"))


def test_held_out_species_and_photos_bear_on_no_calibration(trained: Training) -> None:
    again = train(spoilt(["species", "photos", "aside"], trained.split), HOW)
    assert again.model.model_id == trained.model.model_id  # the calibration is part of it
    assert again.model.metrics["held_out"] == trained.model.metrics["held_out"]
    assert again.model.metrics["splits"] != trained.model.metrics["splits"]


def test_fitted_and_stopping_records_do(trained: Training) -> None:
    for splits in (["fitting"], ["stopping"]):
        again = train(spoilt(splits, trained.split), HOW)
        assert not again.curves.equals(trained.curves)


def test_the_calibration_is_that_of_the_regions(trained: Training) -> None:
    held = trained.held_out["regions"]
    expected = fit_calibration(held.mean, held.variance, held.drawn, held.present, held.groups, ["height", "sla"])
    found = trained.model.calibration
    assert found.groups == expected.groups
    assert {"all", "tree", "herb", "tree/arid", "all/polar"} <= set(found.groups)
    assert np.array_equal(found.variance_factor, expected.variance_factor)
    assert np.array_equal(found.quantile, expected.quantile)
    drawn = plants().rows(trained.split == "regions")
    weak = np.isnan(drawn.measured[:, 0])
    assert (np.abs(held.drawn - held.centre)[weak, 0] > 1e-9).all()  # a draw of the label, not its median
    assert np.array_equal(held.drawn[~weak], drawn.measured[~weak])


def test_regions_are_scored_by_other_blocks_and_other_splits_by_the_model(trained: Training) -> None:
    held = trained.held_out
    found = calibrations(held, trained.model.calibration, TRAITS)
    crossed = cross_calibrate(held["regions"], TRAITS)
    own = trained.model.calibration
    at = own.rows(held["regions"].groups)
    assert np.array_equal(found["regions"].factor, crossed.factor)
    assert np.array_equal(found["regions"].quantile, crossed.quantile)
    assert not np.array_equal(found["regions"].factor, own.variance_factor[:, at])
    for name in ("species", "photos"):
        at = own.rows(held[name].groups)
        assert len(set(at.tolist())) > 2  # each by its own growth form and biome
        assert np.array_equal(found[name].factor, own.variance_factor[:, at])
        assert np.array_equal(found[name].quantile, own.quantile[:, at])


def test_a_record_far_off_widens_every_interval_but_its_own() -> None:
    generator = np.random.default_rng(0)
    n = 200
    mean = np.zeros((3, n, 2))
    held = HeldOut(
        rows=np.arange(n),
        block=np.arange(n) % 10,
        groups=("tree",) * n,
        present=np.ones((3, n), dtype=bool),
        mean=mean,
        variance=np.ones((3, n, 2)),
        centre=np.zeros((n, 2)),
        drawn=generator.normal(size=(n, 2)),
        measured=np.full((n, 2), np.nan),
    )
    far = held.drawn.copy()
    far[held.block == 4] = 100.0

    def factors(held: HeldOut, calibration: Calibration) -> np.ndarray:
        return calibrations({"regions": held}, calibration, TRAITS)["regions"].factor[0, :, 0]

    after = factors(replace(held, drawn=far), calibrate(replace(held, drawn=far), TRAITS))
    assert (after[held.block == 4] < 2).all()
    assert (after > 100).sum() >= 0.7 * n


def test_a_refit_keeps_scores_and_calibration_and_the_epochs_of_each_member(trained: Training) -> None:
    refitted = train(plants(), replace(HOW, settings=SETTINGS.model_copy(update={"refit": True})))
    first, again = trained.model, refitted.model
    assert again.networks_id != first.networks_id
    assert again.metrics["held_out"] == first.metrics["held_out"]
    assert np.array_equal(again.calibration.quantile, first.calibration.quantile)
    assert refitted.curves["round"].unique().tolist() == ["first", "refit"]
    of_refit = refitted.curves[refitted.curves["round"] == "refit"]
    epochs = of_refit.groupby("member")["epoch"].max().tolist()
    assert epochs == first.metrics["best_epochs"]


def test_labels_of_each_fit_know_their_place_by_what_it_may_see(
    trained: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[TrainingSet, TrainingSet]] = []

    def watched(how: Fitting, fitted: TrainingSet, stopping: TrainingSet, **more: Any) -> FittedEnsemble:  # noqa: ANN401
        given.append((fitted, stopping))
        return fit_ensemble(how, fitted, stopping, **more)

    monkeypatch.setattr("plant_traits.model.training.fit_ensemble", watched)
    how = replace(HOW, settings=SETTINGS.model_copy(update={"refit": True}))
    train(plants(), how)
    fitting, everything = trained.split == "fitting", np.ones(700, dtype=bool)
    by_fitting, by_all = (localised(plants(), rows, how)[0].centres() for rows in (fitting, everything))
    (first, stopping), (again, _) = given
    assert np.array_equal(first.centres(), by_fitting[fitting])
    assert np.array_equal(stopping.centres(), by_fitting[trained.split == "stopping"])
    assert np.array_equal(again.centres(), by_all)
    assert np.abs(by_all - by_fitting).max() > 1e-3
    assert np.array_equal(trained.held_out["regions"].centre, by_fitting[trained.split == "regions"])
