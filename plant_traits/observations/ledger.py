"""The ledger: every observation ever seen, so that what changes or disappears at a source is noticed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from plant_traits.errors import InputError, TableError
from plant_traits.month import Month
from plant_traits.schemas import LEDGER, OBSERVATION
from plant_traits.sources.stable_hash import row_hashes

# What a record says of itself: not when we saw it, what the tests, which look at other records too, found, nor what the
# trait tables say of its species.
CONTENT = tuple(name for name in OBSERVATION.names if name not in {"snapshot", "flags", "growth_form"})


def update_ledger(previous: pd.DataFrame | None, observations: pd.DataFrame, month: Month) -> pd.DataFrame:
    """Bring the ledger up to date with a month's observations.

    An observation is ``live`` when it is there as before or for the first time, ``changed`` when its content is
    another, and ``retracted`` when it is no longer there; one that comes back is live or changed again. Updating twice
    with the same month and observations changes nothing.

    Args:
        previous: the ledger of an earlier month of the same sources and region, or None for the first.
        observations: all observations of the month, columns ``OBSERVATION``; a row per photo.
        month: the month.

    Returns:
        Columns ``LEDGER``, one row per observation ever seen, sorted by observation; ``last_snapshot`` is the last
        month in which it was there.

    Raises:
        TableError: a column is missing.
        InputError: the ledger is already ahead of that month.
    """
    now = _content_hashes(observations)
    if previous is None or previous.empty:
        before = pd.DataFrame({name: pd.Series(dtype="str") for name in LEDGER.names})
    else:
        _require(previous, LEDGER.names, "ledger")
        before = previous[LEDGER.names]
        latest = str(before["last_snapshot"].max())
        if latest > str(month):
            raise InputError(
                f"the ledger already holds observations of {latest}, later than {month}: "
                "start from the ledger of the month before, or from none"
            )
    both = before.merge(now, on="observation_id", how="outer", sort=True)
    here, known = both["now"].notna(), both["content_hash"].notna()
    same = both["content_hash"] == both["now"]
    again = same & (both["last_snapshot"] == str(month)) & (both["state"] != "retracted")
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


def _content_hashes(observations: pd.DataFrame) -> pd.DataFrame:
    """Hash the content of each observation: the sum over its rows, so that their order does not matter."""
    _require(observations, list(CONTENT), "observations")
    hashes = row_hashes(observations, CONTENT)
    parts = pd.DataFrame({"observation_id": observations["observation_id"], "a": hashes[:, 0], "b": hashes[:, 1]})
    sums = parts.groupby("observation_id", sort=True)[["a", "b"]].sum()  # unsigned, wraps around
    digits = sums.to_numpy(dtype=np.uint64).astype(">u8").tobytes().hex()
    texts = [digits[k : k + 32] for k in range(0, len(digits), 32)]
    return pd.DataFrame({"observation_id": sums.index.astype("str"), "now": pd.Series(texts, dtype="str")})


def _require(frame: pd.DataFrame, columns: list[str], what: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise TableError(f"{what}: columns {missing} are missing; found {list(frame.columns)}")
