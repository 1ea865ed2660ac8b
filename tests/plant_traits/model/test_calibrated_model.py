"""A calibration at work in a model: factors and intervals of predictions, and its way through a checkpoint."""

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
from plant_traits.model.calibration import Calibration, uncalibrated
from plant_traits.model.checkpoint import load_model, save_model
from plant_traits.model.network import NetworkConfig, TraitNetwork
from plant_traits.model.prediction import intervals, predict
from plant_traits.model.standardisation import Standardisation
from plant_traits.model.trained_model import TrainedModel

TRAITS = tuple(
    Trait(id=name, name=name, definition="d", unit="m", valid_range=(0.01, 100.0)) for name in ("height", "sla")
)
LEVELS = (0.5, 0.9)


def calibration() -> Calibration:
    """Factors 1, 4 and 9 for all, herbs and trees with photo and place; ten and a hundred times that for one alone."""
    factor = np.array([1.0, 100.0, 10.0])[:, None, None] * np.array([1.0, 4.0, 9.0])[None, :, None] * np.ones(2)
    quantile = np.tile([0.7, 1.7], (3, 3, 2, 1))
    quantile[0, 2, 1] = (0.5, np.inf)
    n = np.full((3, 3, 2), 25)
    return Calibration(("height", "sla"), ("all", "herb", "tree"), LEVELS, n, factor, quantile)


def made(seed: int = 0) -> TrainedModel:
    plain = Standardisation(np.zeros(4), np.ones(4), np.full(4, -9.0), np.full(4, 9.0))
    config = NetworkConfig(image_dimension=4, covariates=4, traits=2, hidden=8, blocks=1, dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = tuple(TraitNetwork(config).eval().requires_grad_(False) for _ in range(2))
    return TrainedModel(
        traits=TRAITS,
        covariate_names=("a", "b", "c", "d"),
        encoder_identity="e",
        config=config,
        networks=networks,
        image_standardisation=plain,
        covariate_standardisation=plain,
        target_centre=np.zeros(2),
        target_scale=np.ones(2),
        calibration=calibration(),
        metrics={},
        settings=ModelSettings(ensemble=2),
    )


MODEL = made()
IMAGE = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
PLACE = np.random.default_rng(1).normal(size=(4, 4))
GROUPS = ["all", "herb", "tree", "fern"]


def test_variances_are_multiplied_by_the_factor_of_their_modalities_and_group() -> None:
    raw = replace(MODEL, calibration=uncalibrated(["height", "sla"], 3))
    for image, place, size in ((IMAGE, PLACE, 1), (IMAGE, np.full((4, 4), np.nan), 100), (None, PLACE, 10)):
        plain, found = predict(raw, image, place), predict(MODEL, image, place, groups=GROUPS)
        expected = size * np.array([1.0, 4.0, 9.0, 1.0])[:, None]  # ferns are calibrated as all records
        np.testing.assert_allclose(found.variance_aleatoric, plain.variance_aleatoric * expected, rtol=1e-6)
        np.testing.assert_allclose(found.variance_epistemic, plain.variance_epistemic * expected, rtol=1e-6)
        assert np.array_equal(found.mean, plain.mean)
        without = predict(MODEL, image, place)
        np.testing.assert_allclose(without.variance_aleatoric, plain.variance_aleatoric * size, rtol=1e-6)


def test_intervals_reach_the_quantile_of_the_calibrated_deviation() -> None:
    found = predict(MODEL, IMAGE, PLACE, groups=GROUPS)
    sigma = np.sqrt(found.variance_aleatoric.astype(float) + found.variance_epistemic)
    low, high = intervals(MODEL, found, 0.9, GROUPS)
    reach = np.full((4, 2), 1.7)
    reach[2, 1] = np.inf  # too few trees' specific leaf areas to tell
    np.testing.assert_allclose(high - found.mean, reach * sigma)
    np.testing.assert_allclose(found.mean - low, reach * sigma)
    _, half = intervals(MODEL, found, 0.5)
    np.testing.assert_allclose(half - found.mean, 0.7 * sigma)


def test_without_a_usable_input_there_is_no_interval() -> None:
    found = predict(MODEL, None, np.full((2, 4), np.nan))
    assert np.isnan(intervals(MODEL, found, 0.9)).all()


def test_levels_and_groups_that_do_not_fit_are_refused() -> None:
    found = predict(MODEL, IMAGE, PLACE)
    with pytest.raises(ModelError, match=r"found 0\.8"):
        intervals(MODEL, found, 0.8)
    with pytest.raises(ModelError, match="expected 4 groups"):
        predict(MODEL, IMAGE, PLACE, groups=["tree"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(MODEL, tmp_path)
    return tmp_path


def test_a_calibration_comes_back_as_it_was_saved(folder: Path) -> None:
    loaded = load_model(folder)
    assert loaded.calibration.groups == ("all", "herb", "tree")
    assert loaded.calibration.levels == LEVELS
    for name in ("n", "variance_factor", "quantile"):
        assert np.array_equal(getattr(loaded.calibration, name), getattr(MODEL.calibration, name))
    table = yaml.safe_load((folder / "card.yaml").read_text())["calibration"]["table"]
    assert table["image+geospatial"]["tree"]["sla"] == {"n": 25, "variance_factor": 9.0, "quantiles": [0.5, np.inf]}


def test_the_calibration_is_part_of_the_model_id() -> None:
    other = replace(MODEL, calibration=replace(MODEL.calibration, groups=("all", "herb", "shrub")))
    assert other.model_id != MODEL.model_id
    assert other.networks_id == MODEL.networks_id != made(seed=1).networks_id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(traits=["sla", "height"]), "in this order"),
        (lambda c: c.update(networks_id=made(seed=1).networks_id), "belongs to the networks"),
        (lambda c: c.update(groups=["all", "herb"]), "another shape .*calibration"),
        (lambda c: c.update(groups=["all", "herb", "shrub"]), "a file was changed"),
        (lambda c: c.update(groups=["herb", "all", "tree"]), "begin with 'all'"),
        (lambda c: c.update(levels=["high", 0.9]), "garbles"),
        (lambda c: c.pop("traits"), "garbles"),
    ],
)
def test_a_calibration_of_other_traits_networks_or_groups_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    card = yaml.safe_load((folder / "card.yaml").read_text())
    change(card["calibration"])
    (folder / "card.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(ModelError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "value"), [("variance_factor", 0.0), ("variance_factor", np.nan), ("quantile", np.nan)]
)
def test_numbers_that_cannot_be_used_are_refused(folder: Path, name: str, value: float) -> None:
    arrays = load_file(folder / "weights.safetensors")
    arrays[f"calibration.{name}"][0] = value
    save_file(arrays, folder / "weights.safetensors")
    with pytest.raises(ModelError, match="expected positive variance factors"):
        load_model(folder)


def test_weights_without_a_calibration_are_refused(folder: Path) -> None:
    arrays = load_file(folder / "weights.safetensors")
    del arrays["calibration.quantile"]
    save_file(arrays, folder / "weights.safetensors")
    with pytest.raises(ModelError, match=r"missing \['calibration.quantile'\]"):
        load_model(folder)
