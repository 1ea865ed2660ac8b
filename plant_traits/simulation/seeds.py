"""One reproducible random stream per named part of the world."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, *parts: str | int) -> np.random.Generator:
    """Return the generator of one part of a world, independent of every other part and of the order of calls."""
    keys = [part if isinstance(part, int) else zlib.crc32(part.encode()) for part in parts]
    return np.random.default_rng([seed, *keys])
