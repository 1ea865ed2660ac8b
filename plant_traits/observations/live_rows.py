"""The live rows of a shard: those that a month's records still hold as they were when the shard was cut."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.needed_columns import need_columns

KEY = ("observation_id", "photo_id")


def are_live(rows: pd.DataFrame, live: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell which rows of a shard, or of what was made of it, belong to its live rows.

    A row is known by its observation and photo together: of an observation with two photos one may be live and the
    other retracted. A record without a photo is known by its observation and by having none.

    Args:
        rows: columns observation_id and photo_id, n rows; each live row may occur several times, once per trait.
        live: the live view's rows, columns observation_id and photo_id.

    Returns:
        (n,) true where a row is live.

    Raises:
        TableError: a column is missing.
    """
    for what, frame in (("rows", rows), ("live view", live)):
        need_columns(frame, f"{what} of a shard", KEY)
    observations = pd.Index(live["observation_id"].unique())
    photos = pd.Index(live["photo_id"].dropna().unique())
    known = _numbers(live, observations, photos)
    asked = _numbers(rows, observations, photos)
    return np.isin(asked, known) & (asked >= 0)


def _numbers(rows: pd.DataFrame, observations: pd.Index, photos: pd.Index) -> npt.NDArray[np.int64]:
    """Number each pair of observation and photo; -1 for one that cannot be live."""
    observation = observations.get_indexer(pd.Index(rows["observation_id"])).astype(np.int64)
    none = rows["photo_id"].isna().to_numpy()
    photo = photos.get_indexer(pd.Index(rows["photo_id"])).astype(np.int64)
    photo[none] = len(photos)
    return np.where((observation >= 0) & (photo >= 0), observation * (len(photos) + 1) + photo, -1)
