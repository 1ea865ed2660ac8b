from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from plant_traits.errors import ModelError
from plant_traits.model.efficientnet import EfficientNetLite0, folded, load_efficientnet_lite0, weights_path
from plant_traits.model.encoders import Encoder, TorchEncoder, load_encoder
from plant_traits.model.token_pooling import pooled_tokens


def photos(n: int, size: tuple[int, int] = (240, 224), seed: int = 0) -> list[Image.Image]:
    generator = np.random.default_rng(seed)
    return [Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)) for _ in range(n)]


@pytest.fixture(scope="module")
def efficientnet() -> Encoder:
    return load_encoder("efficientnet-lite0")


def test_efficientnet_has_the_published_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in EfficientNetLite0().parameters()) == 4_652_008


def test_efficientnet_state_is_fully_consumed() -> None:
    published = torch.load(weights_path(), weights_only=True)
    assert published.keys() == load_efficientnet_lite0().state_dict().keys()


def test_folding_the_normalisation_keeps_the_features() -> None:
    images = torch.from_numpy(np.random.default_rng(3).normal(size=(2, 3, 224, 224)).astype(np.float32))
    with torch.inference_mode():
        network = load_efficientnet_lite0()
        expected = network(images)
        torch.testing.assert_close(folded(network)(images), expected, atol=1e-4, rtol=1e-4)


def test_efficientnet_encodes(efficientnet: Encoder) -> None:
    features = efficientnet.encode(photos(3))
    assert (features.shape, features.dtype) == ((3, 1280), np.float32)
    assert efficientnet.dimension == 1280
    assert efficientnet.licence == "Apache-2.0"
    assert features.min() >= 0  # pooled after a ReLU6
    assert features.max() <= 6


@pytest.mark.real
def test_efficientnet_recognises_a_daisy(real_data: Path) -> None:
    names = sorted((real_data / "photos" / "inat_ucsc").glob("*.jpg"))
    from plant_traits.model.images import decode_photo
    from plant_traits.model.preprocessing import EFFICIENTNET_LITE

    image = decode_photo(names[0].read_bytes())
    with torch.inference_mode():
        logits = load_efficientnet_lite0().classify(torch.from_numpy(EFFICIENTNET_LITE.apply(image))[None])
    assert int(logits.argmax()) == 985  # ImageNet's daisy, for a composite's flower head


@pytest.mark.parametrize("name", ["efficientnet-lite0", "dinov2-small"])
def test_who_shares_a_batch_does_not_matter_to_the_bit(name: str) -> None:
    encoder = load_encoder(name)
    chosen, others = photos(2, seed=1), photos(7, seed=2)
    together = encoder.encode(chosen)
    assert not np.array_equal(together[0], together[1])
    assert np.array_equal(encoder.encode(chosen[1:]), together[1:])  # alone
    # Nine photos take two passes: one photo now stands last in a full pass, the other alone in the next.
    assert encoder.batch == 8  # type: ignore[attr-defined]
    among_others = encoder.encode([*others, chosen[1], chosen[0]])
    assert np.array_equal(among_others[[8, 7]], together)


class Recording(torch.nn.Module):
    """Gives the mean of each photo, and keeps the shape and the last photo of every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []
        self.last: list[float] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(images.shape))
        self.last.append(float(images[-1].abs().max()))
        return images.mean(dim=(1, 2, 3))[:, None]


def test_every_pass_is_full() -> None:
    from plant_traits.model.preprocessing import EFFICIENTNET_LITE

    network = Recording()
    encoder = TorchEncoder("mean", 1, "mean-1", "none", (EFFICIENTNET_LITE,), network, 4, "cpu", "float32")
    images = photos(5)
    features = encoder.encode(images)
    assert network.seen == [(4, 3, 224, 224)] * 2
    assert [value > 0 for value in network.last] == [True, False]
    expected = [EFFICIENTNET_LITE.apply(image).mean(dtype=np.float64) for image in images]
    np.testing.assert_allclose(features[:, 0], expected, atol=1e-5)


def test_encoding_repeats_to_the_bit(efficientnet: Encoder) -> None:
    images = photos(4)
    assert np.array_equal(efficientnet.encode(images), load_encoder("efficientnet-lite0").encode(images))


def test_no_photos_give_no_features(efficientnet: Encoder) -> None:
    assert efficientnet.encode([]).shape == (0, 1280)


def test_identity_tells_settings_apart(efficientnet: Encoder) -> None:
    assert load_encoder("efficientnet-lite0").identity == efficientnet.identity
    assert load_encoder("efficientnet-lite0", precision="bfloat16").identity != efficientnet.identity


def tiny_dinov2(folder: Path, registers: int, seed: int = 0) -> torch.nn.Module:
    import transformers

    torch.manual_seed(seed)
    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    if registers:
        config = transformers.Dinov2WithRegistersConfig(**shape, num_register_tokens=registers)
        network = transformers.Dinov2WithRegistersModel(config)
    else:
        network = transformers.Dinov2Model(transformers.Dinov2Config(**shape))
    network.eval().save_pretrained(folder)
    return network


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_from_a_local_folder_is_class_token_and_mean_patch(tmp_path: Path, registers: int) -> None:
    network = tiny_dinov2(tmp_path, registers)
    encoder = load_encoder("dinov2", str(tmp_path))
    image = photos(1)[0]
    from plant_traits.model.preprocessing import IMAGENET

    with torch.inference_mode():
        tokens = network(pixel_values=torch.from_numpy(IMAGENET.apply(image))[None]).last_hidden_state[0].numpy()
    assert len(tokens) == 1 + registers + 256
    expected = np.concatenate([tokens[0], tokens[-256:].mean(axis=0)])
    assert encoder.dimension == 48
    np.testing.assert_allclose(encoder.encode([image])[0], expected, atol=1e-5)


def test_other_weights_have_another_identity(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    tiny_dinov2(tmp_path / "a", 0, seed=0)
    tiny_dinov2(tmp_path / "b", 0, seed=1)
    first, second = (load_encoder("dinov2", str(tmp_path / name)) for name in "ab")
    assert first.identity != second.identity


def test_a_hub_model_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(ModelError, match="hf download nobody/no-such-model"):
        load_encoder("dinov2", "nobody/no-such-model")


def test_another_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ModelError, match="found 'vit'"):
        load_encoder("dinov2", str(tmp_path))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    tiny_dinov2(tmp_path, 0)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load_encoder("dinov2", str(tmp_path))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    tiny_dinov2(tmp_path, 0)
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(ModelError):
        load_encoder("dinov2", str(tmp_path))


def test_efficientnet_refuses_other_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="is not its state dictionary"):
        load_efficientnet_lite0(path)
    path.write_bytes(b"not a state")
    with pytest.raises(ModelError, match="is not its state dictionary"):
        load_efficientnet_lite0(path)


def tiny_depth_anything(folder: Path, seed: int = 0) -> torch.nn.Module:
    import transformers

    torch.manual_seed(seed)
    backbone = transformers.Dinov2Config(
        hidden_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=24,
        neck_hidden_sizes=[4, 4, 8, 8],
        fusion_hidden_size=4,
        head_hidden_size=4,
    )
    network = transformers.DepthAnythingForDepthEstimation(config).eval()
    network.save_pretrained(folder)
    return network


def pixels(image: Image.Image) -> torch.Tensor:
    from plant_traits.model.preprocessing import IMAGENET

    return torch.from_numpy(IMAGENET.apply(image))[None]


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_tokens_are_the_patches_in_groups_of_eight(tmp_path: Path, registers: int) -> None:
    network = tiny_dinov2(tmp_path, registers)
    encoder = load_encoder("dinov2-tokens", str(tmp_path))
    image = photos(1)[0]
    with torch.inference_mode():
        patches = network(pixel_values=pixels(image)).last_hidden_state[0, 1 + registers :].numpy()
    grouped = patches.reshape(32, 8, 24).mean(axis=1)
    assert encoder.dimension == 32 * 24
    np.testing.assert_allclose(encoder.encode([image])[0].reshape(24, 32), grouped.T, atol=1e-5)
    assert encoder.identity != load_encoder("dinov2", str(tmp_path)).identity


def test_pooled_tokens_of_a_count_that_does_not_divide() -> None:
    tokens = torch.arange(10.0).reshape(1, 5, 2)  # channel 0: 0 2 4 6 8, channel 1: 1 3 5 7 9
    assert pooled_tokens(tokens, 2).tolist() == [[2.0, 6.0, 3.0, 7.0]]


def test_depth_anything_is_the_last_layer_of_its_encoder_in_groups_of_four(tmp_path: Path) -> None:
    network = tiny_depth_anything(tmp_path)
    encoder = load_encoder("depth-anything", str(tmp_path))
    image = photos(1)[0]
    with torch.inference_mode():
        backbone = network.backbone
        x = backbone.embeddings(pixels(image))
        for layer in backbone.encoder.layer:
            out = layer(x)
            x = out[0] if isinstance(out, tuple) else out
        patches = backbone.layernorm(x)[0, 1:].numpy()
    assert encoder.dimension == 64 * 24
    expected = patches.reshape(64, 4, 24).mean(axis=1).T
    np.testing.assert_allclose(encoder.encode([image])[0].reshape(24, 64), expected, atol=1e-5)


def test_encoders_side_by_side(tmp_path: Path) -> None:
    tiny_dinov2(tmp_path / "dino", 4)
    tiny_depth_anything(tmp_path / "depth")
    locations = {"dinov2-tokens": str(tmp_path / "dino"), "depth-anything": str(tmp_path / "depth")}
    both = load_encoder("dinov2-tokens+depth-anything", locations)
    parts = [load_encoder(name, location) for name, location in locations.items()]
    images = photos(3)
    assert (both.name, both.dimension) == ("dinov2-tokens+depth-anything", (32 + 64) * 24)
    assert np.array_equal(both.encode(images), np.hstack([part.encode(images) for part in parts]))
    assert both.encode([]).shape == (0, 96 * 24)
    assert len(both.preprocessing) == 2
    assert both.licence.startswith("dinov2-tokens: ")
    turned = load_encoder("depth-anything+dinov2-tokens", locations)
    tiny_depth_anything(tmp_path / "other", seed=1)
    other = load_encoder("dinov2-tokens+depth-anything", locations | {"depth-anything": str(tmp_path / "other")})
    assert len({both.identity, turned.identity, other.identity, *(part.identity for part in parts)}) == 5


def test_only_one_of_two_needs_a_location(tmp_path: Path) -> None:
    tiny_dinov2(tmp_path, 0)
    both = load_encoder("efficientnet-lite0+dinov2", str(tmp_path))
    assert both.dimension == 1280 + 48
    assert "Apache-2.0" in both.licence


def test_the_licence_is_what_the_model_card_says(tmp_path: Path) -> None:
    tiny_depth_anything(tmp_path)
    assert "not stated" in load_encoder("depth-anything", str(tmp_path)).licence
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    assert load_encoder("depth-anything", str(tmp_path)).licence == "cc-by-nc-4.0"
    (tmp_path / "README.md").write_text("---\nlicense: [unclosed\n---\n")
    assert "not stated" in load_encoder("depth-anything", str(tmp_path)).licence


def test_a_hub_id_is_found_in_the_local_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--somebody--tiny-depth"
    tiny_depth_anything(model / "snapshots" / "0a1b2c")
    (model / "snapshots" / "0a1b2c" / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0a1b2c")
    cached = load_encoder("depth-anything", "somebody/tiny-depth")
    assert cached.identity == load_encoder("depth-anything", str(model / "snapshots" / "0a1b2c")).identity
    assert cached.licence == "apache-2.0"


@pytest.mark.parametrize("name", ["dinov2", "dinov2-tokens", "depth-anything"])
def test_a_missing_hub_model_says_how_to_get_it_and_offline_is_respected(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    asked = []

    def refuse(host: object, *_: object, **__: object) -> None:
        asked.append(host)
        raise OSError("there is no network")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    with pytest.raises(ModelError, match=r"`hf download somebody/nothing`.*HF_HOME.*local folder"):
        load_encoder(name, "somebody/nothing", local_files_only=True)
    assert asked == []


def test_weights_that_lack_a_layer_are_refused(tmp_path: Path) -> None:
    tiny_depth_anything(tmp_path)
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    del state["backbone.layernorm.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack \['backbone\.layernorm\.weight'\]"):
        load_encoder("depth-anything", str(tmp_path))


def test_depth_anything_refuses_another_family(tmp_path: Path) -> None:
    tiny_dinov2(tmp_path, 0)
    with pytest.raises(ModelError, match="expected a model of \\('depth_anything',\\), found 'dinov2'"):
        load_encoder("depth-anything", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "location", "message"),
    [
        ("resnet", None, "unknown encoder"),
        ("dinov2+resnet", "x", "unknown encoder"),
        ("dinov2-small+dinov2-small", None, "different ones"),
        ("dinov2", None, "location"),
        ("efficientnet-lite0", "x", "location"),
        ("dinov2+depth-anything", "x", "by encoder where several"),
        ("dinov2+depth-anything", {"dinov2": "x"}, "by encoder where several"),
        ("dinov2", {"depth-anything": "x"}, "expected a location for"),
    ],
)
def test_bad_requests(name: str, location: str | dict[str, str] | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_encoder(name, location)
