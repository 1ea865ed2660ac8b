"""Stage: the photos of a shard turned into features by a frozen encoder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from plant_traits.errors import ModelError
from plant_traits.model.earlier_features import EarlierFeatures, encoder_facts
from plant_traits.model.encoders import Encoder, load_encoder
from plant_traits.model.features import FEATURES, assign_features, encode_photos, write_features
from plant_traits.model.photo_hashes import PhotoHashes, hashes_of_column, known, positions
from plant_traits.observations.shards import PHOTOS_FILE, read_shard
from plant_traits.schemas import PHOTO, read_table
from plant_traits.steps import Summary

__all__ = ["FEATURES", "encode_shard"]


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
    earlier: EarlierFeatures | None = None,
) -> Summary:
    """Encode the photos of one shard, each content once, and only what no earlier output holds.

    The features are the same, to the bit, whatever is known already.

    Args:
        destination: an empty folder; receives the features, see ``plant_traits.model.features``.
        shard: a shard's folder.
        encoder: name of the encoder, or of several joined by ``+``.
        location: its hub id or local folder, where it needs one; by encoder where several do.
        identity: identity of the encoder the run was planned with; part of the step's key.
        device: ``cpu`` or ``cuda``.
        earlier: earlier outputs of this encoder that hold photos of the shard.

    Returns:
        Counts of photos in, out (encoded here, taken from earlier features, or repeating another photo of the shard)
        and lost, by reason; and which encoder and code made the features.

    Raises:
        ModelError: the encoder cannot be loaded, or is not the one the run was planned with; or a photo is not of the
            content that the shard states.
    """
    model = _encoder(encoder, json.dumps(location, sort_keys=True), device)
    _check_identity(model, identity)
    table = read_table(shard / PHOTOS_FILE, PHOTO, ["photo_id", "sha256"])
    ids = table["photo_id"].tolist()
    hashes = hashes_of_column(pa.array(table["sha256"], pa.string(), from_pandas=True))
    parts = [] if earlier is None else earlier.results(hashes, identity)
    first = _first_of_each(hashes)
    fresh = first.copy()
    for part in parts:
        fresh &= positions(hashes, part.photo_sha256) < 0
    parts.append(encode_photos([x for x, new in zip(ids, fresh, strict=True) if new], _images(shard, fresh), model))
    features = assign_features(ids, hashes, parts)
    write_features(features, destination / FEATURES)
    usable = np.array([status == "ok" for status in features.status], dtype=np.bool_)
    taken = int((usable & first & ~fresh).sum())
    repeated = int((usable & ~first).sum())
    reasons = Counter(status for status in features.status if status != "ok")
    return {
        "in": {"photos": len(ids)},
        "out": {
            "photos encoded": int((usable & fresh).sum()),
            **({"photos taken from earlier features": taken} if taken else {}),
            **({"photos that repeat another of the shard": repeated} if repeated else {}),
        },
        "lost": {f"photo {reason}": n for reason, n in sorted(reasons.items())},
        **encoder_facts(identity),
    }


def _first_of_each(hashes: PhotoHashes) -> npt.NDArray[np.bool_]:
    """Tell which photos are the first of their content."""
    first = np.zeros(len(hashes), dtype=np.bool_)
    first[np.unique(hashes, return_index=True)[1]] = True
    return first & known(hashes)


def _images(shard: Path, chosen: npt.NDArray[np.bool_]) -> Iterator[bytes]:
    """Yield the bytes of the chosen photos, a few megabytes in memory at a time, however large the shard."""
    start = 0
    for batch in read_shard(shard).photo_batches():
        stop = start + len(batch)
        yield from batch["image"].to_numpy(dtype=object)[chosen[start:stop]]
        start = stop


def _check_identity(encoder: Encoder, identity: str) -> None:
    if encoder.identity != identity:
        raise ModelError(
            f"encoder {encoder.name!r} is {encoder.identity} here and {identity} where the run was planned: "
            "install the same weights on every worker"
        )
