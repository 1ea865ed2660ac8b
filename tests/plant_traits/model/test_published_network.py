from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from plant_traits.errors import ModelError
from plant_traits.model.losses import gaussian_nll, laplace_nll, masked_nll, variance_from_log_scale
from plant_traits.model.network import NetworkConfig
from plant_traits.model.published_network import PublishedNetwork, load_published_checkpoint

PRESET = "planttraitnet-published"
SMALL = NetworkConfig(image_dimension=96 * 3, covariates=10, traits=4, hidden=16, blocks=3, dropout=0.2, preset=PRESET)


def network(config: NetworkConfig = SMALL, seed: int = 0) -> PublishedNetwork:
    """Give every tensor random values, running statistics included, so that none drops out of an equation."""
    generator = torch.Generator().manual_seed(seed)
    built = PublishedNetwork(config)
    for name, tensor in built.state_dict().items():
        if tensor.is_floating_point():
            spread = 1 / max(tensor.shape[-1] if tensor.ndim else 1, 1) ** 0.5
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread)
        if name.endswith("running_var"):
            tensor.abs_().add_(0.5)
    return built


def inputs(
    config: NetworkConfig, n: int, seed: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    yes = torch.ones(n, dtype=torch.bool)
    image = torch.randn(n, config.image_dimension, generator=generator)
    return image, torch.randn(n, config.covariates, generator=generator), yes, yes.clone()


def normalised(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, epsilon: float) -> np.ndarray:
    return (x - mean) / np.sqrt(variance + epsilon)


def restated(
    state: dict[str, np.ndarray],
    image: np.ndarray,
    depth: np.ndarray,
    place: np.ndarray,
    *,
    in_training: bool,
    blocks: int,
    traits: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Write the published network out in float64, with its published names; dropout off."""

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    parts = [
        linear("depth_encoder.compress_depth_enc.2", depth),
        linear("geo_encoder.Linear", place),
        linear("image_encoder.compress_dino_feat.2", image),
    ]
    x = np.concatenate(parts, axis=1)
    x = normalised(x, x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True), 1e-6)
    x = x * state["layernorm.weight"] + state["layernorm.bias"]
    x = linear("multimodal.input_projection", linear("input_proj", x))
    for i in range(blocks):
        name = f"multimodal.blocks.{i}"
        running = state[f"{name}.normalization.running_mean"], state[f"{name}.normalization.running_var"]
        mean, variance = (x.mean(axis=0), x.var(axis=0)) if in_training else running
        y = normalised(x, mean, variance, 1e-5)
        y = y * state[f"{name}.normalization.weight"] + state[f"{name}.normalization.bias"]
        y = linear(f"{name}.linear1", y)
        y = np.where(y > 0, y, 0.01 * y)
        x = x + linear(f"{name}.linear2", y)
    location = np.hstack([linear(f"multimodal.mu_heads.{t}.0", x) for t in range(traits)])
    scale = np.hstack([linear(f"multimodal.logvar_linears.{t}", x) for t in range(traits)])
    return np.log1p(np.exp(location)), np.clip(scale, -5, 5)


def published_state(net: PublishedNetwork) -> dict[str, torch.Tensor]:
    """Rename by hand what the module's table renames."""
    renamed = {}
    for name, tensor in net.state_dict().items():
        new = name
        for own, published in [
            ("image.", "image_encoder.compress_dino_feat.2."),
            ("depth.", "depth_encoder.compress_depth_enc.2."),
            ("place.", "geo_encoder.Linear."),
            ("norm.", "layernorm."),
            ("projection.", "input_proj."),
            ("entry.", "multimodal.input_projection."),
            ("blocks.", "multimodal.blocks."),
        ]:
            if name.startswith(own):
                new = published + name[len(own) :]
        new = new.replace("normalisation", "normalization").replace("expand", "linear1").replace("contract", "linear2")
        for trait in range(net.config.traits):
            new = new.replace(f"log_scales.{trait}.", f"multimodal.logvar_linears.{trait}.")
            new = new.replace(f"locations.{trait}.", f"multimodal.mu_heads.{trait}.0.")
        renamed[new] = tensor.clone()
    return renamed


@pytest.mark.parametrize("in_training", [False, True])
@pytest.mark.parametrize("size", ["small", "published"])
def test_the_network_equals_its_equations(size: str, in_training: bool) -> None:
    config = SMALL
    if size == "published":
        config = NetworkConfig(96 * 24, 64, traits=4, hidden=1024, blocks=8, dropout=0.2, preset=PRESET)
    net = network(config).train(in_training)
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    arguments = inputs(config, 6)
    state = {name: tensor.double().numpy() for name, tensor in published_state(net).items()}
    with torch.no_grad():
        location, log_scale = net(*arguments)
    image, place = arguments[0].double().numpy(), arguments[1].double().numpy()
    third = config.image_dimension // 3
    expected = restated(
        state,
        image[:, :third],
        image[:, third:],
        place,
        in_training=in_training,
        blocks=config.blocks,
        traits=config.traits,
    )
    np.testing.assert_allclose(location.numpy(), expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(log_scale.numpy(), expected[1], rtol=1e-5, atol=1e-5)


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        net = PublishedNetwork(NetworkConfig(96 * 768, 1024, 4, hidden=1024, blocks=8, dropout=0.2, preset=PRESET))
    shapes = {name: tuple(tensor.shape) for name, tensor in published_state(net).items()}
    assert shapes["image_encoder.compress_dino_feat.2.weight"] == (768, 24576)
    assert shapes["depth_encoder.compress_depth_enc.2.weight"] == (768, 49152)
    assert shapes["geo_encoder.Linear.weight"] == (256, 1024)
    assert shapes["layernorm.weight"] == (1792,)
    assert shapes["input_proj.weight"] == (1024, 1792)
    assert shapes["multimodal.input_projection.weight"] == (1024, 1024)
    assert shapes["multimodal.blocks.7.linear1.weight"] == (2048, 1024)
    assert shapes["multimodal.blocks.7.linear2.weight"] == (1024, 2048)
    assert "multimodal.blocks.8.linear1.weight" not in shapes
    assert shapes["multimodal.mu_heads.3.0.weight"] == (1, 1024)
    assert shapes["multimodal.logvar_linears.3.bias"] == (1,)


def test_log_scales_are_clamped_alike_in_training_and_inference() -> None:
    net = network()
    with torch.no_grad():
        for head, bias in zip(net.log_scales, (50.0, -50.0, 0.0, 50.0), strict=True):
            head.bias.fill_(bias)
        scales = [net.train(mode)(*inputs(SMALL, 5))[1] for mode in (True, False)]
    for log_scale in scales:
        assert (log_scale[:, [0, 3]] == 5).all()
        assert (log_scale[:, 1] == -5).all()
    laplace = torch.tensor([False, True, False, True])
    clamped, y, mu = scales[1], torch.zeros(5, 4), torch.ones(5, 4)
    beyond = clamped + torch.tensor([45.0, -45.0, 0.0, 45.0])
    assert torch.equal(masked_nll(y, mu, clamped, laplace), masked_nll(y, mu, beyond, laplace))
    assert torch.equal(variance_from_log_scale(clamped, laplace), variance_from_log_scale(beyond, laplace))


def test_losses_of_its_outputs_equal_torch_distributions() -> None:
    with torch.no_grad():
        location, log_scale = network().eval()(*inputs(SMALL, 8))
    target = torch.rand(8, 4, generator=torch.Generator().manual_seed(3))
    normal = torch.distributions.Normal(location, torch.exp(log_scale / 2))
    laplace = torch.distributions.Laplace(location, torch.exp(log_scale))
    torch.testing.assert_close(gaussian_nll(target, location, log_scale), -normal.log_prob(target))
    torch.testing.assert_close(laplace_nll(target, location, log_scale), -laplace.log_prob(target))
    which = torch.tensor([False, True, False, False])
    expected = torch.where(which, laplace.variance, normal.variance)
    torch.testing.assert_close(variance_from_log_scale(log_scale, which), expected)


def test_a_missing_modality_changes_nothing_but_itself() -> None:
    net, (image, place, yes, _) = network().eval(), inputs(SMALL, 4)
    no = ~yes
    with torch.no_grad():
        both = net(image, place, yes, yes)
        without_photo = net(image, place, no, yes)
        without_place = net(image, place, yes, no)
        assert torch.equal(without_photo[0], net(torch.zeros_like(image) + 9, place, no, yes)[0])
        assert torch.equal(without_place[0], net(image, torch.full_like(place, torch.nan), yes, no)[0])
    assert not torch.allclose(both[0], without_photo[0])
    assert not torch.allclose(both[0], without_place[0])


def test_a_converted_checkpoint_loads_and_its_frozen_encoders_stay_aside(tmp_path: Path) -> None:
    source = network(seed=5)
    frozen = {
        "image_encoder.dinomodel.cls_token": torch.zeros(1),
        "depth_encoder.depth_encoder.blocks.0.norm1.weight": torch.zeros(1),
        "geo_encoder.model.location_encoder.layers.0.bias": torch.zeros(1),
    }
    save_file(published_state(source) | frozen, tmp_path / "published.safetensors")
    loaded = load_published_checkpoint(network(seed=6), tmp_path / "published.safetensors")
    assert loaded.state_dict().keys() == source.state_dict().keys()
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in source.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"missing \['multimodal\.blocks\.2\.linear1\.weight'\]"),
        ("extra", r"left over \['multimodal\.extra\.weight'\]"),
        ("own name", r"left over \['surplus\.bias'\]"),
        ("another trait", r"left over \['multimodal\.logvar_linears\.4\.bias'"),
        ("shape", r"another shape \['geo_encoder\.Linear\.weight'\]"),
    ],
)
def test_a_checkpoint_that_does_not_fit_stops_with_the_names(tmp_path: Path, change: str, message: str) -> None:
    state = published_state(network())
    if change == "missing":
        del state["multimodal.blocks.2.linear1.weight"]
    elif change == "extra":
        state["multimodal.extra.weight"] = torch.zeros(2)
    elif change == "own name":
        state["surplus.bias"] = torch.zeros(2)
    elif change == "another trait":
        state = published_state(network(NetworkConfig(288, 10, 5, 16, 3, 0.2, PRESET)))
    else:
        state["geo_encoder.Linear.weight"] = torch.zeros(256, 11)
    save_file(state, tmp_path / "published.safetensors")
    with pytest.raises(ModelError, match=message):
        load_published_checkpoint(network(), tmp_path / "published.safetensors")


def test_own_names_in_a_published_checkpoint_are_refused(tmp_path: Path) -> None:
    save_file(network().state_dict(), tmp_path / "own.safetensors")
    with pytest.raises(ModelError, match=r"missing \['depth_encoder.*left over \['blocks\.0"):
        load_published_checkpoint(network(), tmp_path / "own.safetensors")


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "published.safetensors"
    for content in (b"", b"\x80\x04pickle", b"\x00" * 100):
        path.write_bytes(content)
        with pytest.raises(ModelError, match="expected a safetensors file"):
            load_published_checkpoint(network(), path)
    with pytest.raises(ModelError, match="expected a safetensors file"):
        load_published_checkpoint(network(), tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(("image", "place"), [(1280, 10), (0, 10), (288, 0)])
def test_inputs_of_other_encoders_are_refused(image: int, place: int) -> None:
    with pytest.raises(ModelError, match=r"dinov2-tokens\+depth-anything"):
        PublishedNetwork(NetworkConfig(image, place, 4, 16, 2, 0.2, PRESET))
