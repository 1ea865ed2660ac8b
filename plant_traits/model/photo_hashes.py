"""The sha256 of photos as arrays of fixed width: a few megabytes for a shard, and quick to sort and to look up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

WIDTH = 32
HASH_TYPE = pa.binary(WIDTH)
_NONE = bytes(WIDTH)

PhotoHashes = npt.NDArray[np.bytes_]
"""(n,) of 32 bytes each, all zero where there is no photo. Single items lose trailing zero bytes: compare arrays."""


def hashes_of_bytes(digests: Sequence[bytes | None]) -> PhotoHashes:
    """Return sha256 digests, None where there is no photo, as an array.

    Raises:
        ValueError: a digest is not 32 bytes long.
    """
    wrong = {len(x) for x in digests if x is not None} - {WIDTH}
    if wrong:
        raise ValueError(f"a sha256 has {WIDTH} bytes, found {sorted(wrong)}")
    return _joined(b"".join(_NONE if x is None else x for x in digests))


def hashes_of_column(column: pa.Array | pa.ChunkedArray) -> PhotoHashes:
    """Return a column of 32-byte or of hexadecimal digests, null where there is no photo, as an array.

    Raises:
        ValueError: the column holds something else.
    """
    if column.type == HASH_TYPE:
        return _joined(b"".join(pc.fill_null(column, pa.scalar(_NONE, HASH_TYPE)).to_pylist()))
    if not pa.types.is_string(column.type) or pc.any(pc.not_equal(pc.utf8_length(column), 2 * WIDTH)).as_py():
        raise ValueError(f"expected digests of {WIDTH} bytes or {2 * WIDTH} hexadecimal digits, found {column.type}")
    return _joined(bytes.fromhex("".join(pc.fill_null(column, _NONE.hex()).to_pylist())))


def _joined(data: bytes) -> PhotoHashes:
    return np.frombuffer(data, dtype=f"S{WIDTH}")


def to_column(hashes: PhotoHashes) -> pa.Array:
    """Return hashes as a column of 32-byte values, null where there is no photo."""
    data = pa.py_buffer(np.ascontiguousarray(hashes).tobytes())
    valid = pa.array(known(hashes)).buffers()[1] if len(hashes) else None
    return pa.Array.from_buffers(HASH_TYPE, len(hashes), [valid, data])


def known(hashes: PhotoHashes) -> npt.NDArray[np.bool_]:
    """Tell where there is a photo."""
    return np.asarray(hashes != b"", dtype=np.bool_)


def leading_bits(hashes: PhotoHashes) -> npt.NDArray[np.uint64]:
    """Return the first 64 bits of each hash, by which to look for photos; whoever finds one compares the whole hash."""
    return np.ascontiguousarray(hashes).view(np.uint64).reshape(len(hashes), WIDTH // 8)[:, 0].copy()


def positions(wanted: PhotoHashes, held: PhotoHashes) -> npt.NDArray[np.int64]:
    """Return where each wanted hash stands among those held, -1 where it does not; no photo is never found."""
    if not len(held):
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(held, kind="stable")
    at = order[np.minimum(np.searchsorted(held[order], wanted), len(held) - 1)]
    return np.where((held[at] == wanted) & known(wanted), at, -1).astype(np.int64)
