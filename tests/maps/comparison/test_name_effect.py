"""Two namings of the same photos, met cell by cell."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from data_catalog import Catalog
from maps.comparison.name_effect import effect_of_names, errors_of_namings
from maps.comparison.registry import maps_dataset
from plant_traits.grid import Grid

GRID = Grid.parse("10deg")


def estimates(trait: str, cells: dict[int, float], error: float = 0.5) -> pd.DataFrame:
    return pd.DataFrame(
        {"cell": list(cells), "trait": trait, "location": list(cells.values()), "standard_error": error}
    )


def test_differences_lost_and_gained(catalog: Catalog) -> None:
    height = catalog.traits["height"]
    accepted = estimates("height", {1: 1.0, 2: 2.0, 3: 3.0, 9: 0.0})
    stated = estimates("height", {1: 1.0, 2: 2.4, 3: 4.2, 7: 1.0, 8: 1.0})
    (row,) = effect_of_names(accepted, stated, [height]).to_dict("records")
    assert (row["cells"], row["cells_lost"], row["cells_gained"]) == (3, 2, 1)
    assert row["rms_difference"] == pytest.approx(math.sqrt((0.16 + 1.44) / 3))
    assert row["median_standard_error"] == 0.5
    assert row["share_beyond_error"] == pytest.approx(1 / 3)


def test_a_trait_without_common_cells_is_unknown_not_zero(catalog: Catalog) -> None:
    height, leaf = catalog.traits["height"], catalog.traits["leaf_area"]
    table = effect_of_names(estimates("height", {1: 1.0}), estimates("height", {2: 1.0}), [height, leaf])
    assert table["cells"].tolist() == [0, 0]
    assert table["cells_lost"].tolist() == [1, 0]
    assert table["rms_difference"].isna().all()
    assert table["share_beyond_error"].isna().all()


def test_errors_are_weighted_by_area(catalog: Catalog) -> None:
    height = catalog.traits["height"]
    polar, tropical = 0, GRID.size // 2
    layer = np.full((1, *GRID.shape), np.nan)
    layer.reshape(-1)[[polar, tropical]] = 1.0
    truth = maps_dataset({"location": layer}, [height], GRID, {"title": "truth"})
    accepted = estimates("height", {polar: 2.0, tropical: 1.0, 5: 9.0})
    stated = estimates("height", {polar: 1.0, tropical: 2.0, 5: 9.0})
    (row,) = errors_of_namings(accepted, stated, {"truth": truth}, [height], GRID).to_dict("records")
    assert row["n"] == 2
    areas = GRID.row_area_m2[[0, tropical // GRID.n_lon]]
    assert row["rmse_accepted"] == pytest.approx(math.sqrt(areas[0] / areas.sum()))
    assert row["rmse_stated"] == pytest.approx(math.sqrt(areas[1] / areas.sum()))


def test_a_reference_that_meets_one_cell_tells_nothing(catalog: Catalog) -> None:
    height = catalog.traits["height"]
    layer = np.full((1, *GRID.shape), np.nan)
    layer.reshape(-1)[3] = 1.0
    plots = maps_dataset({"location": layer}, [height], GRID, {"title": "plots"})
    cells = estimates("height", {3: 1.0, 4: 1.0})
    assert errors_of_namings(cells, cells, {"plots": plots}, [height], GRID).empty
