"""Stage: the photos of a shard turned into features by a frozen encoder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch

from plant_traits.errors import ModelError
from plant_traits.model.encoders import Encoder, load_encoder
from plant_traits.model.features import encode_photos, write_features
from plant_traits.observations.shards import read_shard
from plant_traits.schemas import PHOTO, read_table
from plant_traits.steps import Summary

FEATURES = "features.parquet"


@lru_cache(maxsize=1)
def _encoder(name: str, location: str, device: str) -> Encoder:
    torch.set_num_threads(1)  # one process per core; more threads would only compete
    return load_encoder(name, json.loads(location), device=device)


def encode_shard(
    destination: Path,
    *,
    shard: Path,
    encoder: str,
    location: str | Mapping[str, str] | None,
    identity: str,
    device: str,
) -> Summary:
    """Encode the photos of one shard.

    Args:
        destination: an empty folder; receives the features, see ``plant_traits.model.features``.
        shard: a shard's folder.
        encoder: name of the encoder, or of several joined by ``+``.
        location: its hub id or local folder, where it needs one; by encoder where several do.
        identity: identity of the encoder the run was planned with; part of the step's key.
        device: ``cpu`` or ``cuda``.

    Returns:
        Counts of photos in, out and lost, by reason.

    Raises:
        ModelError: the encoder cannot be loaded, or is not the one the run was planned with.
    """
    model = _encoder(encoder, json.dumps(location, sort_keys=True), device)
    _check_identity(model, identity)
    ids = read_table(shard / "photos.parquet", PHOTO, ["photo_id"])["photo_id"].tolist()
    batches = read_shard(shard).photo_batches()  # a few megabytes at a time, however large the shard
    images = (image for batch in batches for image in batch["image"])
    features = encode_photos(ids, images, model)
    write_features(features, destination / FEATURES)
    reasons = Counter(features.status)
    usable = reasons.pop("ok", 0)
    return {
        "in": {"photos": len(ids)},
        "out": {"photos encoded": usable},
        "lost": {f"photo {reason}": n for reason, n in sorted(reasons.items())},
    }


def _check_identity(encoder: Encoder, identity: str) -> None:
    if encoder.identity != identity:
        raise ModelError(
            f"encoder {encoder.name!r} is {encoder.identity} here and {identity} where the run was planned: "
            "install the same weights on every worker"
        )
