"""The ledger: every observation ever seen, so that what changes or disappears at a source is noticed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from plant_traits.errors import InputError
from plant_traits.month import Month
from plant_traits.needed_columns import need_columns
from plant_traits.schemas import LEDGER, OBSERVATION
from plant_traits.sources.stable_hash import row_hashes

# What a record says of itself: not when we saw it, what the tests, which look at other records too, found, nor what the
# trait tables say of its species.
CONTENT = tuple(name for name in OBSERVATION.names if name not in {"snapshot", "flags", "growth_form"})


STATES = ("live", "changed", "retracted")


@dataclass(frozen=True)
class LedgerChanges:
    """What became of observations between two months; no observation is in two of the lists. Each list is sorted.

    Attributes:
        added: there for the first time.
        returned: there again after they were retracted.
        changed: there before and after, with another content.
        retracted: there before and no longer.
    """

    added: tuple[str, ...]
    returned: tuple[str, ...]
    changed: tuple[str, ...]
    retracted: tuple[str, ...]


def update_ledger(
    previous: pd.DataFrame | None,
    observations: pd.DataFrame,
    month: Month,
    *,
    largest_drop: float | None = None,
    may_shrink: Collection[str] = (),
) -> pd.DataFrame:
    """Bring the ledger up to date with a month's observations.

    An observation is ``live`` when it is there as before or for the first time, ``changed`` when its content is
    another, and ``retracted`` when it is no longer there; one that comes back is live or changed again. Updating twice
    with the same month and observations changes nothing.

    Args:
        previous: the ledger of an earlier month of the same sources and region, or None for the first.
        observations: all observations of the month, columns ``OBSERVATION``; a row per photo.
        month: the month.
        largest_drop: share of a source's live observations that may disappear in a step, see ``check_drop``; None: any.
        may_shrink: ids of the sources that this does not hold for.

    Returns:
        Columns ``LEDGER``, one row per observation ever seen, sorted by observation; ``last_snapshot`` is the last
        month in which it was there.

    Raises:
        TableError: a column is missing.
        InputError: the ledger is already ahead of that month, or a source lost more than may disappear.
    """
    now = _content_hashes(observations)
    if previous is None or previous.empty:
        before = pd.DataFrame({name: pd.Series(dtype="str") for name in LEDGER.names})
    else:
        need_columns(previous, "ledger", LEDGER.names)
        before = previous[LEDGER.names]
        latest = str(before["last_snapshot"].max())
        if latest > str(month):
            raise InputError(
                f"the ledger already holds observations of {latest}, later than {month}: "
                "start from the ledger of the month before, or from none"
            )
        if largest_drop is not None:
            check_drop(previous, observations, largest_drop, may_shrink=may_shrink)
    both = before.merge(now, on="observation_id", how="outer", sort=True)
    here, known = both["now"].notna(), both["content_hash"].notna()
    same = both["content_hash"] == both["now"]
    again = same & (both["last_snapshot"] == str(month)) & (both["state"] != "retracted")
    known &= both["first_snapshot"] != str(month)
    state = np.select([~here, again, known & ~same], ["retracted", both["state"].fillna(""), "changed"], "live")
    result = pd.DataFrame(
        {
            "observation_id": both["observation_id"],
            "first_snapshot": both["first_snapshot"].fillna(str(month)),
            "last_snapshot": both["last_snapshot"].mask(here, str(month)),
            "content_hash": both["now"].fillna(both["content_hash"]),
            "state": state,
        }
    )
    return result.astype("str").reset_index(drop=True)


def check_drop(
    previous: pd.DataFrame, observations: pd.DataFrame, largest_drop: float, *, may_shrink: Collection[str] = ()
) -> None:
    """Stop where a source holds so much less than before that it must have failed, instead of retracting its records.

    A region that became smaller looks the same and stops too: a ledger belongs to one region.

    Args:
        previous: the ledger of an earlier month.
        observations: all observations of this month, column ``observation_id``.
        largest_drop: share of a source's live observations that may disappear, 0 to 1.
        may_shrink: ids of sources that may lose any number, such as one that was taken out of the profile.

    Raises:
        TableError: a column is missing.
        InputError: the share is not 0 to 1, or a source lost more.
    """
    if not 0 <= largest_drop <= 1:
        raise InputError(f"the share of a source's observations that may disappear is 0 to 1, found {largest_drop}")
    need_columns(previous, "ledger", ["observation_id", "state"])
    need_columns(observations, "observations", ["observation_id"])
    live = previous.loc[previous["state"] != "retracted", "observation_id"]
    here = pc.is_in(_strings(live), value_set=_strings(observations["observation_id"]))
    gone = live[~here.to_numpy(zero_copy_only=False)]
    counts = pd.DataFrame({"before": source_of(live).value_counts(), "lost": source_of(gone).value_counts()})
    counts = counts[(counts["lost"] > largest_drop * counts["before"]) & ~counts.index.isin(list(may_shrink))]
    found = [f"{row.lost:.0f} of the {row.before} observations of {row.Index}" for row in counts.itertuples()]
    if found:
        raise InputError(
            f"{' and '.join(found)} are no longer there, more than the share of {largest_drop:g} that may disappear "
            "from one month to the next: see whether the source was acquired whole and the region is the same; if the "
            "records are truly gone, allow the source to shrink"
        )


def ledger_changes(previous: pd.DataFrame | None, ledger: pd.DataFrame) -> LedgerChanges:
    """Compare the ledger of a month with that of an earlier one.

    The months between do not matter: an observation that came and went between the two is in no list, one that was
    retracted and came back unchanged neither.

    Args:
        previous: the earlier ledger, columns ``LEDGER``, or None for none.
        ledger: the later one, which holds every observation of the earlier.

    Returns:
        Lists of observation ids.

    Raises:
        TableError: a column is missing.
        InputError: the later ledger lacks observations of the earlier, so that it does not follow from it.
    """
    need_columns(ledger, "ledger", LEDGER.names)
    columns = ["observation_id", "content_hash", "state"]
    before = ledger.loc[[], columns] if previous is None else previous
    need_columns(before, "ledger", columns)
    both = before[columns].merge(ledger[columns], on="observation_id", how="outer", suffixes=("_before", ""), sort=True)
    if both["state"].isna().any():
        raise InputError(
            f"the ledger lacks {int(both['state'].isna().sum())} observations of the earlier one, so it does not "
            "follow from it: start from the ledger that the month's run was given"
        )
    known = both["state_before"].notna()
    was, now = known & (both["state_before"] != "retracted"), both["state"] != "retracted"
    kinds = {
        "added": now & ~known,
        "returned": now & known & ~was,
        "changed": now & was & (both["content_hash"] != both["content_hash_before"]),
        "retracted": was & ~now,
    }
    ids = both["observation_id"]
    return LedgerChanges(**{kind: tuple(ids[rows].tolist()) for kind, rows in kinds.items()})


def ledger_counts(ledger: pd.DataFrame) -> pd.DataFrame:
    """Count observations by source and state.

    Args:
        ledger: columns ``LEDGER``.

    Returns:
        A row per source, sorted; columns live, changed, retracted.

    Raises:
        TableError: a column is missing.
    """
    need_columns(ledger, "ledger", ["observation_id", "state"])
    counts = pd.crosstab(source_of(ledger["observation_id"]), ledger["state"])
    return counts.reindex(columns=list(STATES), fill_value=0).astype("int64").rename_axis(index="source", columns=None)


def source_of(observation_ids: pd.Series) -> pd.Series:
    """Return the source that each observation id begins with."""
    parts = pc.split_pattern(_strings(observation_ids), ":", max_splits=1)
    return pd.Series(pc.list_element(parts, 0).to_pandas(), dtype="str", name="source").set_axis(observation_ids.index)


def _strings(texts: pd.Series) -> pa.Array:
    # Arrow's own functions take a tenth of the time that pandas' take on millions of texts.
    array = pa.array(texts, type=pa.large_string())
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _content_hashes(observations: pd.DataFrame) -> pd.DataFrame:
    """Hash the content of each observation: the sum over its rows, so that their order does not matter."""
    need_columns(observations, "observations", list(CONTENT))
    hashes = row_hashes(observations, CONTENT)
    parts = pd.DataFrame({"observation_id": observations["observation_id"], "a": hashes[:, 0], "b": hashes[:, 1]})
    sums = parts.groupby("observation_id", sort=True)[["a", "b"]].sum()  # unsigned, wraps around
    digits = sums.to_numpy(dtype=np.uint64).astype(">u8").tobytes().hex()
    texts = [digits[k : k + 32] for k in range(0, len(digits), 32)]
    return pd.DataFrame({"observation_id": sums.index.astype("str"), "now": pd.Series(texts, dtype="str")})
