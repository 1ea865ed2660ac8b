"""Taking photos out of a state undoes having put them in."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.moments.addition import KEYS, SUMS, merge, subtract
from maps.moments.reduction import reduce_predictions
from plant_traits.errors import TableError
from plant_traits.grid import Grid
from plant_traits.schemas import MOMENTS

GRID = Grid(Fraction(1))
SIGNED = ("sum_wy", "sum_y")


def photos(n: int, seed: int, first: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    ids = [f"gbif:x:{i}" for i in range(first, first + n)]
    seen = pd.DataFrame(
        {
            "observation_id": ids,
            "species": [None if x == 4 else f"Quercus s{x}" for x in rng.integers(0, 5, n)],
            "observer": [None if x == 3 else f"u{x}" for x in rng.integers(0, 4, n)],
            "latitude": rng.uniform(45, 47, n),
            "longitude": rng.uniform(7, 9, n),
        }
    )
    made = pd.DataFrame(
        {
            "observation_id": ids,
            "photo_id": ids,
            "trait": rng.choice(["height", "sla"], n),
            "mean": rng.normal(1, 2, n),
            "variance_aleatoric": rng.uniform(0.01, 2, n),
            "variance_epistemic": rng.uniform(0, 0.5, n),
            "modalities": rng.choice(["image+geospatial", "geospatial"], n),
            "status": "ok",
        }
    )
    return made, seen


def row(cell: int, n: int, value: float) -> dict[str, object]:
    keys = {"cell": cell, "species": "Acer campestre", "observer": "u", "trait": "height", "evidence": "photo"}
    return {**keys, "n": n, **dict.fromkeys(SUMS, value)}


def frame(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=MOMENTS.names)


def assert_same_state(found: pd.DataFrame, expected: pd.DataFrame, scale: pd.DataFrame, relative: float) -> None:
    """Counts and keys alike; sums of positive terms to ``relative``, those of signed terms in units of their bound."""
    pd.testing.assert_frame_equal(found[[*KEYS, "n"]], expected[[*KEYS, "n"]])
    for name in SUMS:
        unit = expected[name].abs()
        if name in SIGNED:
            square, weight = (scale["sum_wy2"], scale["sum_w"]) if name == "sum_wy" else (scale["sum_y2"], scale["n"])
            unit = np.sqrt(square * weight)
        assert (np.abs(found[name] - expected[name]) <= relative * unit).all(), name


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 50), n=st.integers(0, 120), more=st.integers(0, 120))
def test_subtract_undoes_add(seed: int, n: int, more: int) -> None:
    kept = reduce_predictions(*photos(n, seed), GRID)
    gone = reduce_predictions(*photos(more, seed + 1000, first=n), GRID)
    state = merge([kept, gone])
    left = subtract(state, gone)
    keys = list(KEYS)
    before = kept[keys].merge(state, on=keys, how="left")
    positive = [name for name in SUMS if name not in SIGNED]
    with np.errstate(divide="ignore", invalid="ignore"):
        shrunk = np.nan_to_num(before[positive] / kept[positive], nan=1.0).max(axis=1)
    flagged = left.moments[keys].merge(left.imprecise, on=keys, how="left", indicator=True)["_merge"] == "both"
    assert (shrunk[flagged] > 1e5).all()
    assert flagged[shrunk > 1e7].all()
    rest = np.flatnonzero(~flagged & (shrunk < 1e6))
    exact = kept.iloc[rest].reset_index(drop=True)
    assert_same_state(left.moments.iloc[rest].reset_index(drop=True), exact, exact, 1e-9)
    pd.testing.assert_frame_equal(left.moments[[*KEYS, "n"]], kept[[*KEYS, "n"]])
    pd.testing.assert_frame_equal(left.moments.dtypes.to_frame(), kept.dtypes.to_frame())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 20), order=st.permutations(range(5)))
def test_months_of_adding_and_taking_away_leave_what_was_not_taken(seed: int, order: list[int]) -> None:
    parts = [reduce_predictions(*photos(40, seed + k, first=1000 * k), GRID) for k in range(5)]
    state = merge(parts)
    for k in order[:4]:
        state = subtract(state, parts[k]).moments
    expected = parts[order[4]]
    assert_same_state(state, expected, expected, 1e-9)


def test_a_state_minus_itself_is_empty_without_residue() -> None:
    state = reduce_predictions(*photos(200, 3), GRID)
    left = subtract(state, state.sample(frac=1, random_state=0))
    assert len(left.moments) == 0
    assert list(left.moments.columns) == MOMENTS.names


def test_nothing_taken_out_changes_nothing() -> None:
    state = reduce_predictions(*photos(50, 3), GRID)
    pd.testing.assert_frame_equal(subtract(state, state.head(0)).moments, state)
    assert len(subtract(state.head(0), state.head(0)).moments) == 0


def test_counts_and_sums_by_hand() -> None:
    left = subtract(frame(row(1, 3, 6.0), row(2, 1, 4.0)), frame(row(2, 1, 4.0), row(1, 2, 1.5)))
    pd.testing.assert_frame_equal(left.moments, frame(row(1, 1, 4.5)), check_dtype=False)


@pytest.mark.parametrize(("ratio", "imprecise"), [(1e5, 0), (1e7, 1)])
def test_a_sum_left_with_few_sure_digits_is_named(ratio: float, imprecise: int) -> None:
    state = merge([frame(row(7, 1, ratio)), frame(row(7, 1, 1.0)), frame(row(8, 1, 1.0))])
    left = subtract(state, frame(row(7, 1, ratio)))
    assert left.moments["n"].tolist() == [1, 1]
    assert left.imprecise["cell"].tolist() == [7] * imprecise
    assert list(left.imprecise.columns) == list(KEYS)


def test_a_photo_that_the_state_does_not_hold_is_refused() -> None:
    state = frame(row(1, 2, 6.0))
    with pytest.raises(TableError, match="1 of 1 rows to take out are not in the state"):
        subtract(state, frame(row(3, 1, 1.0)))
    with pytest.raises(TableError, match="1 of 2 rows"):
        subtract(state, frame(row(1, 1, 1.0), row(0, 1, 1.0)))
    with pytest.raises(TableError, match="1 of 1 rows"):
        subtract(state, frame(row(1, 3, 1.0)))
    with pytest.raises(TableError, match="1 of 1 rows"):
        subtract(state.head(0), frame(row(1, 3, 1.0)))
    with pytest.raises(TableError, match="sum_w2"):
        subtract(state, state.drop(columns="sum_w2"))


def test_merging_gives_the_same_bits_in_any_order() -> None:
    # In one order these add up to 0, in another to 1 or 2: the order of the frames must not show.
    parts = [frame({**row(1, 1, 1.0), "sum_y": value}) for value in (1e16, 1.0, -1e16, 1.0)]
    found = {float(merge(order)["sum_y"].iloc[0]) for order in permutations(parts)}
    assert len(found) == 1
    assert merge(parts)["n"].tolist() == [4]
