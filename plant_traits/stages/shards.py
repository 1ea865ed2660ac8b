"""Stage: observations and their photos in immutable shards, an earlier month's kept, and what is live of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from plant_traits.errors import TableError
from plant_traits.observations.increments import ShardPlan, plan_increment
from plant_traits.observations.shards import OBSERVATIONS_FILE, PHOTOS_FILE, photo_row, write_shard
from plant_traits.schemas import OBSERVATION, SHARD_PLAN, SHARD_PLAN_ROW, SHARD_ROW, read_table, write_table
from plant_traits.sources.inputs import InputSet
from plant_traits.sources.photos import PhotoReader, open_photos
from plant_traits.sources.stable_hash import row_hash_text
from plant_traits.steps import Artifact, StepStore, Summary

ROWS_FILE, SHARDS_FILE = "rows.parquet", "shards.parquet"
_LOST = ["shard", "photo_id", "status"]


@dataclass(frozen=True)
class ShardSet:
    """The shards of a month.

    Attributes:
        shards: the collection of shards, which never change: what is sampled, encoded and predicted.
        live: a collection of the same names, whose ``observations.parquet`` holds the rows that the month still has:
            what is counted and reduced. Where these are all rows it is the shard itself.
        plan: which shard holds each of the month's rows.
    """

    shards: Artifact
    live: Artifact
    plan: Artifact


def cut_shards(
    store: StepStore,
    *,
    root: Path,
    inputs: InputSet,
    observations: Artifact,
    size: int,
    code: str,
    previous: ShardSet | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ShardSet:
    """Keep an earlier month's shards, cut the rows that they do not hold, and gather these rows' photos.

    Rows are cut into shards of one 10° tile, see ``plant_traits.observations.increments``. Shards of an earlier month
    that other code cut, or to another size, are not kept: then everything is cut afresh. Rows whose photo was lost
    when they were cut are looked at again, and cut again where the photo can be had now.

    Args:
        store: where shards live.
        root: the run's data folder.
        inputs: the run's inputs.
        observations: output of ``build_observations``.
        size: largest number of rows of a shard.
        code: code version.
        previous: shards of an earlier month.
        progress: called with (finished, total).

    Raises:
        WorkspaceError: a shard of the earlier month has been removed.
        TableError: a table is not what it should be.
    """
    cut_by = [code, size]
    if previous is not None and previous.plan.summary["cut by"] != cut_by:
        previous = None
    with ExitStack() as stack:
        readers = [stack.enter_context(open_photos(x.reader, root / x.path)) for x in inputs.of("photos")]
        earlier = {} if previous is None else store.members(previous.shards)
        found = _found_again(store, earlier, previous, readers)
        plan = store.run(
            "shard-plan",
            partial(
                plan_month,
                observations=store.fetch(observations),
                previous=None if previous is None else store.fetch(previous.plan),
                found=found,
                size=size,
                cut_by=cut_by,
            ),
            code=code,
            parameters={"size": size, "found": sorted(row_hash_text(found, ["shard", "photo_id"]))},
            inputs={
                "observations": observations.digest,
                **({} if previous is None else {"previous": previous.plan.digest}),
            },
        )
        held = _Held(store.fetch(plan), store.fetch(observations))
        shards: dict[str, Artifact] = {}
        live: dict[str, Artifact] = {}
        for number, told in enumerate(held.shards.to_dict("records")):
            name = told["shard"]
            shards[name] = _cut(store, name, held.rows(number), readers, code) if told["new"] else earlier[name]
            live[name] = shards[name]
            if told["live_hash"] != name:
                rows = partial(held.rows, number)
                live[name] = _live_view(store, shards[name], told["live_hash"], rows, code)
            if progress is not None:
                progress(number + 1, len(held.shards))
    reasons = Counter(_lost(store, shards, live)["status"])
    lost = {f"photo {reason}": n for reason, n in sorted(reasons.items())}
    photos = plan.summary["in"]["photos"]
    summary = {
        "in": plan.summary["in"],
        "out": {**plan.summary["out"], "photos held": photos - sum(lost.values())},
        "lost": lost,
    }
    return ShardSet(store.collect("shards", shards, summary), store.collect("live-shards", live), plan)


def plan_month(
    destination: Path, *, observations: Path, previous: Path | None, found: pd.DataFrame, size: int, cut_by: list[Any]
) -> Summary:
    """Write which shard holds each row of a month: ``rows.parquet`` and ``shards.parquet``.

    Args:
        destination: an empty folder.
        observations: output of ``build_observations``.
        previous: output of this function for an earlier month, None for none.
        found: photos that can be had again, columns shard and photo_id.
        size: largest number of rows of a shard.
        cut_by: what must be the same for a later month to keep these shards.

    Returns:
        Counts of rows and shards: kept, cut, left.
    """
    table = read_table(observations / OBSERVATIONS_FILE, OBSERVATION)
    plan = plan_increment(table, size, None if previous is None else read_plan(previous), found)
    write_table(plan.rows, destination / ROWS_FILE, SHARD_PLAN_ROW)
    write_table(plan.shards, destination / SHARDS_FILE, SHARD_PLAN)
    new = plan.shards["new"].to_numpy()
    touched = ~new & (plan.shards["live_hash"] != plan.shards["shard"]).to_numpy()
    told = {
        "shards": len(plan.shards),
        "shards cut": int(new.sum()),
        "rows cut as new or changed": plan.rows_new,
        "rows cut again for a photo that was missing": plan.rows_photo_found,
        "rows cut again to join small shards": plan.rows_compacted,
        "shards of which rows were retracted or changed": int(touched.sum()),
        "rows retracted or changed since the month before": plan.rows_left,
    }
    return {
        "in": {"observations": len(table), "photos": int(table["photo_id"].notna().sum())},
        "out": {name: n for name, n in told.items() if n or name == "shards"},
        "cut by": cut_by,
    }


def read_plan(folder: Path) -> ShardPlan:
    """Return the plan that ``plan_month`` wrote, without its counts.

    Raises:
        TableError: it cannot be read.
    """
    rows = read_table(folder / ROWS_FILE, SHARD_PLAN_ROW)
    return ShardPlan(rows, read_table(folder / SHARDS_FILE, SHARD_PLAN), 0, 0, 0, 0, 0)


@dataclass(frozen=True)
class _Held:
    """The month's rows by shard; the observations are read when a shard's rows are first asked for."""

    plan: Path
    observations: Path

    @cached_property
    def shards(self) -> pd.DataFrame:
        return read_table(self.plan / SHARDS_FILE, SHARD_PLAN)

    @cached_property
    def _table(self) -> pd.DataFrame:
        table: pd.DataFrame = read_table(self.observations / OBSERVATIONS_FILE, OBSERVATION)[SHARD_ROW.names]
        return table

    @cached_property
    def _order(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        numbers = read_table(self.plan / ROWS_FILE, SHARD_PLAN_ROW, ["shard"])["shard"].to_numpy()
        order = np.argsort(numbers, kind="stable")
        return order, np.searchsorted(numbers[order], np.arange(len(self.shards) + 1))

    def rows(self, number: int) -> pd.DataFrame:
        """Return the live rows of a shard, columns ``SHARD_ROW``, sorted by observation and photo."""
        order, starts = self._order
        rows = self._table.iloc[order[starts[number] : starts[number + 1]]]
        ordered: pd.DataFrame = rows.sort_values(["observation_id", "photo_id"], ignore_index=True)
        return ordered


def _cut(store: StepStore, name: str, rows: pd.DataFrame, readers: Sequence[PhotoReader], code: str) -> Artifact:
    wanted = sorted(rows["photo_id"].dropna().unique())
    return store.run(
        "shard",
        lambda destination: {"rows": len(rows), "photos": write_shard(rows, readers, destination)},
        code=code,
        parameters={"shard": name},
        inputs={f"photos {k}": reader.identity(wanted) for k, reader in enumerate(readers)},
    )


def _live_view(
    store: StepStore, shard: Artifact, live_hash: str, rows: Callable[[], pd.DataFrame], code: str
) -> Artifact:
    """Write a shard's live rows. The month's rows are the shard's own, to the bit: their content is what is hashed."""

    def write(destination: Path) -> Summary:
        live = rows()
        write_table(live, destination / OBSERVATIONS_FILE, SHARD_ROW)
        return {"out": {"rows": len(live)}}

    return store.run("live-shard", write, code=code, parameters={"rows": live_hash}, inputs={"shard": shard.digest})


def _found_again(
    store: StepStore, earlier: Mapping[str, Artifact], previous: ShardSet | None, readers: Sequence[PhotoReader]
) -> pd.DataFrame:
    """Return which photos, lost when an earlier shard was cut and shown by a live row of it, can be had now."""
    if previous is None:
        return pd.DataFrame({name: pd.Series(dtype="str") for name in ("shard", "photo_id")})
    lost = _lost(store, earlier, store.members(previous.live))
    now = [photo_row(photo_id, readers)["status"] == "ok" for photo_id in lost["photo_id"]]
    return lost.loc[np.array(now, dtype=np.bool_), ["shard", "photo_id"]].reset_index(drop=True)


def _lost(store: StepStore, shards: Mapping[str, Artifact], live: Mapping[str, Artifact]) -> pd.DataFrame:
    """Return the photos of live rows that were lost, and why; only shards that lost some are read."""
    parts = [pd.DataFrame({name: pd.Series(dtype="str") for name in _LOST})]
    for name, shard in shards.items():
        if not set(shard.summary["photos"]) - {"ok"}:
            continue
        photos = _columns(store, shard, PHOTOS_FILE, ["photo_id", "status"])
        photos = photos[photos["status"] != "ok"]
        if live[name].key != shard.key:
            shown = _columns(store, live[name], OBSERVATIONS_FILE, ["photo_id"])["photo_id"]
            photos = photos[photos["photo_id"].isin(shown)]
        parts.append(photos.assign(shard=name))
    return pd.concat(parts, ignore_index=True)[_LOST]


def _columns(store: StepStore, artifact: Artifact, file: str, columns: list[str]) -> pd.DataFrame:
    """Read some columns of a file where it lies: the pictures beside them are not fetched."""
    address = store.workspace.address("steps", artifact.step, artifact.key, file)
    try:
        with store.workspace.filesystem.open(address, "rb") as stream, pq.ParquetFile(stream) as parquet:
            frame: pd.DataFrame = parquet.read(columns).to_pandas()
            return frame
    except (pa.ArrowException, OSError, KeyError) as error:
        raise TableError(f"{address}: cannot be read ({error}); run the refresh of its month again") from error
