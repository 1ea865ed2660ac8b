"""Hashes of rows that depend on their content alone: the same on every machine, in every order and in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

_KEYS = ("plant-traits-001", "plant-traits-002")


def row_hashes(frame: pd.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Return a 128-bit hash of each row's content as an array (rows, 2) of unsigned integers.

    Null values of any kind hash alike; -0.0 hashes as 0.0.
    """
    result = np.zeros((len(frame), 2), dtype=np.uint64)
    plain = pd.DataFrame({name: _plain(frame[name]) for name in columns})
    for k, key in enumerate(_KEYS):
        hashed = pd.util.hash_pandas_object(plain, index=False, hash_key=key, categorize=True)
        result[:, k] = hashed.to_numpy(dtype=np.uint64)
    return result


def text_hashes(texts: npt.NDArray[np.object_]) -> npt.NDArray[np.uint64]:
    """Return the ``row_hashes`` of a frame with one column of text, none of it null; faster where few repeat."""
    frame = pd.DataFrame({"text": texts}, dtype=object)
    hashed = (pd.util.hash_pandas_object(frame, index=False, hash_key=key, categorize=False) for key in _KEYS)
    return np.column_stack([column.to_numpy(dtype=np.uint64) for column in hashed])


def row_hash_text(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Return each row's 128-bit hash as 32 hexadecimal digits, index as in the frame."""
    digits = row_hashes(frame, columns).astype(">u8").tobytes().hex()
    return pd.Series([digits[k : k + 32] for k in range(0, len(digits), 32)], index=frame.index, dtype="str")


def table_hash(hashes: npt.NDArray[np.uint64]) -> str:
    """Return one hash, 32 hexadecimal digits, of a set of row hashes, whatever their order."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    return hashlib.blake2b(hashes[order].astype(">u8").tobytes(), digest_size=16).hexdigest()


def _plain(column: pd.Series) -> pd.Series:
    if pd.api.types.is_float_dtype(column.dtype):
        return column.astype("float64") + 0.0
    if pd.api.types.is_integer_dtype(column.dtype):
        return column.astype("int64")
    return column.astype("str").fillna("\0").astype(object)
