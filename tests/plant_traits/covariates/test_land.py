from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plant_traits.covariates.land import land_fraction
from plant_traits.errors import MissingInputError
from plant_traits.grid import Grid


def test_land_is_where_it_is_known_to_be() -> None:
    grid = Grid.parse("2deg")
    fraction = land_fraction(grid)
    cells = grid.cell_of([25.0, -85.0, 0.5, -45.0, 47.0], [13.0, 60.0, -150.0, -110.0, 103.0])
    np.testing.assert_array_equal(fraction.ravel()[cells], [1, 1, 0, 0, 1])
    coast = fraction.ravel()[grid.cell_of([43.0], [3.0])]  # Languedoc and the Gulf of Lion
    assert 0.2 < coast[0] < 0.8
    share = float((fraction * grid.area_m2).sum() / grid.area_m2.sum())
    assert share == pytest.approx(0.29, abs=0.01)  # of the Earth's surface, ice shelves aside


def test_missing_polygons_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"none\.shp"):
        land_fraction(Grid.parse("10deg"), tmp_path / "none.shp")
