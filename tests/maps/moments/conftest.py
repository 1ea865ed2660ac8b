"""Rows of moments by chance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from maps.moments.addition import SUMS


@pytest.fixture(scope="session")
def moments() -> Callable[..., pd.DataFrame]:
    """Return a function that draws rows as of single photos: many share a key, some cells have one species only."""

    def made(n: int, seed: int, cells: int = 12, species: int = 4) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        cell = rng.integers(0, cells, n) ** 2 * 540  # up to the last rows of a 1-degree grid
        kind = np.where(cell % 7 < 3, 0, rng.integers(0, species, n))
        y, v, a = rng.normal(0, 1, n), rng.uniform(0.05, 1, n), rng.uniform(0.01, 0.04, n)
        w = 1 / v
        return pd.DataFrame(
            {
                "cell": cell,
                "species": [None if x == 3 else f"s{x}" for x in kind],
                "observer": [None if x == 0 else f"u{x}" for x in rng.integers(0, 3, n)],
                "trait": rng.choice(["height", "sla"], n),
                "evidence": rng.choice(["photo", "photo", "record"], n),
                "n": 1,
                **dict(zip(SUMS, (w, w * y, w * y * y, y, y * y, v, w * w, a), strict=True)),
            }
        )

    return made
