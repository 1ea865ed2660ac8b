"""How much was looked where: a cap on what one observer gives in a day, and the effort of each cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from plant_traits.errors import InputError, TableError
from plant_traits.grid import Grid, IntArray
from plant_traits.needed_columns import need_columns
from plant_traits.schemas import EFFORT_RECORD, read_table
from plant_traits.sources.stable_hash import row_hash_text

_WHO_WHAT_WHEN = ("observer", "species", "observed_on")
BEYOND_CAP = "beyond_cap.parquet"
"""Records of which the cap kept nothing, in the folder of a month's observations."""

_BATCH = 1 << 18
_HELD = 1 << 22  # numbers held before they are added up


def cap_effort(observations: pd.DataFrame, k: int | None, grid: Grid) -> tuple[pd.DataFrame, int]:
    """Keep at most k photos of a species by one observer on one day in one cell.

    Which ones stay is decided by a hash of observation and photo: it does not depend on the order of rows, a smaller k
    keeps a part of what a larger one keeps, and new photos push out as few of the old ones as possible. Rows without a
    photo count like rows with one. Rows without a date all stay: they need not be of one day.

    Args:
        observations: columns ``OBSERVATION``, coordinates inside the globe.
        k: photos kept, at least 1; None keeps all.
        grid: the grid of cells.

    Returns:
        The rows kept, in their order, and how many were left out.

    Raises:
        InputError: k is below 1.
        TableError: a column is missing.
        GridError: a coordinate is missing or out of range.
    """
    if k is not None and k < 1:
        raise InputError(f"the number of photos per observer, species, day and cell must be at least 1, found {k}")
    need_columns(observations, "observations", [*_WHO_WHAT_WHEN, "observation_id", "photo_id", "latitude", "longitude"])
    if k is None:
        return observations.reset_index(drop=True), 0
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


def records_beyond_cap(observations: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """Return the records of which a cap kept no row: they count as effort, though nothing is predicted from them.

    Args:
        observations: what ``cap_effort`` was given.
        kept: what it returned.

    Returns:
        Columns of ``schemas.EFFORT_RECORD``, a row per record, in the order given.

    Raises:
        TableError: a column is missing.
    """
    need_columns(observations, "observations", EFFORT_RECORD.names)
    need_columns(kept, "observations", ["observation_id"])
    left = observations[~observations["observation_id"].isin(kept["observation_id"])]
    records: pd.DataFrame = left[EFFORT_RECORD.names].drop_duplicates("observation_id", ignore_index=True)
    return records


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
    need_columns(observations, "observations", ["observation_id", "observer", "latitude", "longitude"])
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


def read_effort(folder: Path, grid: Grid) -> pd.DataFrame:
    """Count the target-group effort of the cells of any grid from cleaned observations, a part of them at a time.

    Args:
        folder: output of ``plant_traits.stages.observations.build_observations``.
        grid: the grid of cells.

    Returns:
        What ``target_group_effort`` gives for all records before the cap.

    Raises:
        TableError: a file cannot be read, or the observations are not sorted.
    """
    effort = EffortCount(grid)
    for records in effort_records(folder):
        effort.add(records)
    return effort.table()


def effort_records(folder: Path) -> Iterator[pd.DataFrame]:
    """Yield every record of a month once, those beyond the cap last, as frames of ``schemas.EFFORT_RECORD``.

    Arguments and errors are those of ``read_effort``.
    """
    path = folder / "observations.parquet"
    last = ""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=EFFORT_RECORD.names):
                rows = batch.to_pandas()
                ids = rows["observation_id"]
                if len(ids) == 0:
                    continue
                if not ids.is_monotonic_increasing or ids.iloc[0] < last:
                    raise TableError(f"{path}: expected records sorted by observation_id; build the observations again")
                yield rows[~ids.duplicated() & (ids != last)]
                last = ids.iloc[-1]
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise TableError(f"{path}: not a readable table of observations: {error}; build them again") from error
    yield read_table(folder / BEYOND_CAP, EFFORT_RECORD)


class EffortCount:
    """Target-group effort of records that come a part at a time: in the end what ``target_group_effort`` gives for all.

    Memory grows with the number of cells and, where they are counted, of different pairs of cell and observer.
    """

    def __init__(self, grid: Grid, *, observers: bool = True) -> None:
        """Start at nothing.

        Args:
            grid: the grid of cells.
            observers: whether to count the observers of each cell; ``n_observers`` is 0 everywhere if not.
        """
        self._grid = grid
        self._count_observers = observers
        self._cells: list[IntArray] = []
        self._records: list[IntArray] = []
        self._pairs: list[pd.DataFrame] = []
        self._held = 0

    def add(self, records: pd.DataFrame) -> None:
        """Count records that were not counted before.

        Args:
            records: columns ``observer``, ``latitude`` and ``longitude``, a row per record.

        Raises:
            TableError: a column is missing.
            GridError: a coordinate is missing or out of range.
        """
        need_columns(records, "observations", ["observer", "latitude", "longitude"])
        place = self._grid.cell_of(records["latitude"], records["longitude"])
        cell, count = np.unique(place, return_counts=True)
        self._cells.append(cell)
        self._records.append(count.astype(np.int64))
        self._held += len(cell)
        if self._count_observers:
            known = records["observer"].notna().to_numpy()
            # By a hash of 64 bits: among ten million observers two share one with a probability of 3 in a million.
            who = pd.util.hash_array(records["observer"].to_numpy(dtype=object)[known], categorize=False)
            pairs = pd.DataFrame({"cell": place[known], "observer": who}).drop_duplicates()
            self._pairs.append(pairs)
            self._held += len(pairs)
        if self._held > _HELD:
            self._settle()

    def table(self) -> pd.DataFrame:
        """Return columns cell, n_records, n_observers; cells with at least one record, sorted."""
        self._settle()
        effort = pd.DataFrame({"cell": self._cells[0], "n_records": self._records[0]})
        observers = self._pairs[0]["cell"].value_counts() if self._pairs else pd.Series(dtype=np.int64)
        effort["n_observers"] = observers.reindex(effort["cell"], fill_value=0).to_numpy()
        return effort.astype("int64")

    def _settle(self) -> None:
        """Add up what was held since the last time."""
        cells = np.concatenate([np.empty(0, dtype=np.int64), *self._cells])
        records = np.concatenate([np.empty(0, dtype=np.int64), *self._records])
        cell, at = np.unique(cells, return_inverse=True)
        total = np.zeros(len(cell), dtype=np.int64)
        np.add.at(total, at, records)
        self._cells, self._records = [cell], [total]
        if self._pairs:
            self._pairs = [pd.concat(self._pairs, ignore_index=True).drop_duplicates(ignore_index=True)]
        # What is settled is not held: it would be added up again with every part.
        self._held = 0
