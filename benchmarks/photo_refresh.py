"""What a refresh pays for photos it knows already: a shard of which 1 % is new, and the look-up among many outputs.

First, a shard of generated photos is encoded afresh, then the same shard with one photo in a hundred replaced, as a
refresh does; the encoder is loaded before. Then the look-up alone: outputs of 4,096 photos each (one feature wide, for
the look-up reads hashes alone), and shards of which every photo is held by one of them.

    python benchmarks/photo_refresh.py 2000 1000
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from plant_traits.code_version import code_version
from plant_traits.inference.cluster import ShardJob
from plant_traits.inference.known_features import with_earlier_features
from plant_traits.model.earlier_features import encoder_facts
from plant_traits.model.encoders import load_encoder
from plant_traits.model.features import FEATURES, PhotoFeatures, write_features
from plant_traits.model.photo_hashes import WIDTH, PhotoHashes
from plant_traits.observations.shards import PHOTOS_FILE, write_shard
from plant_traits.schemas import PHOTO, SHARD_ROW
from plant_traits.stages import photos
from plant_traits.steps import Artifact, StepStore, Summary
from plant_traits.workspace import Workspace

ENCODER = "efficientnet-lite0"
SHARD_SIZE = 4096


class Generated:
    """A reader of photos drawn by their number: a coarse pattern, so that they compress as photos do."""

    def __contains__(self, photo_id: str) -> bool:
        return True

    def read(self, photo_id: str) -> bytes:
        """Return a JPEG of 500 x 400 pixels."""
        pattern = np.random.default_rng(int(photo_id)).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pattern).resize((500, 400), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
        return buffer.getvalue()


def cut(store: StepStore, numbers: range, name: str) -> Artifact:
    """Commit a shard of generated photos."""
    ids = [f"{number:08d}" for number in numbers]
    rows = pd.DataFrame({"photo_id": ids, "observation_id": ids})
    for field in SHARD_ROW:
        if field.name not in rows:
            rows[field.name] = 1.0 if field.type == "double" else None

    def write(destination: Path) -> Summary:
        return {"photos": write_shard(rows[SHARD_ROW.names], [Generated()], destination)}  # type: ignore[list-item]

    return store.run("shard", write, code="benchmark", parameters={"name": name})


def refresh(store: StepStore, shard: Artifact, identity: str) -> tuple[Artifact, float]:
    """Look up what is known of a shard, encode the rest, and return the output and the seconds taken."""
    job = ShardJob(
        step="shard-features",
        function=photos.encode_shard,
        code=code_version(photos.__name__),
        inputs={"shard": shard},
        parameters={"encoder": ENCODER, "location": None, "identity": identity},
        settings={"device": "cpu"},
    )
    started = time.perf_counter()
    artifact = with_earlier_features(store, {"shard": job}, identity)["shard"].run(store.workspace)
    return artifact, time.perf_counter() - started


def compare(store: StepStore, n: int) -> None:
    """Print what encoding a shard costs afresh and with 1 % of new photos."""
    identity = load_encoder(ENCODER).identity
    refresh(store, cut(store, range(90_000_000, 90_000_008), "warm"), identity)
    new = max(n // 100, 1)
    whole, afresh = refresh(store, cut(store, range(n), "all"), identity)
    changed, again = refresh(store, cut(store, range(new, n + new), "changed"), identity)
    encoded, first = changed.summary["out"]["photos encoded"], whole.summary["out"]["photos encoded"]
    print(f"afresh: {first} photos encoded in {afresh:.1f} s, {whole.size / first:.0f} bytes a photo")
    print(
        f"1 % new: {encoded} photos encoded in {again:.2f} s: {encoded / first:.1%} of the photos, "
        f"{again / afresh:.1%} of the time"
    )


def look_up(store: StepStore, n: int) -> None:
    """Print what it costs to find the photos of n shards among n outputs."""
    rng = np.random.default_rng(0)
    identity = "look-up"
    held: list[PhotoHashes] = [np.frombuffer(rng.bytes(SHARD_SIZE * WIDTH), f"S{WIDTH}") for _ in range(n)]
    ids, status = tuple(map(str, range(SHARD_SIZE))), ("ok",) * SHARD_SIZE
    values = np.zeros((SHARD_SIZE, 1), dtype=np.float32)
    shards = []

    def features(destination: Path, hashes: PhotoHashes) -> Summary:
        write_features(PhotoFeatures(ids, hashes, values, status, identity), destination / FEATURES)
        return encoder_facts(identity)

    def shard(destination: Path, hashes: PhotoHashes) -> Summary:
        data = hashes.tobytes()
        text = [data[k * WIDTH : (k + 1) * WIDTH].hex() for k in range(len(hashes))]
        columns = {"photo_id": ids, "image": [b""] * len(ids), "status": status, "sha256": text}
        pq.write_table(pa.table(columns, PHOTO), destination / PHOTOS_FILE, row_group_size=64, use_dictionary=False)
        return {}

    for k, hashes in enumerate(held):
        store.run("shard-features", partial(features, hashes=hashes), code=f"look-up-{k}")
        shards.append(store.run("shard", partial(shard, hashes=hashes[::-1]), code=f"look-up-{k}"))
    del held
    jobs = {
        str(k): ShardJob("shard-features", photos.encode_shard, "look-up", inputs={"shard": x})
        for k, x in enumerate(shards)
    }
    started = time.perf_counter()
    told = with_earlier_features(store, jobs, identity)
    seconds = time.perf_counter() - started
    tracemalloc.start()  # slows the look-up down, hence a second one
    with_earlier_features(store, jobs, identity)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = sum(len(job.settings["earlier"].artifacts) for job in told.values())
    print(
        f"look-up of {n * SHARD_SIZE:,} photos among {n:,} outputs: {seconds:.1f} s, {found} outputs named, "
        f"{peak / 1e6:.0f} MB at most"
    )


def main(photos_of_shard: int, outputs: int) -> None:
    """Run both in workspaces of their own."""
    with tempfile.TemporaryDirectory() as folder:
        compare(StepStore(Workspace.open(Path(folder) / "compare")), photos_of_shard)
        look_up(StepStore(Workspace.open(Path(folder) / "look-up")), outputs)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
