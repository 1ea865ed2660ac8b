"""Intervals met with plots that had no say in them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from maps.small_area.coverage import COVERAGE_COLUMNS, hold_out
from maps.small_area.fill import CALIBRATION_COLUMNS, FilledCells, fill_cells
from maps.small_area.fit import fit_on_plots
from maps.small_area.plots import plots_by_cell
from maps.small_area.trait_cells import TraitCells
from plant_traits.grid import Grid

if TYPE_CHECKING:
    from tests.maps.small_area.conftest import World

GRID = Grid(Fraction(3))


def root_mean_square(values: pd.Series) -> float:
    return float(np.sqrt((values**2).mean()))


def test_coverage_on_held_out_plots_is_near_nominal(filled: FilledCells) -> None:
    assert list(filled.coverage.columns) == list(COVERAGE_COLUMNS)
    assert list(filled.calibration.columns) == list(CALIBRATION_COLUMNS)
    together = filled.coverage[filled.coverage["biome"].isna()].set_index("kind")
    assert set(together.index) == {"rich", "sparse", "none", "all"}
    assert together.loc["all", "n"] == together.loc[["rich", "sparse", "none"], "n"].sum()
    for level in (50, 80, 90, 95):
        assert together.loc["all", f"calibrated_{level}"] == pytest.approx(level / 100, abs=0.05)
    assert together.loc["sparse", "rmse"] < together.loc["sparse", ["rmse_direct", "rmse_geospatial"]].min()
    assert np.isnan(together.loc["none", "rmse_direct"])
    assert filled.calibration["factor_95"].between(0.8, 1.25).all()


def test_differences_of_a_row_are_of_the_same_cells(world: World, filled: FilledCells) -> None:
    seen = plots_by_cell(world.plots, GRID).set_index("cell")["plot_mean"]
    unseen = filled.unseen.set_index("cell")["location"]
    direct, land = world.direct.set_index("cell")["location"], world.land.set_index("cell")["mean"]
    looks = pd.DataFrame({"rmse": unseen, "rmse_direct": direct, "rmse_geospatial": land}).reindex(seen.index)
    together = filled.coverage[filled.coverage["biome"].isna()].set_index("kind")
    with_photos = looks["rmse_direct"].notna()
    for kind, cells in (("all", with_photos), ("none", ~with_photos)):
        for name in ("rmse", "rmse_geospatial"):
            expected = root_mean_square((looks[name] - seen)[cells])
            assert together.loc[kind, name] == pytest.approx(expected, rel=1e-9)
    assert together.loc["all", "rmse_direct"] == pytest.approx(root_mean_square(looks["rmse_direct"] - seen), rel=1e-9)


def test_factors_make_up_for_stated_errors_that_are_too_small(world: World) -> None:
    # Heavy tails, which the fitted variances limit: place is far off, either way, in one cell of sixteen.
    at = np.arange(len(world.land))
    far = np.where(at % 16 == 0, 9.0, 0.0) * np.where(at % 32, 1, -1)
    filled = fill_cells(world.direct, world.land.assign(mean=world.land["mean"] + far), world.biome, world.plots, GRID)
    together = filled.coverage[filled.coverage["biome"].isna()].set_index("kind").loc["none"]
    assert together["raw_95"] < 0.93
    assert together["calibrated_95"] == pytest.approx(0.95, abs=0.03)
    assert (filled.calibration["factor_95"] > 1.1).any()


def test_cells_of_unknown_biome_count_once(world: World) -> None:
    some = {cell: name for cell, name in world.biome.items() if cell % 2}
    seen = plots_by_cell(world.plots, GRID)["cell"].nunique()
    for biome in (some, {}):
        table = fill_cells(world.direct, world.land, biome, world.plots, GRID).coverage
        together = table[table["biome"].isna()].set_index("kind")["n"]
        assert together["all"] == seen
        assert together[["rich", "sparse", "none"]].sum() == seen
        assert table.loc[table["biome"].notna() & (table["kind"] == "all"), "n"].sum() < seen


def test_held_out_cells_know_nothing_of_their_own_plots(world: World, cells_of: Callable[[World], TraitCells]) -> None:
    cells = cells_of(world)
    before = hold_out(cells, fit_on_plots(cells, cells.seen))
    own = cells.fold == 2
    moved = {**cells.columns, "plot_mean": cells["plot_mean"] + np.where(own, 5.0, 0.0)}
    after = hold_out(TraitCells(**{**vars(cells), "columns": moved}), fit_on_plots(cells, cells.seen))
    seen = own & cells.seen
    np.testing.assert_array_equal(after.location[seen], before.location[seen])
    np.testing.assert_array_equal(after.factor[seen], before.factor[seen])
    assert not np.allclose(after.score[seen], before.score[seen])
    assert not np.allclose(after.location[cells.seen & ~own], before.location[cells.seen & ~own])


def test_what_meets_the_plots_of_a_cell_was_not_learned_from_them(world: World, filled: FilledCells) -> None:
    seen = plots_by_cell(world.plots, GRID)["cell"].unique()
    assert set(filled.unseen["cell"]) <= set(seen)
    assert len(filled.unseen) > 0.9 * len(seen)
    shifted = world.plots.copy()
    lat, lon = shifted["latitude"], shifted["longitude"]
    block = (lat >= 30) & (lat < 45) & (lon >= 0) & (lon < 15)
    assert block.sum() >= 3
    shifted.loc[block, "value"] += 1.0
    other = fill_cells(world.direct, world.land, world.biome, shifted, GRID)
    moved = GRID.cell_of(lat[block], lon[block])
    for part, same in ((filled.unseen["cell"].isin(moved), True), (~filled.unseen["cell"].isin(moved), False)):
        equal = np.allclose(filled.unseen.loc[part, "location"], other.unseen.loc[part, "location"], rtol=0, atol=1e-9)
        assert equal is same


def test_small_or_patchy_plots_still_calibrate_what_they_can(world: World) -> None:
    # All plots in one block: no other fold to learn from, so nothing is scored and errors stay as fitted.
    near = world.plots[(world.plots["latitude"].between(0, 14)) & (world.plots["longitude"].between(-180, -60))]
    filled = fill_cells(world.direct, world.land, world.biome, near, GRID, block_degrees=180.0)
    assert filled.coverage.empty
    assert (filled.calibration["factor_95"] == 1).all()
    pd.testing.assert_series_equal(
        filled.cells["standard_error"], filled.cells["standard_error_raw"], check_names=False
    )
