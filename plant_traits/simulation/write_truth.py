"""Write what only scoring reads: the true values of every photographed plant, and what changed in which month."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.simulation.months import LaterMonth
from plant_traits.simulation.records import Sightings


def write_record_truth(
    parts: Sequence[tuple[str, Sightings, npt.NDArray[np.str_]]],
    months: Sequence[LaterMonth],
    identifiers: pd.DataFrame,
    path: Path,
) -> None:
    """Write one row per photo that was ever published, those of the first month first.

    The columns are gbifID, occurrenceID, planted (what is wrong with the record as it was first published),
    ``true_<trait>`` (working space) and further ``true_…``, photo_id, photo_state, and first_month and last_month: the
    months at whose end it is published; last_month is empty where it never vanishes.

    Args:
        parts: first month, records and photos, and the photos' states, of what was published first and added later.
        months: the later months.
        identifiers: gbifID and occurrenceID by record number.
        path: the Parquet file.
    """
    tables = []
    for month, sightings, states in parts:
        record = sightings.photos["record"].to_numpy()
        truth = sightings.records.iloc[record].reset_index(drop=True)
        values = [name for name in truth.columns if name.startswith("true_") and not name.endswith("index")]
        named = identifiers.loc[truth["number"]].reset_index(drop=True)
        photos = {"photo_id": sightings.photos["photo_id"].astype(str).to_numpy(), "photo_state": states}
        end = truth["number"].map(_last_months(months)).fillna("")
        told = pd.concat([named, truth[["planted", *values]]], axis=1)
        tables.append(told.assign(**photos, first_month=month, last_month=end))
    pd.concat(tables, ignore_index=True).to_parquet(path, index=False)


def write_changes(months: Sequence[LaterMonth], identifiers: pd.DataFrame, path: Path) -> None:
    """Write month, kind (added, changed, retracted), what changed, gbifID and occurrenceID of every change."""
    columns = ["month", "kind", "what", "gbifID", "occurrenceID"]
    empty = pd.DataFrame({"month": [], "kind": [], "number": [], "what": []}, dtype=str).astype({"number": np.int64})
    changes = pd.concat([empty, *(month.changes for month in months)], ignore_index=True)
    changes.join(identifiers, on="number")[columns].to_parquet(path, index=False)


def _last_months(months: Sequence[LaterMonth]) -> dict[int, str]:
    """Return the last month in which a record that vanishes is published, by its number."""
    return {
        int(number): str(month.month.previous)
        for month in months
        for number in month.changes.loc[month.changes["kind"] == "retracted", "number"]
    }
