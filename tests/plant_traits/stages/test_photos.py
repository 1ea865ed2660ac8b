import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from plant_traits.code_version import code_version
from plant_traits.errors import ModelError
from plant_traits.model.encoders import load_encoder
from plant_traits.model.features import read_features
from plant_traits.observations.shards import PHOTOS_FILE, write_shard
from plant_traits.schemas import SHARD_ROW
from plant_traits.stages.photos import FEATURES, encode_shard

ENCODER = "efficientnet-lite0+dinov2-tokens"


class Photos:
    """A photo reader of two photos, one of them no picture."""

    def __init__(self, good: bytes) -> None:
        self.content = {"good": good, "broken": b"no picture"}

    def __contains__(self, photo_id: str) -> bool:
        return photo_id in self.content

    def read(self, photo_id: str) -> bytes:
        return self.content[photo_id]


@pytest.fixture
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (240, 260, 3), dtype=np.uint8))


@pytest.fixture
def shard(tmp_path: Path, image: Image.Image) -> Path:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    rows = pd.DataFrame({"photo_id": ["broken", "gone", "good"], "observation_id": ["a", "b", "c"]})
    for field in SHARD_ROW:
        if field.name not in rows:
            rows[field.name] = 1.0 if field.type == "double" else None
    write_shard(rows[SHARD_ROW.names], [Photos(buffer.getvalue())], tmp_path / "shard")
    return tmp_path / "shard"


@pytest.fixture
def location(tmp_path: Path) -> dict[str, str]:
    import transformers

    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "dino")
    return {"dinov2-tokens": str(tmp_path / "dino")}


def test_a_shard_is_encoded_by_encoders_side_by_side(
    tmp_path: Path, shard: Path, image: Image.Image, location: dict[str, str]
) -> None:
    encoder = load_encoder(ENCODER, location)
    destination = tmp_path / "features"
    destination.mkdir()
    summary = encode_shard(
        destination, shard=shard, encoder=ENCODER, location=location, identity=encoder.identity, device="cpu"
    )
    assert summary == {
        "in": {"photos": 3},
        "out": {"photos encoded": 1},
        "lost": {"photo missing": 1, "photo not_an_image": 1},
        "encoder": encoder.identity,
        "encoder code": code_version("plant_traits.model.features"),
    }
    found = read_features(destination / FEATURES, encoder.identity)
    assert found.photo_id == ("broken", "gone", "good")
    assert found.features.shape == (3, 1280 + 32 * 24)
    assert np.array_equal(found.features[2], encoder.encode([image])[0].astype(np.float16).astype(np.float32))


def test_another_encoder_than_planned_is_refused(tmp_path: Path, shard: Path, location: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="where the run was planned"):
        encode_shard(tmp_path, shard=shard, encoder=ENCODER, location=location, identity="0123", device="cpu")


def test_a_photo_of_other_content_than_stated_is_refused(tmp_path: Path, shard: Path, location: dict[str, str]) -> None:
    photos = pq.read_table(shard / PHOTOS_FILE)
    digests = photos["sha256"].to_pylist()
    at = photos.schema.get_field_index("sha256")
    swapped = photos.set_column(at, "sha256", pa.array(["0f" * 32, *digests[1:]]))
    pq.write_table(swapped, shard / PHOTOS_FILE)
    identity = load_encoder(ENCODER, location).identity
    with pytest.raises(ModelError, match=r"first 'broken'; make the shard again"):
        encode_shard(tmp_path, shard=shard, encoder=ENCODER, location=location, identity=identity, device="cpu")
