"""Per-photo predictions collapsed to mergeable sums per cell, species, observer, trait and kind of evidence."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from maps.moments.key_sums import sum_photos
from maps.moments.name_codes import NameCodes
from plant_traits.errors import TableError
from plant_traits.grid import FloatArray, Grid, IntArray
from plant_traits.needed_columns import need_columns
from plant_traits.observations.live_rows import are_live
from plant_traits.schemas import MOMENTS

_USED = ""


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
    need_columns(predictions, "predictions", ("observation_id", "photo_id", "trait", "mean", "modalities", "status"))
    need_columns(predictions, "predictions", ("variance_aleatoric", "variance_epistemic"))
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
    species, observer = NameCodes.of(_strings(places["species"])), NameCodes.of(_strings(places["observer"]))
    trait, of_evidence = NameCodes.of(_strings(used["trait"])), NameCodes.of(pa.array(evidence, pa.string()))
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
        pa.table([of.keys[0], *map(NameCodes.take, names, of.keys[1:]), of.n, *of.sums], schema=MOMENTS) for of in sums
    ]
    frame: pd.DataFrame = pa.concat_tables([MOMENTS.empty_table(), *tables]).to_pandas()
    return frame


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


def _evidence(predictions: pd.DataFrame) -> npt.NDArray[np.object_]:
    seen = predictions["modalities"].str.contains("image", regex=False, na=False).to_numpy(dtype=bool)
    return np.where(seen, "photo", "record").astype(object)


def _strings(column: pd.Series) -> pa.Array:
    return pa.array(column, type=pa.string(), from_pandas=True)


def _join(predictions: pd.DataFrame, observations: pd.DataFrame) -> tuple[pd.DataFrame, IntArray]:
    """Return one row per observation, and for each prediction the row of its observation or -1."""
    columns = ["observation_id", "species", "observer", "latitude", "longitude"]
    need_columns(observations, "observations", columns)
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
