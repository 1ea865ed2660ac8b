"""How much was looked where: a cap on what one observer gives in a day, and the effort of each cell."""

from __future__ import annotations

import numpy as np
import pandas as pd

from plant_traits.errors import InputError, TableError
from plant_traits.grid import Grid
from plant_traits.sources.stable_hash import row_hash_text

_WHO_WHAT_WHEN = ("observer", "species", "observed_on")


def cap_effort(observations: pd.DataFrame, k: int, grid: Grid) -> tuple[pd.DataFrame, int]:
    """Keep at most k photos of a species by one observer on one day in one cell.

    Which ones stay is decided by a hash of observation and photo: it does not depend on the order of rows, a smaller k
    keeps a part of what a larger one keeps, and new photos push out as few of the old ones as possible. Rows without a
    photo count like rows with one. Rows without a date all stay: they need not be of one day.

    Args:
        observations: columns ``OBSERVATION``, coordinates inside the globe.
        k: photos kept, at least 1.
        grid: the grid of cells.

    Returns:
        The rows kept, in their order, and how many were left out.

    Raises:
        InputError: k is below 1.
        TableError: a column is missing.
        GridError: a coordinate is missing or out of range.
    """
    if k < 1:
        raise InputError(f"the number of photos per observer, species, day and cell must be at least 1, found {k}")
    _require(observations, [*_WHO_WHAT_WHEN, "observation_id", "photo_id", "latitude", "longitude"])
    key = observations[list(_WHO_WHAT_WHEN)].reset_index(drop=True)
    key["cell"] = grid.cell_of(observations["latitude"], observations["longitude"])
    size = key.groupby([*_WHO_WHAT_WHEN, "cell"], dropna=False, sort=False)["cell"].transform("size")
    crowded = np.flatnonzero((size > k) & key["observed_on"].notna())
    if crowded.size == 0:
        return observations.reset_index(drop=True), 0
    # Only rows of groups that are too large need their hash and rank.
    own = key.iloc[crowded].reset_index(drop=True)
    own["hash"] = row_hash_text(observations.iloc[crowded], ["observation_id", "photo_id"]).to_numpy()
    rank = own.sort_values("hash").groupby([*_WHO_WHAT_WHEN, "cell"], dropna=False, sort=False).cumcount()
    keep = np.ones(len(observations), dtype=bool)
    keep[crowded] = (rank.sort_index() < k).to_numpy()
    return observations[keep].reset_index(drop=True), int((~keep).sum())


def target_group_effort(observations: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Count, per cell, the records of all vascular plants and the people who made them.

    This is the effort against which the records of one species or trait are to be judged: where nobody looked, absence
    says nothing. [Phillips et al. 2009, target-group background]

    Args:
        observations: all cleaned observations, before any cap; a row per record and photo.
        grid: the grid of cells.

    Returns:
        Columns cell, n_records (records, not photos), n_observers; cells with at least one record, sorted.

    Raises:
        TableError: a column is missing.
        GridError: a coordinate is missing or out of range.
    """
    _require(observations, ["observation_id", "observer", "latitude", "longitude"])
    rows = pd.DataFrame(
        {
            "cell": grid.cell_of(observations["latitude"], observations["longitude"]),
            "observation_id": observations["observation_id"].to_numpy(),
            "observer": observations["observer"].to_numpy(),
        }
    ).drop_duplicates("observation_id")
    cells = rows.groupby("cell", sort=True)
    effort = pd.DataFrame({"n_records": cells.size(), "n_observers": cells["observer"].nunique()})
    return effort.reset_index().astype("int64")


def _require(frame: pd.DataFrame, columns: list[str]) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise TableError(f"observations: columns {missing} are missing; found {list(frame.columns)}")
