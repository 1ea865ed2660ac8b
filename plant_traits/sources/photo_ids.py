"""The identity of a photo from its address: the same photo reaches us from several sources."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from plant_traits.sources.stable_hash import row_hash_text, text_hashes

_ID = r"/photos/(\d+)/"
_BUCKET = "https://inaturalist-open-data.s3.amazonaws.com/photos/"
_FILES = ("/original.jpg", "/original.jpeg")
_HASHED = "url-"


def photo_ids(url: pd.Series) -> pd.Series:
    """Return the photo id of each address, null where there is none.

    An iNaturalist address carries it (``…/photos/<id>/original.jpg``); another address is its own identity, written as
    ``url-`` and 32 hexadecimal digits of its hash.
    """
    known = url.str.extract(_ID, expand=False)
    hashed = _HASHED + row_hash_text(pd.DataFrame({"url": url}), ["url"])
    return known.where(known.notna() | url.isna(), hashed)


def photo_id_column(url: pl.Series) -> pl.Series:
    """Return what ``photo_ids`` does, as a column of text and fast where addresses are those of iNaturalist's photos.

    Args:
        url: addresses, none of them null.
    """
    inside = url.str.strip_prefix(_BUCKET)
    for file in _FILES:
        inside = inside.str.strip_suffix(file)
    digits = url.str.len_bytes() > inside.str.len_bytes() + len(_BUCKET)  # both ends were there
    digits &= inside.cast(pl.UInt64, strict=False).is_not_null() & ~inside.str.starts_with("+")
    if digits.all():
        return inside
    others = url.filter(~digits)
    return inside.scatter((~digits).arg_true(), _looked_for(others))


def _looked_for(url: pl.Series) -> pl.Series:
    """Find the id anywhere in the addresses, else hash them."""
    known = url.str.extract(_ID, 1)
    unknown = known.is_null()
    if not unknown.any():
        return known
    hashed = _hashes(url.filter(unknown))
    return hashed if unknown.all() else known.scatter(unknown.arg_true(), hashed)


def _hashes(url: pl.Series) -> pl.Series:
    n = len(url)
    digits = text_hashes(url.to_numpy()).astype(">u8").tobytes().hex()
    text = np.empty((n, len(_HASHED) + 32), np.uint8)
    text[:, : len(_HASHED)] = np.frombuffer(_HASHED.encode(), np.uint8)
    text[:, len(_HASHED) :] = np.frombuffer(digits.encode(), np.uint8).reshape(n, 32)
    ends = np.arange(n + 1, dtype=np.int64) * text.shape[1]
    return pl.Series(pa.LargeStringArray.from_buffers(n, pa.py_buffer(ends), pa.py_buffer(text)))
