from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plant_traits.errors import ModelError
from plant_traits.model.efficientnet import EfficientNetLite0, folded, load_efficientnet_lite0, weights_path
from plant_traits.model.encoders import Encoder, load_encoder


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


def test_who_shares_a_batch_does_not_matter(efficientnet: Encoder) -> None:
    images = photos(11)
    together = efficientnet.encode(images)
    apart = np.concatenate([efficientnet.encode(images[:1]), efficientnet.encode(images[1:])])
    np.testing.assert_allclose(apart, together, atol=1e-5)


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


@pytest.mark.parametrize(
    ("name", "location", "message"),
    [("resnet", None, "unknown encoder"), ("dinov2", None, "location"), ("efficientnet-lite0", "x", "location")],
)
def test_bad_requests(name: str, location: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_encoder(name, location)
