from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from maps.small_area.held_out_residuals import RESIDUAL_COLUMNS, cell_residuals
from plant_traits.errors import GridError, TableError
from plant_traits.grid import Grid

GRID = Grid(Fraction(10))


def places(*rows: tuple[float, float, str | None, str, int, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["latitude", "longitude", "species", "trait", "n", "label", "prediction"])


def test_residuals_are_averaged_by_species_then_by_cell() -> None:
    table = places(
        (1.0, 1.0, "A a", "sla", 3, 2.0, 1.0),  # A a: (3 · 1 + 1 · 5) / 4 = 2
        (2.0, 2.0, "A a", "sla", 1, 5.0, 0.0),
        (3.0, 3.0, "B b", "sla", 9, 7.0, 1.0),  # B b: 6; the cell's mean is 4
        (41.0, 1.0, "A a", "sla", 1, 0.0, 3.0),  # alone in its cell
        (61.0, 1.0, "A a", "sla", 2, 1.0, 1.0),  # 0, 0 and 3
        (61.0, 2.0, None, "sla", 2, 1.0, 1.0),
        (61.0, 3.0, "C c", "sla", 2, 4.0, 1.0),
        (61.0, 3.0, "C c", "height", 2, 4.0, 1.0),
    )
    found = cell_residuals(table, GRID)
    assert tuple(found.columns) == RESIDUAL_COLUMNS
    of_sla = found[found["trait"] == "sla"].set_index("cell")
    cells = GRID.cell_of(np.array([1.0, 41.0, 61.0]), np.ones(3))
    np.testing.assert_allclose(of_sla.loc[cells, "residual"], [4.0, -3.0, 1.0])
    assert found.loc[found["trait"] == "height", "residual"].tolist() == [3.0]


def test_order_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    n = 200
    table = pd.DataFrame(
        {
            "latitude": rng.uniform(-30, 30, n),
            "longitude": rng.uniform(-30, 30, n),
            "species": rng.choice(["A a", "B b", "C c"], n),
            "trait": rng.choice(["sla", "height"], n),
            "n": rng.integers(1, 9, n),
            "label": rng.normal(0, 1, n),
            "prediction": rng.normal(0, 1, n),
        }
    )
    pd.testing.assert_frame_equal(
        cell_residuals(table, GRID), cell_residuals(table.sample(frac=1, random_state=1), GRID)
    )


def test_nothing_held_out_gives_no_rows() -> None:
    found = cell_residuals(places(), GRID)
    assert len(found) == 0
    assert tuple(found.columns) == RESIDUAL_COLUMNS


def test_bad_places_are_named() -> None:
    good = places((1.0, 1.0, "A a", "sla", 1, 2.0, 1.0))
    with pytest.raises(TableError, match=r"held-out places.*\['label'\] are missing"):
        cell_residuals(good.drop(columns="label"), GRID)
    with pytest.raises(GridError):
        cell_residuals(good.assign(latitude=91.0), GRID)
