"""Moments added and subtracted: states of several sets of predictions merged, and photos taken out of a state again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from maps.moments.key_sums import TERMS, WORD, pack, run_starts, sort_keys, sum_runs
from maps.moments.name_codes import NameCodes
from plant_traits.errors import TableError
from plant_traits.grid import FloatArray, IntArray
from plant_traits.needed_columns import need_columns
from plant_traits.schemas import MOMENTS

KEYS = ("cell", "species", "observer", "trait", "evidence")
SUMS = TERMS

_PAIR = 2
_POSITIVE = [SUMS.index(name) for name in ("sum_w", "sum_wy2", "sum_y2", "sum_v", "sum_w2", "sum_aleatoric")]
_MOST_CANCELLED = 1e6


def merge(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Add moments of disjoint sets of predictions, such as those of several shards.

    Addition is associative and commutative to rounding (1e-12), and a given collection of frames gives the
    same bits in whatever order it is handed over.

    Args:
        frames: frames of ``schemas.MOMENTS``; none at all gives the empty state.

    Returns:
        A frame of ``schemas.MOMENTS`` in canonical order.

    Raises:
        TableError: a frame lacks a column.
    """
    return _frame(merge_tables(_table(part) for part in frames))


def merge_tables(tables: Iterable[pa.Table]) -> pa.Table:
    """Add moments as ``merge`` does, from and to Arrow tables of ``schemas.MOMENTS``."""
    rows = pa.concat_tables([MOMENTS.empty_table(), *tables])
    if len(rows) == 0:
        return rows
    key, order = sort_keys(_packed(rows))
    starts = run_starts(key)
    length = np.diff(starts, append=len(order))
    values = np.column_stack([rows[name].to_numpy() for name in SUMS])[order]
    n = rows["n"].to_numpy()[order]
    # Two numbers add up to the same bits either way; three or more are put in order of their values first.
    many = np.flatnonzero(np.repeat(length > _PAIR, length))
    by_value = np.lexsort((*values[many].T[::-1], n[many], key[many]))
    values[many], n[many] = values[many[by_value]], n[many[by_value]]
    return _with_sums(rows.take(order[starts]), np.add.reduceat(n, starts), sum_runs(values, starts))


@dataclass(frozen=True)
class Subtraction:
    """What is left of a state after photos were taken out of it.

    Attributes:
        moments: the rows left, ``schemas.MOMENTS`` in canonical order.
        imprecise: keys of those rows of which so much was taken out that a sum is left with fewer than nine sure
            digits; reduce the shards of these cells again where that matters.
    """

    moments: pd.DataFrame
    imprecise: pd.DataFrame


def subtract(moments: pd.DataFrame, retracted: pd.DataFrame) -> Subtraction:
    """Take the moments of some predictions out of a state that holds them: the inverse of ``merge``.

    Counts are exact, and a row that is left without a photo vanishes whole, without a residue. A sum that is left keeps
    an error of about 1e-16 of what it was before: relative to itself, 1e-16 times the ratio of before to after. Rows
    where that ratio exceeds 1e6 for a sum of positive terms (w, w2, v, aleatoric, y2 or wy2) are listed as imprecise.
    The sums of signed terms, wy and y, are as sure in units of (sum w * sum wy2) ** 1/2 and (n * sum y2) ** 1/2,
    which bound them.

    Args:
        moments: the state, ``schemas.MOMENTS``, in any order.
        retracted: moments of predictions that the state holds, such as ``reduce_predictions`` gives for them.

    Returns:
        The rows left and which of them are imprecise.

    Raises:
        TableError: a column is missing, or photos are taken out that the state does not hold.
    """
    left, weak = subtract_tables(merge_tables([_table(moments)]), merge_tables([_table(retracted)]))
    frame = _frame(left)
    return Subtraction(frame, frame.loc[weak, list(KEYS)].reset_index(drop=True))


def subtract_tables(state: pa.Table, out: pa.Table) -> tuple[pa.Table, npt.NDArray[np.bool_]]:
    """Do as ``subtract``, from and to Arrow tables in canonical order; return the rows left and which are imprecise."""
    if len(out) == 0:
        return state, np.zeros(len(state), dtype=bool)
    key, order = sort_keys(_packed(pa.concat_tables([state, out])))
    # The state's row of a key comes before the retracted one, since equal keys keep their order.
    second = 1 + np.flatnonzero(key[1:] == key[:-1])
    at, of = order[second - 1], order[second] - len(state)
    n = state["n"].to_numpy().copy()
    n[at] -= out["n"].to_numpy()[of]
    missing = len(out) - len(of) + int((n < 0).sum())
    if missing:
        raise TableError(
            f"moments: {missing} of {len(out)} rows to take out are not in the state, or not with as many photos; "
            "expected moments of predictions that were merged into it: rebuild the state from its shards"
        )
    before = np.column_stack([state[name].to_numpy() for name in SUMS])
    after = before.copy()
    after[at] -= np.column_stack([out[name].to_numpy() for name in SUMS])[of]
    weak = (np.abs(after[:, _POSITIVE]) * _MOST_CANCELLED < before[:, _POSITIVE]).any(axis=1)
    kept = np.flatnonzero(n > 0)
    return _with_sums(state.take(kept), n[kept], np.ascontiguousarray(after[kept].T)), weak[kept]


def _packed(rows: pa.Table) -> IntArray:
    """Number the rows' keys: one integer each, in canonical order."""
    keys: list[IntArray] = [rows["cell"].to_numpy(), *(NameCodes.of(rows[key]).codes for key in KEYS[1:])]
    bits = [int(key.max(initial=0)).bit_length() for key in keys]
    packed, width = keys[0], bits[0]
    for key, more in zip(keys[1:], bits[1:], strict=True):
        if width + more > WORD:  # too many to fit: number those that occur
            packed = np.unique(packed, return_inverse=True)[1].astype(np.int64)
            width = int(packed.max(initial=0)).bit_length()
        packed, width = pack((packed, key), (width, more)), width + more
    return packed


def _table(moments: pd.DataFrame) -> pa.Table:
    need_columns(moments, "moments", MOMENTS.names)
    table = pa.Table.from_pandas(moments[MOMENTS.names], schema=MOMENTS, preserve_index=False)
    return table.replace_schema_metadata(None)


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _with_sums(rows: pa.Table, n: IntArray, sums: FloatArray) -> pa.Table:
    return pa.table([*(rows[key] for key in KEYS), n, *sums], schema=MOMENTS)
