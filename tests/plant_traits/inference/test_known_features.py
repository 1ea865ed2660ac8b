"""Features of photos are found again by content, whatever shard the photos stand in, and never trusted blindly."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from plant_traits.code_version import code_version
from plant_traits.inference.cluster import ShardJob
from plant_traits.inference.known_features import with_earlier_features
from plant_traits.model.dinov2 import PooledDinov2
from plant_traits.model.encoders import load_encoder
from plant_traits.model.features import FEATURES, PhotoFeatures, read_features
from plant_traits.observations.shards import write_shard
from plant_traits.schemas import SHARD_ROW
from plant_traits.stages import photos
from plant_traits.steps import Artifact, StepStore, Summary
from plant_traits.workspace import Workspace


@dataclass
class Photos:
    """A photo reader over a dictionary."""

    content: Mapping[str, bytes]

    def __contains__(self, photo_id: str) -> bool:
        return photo_id in self.content

    def read(self, photo_id: str) -> bytes:
        return self.content[photo_id]


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def blank() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 90, 90)).save(buffer, "PNG")
    return buffer.getvalue()


FIVE = {f"p{i}": png(i) for i in range(5)}


@pytest.fixture(params=["local", "remote"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> StepStore:
    root = str(tmp_path / "workspace") if request.param == "local" else f"memory://{tmp_path.name}"
    return StepStore(Workspace.open(root, tmp_path))


@pytest.fixture(scope="module")
def locations(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two tiny encoders of different weights."""
    import torch
    import transformers

    folders = [str(tmp_path_factory.mktemp("dino")) for _ in range(2)]
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        config = transformers.Dinov2Config(
            hidden_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=14
        )
        transformers.Dinov2Model(config).save_pretrained(folder)
    return folders


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the photos of each forward pass of the real encoder: rows that are not filling."""
    seen: list[int] = []
    forward = PooledDinov2.forward

    def counted(self: PooledDinov2, images: object) -> object:
        seen.append(int((images.flatten(1) != 0).any(dim=1).sum()))  # type: ignore[attr-defined]
        return forward(self, images)  # type: ignore[arg-type]

    monkeypatch.setattr(PooledDinov2, "forward", counted)
    return seen


def cut(store: StepStore, content: Mapping[str, bytes], gone: tuple[str, ...] = ()) -> Artifact:
    """Commit a shard of these photos, some of which cannot be had."""
    ids = [*content, *gone]
    rows = pd.DataFrame({"photo_id": ids, "observation_id": [f"o-{x}" for x in ids]})
    for field in SHARD_ROW:
        if field.name not in rows:
            rows[field.name] = 1.0 if field.type == "double" else None
    summary = {"photos": len(ids)}

    def write(destination: Path) -> Summary:
        write_shard(rows[SHARD_ROW.names], [Photos(content)], destination)
        return summary

    listing = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    return store.run("shard", write, code="1", parameters={"photos": listing, "gone": gone})


def plan(shard: Artifact, location: str) -> ShardJob:
    return ShardJob(
        step="shard-features",
        function=photos.encode_shard,
        code=code_version(photos.__name__),
        inputs={"shard": shard},
        parameters={
            "encoder": "dinov2",
            "location": location,
            "identity": load_encoder("dinov2", location).identity,
        },
        settings={"device": "cpu"},
    )


def encode(store: StepStore, shard: Artifact, location: str, *, look: bool = True) -> tuple[Artifact, PhotoFeatures]:
    """Run the job of a shard as a refresh does, in this process."""
    job = plan(shard, location)
    if look:
        job = with_earlier_features(store, {"only": job}, job.parameters["identity"])["only"]
    artifact = job.run(store.workspace)
    return artifact, read_features(store.fetch(artifact) / FEATURES)


def alone(tmp_path: Path, shard_of: Mapping[str, bytes], location: str, gone: tuple[str, ...] = ()) -> Artifact:
    """Encode a shard in a workspace that knows nothing."""
    fresh = StepStore(Workspace.open(tmp_path / "fresh"))
    return encode(fresh, cut(fresh, shard_of, gone), location)[0]


def test_of_a_shard_that_gains_a_photo_one_is_encoded(
    store: StepStore, tmp_path: Path, locations: list[str], passes: list[int]
) -> None:
    before, _ = encode(store, cut(store, FIVE), locations[0])
    assert passes == [5]
    assert before.summary["out"] == {"photos encoded": 5}
    more = FIVE | {"new": png(77)}
    after, features = encode(store, cut(store, more), locations[0])
    assert passes == [5, 1]
    assert after.summary["in"] == {"photos": 6}
    assert after.summary["out"] == {"photos encoded": 1, "photos taken from earlier features": 5}
    assert features.photo_id == ("new", "p0", "p1", "p2", "p3", "p4")
    # Not only the numbers: the very bytes, so that no later key tells what was known.
    assert after.digest == alone(tmp_path, more, locations[0]).digest
    assert passes == [5, 1, 6]


def test_photos_are_found_under_other_ids_and_in_other_shards(
    store: StepStore, tmp_path: Path, locations: list[str], passes: list[int]
) -> None:
    encode(store, cut(store, {"a": png(1), "b": png(2)}), locations[0])
    encode(store, cut(store, {"c": png(3)}), locations[0])
    mixed = {"x": png(3), "y": png(1), "z": png(4)}
    artifact, _ = encode(store, cut(store, mixed), locations[0])
    assert passes == [2, 1, 1]
    assert artifact.summary["out"] == {"photos encoded": 1, "photos taken from earlier features": 2}
    assert artifact.digest == alone(tmp_path, mixed, locations[0]).digest


def test_unusable_photos_are_remembered_and_missing_ones_asked_for_again(
    store: StepStore, locations: list[str], passes: list[int]
) -> None:
    unusable = {"a": png(1), "blank": blank(), "broken": b"no picture"}
    first, _ = encode(store, cut(store, unusable, gone=("late",)), locations[0])
    lost = {"photo blank": 1, "photo missing": 1, "photo not_an_image": 1}
    assert first.summary["lost"] == lost
    again, features = encode(store, cut(store, unusable | {"late": png(9)}), locations[0])
    assert passes == [1, 1]
    assert again.summary["out"] == {"photos encoded": 1, "photos taken from earlier features": 1}
    assert again.summary["lost"] == {"photo blank": 1, "photo not_an_image": 1}
    assert features.status == ("ok", "blank", "not_an_image", "ok")
    assert np.isnan(features.features).all(axis=1).tolist() == [False, True, True, False]


def test_the_same_picture_is_encoded_once(
    store: StepStore, tmp_path: Path, locations: list[str], passes: list[int]
) -> None:
    twice = {"a": png(1), "b": png(2), "c": png(1), "d": blank(), "e": blank()}
    artifact, features = encode(store, cut(store, twice, gone=("f", "g")), locations[0])
    assert passes == [2]
    assert artifact.summary["out"] == {"photos encoded": 2, "photos that repeat another of the shard": 1}
    assert artifact.summary["lost"] == {"photo blank": 2, "photo missing": 2}
    assert features.status == ("ok", "ok", "ok", "blank", "blank", "missing", "missing")
    assert np.array_equal(features.features[0], features.features[2])
    assert not np.array_equal(features.features[0], features.features[1])


def test_a_shard_without_any_photo_at_hand(store: StepStore, locations: list[str], passes: list[int]) -> None:
    encode(store, cut(store, FIVE), locations[0])
    for gone in (("x", "y"), ()):
        artifact, features = encode(store, cut(store, {}, gone), locations[0])
        assert artifact.summary["out"] == {"photos encoded": 0}
        assert artifact.summary["lost"] == ({"photo missing": 2} if gone else {})
        assert features.features.shape == (len(gone), 48)
    assert passes == [5]


def test_another_encoder_takes_nothing(store: StepStore, locations: list[str], passes: list[int]) -> None:
    shard = cut(store, FIVE)
    _, first = encode(store, shard, locations[0])
    artifact, second = encode(store, shard, locations[1])
    assert passes == [5, 5]
    assert artifact.summary["out"] == {"photos encoded": 5}
    assert not np.array_equal(first.features, second.features)


def test_features_made_by_other_code_are_not_taken(store: StepStore, locations: list[str], passes: list[int]) -> None:
    before, _ = encode(store, cut(store, FIVE), locations[0])
    rewrite(store, before, lambda manifest: manifest["summary"].update({"encoder code": "0" * 16}))
    encode(store, cut(store, FIVE | {"new": png(77)}), locations[0])
    assert passes == [5, 6]


def rewrite(store: StepStore, artifact: Artifact, change: object) -> None:
    manifest = json.loads(store.workspace.read_bytes("steps", artifact.step, f"{artifact.key}.json") or b"")
    change(manifest)  # type: ignore[operator]
    store.workspace.write_bytes(json.dumps(manifest).encode(), "steps", artifact.step, f"{artifact.key}.json")


def spoil(store: StepStore, artifact: Artifact, how: str) -> None:
    """Damage a committed output and, in a remote workspace, what was fetched of it."""
    address = store.workspace.address("steps", artifact.step, artifact.key, FEATURES)
    filesystem = store.workspace.filesystem
    content = filesystem.cat_file(address)
    shutil.rmtree(store.workspace.scratch / "fetched", ignore_errors=True)
    if how == "deleted":
        filesystem.rm_file(address)
    elif how == "cut off":
        filesystem.pipe_file(address, content[: len(content) // 2])
    elif how == "one bit":
        with pq.ParquetFile(io.BytesIO(content)) as parquet:
            column = parquet.metadata.row_group(0).column(3)
        assert column.path_in_schema.startswith("features")
        at = column.data_page_offset + column.total_compressed_size // 2
        filesystem.pipe_file(address, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    elif how == "manifest deleted":
        store.workspace.filesystem.rm_file(f"{store.workspace.address('steps', artifact.step, artifact.key)}.json")
    else:
        store.workspace.write_bytes(b'{"step": ', "steps", artifact.step, f"{artifact.key}.json")


@pytest.mark.parametrize("how", ["deleted", "cut off", "one bit", "manifest deleted", "manifest cut off"])
def test_spoilt_earlier_features_cost_only_time(
    store: StepStore,
    tmp_path: Path,
    locations: list[str],
    passes: list[int],
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    sound, _ = encode(store, cut(store, {"a": png(10), "b": png(11)}), locations[0])
    spoilt, _ = encode(store, cut(store, FIVE), locations[0])
    spoil(store, spoilt, how)
    more = FIVE | {"a": png(10), "new": png(77)}
    with caplog.at_level(logging.WARNING, "plant_traits"):
        artifact, _ = encode(store, cut(store, more), locations[0])
    assert passes == [2, 5, 6]
    assert artifact.summary["out"] == {"photos encoded": 6, "photos taken from earlier features": 1}
    assert artifact.digest == alone(tmp_path, more, locations[0]).digest
    assert (spoilt.key in caplog.text) == (how != "manifest deleted")
    assert sound.key not in caplog.text


def test_features_spoilt_after_the_look_up_are_encoded_again(
    store: StepStore, locations: list[str], passes: list[int]
) -> None:
    before, _ = encode(store, cut(store, FIVE), locations[0])
    job = plan(cut(store, FIVE | {"new": png(77)}), locations[0])
    told = with_earlier_features(store, {"x": job}, job.parameters["identity"])["x"]
    assert [x.key for x in told.settings["earlier"].artifacts] == [before.key]
    spoil(store, before, "one bit")
    assert told.run(store.workspace).summary["out"] == {"photos encoded": 6}
    assert passes == [5, 6]


def test_what_a_killed_run_left_is_not_taken(store: StepStore, locations: list[str], passes: list[int]) -> None:
    before, _ = encode(store, cut(store, FIVE), locations[0])
    # Killed between the output and its manifest: files at their place, nothing that vouches for them.
    store.workspace.filesystem.rm_file(f"{store.workspace.address('steps', before.step, before.key)}.json")
    after, _ = encode(store, cut(store, FIVE), locations[0])
    assert passes == [5, 5]
    assert (after.key, after.digest) == (before.key, before.digest)


def test_earlier_outputs_do_not_enter_the_key_and_are_not_sought_without_need(
    store: StepStore, locations: list[str]
) -> None:
    shard = cut(store, FIVE)
    job = plan(shard, locations[0])
    identity = job.parameters["identity"]
    assert with_earlier_features(store, {"x": job}, identity) == {"x": job}
    encode(store, shard, locations[0])
    other = plan(cut(store, {"p0": FIVE["p0"]}), locations[0])
    strange = plan(cut(store, {"q": png(500)}), locations[0])
    told = with_earlier_features(store, {"x": job, "other": other, "strange": strange}, identity)
    assert list(told) == ["x", "other", "strange"]
    assert ["earlier" in x.settings for x in told.values()] == [False, True, False]
    assert [x.key for x in told.values()] == [job.key, other.key, strange.key]


def test_each_shard_is_told_of_no_more_outputs_than_it_needs(store: StepStore, locations: list[str]) -> None:
    whole, _ = encode(store, cut(store, FIVE), locations[0])
    parts = [encode(store, cut(store, {name: FIVE[name]}), locations[0], look=False)[0] for name in ("p0", "p1")]
    assert len({whole.key, *(x.key for x in parts)}) == 3
    jobs = {
        "left": plan(cut(store, {"p0": FIVE["p0"], "n": png(70)}), locations[0]),
        "right": plan(cut(store, {"p0": FIVE["p0"], "p4": FIVE["p4"]}), locations[0]),
    }
    told = with_earlier_features(store, jobs, jobs["left"].parameters["identity"])
    holders = {name: {x.key for x in job.settings["earlier"].artifacts} for name, job in told.items()}
    assert len(holders["left"]) == 1
    assert holders["left"] <= {whole.key, parts[0].key}
    assert whole.key in holders["right"]
    assert len(holders["right"]) <= 2


def test_what_a_job_is_told_travels_to_a_worker(store: StepStore, locations: list[str], passes: list[int]) -> None:
    encode(store, cut(store, FIVE), locations[0])
    job = plan(cut(store, FIVE | {"new": png(77)}), locations[0])
    told = with_earlier_features(store, {"x": job}, job.parameters["identity"])["x"]
    sent = cloudpickle.dumps(told)
    assert len(sent) < 10_000
    arrived = cloudpickle.loads(sent)
    assert arrived.run(store.workspace).summary["out"]["photos taken from earlier features"] == 5
    assert passes == [5, 1]
