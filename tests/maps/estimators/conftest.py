"""Moments of photos, from their predictions."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from maps.moments.addition import merge
from plant_traits.schemas import MOMENTS


@pytest.fixture(scope="session")
def moments_of() -> Callable[..., pd.DataFrame]:
    """Return a function that merges photos with cell, trait, species, observer, y and v, half of it aleatoric."""

    def made(photos: pd.DataFrame, evidence: str = "photo") -> pd.DataFrame:
        w, y = 1 / photos["v"], photos["y"]
        frame = photos[["cell", "trait", "species", "observer"]].assign(
            evidence=evidence,
            n=1,
            sum_w=w,
            sum_wy=w * y,
            sum_wy2=w * y * y,
            sum_y=y,
            sum_y2=y * y,
            sum_v=photos["v"],
            sum_w2=w * w,
            sum_aleatoric=0.5 * photos["v"],
        )
        return merge([frame[MOMENTS.names]])

    return made
