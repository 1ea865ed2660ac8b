import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from plant_traits.errors import ModelError
from plant_traits.model import features as photo_features
from plant_traits.model.features import PhotoFeatures, assign_features, encode_photos, read_features, write_features
from plant_traits.model.photo_hashes import hashes_of_bytes


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
    np.testing.assert_allclose(found.features[0], first[1].mean(axis=(0, 1)), rtol=2**-11)
    np.testing.assert_allclose(found.features[6], second[1].mean(axis=(0, 1)), rtol=2**-11)
    digests = [None if data is None else hashlib.sha256(data).digest() for data in images]
    assert np.array_equal(found.photo_sha256, hashes_of_bytes(digests))


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
    assert np.array_equal(cached.photo_sha256, fresh.photo_sha256)
    assert cached.features.dtype == np.float32
    column = pq.read_schema(path).field("features").type
    assert (column.value_type, column.list_size) == (pa.float16(), 3)
    hashes = pq.read_table(path, columns=["photo_sha256"])["photo_sha256"].to_pylist()
    assert hashes == [hashlib.sha256(png(1)[0]).digest(), None]
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


def test_features_of_another_layout_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    write_features(encode_photos(["a"], [png(1)[0]], MeanColour()), path)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["photo_sha256"]), path)
    with pytest.raises(ModelError, match=r"photo_sha256.*encode again"):
        read_features(path)


class Overflowing(MeanColour):
    """Gives numbers beyond half precision, or none at all, for photos that are mostly red."""

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        means = super().encode(images)
        means[means[:, 0] > 200] = [1.0, 70_000.0, 1.0]
        means[means[:, 2] > 200] = [1.0, np.nan, 1.0]
        return means


def tinted(channel: int) -> bytes:
    pixels = np.random.default_rng(channel).integers(0, 60, (64, 64, 3), dtype=np.uint8)
    pixels[:, :, channel] += 190
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_photo_beyond_half_precision_costs_that_photo() -> None:
    found = encode_photos(["red", "green", "blue"], [tinted(0), tinted(1), tinted(2)], Overflowing())
    assert found.status == ("not_encodable", "ok", "not_encodable")
    assert np.isnan(found.features).all(axis=1).tolist() == [True, False, True]


def part(encoder: str, **rows: tuple[bytes, float]) -> PhotoFeatures:
    values = np.array([[value] for _, value in rows.values()], dtype=np.float32).reshape(len(rows), 1)
    hashes = hashes_of_bytes([digest for digest, _ in rows.values()])
    return PhotoFeatures(tuple(rows), hashes, values, ("ok",) * len(rows), encoder)


# The last differ in their last byte alone, and one ends in a zero byte.
A, B, C = b"\x01" * 32, b"\x02" * 31 + b"\x00", b"\x02" * 32


def test_photos_take_the_features_of_their_content() -> None:
    parts = [part("e", a=(A, 1.0)), part("e", b=(B, 2.0), c=(C, 3.0)), part("e")]
    found = assign_features(["p", "q", "r", "s", "t"], hashes_of_bytes([C, A, None, B, A]), parts)
    assert found.photo_id == ("p", "q", "r", "s", "t")
    assert found.status == ("ok", "ok", "missing", "ok", "ok")
    assert np.array_equal(found.features[:, 0], [3.0, 1.0, np.nan, 2.0, 1.0], equal_nan=True)


def test_a_photo_of_unknown_content_is_refused() -> None:
    with pytest.raises(ModelError, match=r"1 of 2 photos .* first 'q'"):
        assign_features(["p", "q"], hashes_of_bytes([A, B]), [part("e", a=(A, 1.0))])
    with pytest.raises(ModelError, match="one encoder"):
        assign_features(["p"], hashes_of_bytes([A]), [part("e", a=(A, 1.0)), part("f")])


def test_chosen_photos_are_read_across_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [None if i == 4 else bytes([i]) * 32 for i in range(10)]
    digests[7] = digests[2]  # one content, two ids
    values = np.arange(10, dtype=np.float32).reshape(10, 1)
    status = tuple("blank" if i == 5 else "ok" for i in range(10))
    whole = PhotoFeatures(tuple(map(str, range(10))), hashes_of_bytes(digests), values, status, "e")
    monkeypatch.setattr(photo_features, "ROW_GROUP_BYTES", 3 * 2)
    path = tmp_path / "features.parquet"
    write_features(whole, path)
    assert pq.read_metadata(path).num_row_groups == 4
    wanted = hashes_of_bytes([digests[9], None, digests[2], b"\xaa" * 32, digests[5], digests[9]])
    found = read_features(path, "e", among=wanted)
    assert found.photo_id == ("2", "5", "9")
    assert found.status == ("ok", "blank", "ok")
    assert found.features[:, 0].tolist() == [2, 5, 9]
    assert np.array_equal(found.photo_sha256, whole.photo_sha256[[2, 5, 9]])
    assert read_features(path, among=hashes_of_bytes([])).features.shape == (0, 1)
    assert np.array_equal(read_features(path).features, values)
