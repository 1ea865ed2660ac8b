"""Sums by key and by cell against pandas and exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.moments import cell_sums, key_sums
from maps.moments.cell_sums import cells_of, sum_by_cell
from maps.moments.key_sums import TERMS, pack, sort_keys, sum_photos, sum_runs, unpack
from plant_traits.errors import GridError, TableError
from plant_traits.grid import Grid

RESOLUTIONS = ["1deg", "0.5deg", "0.25deg", "2deg", "0.1deg", "0.01deg", "1/3deg", "10arcmin"]
GRIDS = {text: Grid.parse(text) for text in RESOLUTIONS}


def by_pandas(keys: list[np.ndarray], y: np.ndarray, a: np.ndarray, e: np.ndarray) -> pd.DataFrame:
    v = a.astype(np.float64) + e
    y, w = y.astype(np.float64), 1 / v
    terms = dict(zip(TERMS, (w, w * y, w * y * y, y, y * y, v, w * w, a.astype(np.float64)), strict=True))
    frame = pd.DataFrame({**{f"key{k}": key for k, key in enumerate(keys)}, "n": 1, **terms})
    return frame.groupby([f"key{k}" for k in range(len(keys))], as_index=False).sum()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("portion", [8, 100, 1 << 15])
@pytest.mark.parametrize("sizes", [(50, 7, 3), (2**31, 2**16, 2**16), (1, 1, 1)])
def test_sums_by_key_agree_with_pandas(
    monkeypatch: pytest.MonkeyPatch, workers: int, portion: int, sizes: tuple[int, ...]
) -> None:
    monkeypatch.setattr(key_sums, "_PORTION", portion)
    rng = np.random.default_rng(portion)
    few = [rng.integers(0, size, min(size, 12)) for size in sizes]
    keys = [rng.choice(values, 5000) for values in few]
    y, a, e = (rng.uniform(0.1, 2, 5000).astype(np.float32) for _ in range(3))
    parts = list(sum_photos(keys, sizes, y, a, e, workers=workers))
    found = pd.DataFrame({f"key{k}": np.concatenate([part.keys[k] for part in parts]) for k in range(3)})
    found["n"] = np.concatenate([part.n for part in parts])
    found[list(TERMS)] = np.concatenate([part.sums for part in parts], axis=1).T
    pd.testing.assert_frame_equal(found, by_pandas(keys, y, a, e), rtol=1e-12)
    assert len(parts) > 1 or portion == 1 << 15 or sizes == (1, 1, 1)


def test_portions_and_workers_do_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    keys = [rng.integers(0, 40, 4000), rng.integers(0, 3, 4000)]
    y, a, e = rng.uniform(0.1, 2, (3, 4000))
    (whole,) = sum_photos(keys, (40, 3), y, a, e)
    for portion, workers in ((50, 1), (300, 4)):
        monkeypatch.setattr(key_sums, "_PORTION", portion)
        parts = list(sum_photos(keys, (40, 3), y, a, e, workers=workers))
        np.testing.assert_array_equal(np.concatenate([part.sums for part in parts], axis=1), whole.sums)


def test_nothing_to_sum_and_keys_that_do_not_fit() -> None:
    empty = np.empty(0)
    assert list(sum_photos([empty.astype(int)], [5], empty, empty, empty)) == []
    one = np.ones(1)
    with pytest.raises(TableError, match="need 64 bits"):
        list(sum_photos([np.zeros(1, int)] * 2, [2**32, 2**32], one, one, one))
    for key in (-1, 5):
        with pytest.raises(TableError, match="outside 0 to 4"):
            list(sum_photos([np.array([key])], [5], one, one, one))


@given(st.lists(st.tuples(st.integers(0, 2**20 - 1), st.integers(0, 6), st.integers(0, 2**30 - 1)), min_size=1))
def test_packed_keys_come_back_and_sort_as_their_parts(rows: list[tuple[int, int, int]]) -> None:
    keys = [np.array(column) for column in zip(*rows, strict=True)]
    packed = pack(keys, (20, 3, 30))
    for found, key in zip(unpack(packed, (20, 3, 30)), keys, strict=True):
        np.testing.assert_array_equal(found, key)
    ordered, order = sort_keys(packed)
    expected = sorted(range(len(rows)), key=lambda k: rows[k])  # equal rows keep their order
    assert order.tolist() == expected
    np.testing.assert_array_equal(ordered, packed[expected])


def test_keys_too_wide_to_share_a_word_with_their_rows_are_sorted_too() -> None:
    packed = np.array([2**62, 0, 2**62, 5, 0])
    ordered, order = sort_keys(packed)
    assert order.tolist() == [1, 4, 3, 0, 2]
    assert ordered.tolist() == [0, 0, 5, 2**62, 2**62]


def test_runs_add_up_row_by_row() -> None:
    values = np.array([[1.0, 1e16], [2.0, 1.0], [4.0, -1e16], [8.0, 3.0]])
    # (1e16 + 1) - 1e16 is 0 in double precision: the order of the rows shows.
    np.testing.assert_array_equal(sum_runs(values, np.array([0, 3])), [[7.0, 8.0], [0.0, 3.0]])


@settings(deadline=None)
@given(st.sampled_from(RESOLUTIONS), st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1))
def test_cells_are_those_of_the_grid(text: str, points: list[tuple[float, float]]) -> None:
    grid = GRIDS[text]
    lat, lon = np.array(points).T
    np.testing.assert_array_equal(cells_of(lat, lon, grid), grid.cell_of(lat, lon))


@pytest.mark.parametrize("text", RESOLUTIONS)
def test_cells_on_edges_next_to_them_and_far_from_them_are_those_of_the_grid(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(cell_sums, "_BLOCK", 64)
    grid = Grid.parse(text)
    rng = np.random.default_rng(0)
    lat, lon = rng.choice(grid.lat_edges, 2000), rng.choice(grid.lon_edges, 2000)
    lat = np.concatenate([lat, np.nextafter(lat, 0), np.nextafter(lat, -90), rng.uniform(-90, 90, 2000), [90, -90, 0]])
    lon = np.concatenate([lon, np.nextafter(lon, 0), np.nextafter(lon, 180), rng.uniform(-180, 180, 2000), [180] * 3])
    np.testing.assert_array_equal(cells_of(lat, lon, grid), grid.cell_of(lat, lon))
    lat, lon = lat.astype(np.float32), lon.astype(np.float32)
    np.testing.assert_array_equal(cells_of(lat, lon, grid), grid.cell_of(lat, lon))


@pytest.mark.parametrize("text", ["1deg", "0.1deg"])
@pytest.mark.parametrize("bad", [(np.nan, 0.0), (0.0, np.nan), (90.5, 0.0), (0.0, -181.0), (np.inf, 0.0)])
def test_bad_coordinates_are_rejected(text: str, bad: tuple[float, float]) -> None:
    with pytest.raises(GridError, match="missing or out-of-range"):
        cells_of(np.array([1.5, bad[0]]), np.array([1.5, bad[1]]), Grid.parse(text))


def test_sums_by_cell_in_chunks_agree_with_bincount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_sums, "_CHUNK", 300)
    grid = Grid(Fraction(5))
    rng = np.random.default_rng(1)
    lat, lon, y = rng.uniform(-90, 90, 2000), rng.uniform(-180, 180, 2000), rng.normal(size=2000).astype(np.float32)
    count, total = sum_by_cell(lat, lon, y, grid)
    cell = grid.cell_of(lat, lon)
    np.testing.assert_array_equal(count, np.bincount(cell, minlength=grid.size))
    np.testing.assert_allclose(total, np.bincount(cell, y.astype(np.float64), grid.size), rtol=1e-12, atol=1e-14)
    empty = np.empty(0)
    assert sum_by_cell(empty, empty, empty, grid)[0].sum() == 0
    with pytest.raises(GridError, match="found 2000, 2000, 1"):
        sum_by_cell(lat, lon, y[:1], grid)
