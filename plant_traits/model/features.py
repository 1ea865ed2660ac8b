"""Frozen features of photos: computed once, cached in a file, each with the reason where there are none.

Features are kept in half precision: 1.9 kB for the 1,280 numbers of a photo where single precision takes 5.0. Measured
on 5,250 photos of a virtual world and 48 real ones, no feature changes by more than 0.049 % of itself (those below 6e-5
by at most 3e-8); the change is 0.0004 of a feature's standard deviation (root mean square; saving a photo as JPEG once
more, at quality 95, makes 0.03 to 0.09), and predictions move by at most 0.0004 of their standard error. Features are
rounded as soon as they are computed, so that those just encoded equal those read back, to the bit, and are single
precision wherever they are used.
"""

from __future__ import annotations

import hashlib
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
from plant_traits.model.photo_hashes import PhotoHashes, hashes_of_bytes, hashes_of_column, known, positions, to_column

BLANK_DEVIATION = 2.0
"""A photo whose grey levels (0 to 255) vary by less than this standard deviation is blank."""

FEATURES = "features.parquet"
MISSING = "missing"
ROW_GROUP_BYTES = 64_000_000
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class PhotoFeatures:
    """Features of n photos by one encoder.

    Attributes:
        photo_id: the n ids, in the order given.
        photo_sha256: the n hashes of the photos' bytes, see ``plant_traits.model.photo_hashes``.
        features: (n, d) float32 that half precision can hold, a row of NaN where the photo is unusable.
        status: per photo ``ok``, ``missing``, ``blank``, ``not_encodable`` (the encoder gave numbers that are not
            finite in half precision) or the reason of its ``PhotoError``.
        encoder_identity: which encoder made them.
    """

    photo_id: tuple[str, ...]
    photo_sha256: PhotoHashes
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
        batch_size: photos handed to the encoder at a time; it does not change the features.

    Raises:
        ModelError: there are more or fewer images than ids.
    """
    features = np.full((len(photo_ids), encoder.dimension), np.nan, dtype=np.float32)
    status = ["ok"] * len(photo_ids)
    digests: list[bytes | None] = [None] * len(photo_ids)
    rows: list[int] = []
    waiting: list[Image.Image] = []
    seen = 0
    for row, data in enumerate(images):
        seen += 1
        if row >= len(photo_ids):
            break
        digests[row] = None if data is None else hashlib.sha256(data).digest()
        image, status[row] = _screen(data)
        if image is not None:
            rows.append(row)
            waiting.append(image)
        if len(waiting) == batch_size:
            features[rows] = _rounded(encoder.encode(waiting))
            rows, waiting = [], []
    if seen != len(photo_ids):
        found = "more" if seen > len(photo_ids) else str(seen)
        raise ModelError(f"encoding photos: expected {len(photo_ids)} images, one per id, found {found}")
    if waiting:
        features[rows] = _rounded(encoder.encode(waiting))
    beyond = np.isnan(features.max(axis=1))
    status = ["not_encodable" if x == "ok" and beyond[row] else x for row, x in enumerate(status)]
    return PhotoFeatures(tuple(photo_ids), hashes_of_bytes(digests), features, tuple(status), encoder.identity)


def _rounded(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the nearest half-precision numbers as float32, whole rows of NaN where one of them is beyond."""
    within = np.all(np.abs(features) <= _LARGEST, axis=1, keepdims=True)
    rounded = np.where(within, features, np.float32(np.nan)).astype(np.float16).astype(np.float32)
    return np.asarray(rounded, dtype=np.float32)


def _screen(data: bytes | None) -> tuple[Image.Image | None, str]:
    if data is None:
        return None, MISSING
    try:
        image = decode_photo(data)
    except PhotoError as error:
        return None, error.reason
    small = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BOX), dtype=np.float32)
    return (image, "ok") if float(small.std()) >= BLANK_DEVIATION else (None, "blank")


def assign_features(
    photo_ids: Sequence[str], photo_sha256: PhotoHashes, parts: Sequence[PhotoFeatures]
) -> PhotoFeatures:
    """Give each photo the result of the photo with its content, ``missing`` where a photo has no content.

    Args:
        photo_ids: n ids.
        photo_sha256: the n hashes; several ids may share one.
        parts: results of one encoder, which hold every content once; at least one part, possibly of no photo.

    Raises:
        ModelError: a content is in no part, or the parts are of different encoders.
    """
    shapes = {(part.encoder_identity, part.features.shape[1]) for part in parts}
    if len(shapes) != 1:
        raise ModelError(f"photo features: expected parts of one encoder, found {sorted(shapes)}; encode again")
    identity, dimension = shapes.pop()
    features = np.full((len(photo_ids), dimension), np.nan, dtype=np.float32)
    status = np.full(len(photo_ids), MISSING, dtype=object)
    absent = known(photo_sha256)
    for part in parts:
        at = positions(photo_sha256, part.photo_sha256)
        found = at >= 0
        features[found] = part.features[at[found]]
        status[found] = np.array(part.status, dtype=object)[at[found]]
        absent &= ~found
    if absent.any():
        raise ModelError(
            f"photo features: {int(absent.sum())} of {len(photo_ids)} photos are not of the content that their hash "
            f"states, first {photo_ids[int(absent.argmax())]!r}; make the shard again"
        )
    return PhotoFeatures(tuple(photo_ids), photo_sha256, features, tuple(status), identity)


def write_features(features: PhotoFeatures, path: Path) -> None:
    """Write features as Parquet: ``photo_id``, ``photo_sha256``, ``status`` and a list of d float16 per photo."""
    flat = pa.array(np.ascontiguousarray(features.features, dtype=np.float16).reshape(-1))
    dimension = features.features.shape[1]
    table = pa.table(
        {
            "photo_id": pa.array(features.photo_id, pa.string()),
            "photo_sha256": to_column(features.photo_sha256),
            "status": pa.array(features.status, pa.string()),
            "features": pa.FixedSizeListArray.from_arrays(flat, dimension),
        }
    )
    described = {"encoder_identity": features.encoder_identity, "dimension": str(dimension)}
    pq.write_table(
        table.replace_schema_metadata(described),
        path,
        compression="zstd",
        use_dictionary=["status"],
        row_group_size=max(ROW_GROUP_BYTES // (2 * dimension), 1),
    )


def read_features(
    path: Path, encoder_identity: str | None = None, *, among: PhotoHashes | None = None
) -> PhotoFeatures:
    """Read features written by ``write_features``.

    Args:
        path: the Parquet file.
        encoder_identity: where given, the encoder the features must come from.
        among: where given, only photos with these hashes are read, each once.

    Raises:
        ModelError: the file is damaged, not a features file, or of another encoder.
    """
    try:
        with pq.ParquetFile(path) as parquet:
            described = {key.decode(): value.decode() for key, value in (parquet.schema_arrow.metadata or {}).items()}
            found, dimension = described["encoder_identity"], int(described["dimension"])
            hashes = hashes_of_column(parquet.read(["photo_sha256"])["photo_sha256"])
            rows = _rows_among(hashes, among)
            ids: list[str] = []
            status: list[str] = []
            values = np.empty((len(rows), dimension), dtype=np.float32)
            start = 0
            for k in range(parquet.num_row_groups):
                stop = start + parquet.metadata.row_group(k).num_rows
                first, last = np.searchsorted(rows, [start, stop])
                if last > first:
                    group = parquet.read_row_group(k, ["photo_id", "status", "features"])
                    own = rows[first:last] - start
                    flat = group["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
                    values[first:last] = flat.reshape(len(group), dimension)[own]
                    ids += group["photo_id"].take(own).to_pylist()
                    status += group["status"].take(own).to_pylist()
                start = stop
    except (pa.ArrowException, OSError, KeyError, ValueError, AttributeError) as error:
        raise ModelError(
            f"photo features {path}: expected a Parquet file of write_features: {error}; encode again"
        ) from error
    if encoder_identity is not None and found != encoder_identity:
        raise ModelError(f"photo features {path}: expected the encoder {encoder_identity}, found {found}; encode again")
    return PhotoFeatures(tuple(ids), hashes[rows], values, tuple(status), found)


def _rows_among(hashes: PhotoHashes, among: PhotoHashes | None) -> npt.NDArray[np.int64]:
    if among is None:
        return np.arange(len(hashes), dtype=np.int64)
    at = positions(np.unique(among), hashes)
    return np.sort(at[at >= 0])
