from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xarray as xr

from data_catalog import Catalog, MapProduct, Trait
from maps.comparison.metrics import score
from maps.comparison.registry import open_product_map
from maps.comparison.scores import (
    COVERAGE_COLUMNS,
    DIFFERENCE_COLUMNS,
    compare,
    coverage,
    interval_coverage,
    pairwise_differences,
)
from plant_traits.errors import GridError
from plant_traits.grid import Grid
from plant_traits.schemas import SCORE, read_table, write_table

GRID = Grid.parse("10deg")


def on_grid(values: npt.ArrayLike, traits: list[str], grid: Grid = GRID) -> xr.Dataset:
    array = np.asarray(values, dtype=np.float64)
    coords = {"trait": traits, "lat": grid.lat, "lon": grid.lon}
    return xr.Dataset({"location": (("trait", "lat", "lon"), array)}, coords=coords)


@pytest.fixture
def traits(catalog: Catalog) -> list[Trait]:
    return [catalog.trait("height"), catalog.trait("sla")]


@pytest.fixture
def truth() -> xr.Dataset:
    return on_grid(np.random.default_rng(1).normal(size=(2, 18, 36)), ["height", "sla"])


def noisy(truth: xr.Dataset, noise: float, seed: int) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    return truth + noise * rng.normal(size=truth["location"].shape)


def test_the_table_has_the_declared_columns_and_repeats(truth: xr.Dataset, traits: list[Trait], tmp_path: Path) -> None:
    maps = {"good": noisy(truth, 0.3, 2), "poor": noisy(truth, 2.0, 3)}
    table = compare(maps, "plots", truth, traits, GRID, seed=1, resamples=100)
    assert list(table.columns) == SCORE.names
    assert len(table) == 2 * 2 * 3 * 2
    write_table(table, tmp_path / "score.parquet", SCORE)
    assert len(read_table(tmp_path / "score.parquet", SCORE)) == len(table)
    pd.testing.assert_frame_equal(table, compare(maps, "plots", truth, traits, GRID, seed=1, resamples=100))
    row = table.query("map == 'good' and trait == 'sla' and scale == 'ln' and cells == 'own'").iloc[0]
    expected = score(truth["location"][1], maps["good"]["location"][1], GRID.area_m2)
    assert row["pearson_r"] == pytest.approx(expected.pearson_r)
    assert row["pearson_r_low"] < row["pearson_r"] < row["pearson_r_high"]
    assert row["n"] == 648


def test_scales_differ_and_are_those_of_natural_values(truth: xr.Dataset, traits: list[Trait]) -> None:
    estimate = noisy(truth, 0.5, 2)
    table = compare({"m": estimate}, "plots", truth, traits, GRID, seed=1, resamples=10)
    rows = table.query("trait == 'height' and cells == 'own'").set_index("scale")
    y, x = truth["location"].to_numpy()[0], estimate["location"].to_numpy()[0]
    for scale, function in (("natural", np.exp), ("log1p", lambda v: np.log1p(np.exp(v)))):
        assert rows.loc[scale, "r2"] == pytest.approx(score(function(y), function(x), GRID.area_m2).r2)


def test_shared_cells_are_those_of_all_defining_maps(truth: xr.Dataset, traits: list[Trait]) -> None:
    north, west = noisy(truth, 0.3, 2), noisy(truth, 0.3, 3)
    north["location"][:, 9:, :] = np.nan
    west["location"][:, :, 18:] = np.nan
    few = noisy(truth, 0.3, 4)
    few["location"][:, 1:, :] = np.nan
    height_only = noisy(truth, 0.3, 5).sel(trait=["height"])
    maps = {"north": north, "west": west, "few": few, "height": height_only}
    table = compare(maps, "plots", truth, traits, GRID, seed=1, shared_by=["north", "west", "height"], resamples=10)
    n = table.query("scale == 'ln'").set_index(["trait", "map", "cells"])["n"].to_dict()
    assert n["height", "north", "shared"] == n["height", "west", "shared"] == n["height", "height", "shared"] == 162
    assert n["sla", "north", "shared"] == n["sla", "west", "shared"] == 162
    assert n["height", "few", "own"] == 36
    assert ("height", "few", "shared") not in n  # it lacks shared cells, so cannot be scored on all of them
    assert n["sla", "height", "own"] == 0
    everyone = compare(maps, "plots", truth, traits, GRID, seed=1, resamples=10)
    assert everyone.query("cells == 'shared' and trait == 'height'")["n"].unique().tolist() == [18]


def test_maps_off_the_grid_and_unknown_names_are_refused(truth: xr.Dataset, traits: list[Trait]) -> None:
    with pytest.raises(GridError, match="unknown maps"):
        compare({"m": truth}, "plots", truth, traits, GRID, seed=1, shared_by=["other"])
    with pytest.raises(GridError, match="not on the 30deg grid"):
        compare({"m": truth}, "plots", truth, traits, Grid.parse("30deg"), seed=1)
    with pytest.raises(GridError, match="needs a variable 'location'"):
        compare({"m": truth.rename(location="value")}, "plots", truth, traits, GRID, seed=1)
    flipped = truth.isel(lat=slice(None, None, -1))
    with pytest.raises(GridError, match="not on the"):
        compare({"m": flipped}, "plots", truth, traits, GRID, seed=1)


def test_differences_use_the_pairs_own_cells(truth: xr.Dataset, traits: list[Trait]) -> None:
    good, poor, few = noisy(truth, 0.2, 2), noisy(truth, 2.0, 3), noisy(truth, 0.2, 4)
    few["location"][:, 2:, :] = np.nan
    maps = {"good": good, "poor": poor, "few": few}
    table = pairwise_differences(maps, "plots", truth, traits, GRID, seed=1, resamples=200)
    assert tuple(table.columns) == DIFFERENCE_COLUMNS
    rows = table.query("trait == 'sla'").set_index(["map_a", "map_b"])
    first = rows.loc[("good", "poor")]
    assert first["n"] == 648
    assert first["difference"] == pytest.approx(first["pearson_r_a"] - first["pearson_r_b"])
    assert 0 < first["difference_low"] < first["difference"] < first["difference_high"]
    assert rows.loc[("good", "few"), "n"] == 72
    same = pairwise_differences({"a": good, "b": good}, "plots", truth, traits, GRID, seed=1, resamples=50)
    np.testing.assert_allclose(same[["difference", "difference_low", "difference_high"]], 0, atol=1e-12)


def test_coverage_of_hand_made_intervals(traits: list[Trait]) -> None:
    truth = on_grid(np.zeros((2, 18, 36)), ["height", "sla"])["location"]
    location = truth.copy(data=np.full((2, 18, 36), np.nan))
    location[0, 0, 0], location[0, 9, 0], location[0, 9, 1], location[0, 9, 2] = 0.0, 1.0, 1.7, 2.5
    table = coverage(location, xr.ones_like(truth), truth, traits, GRID, levels=[0.5, 0.8, 0.9, 0.95])
    assert tuple(table.columns) == COVERAGE_COLUMNS
    height = table.query("trait == 'height'").set_index("level")
    assert height["n"].tolist() == [4, 4, 4, 4]
    # z of the four levels: 0.674, 1.282, 1.645, 1.960
    assert height["coverage"].tolist() == [0.25, 0.5, 0.5, 0.75]
    polar, equatorial = GRID.row_area_m2[[0, 9]]
    assert height.loc[0.5, "coverage_area_weighted"] == pytest.approx(polar / (polar + 3 * equatorial))
    assert table.query("trait == 'sla'")["n"].tolist() == [0, 0, 0, 0]


def test_a_right_standard_error_covers_at_its_level(truth: xr.Dataset, traits: list[Trait]) -> None:
    location = noisy(truth, 0.5, 8)["location"]
    table = coverage(location, xr.full_like(location, 0.5), truth["location"], traits, GRID)
    np.testing.assert_allclose(table["coverage"], table["level"], atol=0.06)


def test_given_intervals_may_be_lopsided_and_levels_are_checked(truth: xr.Dataset, traits: list[Trait]) -> None:
    true = truth["location"]
    table = interval_coverage({0.9: (true, true + 1), 0.8: (true + 0.1, true + 1)}, true, traits[:1], GRID)
    assert table["coverage"].tolist() == [1.0, 0.0]
    with pytest.raises(GridError, match="between 0 and 1"):
        interval_coverage({95.0: (true, true)}, true, traits, GRID)


def with_band(product: MapProduct, band: int) -> MapProduct:
    layers = {name: layer.model_copy(update={"band": band}) for name, layer in product.layers.items()}
    return product.model_copy(update={"layers": layers})


@pytest.mark.real
def test_published_maps_score_as_published_against_splotopen(catalog: Catalog, real_data: Path) -> None:
    traits = [catalog.trait(name) for name in ("height", "leaf_area", "sla", "leaf_n")]
    grid = Grid.parse("1deg")
    truth = open_product_map(catalog.product("splotopen-cwm"), real_data / "truth/splotopen_cwm", traits, grid)
    maps = {
        "wolf": open_product_map(
            catalog.product("wolf-2022"), real_data / "trait_products/wolf2022_inat", traits, grid
        ),
        "kattenborn": open_product_map(
            with_band(catalog.product("kattenborn-2023"), 2),  # the mean of the species in a cell
            real_data / "trait_products/kattenborn2023_gbif",
            traits,
            grid,
        ),
    }
    table = compare(maps, "splotopen", truth, traits, grid, seed=1, scales=["ln"], resamples=200)
    scores = table.set_index(["map", "cells", "trait"])
    names = [trait.id for trait in traits]
    # The reference figures of the data folder; its shared cells leave out about thirty coastal cells.
    wolf_own = [scores.loc[("wolf", "own", name), "pearson_r"] for name in names]
    np.testing.assert_allclose(wolf_own, [0.58, 0.51, 0.53, 0.40], atol=0.01)
    kattenborn_shared = [scores.loc[("kattenborn", "shared", name), "pearson_r"] for name in names]
    np.testing.assert_allclose(kattenborn_shared, [0.526, 0.569, 0.551, 0.411], atol=0.01)
    # This project's own figures, to the third digit.
    np.testing.assert_allclose(wolf_own, [0.5831, 0.5088, 0.5257, 0.3954], atol=5e-4)
    np.testing.assert_allclose(kattenborn_shared, [0.5267, 0.5629, 0.5458, 0.4029], atol=5e-4)
    assert [scores.loc[("wolf", "own", name), "n"] for name in names] == [2198, 2127, 2162, 2152]
    assert (table["pearson_r_low"] < table["pearson_r"]).all()
    assert (table["pearson_r"] < table["pearson_r_high"]).all()
