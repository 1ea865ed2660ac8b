from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from maps.small_area.plots import plot_variance, plots_by_cell
from plant_traits.errors import GridError, TableError
from plant_traits.grid import Grid

GRID = Grid(Fraction(10))


def plots(*rows: tuple[float, float, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["latitude", "longitude", "trait", "value"])


def test_plots_are_averaged_by_cell_and_trait() -> None:
    found = plots_by_cell(
        plots(
            (5.0, 5.0, "sla", 1.0),
            (6.0, 9.0, "sla", 2.0),
            (5.0, 5.0, "height", 7.0),
            (-5.0, 5.0, "sla", 4.0),
            (5.0, 5.0, "sla", np.nan),
        ),
        GRID,
    )
    north, south = GRID.cell_of([5.0, -5.0], [5.0, 5.0])
    table = found.set_index(["cell", "trait"])
    assert table.loc[(north, "sla"), ["plot_mean", "n_plots", "scatter"]].tolist() == pytest.approx(
        [1.5, 2, 0.5], rel=0.01
    )
    assert table.loc[(north, "height"), "plot_mean"] == 7.0
    assert table.loc[(south, "sla"), "n_plots"] == 1
    assert np.isnan(table.loc[(south, "sla"), "scatter"])
    assert len(table) == 3


def test_scatter_is_the_variance_of_plots_about_their_cell() -> None:
    rng = np.random.default_rng(1)
    n = 6_000
    longitude = rng.integers(-18, 18, n) * 10 + 5.0
    latitude = rng.integers(-9, 9, n) * 10 + 5.0
    value = latitude / 10 + rng.normal(0, 0.4, n)
    found = plots_by_cell(
        pd.DataFrame({"latitude": latitude, "longitude": longitude, "trait": "sla", "value": value}), GRID
    )
    cell = GRID.cell_of(latitude, longitude)
    expected = pd.Series(value).groupby(cell).var()
    assert found["scatter"].corr(expected.reindex(found["cell"]).reset_index(drop=True)) > 0.99
    pooled = plot_variance(
        found["scatter"].to_numpy(), found["n_plots"].to_numpy(float), np.ones(len(found), np.int64), 2
    )
    assert pooled[0] == pytest.approx(0.16, rel=0.05)
    # A hundredth of the plots wrong by any amount moves it little.
    value[::100] = 1e5
    spoilt = plots_by_cell(
        pd.DataFrame({"latitude": latitude, "longitude": longitude, "trait": "sla", "value": value}), GRID
    )
    assert spoilt["scatter"].median() < 1e10


def test_variance_of_a_group_is_drawn_towards_that_of_all() -> None:
    scatter = np.array([1.0, 1.0, 4.0, np.nan])
    n_plots = np.array([11.0, 11.0, 11.0, 1.0])
    group = np.array([1, 1, 2, 2])
    pooled = (10 + 10 + 40) / 30
    expected = [pooled, (20 + 20 * pooled) / 40, (40 + 20 * pooled) / 30, pooled]
    np.testing.assert_allclose(plot_variance(scatter, n_plots, group, 4), expected)


def test_variance_is_zero_where_no_cell_has_two_plots() -> None:
    found = plot_variance(np.full(3, np.nan), np.ones(3), np.array([0, 1, 1]), 2)
    np.testing.assert_array_equal(found, [0.0, 0.0])


def test_no_plots_give_no_rows() -> None:
    assert plots_by_cell(plots(), GRID).empty


def test_bad_plots_are_named() -> None:
    with pytest.raises(TableError, match=r"\['value'\] are missing"):
        plots_by_cell(plots().drop(columns="value"), GRID)
    with pytest.raises(GridError, match="out-of-range"):
        plots_by_cell(plots((95.0, 0.0, "sla", 1.0)), GRID)
