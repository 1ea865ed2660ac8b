"""Training, prediction and checkpoints on a small made-up planet of five traits."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file, save_file

from data_catalog import ModelSettings, Trait
from plant_traits.errors import ModelError
from plant_traits.model.checkpoint import load_model, save_model
from plant_traits.model.ensemble import Fitting
from plant_traits.model.prediction import predict
from plant_traits.model.sampling import sampling_weights
from plant_traits.model.trained_model import TrainedModel
from plant_traits.model.training import Training, train
from plant_traits.model.training_set import TrainingSet

TRAITS = tuple(
    Trait(id=f"trait{i}", name="t", definition="d", unit="m", valid_range=(0.01, 100.0), likelihood=likelihood)
    for i, likelihood in enumerate(["gaussian", "laplace", "gaussian", "gaussian", "laplace"])
)
SETTINGS = ModelSettings(
    ensemble=2, hidden=16, blocks=1, epochs=8, batch_size=64, learning_rate=5e-3, dropout=0.0,
    covariate_dropout=0.0, covariate_noise=0.0, validation_share=0.3, modality_dropout=0.4, refit=False,
)  # fmt: skip


def planet(n: int = 600, seed: int = 0) -> TrainingSet:
    """Traits are a linear function of one image feature and one covariate, plus noise of 0.1."""
    generator = np.random.default_rng(seed)
    image = generator.normal(size=(n, 6)).astype(np.float32)
    covariates = generator.normal(size=(n, 4))
    slope = np.arange(1, 6) / 5
    truth = image[:, :1] * slope + covariates[:, :1] * slope[::-1] + 3.0
    median = truth + generator.normal(size=truth.shape) * 0.1
    median[:20] = np.nan  # nothing known
    median[20:60, 1:] = np.nan  # one trait known
    image[60:120] = np.nan  # no photo
    covariates[120:180] = np.nan  # no place
    covariates[180:200, 2] = np.nan  # one layer missing
    image[590:], covariates[590:] = np.nan, np.nan
    return TrainingSet(
        image_features=image,
        covariates=covariates,
        covariate_names=("bio1", "bio12", "clay", "ph"),
        latitude=generator.uniform(-60, 80, n),
        longitude=generator.uniform(-180, 180, n),
        measured=np.full_like(median, np.nan),
        label_median=median,
        label_sd=np.full_like(median, 0.05),
        label_low=median - 0.2,
        label_high=median + 0.1,
        growth_form=[("tree", "shrub", "herb", None)[i % 4] for i in range(n)],
        species=[f"Rosa {i % 40}" for i in range(n)],
        occasion=np.arange(n),
        biome=[None] * n,
    )


def usable(training: TrainingSet) -> TrainingSet:
    """Leave out the 30 records without a label or without an input."""
    return training.rows((np.arange(600) >= 20) & (np.arange(600) < 590))


@pytest.fixture(scope="module")
def training() -> TrainingSet:
    return planet()


HOW = Fitting(TRAITS, SETTINGS, "e1")


@pytest.fixture(scope="module")
def trained(training: TrainingSet) -> Training:
    return train(usable(training), HOW)


@pytest.fixture(scope="module")
def model(trained: Training) -> TrainedModel:
    return trained.model


def test_it_learns_a_fifth_trait_and_from_each_modality(model: TrainedModel) -> None:
    held_out = model.metrics["held_out"]
    assert held_out["image+geospatial"]["trait4"]["pearson_r"] > 0.9
    assert held_out["image"]["trait4"]["pearson_r"] > 0.8  # its slope on the image is the steepest
    assert held_out["geospatial"]["trait0"]["pearson_r"] > 0.8  # its slope on the covariate is


def test_every_record_is_in_one_split_and_every_split_is_scored(model: TrainedModel) -> None:
    counts = dict(model.metrics["counts"])
    assert counts.pop("records") == 570
    assert counts.pop("records_dropped") == 0
    assert counts.pop("records_fitted") == counts["records_fitting"] > 200
    assert sum(counts.values()) == 570
    splits = model.metrics["splits"]
    assert set(splits) == {"species", "photos"}
    assert splits["species"]["image+geospatial"]["trait4"]["n"] <= counts["records_species"]
    assert splits["photos"]["image+geospatial"]["trait4"]["pearson_r"] > 0.9


def test_dropped_records_are_not_fitted_and_are_scored_all_the_same(training: TrainingSet, trained: Training) -> None:
    rows = usable(training)
    wrong = rows.label_median.copy()
    dropped = np.arange(570) % 7 == 0
    wrong[dropped & (trained.split == "fitting")] += 50.0
    cleaned = train(replace(rows, label_median=wrong), HOW, dropped=dropped)
    plain = train(rows, HOW, dropped=dropped)
    assert cleaned.model.model_id == plain.model.model_id  # what is dropped bears on nothing
    counts = cleaned.model.metrics["counts"]
    assert counts["records_dropped"] == 82
    assert counts["records_fitted"] == counts["records_fitting"] - int((dropped & (trained.split == "fitting")).sum())
    assert len(cleaned.held_out["regions"].rows) == int((trained.split == "regions").sum())


def test_same_seed_same_weights_to_the_bit(training: TrainingSet, model: TrainedModel) -> None:
    before = torch.get_rng_state()
    again = train(usable(training), HOW).model
    assert torch.equal(torch.get_rng_state(), before)
    assert again.model_id == model.model_id
    assert all(np.array_equal(again.arrays()[name], array) for name, array in model.arrays().items())
    other = train(usable(training), replace(HOW, settings=SETTINGS.model_copy(update={"seed": 2}))).model
    assert other.model_id != model.model_id


def test_variance_factors_calibrate_the_held_out_regions(training: TrainingSet, trained: Training) -> None:
    testing = usable(training).rows(trained.split == "regions")
    found = predict(trained.model, testing.image_features, testing.covariates)
    labels = testing.labels(1, 2**31)
    variance = found.variance_aleatoric.astype(float) + found.variance_epistemic
    both = found.modalities == "image+geospatial"
    squared = ((labels - found.mean) ** 2 / variance)[both]
    np.testing.assert_allclose(np.nanmean(squared, axis=0), 1.0, rtol=1e-4)


def test_modalities_follow_what_is_there(training: TrainingSet, model: TrainedModel) -> None:
    found = predict(model, training.image_features, training.covariates)
    assert set(found.modalities[200:590]) == {"image+geospatial"}
    assert set(found.modalities[60:120]) == {"geospatial"}
    assert set(found.modalities[120:180]) == {"image"}
    assert set(found.modalities[590:]) == {"none"}
    assert set(found.status[590:]) == {"no_usable_input"}
    assert np.isnan(found.mean[590:]).all()
    assert np.isfinite(found.mean[:590]).all()
    assert (found.variance_aleatoric[:590] > 0).all()
    assert (found.variance_epistemic[:590] >= 0).all()
    assert found.mean.dtype == found.variance_epistemic.dtype == np.float32


def test_batch_size_does_not_change_predictions(training: TrainingSet, model: TrainedModel) -> None:
    whole = predict(model, training.image_features, training.covariates)
    parts = predict(model, training.image_features, training.covariates, batch_size=7)
    np.testing.assert_allclose(parts.mean, whole.mean, atol=1e-5)
    np.testing.assert_allclose(parts.variance_aleatoric, whole.variance_aleatoric, rtol=1e-4)


def test_no_images_at_all_is_geospatial(training: TrainingSet, model: TrainedModel) -> None:
    found = predict(model, None, training.covariates[200:210])
    assert set(found.modalities) == {"geospatial"}
    assert predict(model, None, training.covariates[:0]).mean.shape == (0, 5)


def test_extrapolation_is_bounded_by_the_training_range(training: TrainingSet, model: TrainedModel) -> None:
    far = np.nanmax(training.covariates, axis=0)[None] * np.array([[1.0], [1000.0]])
    found = predict(model, None, far)
    np.testing.assert_allclose(found.mean[1], found.mean[0], atol=1e-4)


def test_a_run_without_photos(training: TrainingSet) -> None:
    settings = SETTINGS.model_copy(update={"refit": True})
    seen = []
    places = replace(usable(training), image_features=None)
    places = places.rows(~np.isnan(places.covariates).all(axis=1))
    model = train(
        places,
        replace(HOW, settings=settings),
        progress=lambda done, planned, losses: seen.append((done, planned, sorted(losses))),
    ).model
    assert model.config.image_dimension == 0
    assert seen[0] == (1, 32, ["held_out_loss", "loss", *(f"r_trait{i}" for i in range(5))])
    assert set(predict(model, None, training.covariates[200:210]).modalities) == {"geospatial"}


def test_prediction_refuses_other_shapes(training: TrainingSet, model: TrainedModel) -> None:
    with pytest.raises(ModelError, match="covariates of shape"):
        predict(model, None, training.covariates[:, :3])
    with pytest.raises(ModelError, match="image features of shape"):
        predict(model, training.image_features[:5, :2], training.covariates[:5])


def test_training_refuses_records_it_cannot_use(training: TrainingSet) -> None:
    rows = usable(training)
    with pytest.raises(ModelError, match="measured"):
        train(rows, replace(HOW, traits=TRAITS[:4]))
    with pytest.raises(ModelError, match="found 20 records without a label and 10 without either input"):
        train(training, HOW)
    with pytest.raises(ModelError, match="at least 2 records to fit"):
        train(rows.rows(np.arange(570) < 1), HOW)
    endless = rows.label_median.copy()
    endless[3, 2] = np.inf
    endless_place = rows.covariates.copy()
    endless_place[5, 1] = np.inf
    with pytest.raises(ModelError, match="finite covariates"):
        train(replace(rows, covariates=endless_place), HOW)
    with pytest.raises(ModelError, match="labels of trait2: expected finite medians"):
        train(replace(rows, label_median=endless), HOW)


def test_a_trait_without_any_label_is_refused(training: TrainingSet) -> None:
    rows = usable(training)
    median = rows.label_median.copy()
    median[:, 3] = np.nan
    with pytest.raises(ModelError, match="label of \\['trait3'\\]"):
        train(replace(rows, label_median=median), HOW)


@pytest.fixture
def folder(tmp_path: Path, model: TrainedModel) -> Path:
    save_model(model, tmp_path)
    return tmp_path


def test_a_checkpoint_predicts_the_same(folder: Path, training: TrainingSet, model: TrainedModel) -> None:
    loaded = load_model(folder, tuple(trait.id for trait in TRAITS))
    assert loaded.model_id == model.model_id
    assert loaded.metrics == model.metrics
    first = predict(model, training.image_features, training.covariates)
    second = predict(loaded, training.image_features, training.covariates)
    assert np.array_equal(first.mean, second.mean, equal_nan=True)
    assert np.array_equal(first.variance_aleatoric, second.variance_aleatoric, equal_nan=True)


def test_saving_again_gives_the_same_bytes(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("again")
    save_model(load_model(folder), other)
    for name in ("weights.safetensors", "card.yaml"):
        assert (other / name).read_bytes() == (folder / name).read_bytes()


def edit_weights(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    arrays = load_file(folder / "weights.safetensors")
    change(arrays)
    save_file(arrays, folder / "weights.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("member.1.location.weight"), "(?s)member 1: .*location.weight"),
        (lambda a: a.pop("covariate.low"), "missing .*covariate.low"),
        (lambda a: a.update({"member.9.location.bias": a["member.0.location.bias"]}), "left over .*member.9"),
        (lambda a: a.update({"target.scale": np.ones(4)}), "of another shape .*target.scale"),
        (lambda a: a.update({"target.centre": a["target.centre"] + 1}), "a file was changed"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    folder: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    edit_weights(folder, change)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_damaged_or_missing_files_are_refused(folder: Path) -> None:
    weights = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(folder)


def test_another_order_of_traits_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="in this order"):
        load_model(folder, tuple(trait.id for trait in reversed(TRAITS)))


@pytest.mark.parametrize(
    "change", [lambda c: c.pop("network"), lambda c: c["settings"].update(unknown=1), lambda c: c.update(format=99)]
)
def test_a_garbled_card_is_refused(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    card = yaml.safe_load((folder / "card.yaml").read_text())
    change(card)
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(ModelError, match="train"):
        load_model(folder)


def test_sampling_weights_balance_growth_forms_and_places() -> None:
    lat = np.array([0.1, 0.1, 0.1, 10.0, 20.0, np.nan])
    forms = ["tree", "tree", "tree", "tree", "herb", None]
    even = sampling_weights(lat, lat, forms, growth_form_balance=0, place_balance=0)
    np.testing.assert_allclose(even, 1 / 6)
    balanced = sampling_weights(lat, lat, forms, growth_form_balance=1, place_balance=0)
    np.testing.assert_allclose(balanced, [1 / 12] * 4 + [1 / 3] * 2)
    places = sampling_weights(lat, lat, forms, growth_form_balance=0, place_balance=1)
    np.testing.assert_allclose(places, [1 / 12] * 3 + [1 / 4] * 3)
