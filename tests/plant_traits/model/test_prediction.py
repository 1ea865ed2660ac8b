"""Predictions of an ensemble against the law of total variance, written out from the members' own outputs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data_catalog import ModelSettings, Trait
from plant_traits.model.calibration import Calibration, uncalibrated
from plant_traits.model.network import NetworkConfig, TraitNetwork
from plant_traits.model.prediction import Prediction, predict
from plant_traits.model.standardisation import Standardisation
from plant_traits.model.trained_model import TrainedModel

MEMBERS, N = 3, 7
CENTRE, SCALE = np.array([2.0, -1.0]), np.array([0.5, 3.0])
IMAGE = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
PLACE = np.random.default_rng(1).normal(size=(N, 3))
IMAGE[5] = np.nan
PLACE[6] = np.nan
PLACE[0, 1] = np.nan  # one covariate of several


def model(photo_weight: float = 0.0) -> TrainedModel:
    config = NetworkConfig(image_dimension=4, covariates=3, traits=2, hidden=8, blocks=1, dropout=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        networks = tuple(TraitNetwork(config).eval().requires_grad_(False) for _ in range(MEMBERS))
        for network in networks:
            torch.nn.init.normal_(network.log_scale.weight, std=0.5)  # zero in a network that was not trained
    traits = tuple(
        Trait(id=name, name=name, definition="d", unit="m", valid_range=(0.01, 100.0), likelihood=likelihood)
        for name, likelihood in (("height", "gaussian"), ("sla", "laplace"))
    )
    return TrainedModel(
        traits=traits,
        covariate_names=("a", "b", "c"),
        encoder_identity="e",
        config=config,
        networks=networks,
        image_standardisation=Standardisation(np.full(4, 0.5), np.full(4, 2.0), np.full(4, -0.8), np.full(4, 0.9)),
        covariate_standardisation=Standardisation(np.zeros(3), np.full(3, 0.5), np.full(3, -1.5), np.full(3, 1.5)),
        target_centre=CENTRE,
        target_scale=SCALE,
        calibration=uncalibrated(["height", "sla"], 3),
        metrics={},
        settings=ModelSettings(ensemble=MEMBERS, photo_weight=photo_weight),
    )


def outputs(model: TrainedModel, *, places_hidden: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return location and variance of every member, (members, n, traits), scaled by hand: no code of prediction's."""
    image = np.clip((IMAGE - 0.5) / 2.0, -0.8, 0.9)
    place = np.clip(PLACE / 0.5, -1.5, 1.5)
    given = (
        torch.tensor(np.nan_to_num(image), dtype=torch.float32),
        torch.tensor(place, dtype=torch.float32),
        torch.tensor(np.isfinite(IMAGE).all(axis=1)),
        torch.tensor(np.isfinite(PLACE).any(axis=1) & (not places_hidden)),
    )
    location, log_scale = (
        np.stack(x) for x in zip(*([y.numpy() for y in net(*given)] for net in model.networks), strict=True)
    )
    variance = np.stack([np.exp(log_scale[..., 0]), 2 * np.exp(2 * log_scale[..., 1])], axis=-1)  # eˢ, 2b²
    return location * SCALE + CENTRE, variance * SCALE**2


def test_the_total_variance_is_the_mean_variance_plus_the_variance_of_the_means() -> None:
    ensemble = model()
    location, variance = outputs(ensemble)
    found = predict(ensemble, IMAGE, PLACE)
    np.testing.assert_allclose(found.mean, location.sum(axis=0) / MEMBERS, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.variance_aleatoric, variance.sum(axis=0) / MEMBERS, rtol=1e-5)
    second = (location**2).sum(axis=0) / MEMBERS
    between = second - (location.sum(axis=0) / MEMBERS) ** 2
    np.testing.assert_allclose(found.variance_epistemic, between, rtol=1e-3, atol=1e-6)
    # The same by the moments of the mixture: E[y²] - E[y]².
    total = (variance + location**2).sum(axis=0) / MEMBERS - (location.sum(axis=0) / MEMBERS) ** 2
    np.testing.assert_allclose(found.variance_aleatoric + found.variance_epistemic, total, rtol=1e-4)
    assert (between > 1e-4).all()
    assert found.modalities.tolist() == ["image+geospatial"] * 5 + ["geospatial", "image"]


def test_a_photo_with_a_place_is_averaged_with_the_photo_alone() -> None:
    ensemble = model(photo_weight=0.25)
    (both, its_variance), (alone, other_variance) = outputs(ensemble), outputs(ensemble, places_hidden=True)
    found = predict(ensemble, IMAGE, PLACE)
    mean = 0.75 * both[:, :5].mean(axis=0) + 0.25 * alone[:, :5].mean(axis=0)
    np.testing.assert_allclose(found.mean[:5], mean, rtol=1e-5, atol=1e-5)
    within = 0.75 * its_variance[:, :5].mean(axis=0) + 0.25 * other_variance[:, :5].mean(axis=0)
    np.testing.assert_allclose(found.variance_aleatoric[:5], within, rtol=1e-5)
    square = 0.75 * (both[:, :5] ** 2).mean(axis=0) + 0.25 * (alone[:, :5] ** 2).mean(axis=0)
    np.testing.assert_allclose(found.variance_epistemic[:5], square - mean**2, rtol=1e-3, atol=1e-6)
    plain = predict(model(), IMAGE, PLACE)  # a place alone and a photo alone are what they were
    np.testing.assert_allclose(found.mean[5:], plain.mean[5:], rtol=1e-6)
    np.testing.assert_allclose(found.variance_epistemic[5:], plain.variance_epistemic[5:], rtol=1e-5)
    assert ensemble.model_id != model().model_id


def test_factors_multiply_both_parts() -> None:
    ensemble = model()
    factor = np.array([2.0, 3.0, 5.0])[:, None, None] * np.array([1.0, 10.0])
    calibration = Calibration(
        ("height", "sla"), ("all",), (0.9,), np.full((3, 1, 2), 99), factor, np.full((3, 1, 2, 1), 1.0)
    )
    plain, found = predict(ensemble, IMAGE, PLACE), predict(replace(ensemble, calibration=calibration), IMAGE, PLACE)
    expected = np.array([[2.0, 20.0]] * 5 + [[5.0, 50.0], [3.0, 30.0]])
    np.testing.assert_allclose(found.variance_aleatoric, plain.variance_aleatoric * expected, rtol=1e-6)
    np.testing.assert_allclose(found.variance_epistemic, plain.variance_epistemic * expected, rtol=1e-6)
    np.testing.assert_array_equal(found.mean, plain.mean)


def test_a_single_member_has_no_epistemic_variance() -> None:
    single = replace(model(), networks=model().networks[:1])
    assert (predict(single, IMAGE, PLACE).variance_epistemic == 0).all()
    averaged = replace(single, settings=ModelSettings(ensemble=1, photo_weight=0.5))
    assert (predict(averaged, IMAGE, PLACE).variance_epistemic[:5] > 0).all()  # its two views differ


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_the_batch_does_not_matter(batch_size: int) -> None:
    averaged = model(photo_weight=0.5)
    whole, parts = predict(averaged, IMAGE, PLACE), predict(averaged, IMAGE, PLACE, batch_size=batch_size)
    for name in ("mean", "variance_aleatoric", "variance_epistemic"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-5, atol=1e-5)
    assert parts.modalities.tolist() == whole.modalities.tolist()


@pytest.fixture(scope="module")
def wide() -> TrainedModel:
    """Return an ensemble as wide as those of the profiles: in smaller ones every batch gives the same bits."""
    config = NetworkConfig(image_dimension=384, covariates=28, traits=2, hidden=128, blocks=1, dropout=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        networks = tuple(TraitNetwork(config).eval().requires_grad_(False) for _ in range(2))
        for network in networks:
            torch.nn.init.normal_(network.log_scale.weight, std=0.05)
    return replace(
        model(photo_weight=0.5),
        covariate_names=tuple(str(k) for k in range(28)),
        config=config,
        networks=networks,
        image_standardisation=Standardisation(*(np.full(384, x) for x in (0.0, 1.0, -9.0, 9.0))),
        covariate_standardisation=Standardisation(*(np.full(28, x) for x in (0.0, 1.0, -9.0, 9.0))),
    )


@pytest.fixture(scope="module")
def inputs() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(4)
    image = random.normal(size=(150, 384)).astype(np.float32)
    place = random.normal(size=(150, 28))
    image[random.random(150) < 0.2] = np.nan
    place[random.random(150) < 0.1] = np.nan
    return image, place


def bits(found: Prediction) -> np.ndarray:
    return np.stack([found.mean, found.variance_aleatoric, found.variance_epistemic]).view(np.int32)


@pytest.mark.parametrize("seed", range(3))
def test_a_prediction_does_not_depend_on_its_company(
    wide: TrainedModel, inputs: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    image, place = inputs
    whole = bits(predict(wide, image, place))
    random = np.random.default_rng(seed)
    for rows in (random.permutation(150)[: random.integers(1, 100)], np.arange(150)[::-1], random.integers(0, 150, 5)):
        some = predict(wide, image[rows], place[rows], batch_size=int(random.integers(1, 200)))
        np.testing.assert_array_equal(bits(some), whole[:, rows])


def test_a_prediction_alone_is_the_one_in_company(wide: TrainedModel, inputs: tuple[np.ndarray, np.ndarray]) -> None:
    image, place = inputs
    whole = bits(predict(wide, image, place))
    for row in range(0, 150, 15):
        np.testing.assert_array_equal(bits(predict(wide, image[[row]], place[[row]]))[:, 0], whole[:, row])
