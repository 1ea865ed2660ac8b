from __future__ import annotations

import pandas as pd
import pytest

from plant_traits.errors import TableError
from plant_traits.observations.live_rows import are_live

LIVE = pd.DataFrame({"observation_id": ["a", "b", "d"], "photo_id": ["1", None, "4"]}, dtype="str")


def test_a_row_is_live_with_its_photo_alone() -> None:
    rows = pd.DataFrame(
        {
            "observation_id": ["a", "a", "a", "b", "b", "c", "d", "a"],
            "photo_id": ["1", "2", None, None, "1", None, "4", "4"],
        },
        dtype="str",
    )
    assert are_live(rows, LIVE).tolist() == [True, False, False, True, False, False, True, False]
    # Every trait of a photo is a row.
    assert are_live(rows.loc[[0, 0, 1]], LIVE).tolist() == [True, True, False]


def test_nothing_is_live_in_nothing() -> None:
    assert are_live(LIVE, LIVE.iloc[:0]).tolist() == [False] * 3
    assert are_live(LIVE.iloc[:0], LIVE).tolist() == []


def test_a_missing_column_is_told() -> None:
    with pytest.raises(TableError, match="photo_id"):
        are_live(LIVE, LIVE[["observation_id"]])
