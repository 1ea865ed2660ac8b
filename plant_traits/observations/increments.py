"""Which shard holds each row of a month: rows that an earlier month's shards hold stay there, the others are cut anew.

A shard is never changed. A row whose content is as it was stays in its shard; a row that is new or whose content
changed goes to a new shard; a row that was retracted or changed leaves the live rows of its old shard, which is not
predicted again. A shard without a live row is dropped.

The first month is cut by tile. In later ones a tile with fewer new rows than a quarter of the largest size gets no
shard of its own: such rows of all tiles are put together, in the order of their tiles, so that a month in which little
changed makes one shard or a few and not one of a few rows in every tile.

Months add shards of few rows all the same, and retracted rows leave shards of which little is used. A shard is *poor*
when it has fewer live rows than a quarter of the largest size, or fewer than half of the rows that it was cut with.
When a tile, or the shards of several tiles taken as one, has more than ``MOST_POOR`` poor shards, the month's new one
counted with them, it is *compacted*: the rows of these shards are cut together with the new ones, and predicted again
from features that are known by the photos' content. So a row is cut again about once in ``MOST_POOR`` months as long as
its shards stay poor, then no longer. The rule looks at nothing but the shards and the month's rows, and so decides
alike whenever it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import InputError, TableError
from plant_traits.needed_columns import need_columns
from plant_traits.observations.shards import SEVERAL, content_hashes, divide_rows, tile_name, tiles_of
from plant_traits.schemas import SHARD_PLAN, SHARD_PLAN_ROW, SHARD_ROW
from plant_traits.sources.stable_hash import table_hash

MOST_POOR = 12
POOR_SHARE_OF_SIZE = 0.25
POOR_SHARE_LIVE = 0.5

_HASH = ["content_a", "content_b"]


@dataclass(frozen=True)
class ShardPlan:
    """The shards of a month and the rows that each holds.

    Attributes:
        rows: columns ``SHARD_PLAN_ROW``, a row per row of the month's observations, in their order.
        shards: columns ``SHARD_PLAN``, a row per shard with a live row; kept ones first.
        rows_kept: rows that stay in the shard that held them.
        rows_new: rows that no shard held, new ones and those whose content changed.
        rows_photo_found: rows cut again because their photo, lost when they were cut, is there now.
        rows_compacted: rows cut again with the others of their tile.
        rows_left: rows of earlier shards that the month does not hold: retracted, or changed.
    """

    rows: pd.DataFrame
    shards: pd.DataFrame
    rows_kept: int
    rows_new: int
    rows_photo_found: int
    rows_compacted: int
    rows_left: int


def plan_increment(
    observations: pd.DataFrame,
    size: int,
    previous: ShardPlan | None = None,
    found_again: pd.DataFrame | None = None,
) -> ShardPlan:
    """Plan the shards of a month on those of an earlier one.

    Where nothing of an earlier month stays this is ``divide_rows`` of all rows, by tile.

    Args:
        observations: columns ``SHARD_ROW``, one row per observation and photo.
        size: most rows of a shard, at least 1.
        previous: the plan of the earlier month; its counts are not looked at.
        found_again: columns shard (name) and photo_id: photos that were lost when an earlier shard was cut and are
            there now; the rows that show them are cut again.

    Raises:
        InputError: the size is not positive, or rows are repeated.
        GridError: a coordinate is missing or out of range.
        TableError: a column is missing, or the earlier plan is not what it should be.
    """
    need_columns(observations, "observations", SHARD_ROW.names)
    content = content_hashes(observations)
    if pd.DataFrame(content).duplicated().any():
        raise InputError("observations: some rows are repeated, expected one per observation and photo; clean them")
    if previous is None:
        held = np.full(len(observations), -1, dtype=np.int64)
        earlier = _no_shards()
    else:
        earlier = previous.shards.reset_index(drop=True)
        held = _held(content, previous, len(earlier))
    known = held >= 0
    back = known & _shows_found_photo(observations, held, earlier, found_again)
    staying = known & ~back
    compacted = staying & _is_compacted(observations, held, staying, earlier, size)
    staying &= ~compacted
    kept = _kept_shards(held[staying], content[staying], earlier)
    shard = np.full(len(observations), -1, dtype=np.int64)
    place = np.full(len(earlier), -1, dtype=np.int64)
    place[kept.index.to_numpy()] = np.arange(len(kept))
    shard[staying] = place[held[staying]]
    cut = np.flatnonzero(~staying)
    new = []
    pool_below = POOR_SHARE_OF_SIZE * size if staying.any() else 0.0
    divided = divide_rows(observations.iloc[cut], size, pool_below=pool_below)
    for number, (made, own) in enumerate(divided, start=len(kept)):
        shard[cut[own]] = number
        new.append((made.name, made.tile, made.size, made.size, made.name, True))
    shards = pd.concat([kept, pd.DataFrame(new, columns=SHARD_PLAN.names)], ignore_index=True) if new else kept
    rows = pd.DataFrame({"content_a": content[:, 0], "content_b": content[:, 1], "shard": shard.astype(np.int32)})
    return ShardPlan(
        rows=rows,
        shards=shards.reset_index(drop=True),
        rows_kept=int(staying.sum()),
        rows_new=int((~known).sum()),
        rows_photo_found=int(back.sum()),
        rows_compacted=int(compacted.sum()),
        rows_left=0 if previous is None else len(previous.rows) - int(known.sum()),
    )


def _no_shards() -> pd.DataFrame:
    frame: pd.DataFrame = SHARD_PLAN.empty_table().to_pandas()
    return frame


def _held(content: npt.NDArray[np.uint64], previous: ShardPlan, shards: int) -> npt.NDArray[np.int64]:
    """Return the earlier shard that holds a row of each content, -1 where none does."""
    missing = [name for name in SHARD_PLAN_ROW.names if name not in previous.rows.columns]
    missing += [name for name in SHARD_PLAN.names if name not in previous.shards.columns]
    if missing:
        raise TableError(f"shards of the earlier month: columns {missing} are missing; cut the shards afresh")
    if len(previous.rows) and not previous.rows["shard"].between(0, shards - 1).all():
        raise TableError(
            f"shards of the earlier month: expected rows of {shards} shards, found row numbers up to "
            f"{previous.rows['shard'].max()}; cut the shards afresh"
        )
    now = pd.DataFrame(content, columns=_HASH)
    # A content holds its observation and photo, so it occurs once.
    before = previous.rows.drop_duplicates(_HASH)
    return now.merge(before, on=_HASH, how="left")["shard"].fillna(-1).to_numpy(dtype=np.int64)


def _shows_found_photo(
    observations: pd.DataFrame, held: npt.NDArray[np.int64], earlier: pd.DataFrame, found: pd.DataFrame | None
) -> npt.NDArray[np.bool_]:
    if found is None or found.empty:
        return np.zeros(len(held), dtype=np.bool_)
    number = pd.Series(np.arange(len(earlier)), index=earlier["shard"])
    wanted = pd.DataFrame({"held": found["shard"].map(number), "photo_id": found["photo_id"]}).drop_duplicates()
    asked = pd.DataFrame({"held": held, "photo_id": observations["photo_id"].to_numpy()})
    return asked.merge(wanted, on=["held", "photo_id"], how="left", indicator=True)["_merge"].eq("both").to_numpy()


def _is_compacted(
    observations: pd.DataFrame,
    held: npt.NDArray[np.int64],
    staying: npt.NDArray[np.bool_],
    earlier: pd.DataFrame,
    size: int,
) -> npt.NDArray[np.bool_]:
    """Tell which rows lie in a poor shard of a tile that has too many of them."""
    if earlier.empty:
        return np.zeros(len(held), dtype=np.bool_)
    live = np.bincount(held[staying], minlength=len(earlier))
    poor = (live > 0) & ((live < POOR_SHARE_OF_SIZE * size) | (live < POOR_SHARE_LIVE * earlier["cut"].to_numpy()))
    number = earlier["tile"][poor].value_counts()
    tiles, rows = np.unique(tiles_of(observations.iloc[np.flatnonzero(~staying)]), return_counts=True)
    own = rows >= POOR_SHARE_OF_SIZE * size
    with_new = [tile_name(int(tile)) for tile in tiles[own]] + [SEVERAL] * bool((~own).any())
    number = number.add(pd.Series(1, index=with_new, dtype=np.int64), fill_value=0)
    crowded = poor & earlier["tile"].isin(number.index[number > MOST_POOR]).to_numpy()
    return np.append(crowded, False)[held]


def _kept_shards(held: npt.NDArray[np.int64], content: npt.NDArray[np.uint64], earlier: pd.DataFrame) -> pd.DataFrame:
    """Return the earlier shards that still hold a row, by their position, with what is live of them."""
    order = np.argsort(held, kind="stable")
    numbers, starts = np.unique(held[order], return_index=True)
    parts = np.split(order, starts[1:]) if len(numbers) else []
    kept: pd.DataFrame = earlier.loc[numbers, SHARD_PLAN.names].copy()
    kept["live"] = np.array([len(part) for part in parts], dtype=np.int64)
    kept["live_hash"] = pd.array([table_hash(content[part]) for part in parts], dtype="str")
    kept["new"] = False
    return kept
