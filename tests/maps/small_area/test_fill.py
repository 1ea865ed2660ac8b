"""Every cell filled: nearer to the truth than photos or place, in intervals that hold it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from maps.small_area.fill import ERROR_COLUMNS, FilledCells, fill_cells
from plant_traits.errors import TableError
from plant_traits.grid import Grid
from plant_traits.schemas import CELL, ESTIMATE, LAND_PREDICTION

if TYPE_CHECKING:
    from tests.maps.small_area.conftest import World

GRID = Grid(Fraction(3))
BIOMES = ("arid", "polar", "temperate")
NORMAL_95 = 1.959964


def root_mean_square(values: pd.Series) -> float:
    return float(np.sqrt((values**2).mean()))


def test_every_cell_has_one_row_of_the_schema(world: World, filled: FilledCells) -> None:
    table = pa.Table.from_pandas(filled.cells, schema=CELL, preserve_index=False)
    assert table.schema.remove_metadata() == CELL
    assert filled.cells["cell"].tolist() == sorted(world.truth.index)
    numbers = filled.cells.drop(columns=["trait", "biome"])
    assert np.isfinite(numbers.to_numpy(dtype=np.float64)).all()
    assert filled.cells["biome"].tolist() == [world.biome[cell] for cell in filled.cells["cell"]]


def test_cells_are_nearer_to_the_truth_than_photos_or_place(world: World, filled: FilledCells) -> None:
    cells = filled.cells.set_index("cell")
    error = cells["location"] - world.truth
    place = world.land.set_index("cell")["mean"] - world.truth
    photos = (world.direct.set_index("cell")["location"] - world.truth).dropna()
    assert root_mean_square(error) < 0.85 * root_mean_square(place)
    assert root_mean_square(error[photos.index]) < 0.85 * root_mean_square(photos)


def test_intervals_hold_the_truth(world: World, filled: FilledCells) -> None:
    cells = filled.cells.set_index("cell")
    photos = pd.Series(world.direct["n_photos"].to_numpy(), index=world.direct["cell"]).reindex(cells.index).fillna(0)
    for lower, upper in (("interval_lower", "interval_upper"), ("interval_raw_lower", "interval_raw_upper")):
        held = (cells[lower] <= world.truth) & (world.truth <= cells[upper])
        for kind in (photos == 0, (photos > 0) & (photos < 20), photos >= 20):
            assert held[kind].mean() >= 0.9
        assert held.mean() <= 0.99
    reach = (cells["interval_upper"] - cells["location"]) / cells["standard_error"]
    np.testing.assert_allclose(reach, NORMAL_95, rtol=1e-5)


def test_photos_count_for_more_where_there_are_more(world: World, filled: FilledCells) -> None:
    share = filled.cells.set_index("cell")["photo_share"]
    n = world.direct.set_index("cell")["n_photos"]
    assert share[n[n >= 20].index].mean() > 0.75
    assert share[n[n == 1].index].mean() < 0.4
    assert (share[~share.index.isin(n.index)] == 0).all()


def test_errors_are_told(filled: FilledCells) -> None:
    assert list(filled.errors.columns) == list(ERROR_COLUMNS)
    of_all = filled.errors[filled.errors["biome"].isna()].iloc[0]
    assert of_all["method"] == "plots"
    assert of_all["shared_variance"] == pytest.approx(0.04, abs=0.03)
    # The line to plots takes from place what regression to the mean does: 0.3 · 0.6 / (0.3 + 0.6) are left.
    assert of_all["place_line"] in {"line", "line by biome"}
    assert of_all["place_slope"] == pytest.approx(0.67, abs=0.1)
    assert of_all["place_variance"] == pytest.approx(0.2, abs=0.05)
    assert of_all["common_covariance"] == pytest.approx(0.02, abs=0.03)
    assert of_all["plot_variance"] == pytest.approx(0.2, abs=0.02)
    assert set(filled.errors["biome"].dropna()) == set(BIOMES)


def test_order_of_rows_does_not_matter(world: World, filled: FilledCells) -> None:
    again = fill_cells(
        world.direct.sample(frac=1, random_state=1),
        world.land.sample(frac=1, random_state=2),
        dict(reversed(list(world.biome.items()))),
        world.plots.sample(frac=1, random_state=3),
        GRID,
    )
    pd.testing.assert_frame_equal(again.cells, filled.cells, rtol=1e-9, atol=1e-9)
    pd.testing.assert_frame_equal(again.coverage, filled.coverage, rtol=1e-9)


def test_cell_without_prediction_keeps_its_photos(world: World) -> None:
    island = int(world.direct["cell"].iloc[0])
    filled = fill_cells(world.direct, world.land[world.land["cell"] != island], world.biome, world.plots, GRID)
    row = filled.cells.set_index("cell").loc[island]
    direct = world.direct.set_index("cell").loc[island]
    assert row["location"] == pytest.approx(direct["location"])
    assert row["photo_share"] == 1.0
    assert row["standard_error_raw"] > direct["standard_error"]


def test_variance_among_plants_is_the_photos_or_that_of_their_biome(world: World, filled: FilledCells) -> None:
    cells = filled.cells.set_index("cell")
    own = world.direct.set_index("cell")["variance_among_plants"]
    pd.testing.assert_series_equal(cells.loc[own.index, "variance_among_plants"], own, check_names=False)
    arid = cells[cells["biome"] == "arid"]
    known, empty = arid.index.isin(own.index), ~arid.index.isin(own.index)
    mean = np.average(arid.loc[known, "variance_among_plants"], weights=arid.loc[known, "photo_share"])
    np.testing.assert_allclose(arid.loc[empty, "variance_among_plants"], mean, rtol=1e-4)


def test_trait_without_photos_has_the_predictions_variance_among_plants(world: World) -> None:
    filled = fill_cells(world.direct.iloc[:0], world.land, world.biome, world.plots, GRID)
    np.testing.assert_allclose(filled.cells["variance_among_plants"], 0.6)
    assert (filled.cells["photo_share"] == 0).all()


def test_trait_without_plots_does_not_touch_another(world: World, second_world: World, filled: FilledCells) -> None:
    both = fill_cells(
        pd.concat([second_world.direct, world.direct]),
        pd.concat([second_world.land, world.land]),
        {**second_world.biome, **world.biome},
        pd.concat([world.plots, second_world.plots.iloc[:5]]),
        GRID,
    )
    assert both.errors.groupby("trait")["method"].first().to_dict() == {"height": "stated", "sla": "plots"}
    pd.testing.assert_frame_equal(
        both.cells[both.cells["trait"] == "sla"].reset_index(drop=True), filled.cells, rtol=1e-6
    )
    keys = both.cells[["cell", "trait"]]
    assert keys.equals(keys.sort_values(["cell", "trait"], ignore_index=True))


def test_unusable_estimates_count_as_none(world: World) -> None:
    direct = world.direct.copy()
    direct.loc[direct.index[:3], "standard_error"] = [np.nan, np.inf, 0.5]
    direct.loc[direct.index[2], "location"] = np.nan
    filled = fill_cells(direct, world.land, world.biome, world.plots, GRID)
    share = filled.cells.set_index("cell")["photo_share"]
    assert (share[direct["cell"].iloc[:3]] == 0).all()
    assert len(filled.cells) == len(world.land)


@pytest.mark.parametrize("with_plots", [True, False])
def test_cells_that_are_all_alike_stay_finite(world: World, with_plots: bool) -> None:
    direct = world.direct.assign(location=1.0, standard_error=0.1)
    plots = world.plots.assign(value=1.0) if with_plots else None
    filled = fill_cells(direct, world.land.assign(mean=1.0), world.biome, plots, GRID)
    np.testing.assert_allclose(filled.cells["location"], 1.0)
    assert (filled.cells["standard_error"] > 0).all()
    assert np.isfinite(filled.cells["standard_error"]).all()


@pytest.mark.parametrize("unit", [1e-4, 1e4])
def test_unit_of_the_trait_does_not_matter(world: World, filled: FilledCells, unit: float) -> None:
    direct = world.direct.assign(**{name: unit * world.direct[name] for name in ("location", "standard_error")})
    scaled = fill_cells(
        direct,
        world.land.assign(mean=unit * world.land["mean"]),
        world.biome,
        world.plots.assign(value=unit * world.plots["value"]),
        GRID,
    )
    for name in ("location", "standard_error", "standard_error_raw"):
        np.testing.assert_allclose(scaled.cells[name] / unit, filled.cells[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scaled.cells["photo_share"], filled.cells["photo_share"], atol=1e-4)


def test_no_cells_at_all_give_empty_tables() -> None:
    empty = (pd.DataFrame(columns=schema.names) for schema in (ESTIMATE, LAND_PREDICTION))
    filled = fill_cells(*empty, {}, None, GRID)
    assert filled.cells.empty
    assert list(filled.cells.columns) == CELL.names


def test_trait_of_unusable_cells_alone_is_empty(world: World) -> None:
    direct, land = world.direct.assign(location=np.nan), world.land.assign(mean=np.nan)
    filled = fill_cells(direct, land, world.biome, world.plots, GRID)
    assert filled.cells.empty
    assert set(filled.errors["method"]) == {"stated"}


def test_bad_input_is_named(world: World) -> None:
    with pytest.raises(TableError, match=r"direct estimates.*\['n_photos'\] are missing"):
        fill_cells(world.direct.drop(columns="n_photos"), world.land, {}, None, GRID)
    with pytest.raises(TableError, match=r"land predictions.*\['mean'\] are missing"):
        fill_cells(world.direct, world.land.drop(columns="mean"), {}, None, GRID)
    with pytest.raises(TableError, match="one row per cell of sla"):
        fill_cells(pd.concat([world.direct, world.direct]), world.land, {}, None, GRID)
    with pytest.raises(TableError, match="made on another grid"):
        fill_cells(world.direct, world.land.assign(cell=world.land["cell"] + GRID.size), {}, None, GRID)
    with pytest.raises(TableError, match="held-out places"):
        fill_cells(world.direct, world.land, {}, None, GRID, held_out=pd.DataFrame({"trait": ["sla"]}))
    with pytest.raises(TableError, match="column 'trait'"):
        fill_cells(world.direct.drop(columns="trait"), world.land, {}, None, GRID)
