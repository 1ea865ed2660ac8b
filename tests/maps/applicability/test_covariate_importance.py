"""Importance of covariates to models whose answer is known: networks with weights put there by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from data_catalog import ModelSettings, Trait
from maps.applicability.covariate_importance import covariate_importance
from plant_traits.errors import ModelError
from plant_traits.model.calibration import uncalibrated
from plant_traits.model.network import NetworkConfig
from plant_traits.model.standardisation import Standardisation
from plant_traits.model.trained_model import MODALITIES, TrainedModel

TRAITS = tuple(
    Trait(id=name, name=name, definition="d", unit="m", valid_range=(0.01, 100.0)) for name in ("height", "sla")
)


class Linear(nn.Module):
    """A network that answers a linear function of the standardised covariates, missing ones as 0."""

    def __init__(self, coefficients: npt.NDArray[np.float64]) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(torch.tensor(coefficients, dtype=torch.float32), requires_grad=False)

    def forward(self, image: Tensor, covariates: Tensor, has_image: Tensor, has_place: Tensor) -> tuple[Tensor, Tensor]:
        location = torch.nan_to_num(covariates) @ self.coefficients.T
        return location, torch.zeros_like(location)


def model_of(coefficients: list[list[float]], scale: float = 1.0) -> TrainedModel:
    weights = np.array(coefficients, dtype=float)
    columns = weights.shape[1]

    def plain(n: int, scale: float) -> Standardisation:
        return Standardisation(np.zeros(n), np.full(n, scale), np.full(n, -99.0), np.full(n, 99.0))

    return TrainedModel(
        traits=TRAITS,
        covariate_names=tuple(f"c{k}" for k in range(columns)),
        encoder_identity="e",
        config=NetworkConfig(image_dimension=2, covariates=columns, traits=2, hidden=1, blocks=0, dropout=0.0),
        networks=(Linear(weights),),  # type: ignore[arg-type]
        image_standardisation=plain(2, 1.0),
        covariate_standardisation=plain(columns, scale),
        target_centre=np.zeros(2),
        target_scale=np.ones(2),
        calibration=uncalibrated(["height", "sla"], len(MODALITIES)),
        metrics={},
        settings=ModelSettings(ensemble=1),
    )


def test_of_a_linear_model_it_is_its_coefficients() -> None:
    covariates = np.random.default_rng(0).normal(size=(5000, 3)) * 4
    model = model_of([[3.0, -1.0, 0.0], [0.0, 0.0, 2.0]], scale=4.0)
    found = covariate_importance(model, covariates, most=5000)
    np.testing.assert_allclose(found, [[0.75, 0.25, 0.0], [0.0, 0.0, 1.0]], atol=0.02)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_a_covariate_that_never_varies_or_is_never_known_has_none() -> None:
    covariates = np.random.default_rng(0).normal(size=(300, 3))
    covariates[:, 0], covariates[:, 1] = 7.0, np.nan
    found = covariate_importance(model_of([[5.0, 5.0, 1.0]] * 2), covariates)
    assert found.tolist() == [[0.0, 0.0, 1.0]] * 2


def test_where_nothing_matters_all_count_the_same() -> None:
    covariates = np.random.default_rng(0).normal(size=(50, 4))
    found = covariate_importance(model_of([[0.0] * 4, [1.0, 0.0, 0.0, 0.0]]), covariates)
    assert found.tolist() == [[0.25] * 4, [1.0, 0.0, 0.0, 0.0]]


def test_a_bounded_sample_the_same_every_time_and_of_known_places_only() -> None:
    covariates = np.random.default_rng(0).normal(size=(400, 2))
    covariates[::2] = np.nan
    model = model_of([[1.0, 2.0], [1.0, 0.5]])
    found = covariate_importance(model, covariates, seed=4, most=150)
    np.testing.assert_array_equal(found, covariate_importance(model, covariates, seed=4, most=150))
    assert (found != covariate_importance(model, covariates, seed=5, most=150)).any()
    np.testing.assert_allclose(found, [[1 / 3, 2 / 3], [2 / 3, 1 / 3]], atol=0.05)


def test_models_and_places_without_covariates_are_refused() -> None:
    with pytest.raises(ModelError, match="reads none"):
        covariate_importance(model_of([[], []]), np.empty((3, 0)))
    with pytest.raises(ModelError, match="none of 3 places"):
        covariate_importance(model_of([[1.0], [1.0]]), np.full((3, 1), np.nan))
    with pytest.raises(ModelError, match="expected covariates of shape"):
        covariate_importance(model_of([[1.0], [1.0]]), np.ones((3, 2)))
