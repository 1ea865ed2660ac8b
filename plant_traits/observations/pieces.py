"""Occurrences that were fetched a piece of a region at a time, put together again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

_RECORD = ["dataset_key", "occurrence_id", "photo_id"]


def join_pieces(frames: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], int]:
    """Leave out rows that an earlier piece of the same source holds too: those on the border of two pieces.

    Rows of one record that differ, because the source changed while pieces were fetched, all stay; cleaning takes one
    of them. Rows that repeat each other within a piece stay too: they are the source's own repetitions.

    Args:
        frames: raw occurrences of one source, a frame per piece; the order decides only which of equal rows stays.

    Returns:
        The frames without those rows, in the same order, and how many were left out.
    """
    if len(frames) < 2:
        return list(frames), 0
    piece = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
    records = pd.concat([frame[_RECORD] for frame in frames], ignore_index=True)
    several = np.flatnonzero(records.duplicated(keep=False))
    if several.size == 0:
        return list(frames), 0
    starts = np.cumsum([0, *(len(frame) for frame in frames)])
    parts = [
        frame.iloc[several[(several >= start) & (several < start + len(frame))] - start]
        for frame, start in zip(frames, starts, strict=False)
    ]
    rows = pd.concat(parts, ignore_index=True)
    own = pd.Series(piece[several])
    first = own.groupby([rows[name] for name in rows.columns], dropna=False, sort=False).transform("min")
    keep = np.ones(len(piece), dtype=bool)
    keep[several] = (own == first).to_numpy()
    kept = [frame[keep[start : start + len(frame)]] for frame, start in zip(frames, starts, strict=False)]
    for frame, source in zip(kept, frames, strict=True):
        frame.attrs.update(source.attrs)
    return kept, int((~keep).sum())
