import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plant_traits.errors import ModelError
from plant_traits.model.features import encode_photos, read_features, write_features


class MeanColour:
    """An encoder simple enough to check by hand: the three channel means."""

    name = "mean-colour"
    dimension = 3
    identity = "mean-colour-1"
    licence = "none"

    def __init__(self) -> None:
        self.calls = []

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        self.calls.append(len(images))
        return np.array([np.asarray(image, dtype=np.float32).mean(axis=(0, 1)) for image in images], dtype=np.float32)


def png(seed: int, size: int = 64) -> tuple[bytes, np.ndarray]:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue(), pixels


def blank() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 90, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_photo_has_features_or_a_reason() -> None:
    first, second = png(1), png(2)
    images = [first[0], None, b"no image", second[0][:200], blank(), png(3, size=20)[0], second[0]]
    found = encode_photos([f"p{i}" for i in range(7)], iter(images), MeanColour())
    assert found.status == ("ok", "missing", "not_an_image", "corrupt", "blank", "too_small", "ok")
    assert np.isnan(found.features).all(axis=1).tolist() == [False, True, True, True, True, True, False]
    np.testing.assert_allclose(found.features[0], first[1].mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(found.features[6], second[1].mean(axis=(0, 1)), rtol=1e-5)


def test_batches_are_bounded_and_do_not_matter() -> None:
    images = [png(i)[0] for i in range(5)]
    encoder = MeanColour()
    ids = [str(i) for i in range(5)]
    small = encode_photos(ids, images, encoder, batch_size=2)
    assert encoder.calls == [2, 2, 1]
    assert np.array_equal(small.features, encode_photos(ids, images, MeanColour()).features)


def test_cached_features_equal_fresh_ones(tmp_path: Path) -> None:
    fresh = encode_photos(["a", "b"], [png(1)[0], None], MeanColour())
    path = tmp_path / "features.parquet"
    write_features(fresh, path)
    cached = read_features(path, "mean-colour-1")
    assert (cached.photo_id, cached.status, cached.encoder_identity) == (("a", "b"), ("ok", "missing"), "mean-colour-1")
    assert np.array_equal(cached.features, fresh.features, equal_nan=True)
    assert cached.features.dtype == np.float32
    again = tmp_path / "again.parquet"
    write_features(cached, again)
    assert again.read_bytes() == path.read_bytes()


def test_no_photos(tmp_path: Path) -> None:
    none = encode_photos([], [], MeanColour())
    write_features(none, tmp_path / "none.parquet")
    assert read_features(tmp_path / "none.parquet").features.shape == (0, 3)


@pytest.mark.parametrize("n", [1, 3])
def test_images_must_match_the_ids(n: int) -> None:
    with pytest.raises(ModelError, match="expected 2 images"):
        encode_photos(["a", "b"], [png(i)[0] for i in range(n)], MeanColour())


def test_features_of_another_encoder_are_refused(tmp_path: Path) -> None:
    write_features(encode_photos(["a"], [png(1)[0]], MeanColour()), tmp_path / "f.parquet")
    with pytest.raises(ModelError, match="expected the encoder other, found mean-colour-1"):
        read_features(tmp_path / "f.parquet", "other")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ModelError, match="encode again"):
        read_features(tmp_path / "f.parquet")
