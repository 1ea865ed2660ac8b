"""A world of cells whose means are known, and what photos, place and plots make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from maps.small_area.fill import FilledCells, fill_cells
from maps.small_area.plots import plots_by_cell
from maps.small_area.trait_cells import TraitCells, trait_cells
from plant_traits.grid import FloatArray, Grid
from plant_traits.schemas import ESTIMATE

GRID = Grid(Fraction(3))
BIOMES = ("arid", "polar", "temperate")


@dataclass(frozen=True)
class World:
    """Cells whose means are known, and what photos, place and plots make of them."""

    direct: pd.DataFrame
    land: pd.DataFrame
    biome: dict[int, str]
    plots: pd.DataFrame
    truth: pd.Series


def estimates(trait: str, cell: FloatArray, location: FloatArray, error: FloatArray, n: FloatArray) -> pd.DataFrame:
    columns = {name: np.ones(len(cell)) for name in ESTIMATE.names}
    frame = pd.DataFrame(columns).assign(
        cell=cell.astype(np.int64), trait=trait, location=location, standard_error=error, n_photos=n.astype(np.int64)
    )
    return frame.assign(variance_among_plants=0.3 + 0.1 * (frame["cell"] % 2))


def _world(seed: int, trait: str, n: int) -> World:
    """Photos err by a variance of 0.04 together, place by 0.30, each with a common part of 0.02; plots by 0.2 each."""
    rng = np.random.default_rng(seed)
    cell = np.sort(rng.choice(GRID.size, n, replace=False))
    lat, lon = GRID.centre_of(cell)
    biome = np.array(BIOMES, dtype=object)[np.digitize(np.abs(lat), [25, 55])]
    truth = np.sin(np.deg2rad(lon)) + 0.5 * np.cos(np.deg2rad(3 * lat)) + rng.normal(0, 0.3, n)
    common = rng.normal(0, np.sqrt(0.02), n)
    place = truth + common + rng.normal(0, np.sqrt(0.28), n)
    photos = rng.choice(n, n // 2, replace=False)
    n_photos = np.ceil(rng.lognormal(1.0, 1.2, len(photos)))
    error = np.sqrt(0.8 / n_photos)
    of_photos = (
        (truth + common)[photos] + rng.normal(0, np.sqrt(0.02), len(photos)) + rng.normal(size=len(photos)) * error
    )
    seen = rng.choice(n, n // 2, replace=False)
    row = np.repeat(seen, rng.integers(1, 4, len(seen)))
    plots = pd.DataFrame(
        {
            "latitude": lat[row] + rng.uniform(-1.4, 1.4, len(row)),
            "longitude": lon[row] + rng.uniform(-1.4, 1.4, len(row)),
            "trait": trait,
            "value": truth[row] + rng.normal(0, np.sqrt(0.2), len(row)),
        }
    )
    land = pd.DataFrame(
        {"cell": cell, "trait": trait, "mean": place, "variance_aleatoric": 0.6, "variance_epistemic": 0.05}
    )
    return World(
        estimates(trait, cell[photos], of_photos, error, n_photos),
        land,
        dict(zip(cell.tolist(), biome, strict=True)),
        plots,
        pd.Series(truth, index=cell),
    )


@pytest.fixture(scope="session")
def world() -> World:
    return _world(0, "sla", 1_500)


@pytest.fixture(scope="session")
def second_world() -> World:
    """Another trait of fewer cells, by the same rules."""
    return _world(3, "height", 300)


@pytest.fixture(scope="session")
def filled(world: World) -> FilledCells:
    return fill_cells(world.direct, world.land, world.biome, world.plots, GRID)


@pytest.fixture(scope="session")
def cells_of() -> Callable[[World], TraitCells]:
    """Return a function that lays what is known of a world's cells side by side."""

    def laid_out(world: World) -> TraitCells:
        seen = plots_by_cell(world.plots, GRID)
        return trait_cells("sla", world.direct, world.land, seen, world.biome, GRID, folds=5, block_degrees=15.0)

    return laid_out
