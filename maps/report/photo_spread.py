"""Choose a few of many photos so that growth forms and species share them evenly, the same ones every time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from plant_traits.sources.stable_hash import row_hashes

KEY = ("observation_id", "photo_id")


def spread(photos: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Choose at most ``limit`` photos: growth forms take turns, and within each its species do.

    Which photo of a species comes first, and which species, is decided by hashes of their names, so that neither the
    order of the rows nor the run matters. Photos of an unknown species or growth form are a group of their own.

    Args:
        photos: with ``observation_id``, ``photo_id``, ``species`` and ``growth_form``, no photo of a record twice.
        limit: most photos to choose.

    Returns:
        The chosen rows in the order of their choice, all columns kept.
    """
    turn = _turns(photos).sort_values(["place", "form"], kind="stable")
    return photos.loc[turn.index[:limit]]


def shortlist(photos: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Drop photos that ``spread`` would not choose, whatever photos are added later.

    So photos can be looked through in portions: ``spread`` of the short lists' short list is that of all photos.

    Args:
        photos: as ``spread`` takes them.
        limit: most photos to choose in the end.

    Returns:
        The remaining rows: per growth form those up to the turn in which its ``limit``-th photo comes.
    """
    if limit < 1 or photos.empty:
        return photos.iloc[:0]
    turn = _turns(photos)
    last = turn[turn["place"] < limit].groupby("form")["round"].max()
    return photos[(turn["round"] <= turn["form"].map(last)).to_numpy()]


def _turns(photos: pd.DataFrame) -> pd.DataFrame:
    """Return per photo its growth form, its round (how many of its species come before) and place within the form."""
    keys = pd.DataFrame(
        {
            "form": photos["growth_form"].astype(object).where(photos["growth_form"].notna(), "").astype(str),
            "species": row_hashes(photos, ["species"])[:, 0],
            "photo": row_hashes(photos, list(KEY))[:, 0],
        },
        index=photos.index,
    )
    keys = keys.sort_values(["form", "species", "photo"], kind="stable")
    keys["round"] = keys.groupby(["form", "species"], sort=False).cumcount()
    ordered = keys.sort_values(["form", "round", "species"], kind="stable")
    place = pd.Series(ordered.groupby("form", sort=False).cumcount(), index=ordered.index)
    keys["place"] = place.reindex(keys.index).astype(np.int64)
    return keys.reindex(photos.index)
