"""Per-photo predictions collapsed to mergeable sums per cell, species, observer, trait and kind of evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from maps.moments.key_sums import TERMS, WORD, pack, run_starts, sort_keys, sum_photos, sum_runs
from plant_traits.errors import TableError
from plant_traits.grid import FloatArray, Grid, IntArray
from plant_traits.observations.live_rows import are_live
from plant_traits.schemas import MOMENTS

KEYS = ("cell", "species", "observer", "trait", "evidence")
SUMS = TERMS

_USED = ""
_PAIR = 2
_POSITIVE = [SUMS.index(name) for name in ("sum_w", "sum_wy2", "sum_y2", "sum_v", "sum_w2", "sum_aleatoric")]
_MOST_CANCELLED = 1e6


def reduce_predictions(predictions: pd.DataFrame, observations: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Collapse predictions to their moments, the state that every estimator of a cell is a function of.

    A prediction enters with y = ``mean``, v = ``variance_aleatoric + variance_epistemic`` and w = 1 / v, all in working
    space and in double precision. Photos of one species by one observer in one cell collapse to one row without loss
    for the models of this project. A missing species or observer is a group of its own. The result depends neither
    on the order of the rows nor on that of the observations, to the last bit.

    Args:
        predictions: columns of ``schemas.PREDICTION``; only rows of status ``ok`` are used. Evidence is ``photo`` where
            the modalities contain ``image`` and ``record`` elsewhere.
        observations: columns ``observation_id``, ``species``, ``observer``, ``latitude`` and ``longitude`` of
            ``schemas.SHARD_ROW``; an observation may repeat, once per photo. Predictions of an observation that is
            not here (a retracted one) are left out; where there is a column ``photo_id``, so are those of a photo that
            is not here with its observation. ``count_losses`` says how many.
        grid: the cells.

    Returns:
        A frame of ``schemas.MOMENTS`` in canonical order: sorted by its keys, missing names last.

    Raises:
        TableError: a column is missing, an observation contradicts itself, or a photo is predicted twice for a trait.
    """
    _need(predictions, "predictions", ("observation_id", "photo_id", "trait", "mean", "modalities", "status"))
    _need(predictions, "predictions", ("variance_aleatoric", "variance_epistemic"))
    places, at = _join(predictions, observations)
    reason = _loss_reasons(predictions, places, at)
    kept = np.flatnonzero(reason == _USED)
    used, at = predictions.iloc[kept], at[kept]
    evidence = _evidence(used)
    _refuse_repeated(used, at, evidence)

    y = used["mean"].to_numpy(dtype=np.float64)
    aleatoric = used["variance_aleatoric"].to_numpy(dtype=np.float64)
    epistemic = used["variance_epistemic"].to_numpy(dtype=np.float64)
    cell_of_place = np.full(len(places), -1, dtype=np.int64)
    placed = np.unique(at)
    cell_of_place[placed] = grid.cell_of(
        places["latitude"].to_numpy(dtype=np.float64)[placed], places["longitude"].to_numpy(dtype=np.float64)[placed]
    )
    species, observer = _Names.of(_strings(places["species"])), _Names.of(_strings(places["observer"]))
    trait, of_evidence = _Names.of(_strings(used["trait"])), _Names.of(pa.array(evidence, pa.string()))
    names = (species, observer, trait, of_evidence)
    keys = (cell_of_place[at], species.codes[at], observer.codes[at], trait.codes, of_evidence.codes)
    # Sums run in the order of the rows: that of the values leaves no trace of the order they came in.
    order = np.lexsort((epistemic, aleatoric, y))
    sums = sum_photos(
        [key[order] for key in keys],
        [grid.size, *(len(name.names) for name in names)],
        y[order],
        aleatoric[order],
        epistemic[order],
    )
    tables = [
        pa.table([of.keys[0], *map(_Names.take, names, of.keys[1:]), of.n, *of.sums], schema=MOMENTS) for of in sums
    ]
    return _frame(pa.concat_tables([MOMENTS.empty_table(), *tables]))


def used_predictions(predictions: pd.DataFrame, observations: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return for each prediction the evidence under which it enters the moments, or an empty text where it does not."""
    places, at = _join(predictions, observations)
    used = _loss_reasons(predictions, places, at) == _USED
    return np.where(used, _evidence(predictions), "")


def count_losses(predictions: pd.DataFrame, observations: pd.DataFrame) -> Mapping[str, int]:
    """Count the predictions that ``reduce_predictions`` leaves out, by reason, for the run report.

    Reasons are the predictions' own status where it is not ``ok``, ``no_observation`` (the observation, or its photo,
    was retracted or never seen), ``no_coordinates`` (missing or out of range), and ``no_finite_estimate`` (mean not
    finite or variance not positive).
    """
    places, at = _join(predictions, observations)
    reason = _loss_reasons(predictions, places, at)
    names, counts = np.unique(reason[reason != _USED].astype(str), return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


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


def _evidence(predictions: pd.DataFrame) -> npt.NDArray[np.object_]:
    seen = predictions["modalities"].str.contains("image", regex=False, na=False).to_numpy(dtype=bool)
    return np.where(seen, "photo", "record").astype(object)


@dataclass(frozen=True)
class _Names:
    """Each row's place among the sorted distinct names; a missing name comes last."""

    codes: IntArray
    names: pa.Array

    @classmethod
    def of(cls, column: pa.Array | pa.ChunkedArray) -> _Names:
        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        encoded = whole.dictionary_encode()
        order = pc.sort_indices(encoded.dictionary)
        rank = np.empty(len(order) + 1, dtype=np.int64)
        rank[order.to_numpy()] = np.arange(len(order))
        rank[-1] = len(order)
        codes = rank[encoded.indices.fill_null(len(order)).to_numpy()]
        return cls(codes, pa.concat_arrays([encoded.dictionary.take(order), pa.nulls(1, pa.string())]))

    def take(self, codes: IntArray) -> pa.Array:
        return self.names.take(pa.array(codes))


def _packed(rows: pa.Table) -> IntArray:
    """Number the rows' keys: one integer each, in canonical order."""
    keys: list[IntArray] = [rows["cell"].to_numpy(), *(_Names.of(rows[key]).codes for key in KEYS[1:])]
    bits = [int(key.max(initial=0)).bit_length() for key in keys]
    packed, width = keys[0], bits[0]
    for key, more in zip(keys[1:], bits[1:], strict=True):
        if width + more > WORD:  # too many to fit: number those that occur
            packed = np.unique(packed, return_inverse=True)[1].astype(np.int64)
            width = int(packed.max(initial=0)).bit_length()
        packed, width = pack((packed, key), (width, more)), width + more
    return packed


def _strings(column: pd.Series) -> pa.Array:
    return pa.array(column, type=pa.string(), from_pandas=True)


def _table(moments: pd.DataFrame) -> pa.Table:
    _need(moments, "moments", MOMENTS.names)
    table = pa.Table.from_pandas(moments[MOMENTS.names], schema=MOMENTS, preserve_index=False)
    return table.replace_schema_metadata(None)


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _with_sums(rows: pa.Table, n: IntArray, sums: FloatArray) -> pa.Table:
    return pa.table([*(rows[key] for key in KEYS), n, *sums], schema=MOMENTS)


def _join(predictions: pd.DataFrame, observations: pd.DataFrame) -> tuple[pd.DataFrame, IntArray]:
    """Return one row per observation, and for each prediction the row of its observation or -1."""
    columns = ["observation_id", "species", "observer", "latitude", "longitude"]
    _need(observations, "observations", columns)
    places = observations[columns].drop_duplicates(ignore_index=True)
    twice = places["observation_id"].duplicated()
    if twice.any():
        raise TableError(
            f"observations: {int(twice.sum())} ids appear with different species, observers or coordinates, first "
            f"{places.loc[twice, 'observation_id'].iloc[0]!r}; expected one description each: clean the table first"
        )
    at = pd.Index(places["observation_id"]).get_indexer(pd.Index(predictions["observation_id"])).astype(np.int64)
    if "photo_id" in observations.columns:
        at = np.where(are_live(predictions, observations), at, -1)
    return places, at


def _loss_reasons(predictions: pd.DataFrame, places: pd.DataFrame, at: IntArray) -> npt.NDArray[np.object_]:
    """Say for each prediction why it cannot be used; an empty string where it can."""
    mean = predictions["mean"].to_numpy(dtype=np.float64)
    aleatoric = predictions["variance_aleatoric"].to_numpy(dtype=np.float64)
    epistemic = predictions["variance_epistemic"].to_numpy(dtype=np.float64)
    v = aleatoric + epistemic
    finite = np.isfinite(mean) & np.isfinite(v) & (aleatoric >= 0) & (epistemic >= 0) & (v > 0)
    lat, lon = (places[name].to_numpy(dtype=np.float64) for name in ("latitude", "longitude"))
    placed = np.append((np.abs(lat) <= 90) & (np.abs(lon) <= 180), False)[at]
    reason = np.full(len(predictions), _USED, dtype=object)
    reason[~finite] = "no_finite_estimate"
    reason[~placed] = "no_coordinates"
    reason[at < 0] = "no_observation"
    status = predictions["status"].fillna("no_status")
    failed = (status != "ok").to_numpy(dtype=bool)
    reason[failed] = status.to_numpy(dtype=object)[failed]
    return reason


def _refuse_repeated(used: pd.DataFrame, at: IntArray, evidence: npt.NDArray[np.object_]) -> None:
    parts: list[FloatArray | IntArray] = [at, pd.factorize(used["photo_id"])[0], pd.factorize(used["trait"])[0]]
    key = np.zeros(len(used), dtype=np.int64)
    for part in (*parts, (evidence == "photo").astype(np.int64)):
        # Renumbered at each step, the combined code stays far from overflow.
        key = pd.factorize(key * (int(part.max(initial=0)) + 2) + part + 1)[0].astype(np.int64)
    repeated = pd.Series(key).duplicated().to_numpy()
    if repeated.any():
        first = used.iloc[int(np.flatnonzero(repeated)[0])]
        raise TableError(
            f"predictions: {int(repeated.sum())} photos are predicted more than once for one trait, first "
            f"{first['observation_id']!r}, photo {first['photo_id']!r}, trait {first['trait']!r}; "
            "expected one prediction each: reduce the predictions of one model only"
        )


def _need(frame: pd.DataFrame, what: str, columns: Iterable[str]) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise TableError(f"{what}: columns {missing} are missing; found {list(frame.columns)}")
