"""Stage: what became of each photo of a run's observations, kept with the run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from plant_traits.steps import Summary

PHOTO_LIST = "photos.parquet"


def state_of_lists(stores: Sequence[Path]) -> str:
    """Return a hash of the lists that the stores' acquisitions left."""
    digest = hashlib.sha256()
    for store in stores:
        with (store / PHOTO_LIST).open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]


def list_photos(destination: Path, *, stores: Sequence[Path]) -> Summary:
    """Write one list of the photos of a run: status, licence and attribution of each.

    Args:
        destination: an empty folder.
        stores: folders of photo stores, each with the list of the photos that were wanted of it.

    Returns:
        Counts of photos in and out, and lost by reason.
    """
    photos = pd.concat([pd.read_parquet(store / PHOTO_LIST) for store in stores], ignore_index=True)
    photos = photos.sort_values("photo_id", ignore_index=True)
    photos.to_parquet(destination / PHOTO_LIST, index=False)
    held = photos["status"] == "ok"
    lost = photos.loc[~held, "reason"].fillna("unknown").value_counts().sort_index()
    return {
        "in": {"photos wanted": len(photos)},
        "out": {"photos held": int(held.sum()), "different pictures": int(photos.loc[held, "sha256"].nunique())},
        "lost": {f"photo {reason}": int(n) for reason, n in lost.items()},
    }
