"""The people with cameras: where they live, how much they do, what they like and how they frame it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plant_traits.simulation.geography import Cities
from plant_traits.simulation.seeds import stream

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_SYLLABLES = (
    "an",
    "be",
    "cor",
    "da",
    "el",
    "fi",
    "go",
    "hu",
    "il",
    "ka",
    "lo",
    "mi",
    "no",
    "per",
    "ra",
    "sol",
    "ti",
    "ve",
)


@dataclass(frozen=True)
class Observers:
    """Observers, one array element each.

    Attributes:
        name: login.
        city: index of the home city.
        effort: share of all records, sums to 1, a few observers do most.
        reach_km: typical distance of a record from home.
        taste: (n, 3) liking for trees, shrubs and herbs.
        love_of_colour: how much a colourful species attracts.
        closeness: habit of going close (positive) or staying far.
        care: 0 to 1, lower is more misnamed and blurred.
    """

    name: npt.NDArray[np.str_]
    city: IntArray
    effort: FloatArray
    reach_km: FloatArray
    taste: FloatArray
    love_of_colour: FloatArray
    closeness: FloatArray
    care: FloatArray


def build_observers(seed: int, cities: Cities, count: int) -> Observers:
    """Make observers who live in cities."""
    rng = stream(seed, "observers")
    parts = rng.choice(_SYLLABLES, (count, 3))
    effort = 1 / (np.arange(count) + 6.0) ** 0.8
    return Observers(
        name=np.array([f"{a}{b}{c}{k}" for k, (a, b, c) in enumerate(parts)]),
        city=rng.choice(cities.effort.size, count, p=cities.effort),
        effort=effort / effort.sum(),
        reach_km=rng.lognormal(np.log(45), 0.5, count),
        taste=rng.lognormal([-0.15, 0.0, 0.15], 0.35, (count, 3)),
        love_of_colour=rng.gamma(2.0, 0.5, count),
        closeness=rng.normal(0.0, 1.0, count),
        care=rng.beta(4.0, 2.0, count),
    )
