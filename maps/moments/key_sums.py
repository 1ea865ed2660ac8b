"""Sums of photos by integer keys: sorted runs of equal keys, found and added up without a loop over rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from plant_traits.errors import TableError
from plant_traits.grid import FloatArray, IntArray

Codes = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]

TERMS = ("sum_w", "sum_wy", "sum_wy2", "sum_y", "sum_y2", "sum_v", "sum_w2", "sum_aleatoric")
WORD = 63
"""Bits of an integer from 0."""

_PORTION = 1 << 15  # rows whose key, order and terms stay in a core's cache
_CHUNK = 1 << 18
_MOST_PORTIONS = 255  # of a uint8, which sorts fast
_BIN_BITS = 20


@dataclass(frozen=True)
class KeySums:
    """Sums of the rows of every distinct key, keys ascending.

    Attributes:
        keys: one array for each key, (groups,), as they were given.
        n: (groups,) number of rows.
        sums: (len(TERMS), groups), in the order of ``TERMS``.
    """

    keys: tuple[IntArray, ...]
    n: IntArray
    sums: FloatArray


def sum_photos(
    keys: Sequence[Codes],
    sizes: Sequence[int],
    mean: Floats,
    aleatoric: Floats,
    epistemic: Floats,
    *,
    workers: int = 1,
) -> Iterator[KeySums]:
    """Add up the terms of photos by key, in double precision: w, wy, wy2, y, y2, v, w2 and the aleatoric part of v.

    The rows are dealt into portions of whole values of the first key, small enough for a core's cache; within one, the
    key and the row's number share one integer, whose sort is that of the keys and keeps equal keys in row order. So a
    sum runs in the order of its rows, whatever the portions and the workers.

    Args:
        keys: (rows,) integers from 0, the most significant first.
        sizes: for each key, a bound that it stays below.
        mean: (rows,) predictions y.
        aleatoric: (rows,) part of the variance v = aleatoric + epistemic; v must be positive.
        epistemic: (rows,) the other part.
        workers: threads.

    Yields:
        The sums of one portion after the other, first key ascending, so that all of them together are sorted.

    Raises:
        TableError: the keys need more than 63 bits together, or one lies outside its bound.
    """
    bits = [max(int(size) - 1, 0).bit_length() for size in sizes]
    if sum(bits) > WORD:
        raise TableError(f"keys of sizes {list(sizes)} need {sum(bits)} bits, at most {WORD} fit; number them densely")
    if len(mean) == 0:
        return
    for key, size in zip(keys, sizes, strict=True):
        if int(key.min()) < 0 or int(key.max()) >= size:
            raise TableError(f"a key lies outside 0 to {size - 1}: found {int(key.min())} to {int(key.max())}")
    photos = _Photos(tuple(keys), mean, aleatoric, epistemic)
    sum_portion = partial(_sum_portion, bits)
    if len(mean) <= 2 * _PORTION:
        yield sum_portion([photos.packed(slice(None), bits)])
    elif workers == 1:
        yield from map(sum_portion, _portions(photos, bits, map))
    else:
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(sum_portion, _portions(photos, bits, pool.map))


def pack(keys: Sequence[Codes], bits: Sequence[int]) -> IntArray:
    """Put keys into one integer each, the first in the highest bits."""
    packed = keys[0].astype(np.int64)
    for key, width in zip(keys[1:], bits[1:], strict=True):
        packed <<= width
        packed |= key
    return packed


def unpack(packed: IntArray, bits: Sequence[int]) -> tuple[IntArray, ...]:
    """Take the keys out of the integers that ``pack`` made."""
    keys = []
    for width in reversed(bits):
        keys.append(packed & ((1 << width) - 1))
        packed = packed >> width
    return tuple(reversed(keys))


def sort_keys(packed: IntArray) -> tuple[IntArray, IntArray]:
    """Return the keys, at least one, in ascending order and the rows they came from, equal keys in row order."""
    low = int(packed.min())
    width = (int(packed.max()) - low).bit_length()
    index = (len(packed) - 1).bit_length()
    if width + index > WORD:
        order = np.argsort(packed, kind="stable")
        return packed[order], order
    joint = packed - low
    joint <<= index
    joint |= np.arange(len(packed))
    joint.sort()
    order = joint & ((1 << index) - 1)
    joint >>= index
    joint += low
    return joint, order


def run_starts(*ordered: npt.NDArray[np.generic]) -> IntArray:
    """Return where each run of equal rows begins."""
    new = np.ones(len(ordered[0]), dtype=bool)
    if len(new) > 1:
        new[1:] = ordered[0][1:] != ordered[0][:-1]
    for key in ordered[1:]:
        new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(new)


def sum_runs(values: FloatArray, starts: IntArray) -> FloatArray:
    """Add up runs of rows, one row after the other: (rows, columns) to (columns, runs)."""
    rows = len(values)
    limits = np.append(starts, rows).astype(np.int32)
    matrix = sparse.csr_array((np.ones(rows), np.arange(rows, dtype=np.int32), limits), shape=(len(starts), rows))
    return np.ascontiguousarray((matrix @ values).T)


class _Packed(NamedTuple):
    """Photos with their keys in one integer."""

    key: IntArray
    mean: Floats
    aleatoric: Floats
    epistemic: Floats

    def take(self, rows: slice | IntArray) -> _Packed:
        return _Packed(self.key[rows], self.mean[rows], self.aleatoric[rows], self.epistemic[rows])


class _Photos(NamedTuple):
    keys: tuple[Codes, ...]
    mean: Floats
    aleatoric: Floats
    epistemic: Floats

    def packed(self, rows: slice, bits: Sequence[int]) -> _Packed:
        key = pack([key[rows] for key in self.keys], bits)
        return _Packed(key, self.mean[rows], self.aleatoric[rows], self.epistemic[rows])


_Dealt: TypeAlias = tuple[_Packed, list[int]]


def _portions(photos: _Photos, bits: Sequence[int], run: Callable[..., Iterable[Any]]) -> Iterator[list[_Packed]]:
    """Deal the photos into portions of about equal size by ranges of the leading key.

    Each chunk of the rows is dealt on its own, in cache; a portion is then its part of every chunk.
    """
    leading = photos.keys[0]
    n = len(leading)
    shift = max(bits[0] - _BIN_BITS, 0)
    starts = range(0, n, _CHUNK)

    def count_chunk(start: int) -> IntArray:
        return np.bincount(leading[start : start + _CHUNK] >> shift, minlength=1 << (bits[0] - shift))

    count = sum(run(count_chunk, starts))
    portion_of_bin = ((np.cumsum(count) - count) // max(_PORTION, -(-n // _MOST_PORTIONS))).astype(np.uint8)
    size = int(portion_of_bin[-1]) + 1

    def deal(start: int) -> _Dealt:
        chunk = slice(start, start + _CHUNK)
        portion = portion_of_bin[leading[chunk] >> shift]
        ends = np.cumsum(np.bincount(portion, minlength=size))
        return photos.packed(chunk, bits).take(np.argsort(portion, kind="stable")), [0, *ends.tolist()]

    dealt: list[_Dealt] = list(run(deal, starts))
    for k in range(size):
        parts = [chunk.take(slice(ends[k], ends[k + 1])) for chunk, ends in dealt if ends[k + 1] > ends[k]]
        if parts:
            yield parts


def _sum_portion(bits: Sequence[int], parts: Sequence[_Packed]) -> KeySums:
    key, order = sort_keys(np.concatenate([part.key for part in parts]))
    starts = run_starts(key)
    y, a, v = (
        np.concatenate(column, dtype=np.float64)
        for column in ([x.mean for x in parts], [x.aleatoric for x in parts], [x.epistemic for x in parts])
    )
    v += a
    w = 1.0 / v
    wy = w * y
    group = np.empty(len(key), dtype=np.int64)
    group[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(key)))
    # bincount adds up the rows as they come, and those of one key have kept their order.
    sums = np.empty((len(TERMS), len(starts)))
    for k, term in enumerate((w, wy, wy * y, y, y * y, v, w * w, a)):
        sums[k] = np.bincount(group, term)
    return KeySums(unpack(key[starts], bits), np.diff(starts, append=len(key)), sums)
