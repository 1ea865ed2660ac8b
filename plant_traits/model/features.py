"""Frozen features of photos: computed once, cached in a file, each with the reason where there are none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from plant_traits.errors import ModelError, PhotoError
from plant_traits.model.encoders import Encoder
from plant_traits.model.images import decode_photo

BLANK_DEVIATION = 2.0
"""A photo whose grey levels (0 to 255) vary by less than this standard deviation is blank."""


@dataclass(frozen=True)
class PhotoFeatures:
    """Features of n photos by one encoder.

    Attributes:
        photo_id: the n ids, in the order given.
        features: (n, d) float32, a row of NaN where the photo is unusable.
        status: per photo ``ok``, ``missing``, ``blank`` or the reason of its ``PhotoError``.
        encoder_identity: which encoder made them.
    """

    photo_id: tuple[str, ...]
    features: npt.NDArray[np.float32]
    status: tuple[str, ...]
    encoder_identity: str


def encode_photos(
    photo_ids: Sequence[str], images: Iterable[bytes | None], encoder: Encoder, batch_size: int = 32
) -> PhotoFeatures:
    """Decode, screen and encode photos; an unusable photo costs that photo, with its reason.

    Args:
        photo_ids: n ids.
        images: the n encoded photos in the same order, None where one could not be had; read lazily, so that at most
            ``batch_size`` decoded photos are in memory.
        encoder: the frozen encoder.
        batch_size: photos handed to the encoder at a time; it does not change the features beyond float rounding.

    Raises:
        ModelError: there are more or fewer images than ids.
    """
    features = np.full((len(photo_ids), encoder.dimension), np.nan, dtype=np.float32)
    status = ["ok"] * len(photo_ids)
    rows: list[int] = []
    waiting: list[Image.Image] = []
    seen = 0
    for row, data in enumerate(images):
        seen += 1
        if row >= len(photo_ids):
            break
        image, status[row] = _screen(data)
        if image is not None:
            rows.append(row)
            waiting.append(image)
        if len(waiting) == batch_size:
            features[rows] = encoder.encode(waiting)
            rows, waiting = [], []
    if seen != len(photo_ids):
        found = "more" if seen > len(photo_ids) else str(seen)
        raise ModelError(f"encoding photos: expected {len(photo_ids)} images, one per id, found {found}")
    if waiting:
        features[rows] = encoder.encode(waiting)
    return PhotoFeatures(tuple(photo_ids), features, tuple(status), encoder.identity)


def _screen(data: bytes | None) -> tuple[Image.Image | None, str]:
    if data is None:
        return None, "missing"
    try:
        image = decode_photo(data)
    except PhotoError as error:
        return None, error.reason
    small = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BOX), dtype=np.float32)
    return (image, "ok") if float(small.std()) >= BLANK_DEVIATION else (None, "blank")


def write_features(features: PhotoFeatures, path: Path) -> None:
    """Write features as Parquet: ``photo_id``, ``status`` and a fixed-size list of float32 per photo."""
    flat = pa.array(np.ascontiguousarray(features.features, dtype=np.float32).reshape(-1))
    dimension = features.features.shape[1]
    table = pa.table(
        {
            "photo_id": pa.array(features.photo_id, pa.string()),
            "status": pa.array(features.status, pa.string()),
            "features": pa.FixedSizeListArray.from_arrays(flat, dimension),
        }
    )
    described = {"encoder_identity": features.encoder_identity, "dimension": str(dimension)}
    pq.write_table(table.replace_schema_metadata(described), path, compression="zstd")


def read_features(path: Path, encoder_identity: str | None = None) -> PhotoFeatures:
    """Read features written by ``write_features``.

    Args:
        path: the Parquet file.
        encoder_identity: where given, the encoder the features must come from.

    Raises:
        ModelError: the file is damaged, not a features file, or of another encoder.
    """
    try:
        table = pq.read_table(path)
        described = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        found, dimension = described["encoder_identity"], int(described["dimension"])
        flat = table["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        values = flat.astype(np.float32, copy=False).reshape(len(table), dimension)
        ids, status = table["photo_id"].to_pylist(), table["status"].to_pylist()
    except (pa.ArrowException, OSError, KeyError, ValueError, AttributeError) as error:
        raise ModelError(
            f"photo features {path}: expected a Parquet file of write_features: {error}; encode again"
        ) from error
    if encoder_identity is not None and found != encoder_identity:
        raise ModelError(f"photo features {path}: expected the encoder {encoder_identity}, found {found}; encode again")
    return PhotoFeatures(tuple(ids), values, tuple(status), found)
