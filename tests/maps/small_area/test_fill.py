from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from maps.small_area.coverage import COVERAGE_COLUMNS, hold_out
from maps.small_area.fay_herriot import fit_fay_herriot, predict_fay_herriot
from maps.small_area.fill import CALIBRATION_COLUMNS, ERROR_COLUMNS, FilledCells, fill_cells
from maps.small_area.fit import fit_on_plots, fit_without_plots
from maps.small_area.plots import plots_by_cell
from maps.small_area.trait_cells import TraitCells, trait_cells
from plant_traits.errors import TableError
from plant_traits.grid import FloatArray, Grid
from plant_traits.schemas import CELL, ESTIMATE, LAND_PREDICTION

GRID = Grid(Fraction(3))
BIOMES = ("arid", "polar", "temperate")
NORMAL_95 = 1.959964


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


def build_world(seed: int = 0, trait: str = "sla", n: int = 1_500) -> World:
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


@pytest.fixture(scope="module")
def world() -> World:
    return build_world()


@pytest.fixture(scope="module")
def filled(world: World) -> FilledCells:
    return fill_cells(world.direct, world.land, world.biome, world.plots, GRID)


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


def cells_of(world: World, trait: str = "sla") -> TraitCells:
    seen = plots_by_cell(world.plots, GRID)
    return trait_cells(trait, world.direct, world.land, seen, world.biome, GRID, folds=5, block_degrees=15.0)


def test_held_out_cells_know_nothing_of_their_own_plots(world: World) -> None:
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


def test_trait_without_plots_does_not_touch_another(world: World, filled: FilledCells) -> None:
    second = build_world(3, "height", 300)
    both = fill_cells(
        pd.concat([second.direct, world.direct]),
        pd.concat([second.land, world.land]),
        {**second.biome, **world.biome},
        pd.concat([world.plots, second.plots.iloc[:5]]),
        GRID,
    )
    assert both.errors.groupby("trait")["method"].first().to_dict() == {"height": "stated", "sla": "plots"}
    pd.testing.assert_frame_equal(
        both.cells[both.cells["trait"] == "sla"].reset_index(drop=True), filled.cells, rtol=1e-6
    )
    keys = both.cells[["cell", "trait"]]
    assert keys.equals(keys.sort_values(["cell", "trait"], ignore_index=True))


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


def test_small_or_patchy_plots_still_calibrate_what_they_can(world: World) -> None:
    # All plots in one block: no other fold to learn from, so nothing is scored and errors stay as fitted.
    near = world.plots[(world.plots["latitude"].between(0, 14)) & (world.plots["longitude"].between(-180, -60))]
    filled = fill_cells(world.direct, world.land, world.biome, near, GRID, block_degrees=180.0)
    assert filled.coverage.empty
    assert (filled.calibration["factor_95"] == 1).all()
    pd.testing.assert_series_equal(
        filled.cells["standard_error"], filled.cells["standard_error_raw"], check_names=False
    )


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


def test_fit_without_plots_needs_no_spread_of_the_prediction(world: World) -> None:
    cells = cells_of(World(world.direct, world.land.assign(mean=1.0), world.biome, world.plots, world.truth))
    fitted = fit_without_plots(cells)
    assert fitted.model is not None
    assert len(fitted.model.coefficients) == 1


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


def test_what_meets_the_plots_of_a_cell_was_not_learned_from_them() -> None:
    world = build_world()
    filled = fill_cells(world.direct, world.land, world.biome, world.plots, GRID)
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
