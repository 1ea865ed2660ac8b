"""Photos and place combined where no plots tell by how much they err."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from maps.small_area.fay_herriot import fit_fay_herriot, predict_fay_herriot
from maps.small_area.fill import fill_cells
from maps.small_area.fit import fit_without_plots
from maps.small_area.trait_cells import TraitCells
from plant_traits.grid import Grid

if TYPE_CHECKING:
    from tests.maps.small_area.conftest import World

GRID = Grid(Fraction(3))


def test_without_plots_cells_are_combined_after_fay_and_herriot(world: World) -> None:
    filled = fill_cells(world.direct, world.land, {}, None, GRID)
    both = world.direct.merge(world.land, on=["cell", "trait"])
    centre = both["mean"].mean()
    x = np.column_stack([np.ones(len(both)), both["mean"] - centre])
    psi = both["standard_error"].to_numpy() ** 2
    model = fit_fay_herriot(both["location"].to_numpy(), psi, x)
    expected = predict_fay_herriot(model, x, both["location"].to_numpy(), psi)
    cells = filled.cells.set_index("cell")
    np.testing.assert_allclose(cells.loc[both["cell"], "location"], expected.location, rtol=1e-6)
    # What the model states for a plant, less the plants' own variance, is what place errs by.
    shared = max((0.65 - both["variance_among_plants"]).mean() - model.variance[0], 0.0)
    assert shared > 0
    np.testing.assert_allclose(
        cells.loc[both["cell"], "standard_error"] ** 2, expected.mean_squared_error + shared, rtol=1e-6
    )
    far = world.land[~world.land["cell"].isin(both["cell"])]
    new = np.column_stack([np.ones(len(far)), far["mean"] - centre])
    alone = predict_fay_herriot(model, new)
    np.testing.assert_allclose(cells.loc[far["cell"], "location"], alone.location, rtol=1e-6)
    np.testing.assert_allclose(
        cells.loc[far["cell"], "standard_error"] ** 2, alone.mean_squared_error + shared, rtol=1e-6
    )
    assert filled.calibration.empty
    assert filled.coverage.empty
    assert set(filled.errors["method"]) == {"stated"}
    pd.testing.assert_series_equal(cells["standard_error"], cells["standard_error_raw"], check_names=False)


def held_out_places(seed: int, cells: int, place: float, species: float) -> pd.DataFrame:
    """Four species in each of some cells, whose labels scatter about a cell mean that the place misses."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(rng.choice(GRID.size, cells, replace=False), 4)
    lat, lon = GRID.centre_of(cell)
    missed = np.repeat(rng.normal(0, place, cells), 4)
    return pd.DataFrame(
        {
            "latitude": lat,
            "longitude": lon,
            "species": [f"Genus s{k}" for k in range(len(cell))],
            "trait": "sla",
            "n": 1,
            "label": 2.0 + missed + rng.normal(0, species, len(cell)),
            "prediction": 2.0,
            "variance": 0.1,
        }
    )


def test_held_out_regions_tell_what_place_errs_by(world: World) -> None:
    told = held_out_places(1, 1_500, 1.5, 1.2)
    filled = fill_cells(world.direct, world.land, world.biome, None, GRID, held_out=told)
    alone = filled.cells[filled.cells["photo_share"] == 0]
    # What place misses, and a quarter of the species' scatter, which the mean of four keeps: 1.5² + 1.2² / 4.
    assert np.sqrt((alone["standard_error"] ** 2).mean()) == pytest.approx(np.sqrt(2.61), rel=0.03)
    assert set(filled.errors["method"]) == {"held-out regions"}
    for other in (told.assign(trait="height"), told.iloc[: 4 * 9]):
        stated = fill_cells(world.direct, world.land, world.biome, None, GRID, held_out=other)
        assert (stated.cells["standard_error"] < 1.0).all()
        assert set(stated.errors["method"]) == {"stated"}
    with_plots = fill_cells(world.direct, world.land, world.biome, world.plots, GRID, held_out=told)
    assert set(with_plots.errors["method"]) == {"plots"}
    assert (with_plots.cells["standard_error"] < 1.0).all()


def test_few_cells_without_plots_err_as_held_out_regions_show(world: World) -> None:
    direct, land = world.direct.iloc[:4], world.land[world.land["cell"].isin(world.direct["cell"].iloc[:9])]
    told = held_out_places(2, 1_500, 0.7, 0.3)
    filled = fill_cells(direct, land, world.biome, None, GRID, held_out=told)
    table = filled.cells.set_index("cell")
    alone = table[table["photo_share"] == 0]
    assert len(alone) == 5
    np.testing.assert_allclose(alone["standard_error"], np.sqrt(0.49 + 0.09 / 4), rtol=0.05)
    expected = direct.set_index("cell")[["location", "standard_error"]]
    np.testing.assert_allclose(table.loc[expected.index, ["location", "standard_error"]], expected)
    assert set(filled.errors["method"]) == {"held-out regions"}


def test_few_cells_without_plots_keep_what_is_stated(world: World) -> None:
    cells = world.direct["cell"].iloc[:5].tolist()
    direct, land = (frame[frame["cell"].isin([*cells[:4]])] for frame in (world.direct, world.land))
    rest = world.land[world.land["cell"] == cells[4]]
    filled = fill_cells(direct, pd.concat([land, rest]), world.biome, None, GRID)
    table = filled.cells.set_index("cell")
    assert set(filled.errors["method"]) == {"stated"}
    assert table.loc[cells[4], "standard_error"] == pytest.approx(np.sqrt(0.65))
    expected = direct.set_index("cell")[["location", "standard_error"]]
    np.testing.assert_allclose(table.loc[expected.index, ["location", "standard_error"]], expected)


def test_fit_without_plots_needs_no_spread_of_the_prediction(
    world: World, cells_of: Callable[[World], TraitCells]
) -> None:
    cells = cells_of(replace(world, land=world.land.assign(mean=1.0)))
    fitted = fit_without_plots(cells)
    assert fitted.model is not None
    assert len(fitted.model.coefficients) == 1
