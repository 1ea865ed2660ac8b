"""bfloat16 on a processor takes the path of a GPU: it agrees with float32, and losses stay float32."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from data_catalog import Trait
from plant_traits.model.calibration import uncalibrated
from plant_traits.model.losses import masked_nll, masked_nll_total
from plant_traits.model.network import NetworkConfig, TraitNetwork
from plant_traits.model.precision import apply_network, resolve_precision
from plant_traits.model.prediction import predict
from plant_traits.model.standardisation import fit_standardisation
from plant_traits.model.trained_model import TrainedModel


def test_auto_is_float32_on_a_processor_and_bfloat16_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_precision("auto", "cpu") == torch.float32
    for has_it, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has_it=has_it: has_it)
        assert resolve_precision("auto", torch.device("cuda", 1)) == expected
    assert resolve_precision("bfloat16", "cpu") == torch.bfloat16
    assert resolve_precision("float32", "cuda") == torch.float32


@pytest.fixture
def network() -> TraitNetwork:
    torch.manual_seed(0)
    return TraitNetwork(NetworkConfig(64, 8, 4, hidden=128, blocks=2, dropout=0.0)).eval()


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    place = torch.randn(500, 8, generator=generator)
    place[:50, 3] = torch.nan
    everywhere = torch.ones(500, dtype=torch.bool)
    return torch.randn(500, 64, generator=generator), place, everywhere, everywhere


def test_bfloat16_agrees_with_float32(network: TraitNetwork) -> None:
    with torch.inference_mode():
        location, log_scale = apply_network(network, inputs(), torch.float32)
        rough, rough_scale = apply_network(network, inputs(), torch.bfloat16)
        exact = network(*inputs())
    assert torch.equal(location, exact[0])
    assert torch.equal(log_scale, exact[1])
    assert rough.dtype == rough_scale.dtype == torch.float32
    assert not torch.equal(rough, location)  # matrix products were rounded
    error = (rough - location).abs()  # of targets with sd 1
    assert float(error.square().mean().sqrt()) < 5e-3
    assert float(error.max()) < 2e-2
    np.testing.assert_allclose(rough_scale, log_scale, atol=1e-2)


def test_gradients_of_bfloat16_are_float32_and_agree(network: TraitNetwork) -> None:
    target = torch.randn(500, 4, generator=torch.Generator().manual_seed(2))
    laplace = torch.tensor([True, False, False, True])
    gradients = []
    for precision in (torch.float32, torch.bfloat16):
        network.zero_grad()
        loss = masked_nll(target, *apply_network(network, inputs(), precision), laplace)
        assert loss.dtype == torch.float32
        loss.backward()
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in network.parameters())
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    cosine = torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0)
    assert cosine > 0.999


def test_the_total_over_the_count_is_the_mean() -> None:
    target = torch.tensor([[1.0, torch.nan], [3.0, 0.5]])
    location, log_scale, laplace = torch.zeros(2, 2), torch.full((2, 2), 0.3), torch.tensor([False, True])
    total, observed = masked_nll_total(target, location, log_scale, laplace)
    assert int(observed) == 3
    assert float(total / 3) == float(masked_nll(target, location, log_scale, laplace))


def test_a_trained_ensemble_predicts_the_same_in_bfloat16() -> None:
    small = runpy.run_path(str(Path(__file__).with_name("training_process.py")))
    members = [small["train_small"](member=member) for member in (0, 1)]
    records = small["small_set"](200, 0)
    target = fit_standardisation(records.centres())
    model = TrainedModel(
        traits=tuple(
            Trait(id=trait, name="t", definition="d", unit="m", valid_range=(0.01, 100.0), likelihood="gaussian")
            for trait in small["TRAITS"]
        ),
        covariate_names=records.covariate_names,
        encoder_identity="e",
        config=members[0].network.config,
        networks=tuple(member.network for member in members),
        image_standardisation=fit_standardisation(records.features()),
        covariate_standardisation=fit_standardisation(records.covariates),
        target_centre=target.centre,
        target_scale=target.scale,
        calibration=uncalibrated(small["TRAITS"], 3),
        metrics={},
        settings=small["SETTINGS"],
    )
    arrays = (records.features(), records.covariates)
    exact, default = predict(model, *arrays, precision="float32"), predict(model, *arrays)
    assert np.array_equal(exact.mean, default.mean, equal_nan=True)  # auto on a processor
    rough = predict(model, *arrays, precision="bfloat16")
    assert not np.array_equal(exact.mean, rough.mean, equal_nan=True)
    np.testing.assert_allclose(rough.mean / target.scale, exact.mean / target.scale, atol=1e-2)
    np.testing.assert_allclose(rough.variance_aleatoric, exact.variance_aleatoric, rtol=2e-2)
    assert rough.modalities.tolist() == exact.modalities.tolist()
