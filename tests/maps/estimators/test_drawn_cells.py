"""A bounded, repeatable sample of cells that follows the model of all of them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.estimators import pooled_components
from maps.estimators.cell_moments import CellMoments
from maps.estimators.drawn_cells import CellDraw, DrawnCells, _hash
from maps.estimators.pooled_components import pool_components
from plant_traits.schemas import MOMENTS


def rows(seed: int, sizes: list[int], first: int = 0) -> pd.DataFrame:
    """Rows of moments of cells of these sizes, with effects of species (sd 0.6) and of observers (sd 0.3)."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(len(sizes)), sizes)
    species = rng.integers(0, 1 + np.array(sizes)[cell] // 3)
    observer = (np.arange(len(cell)) - np.repeat(np.cumsum(sizes) - sizes, sizes)) // 2
    species_effect, observer_effect = rng.normal(0, 0.6, (len(sizes), 400)), rng.normal(0, 0.3, (len(sizes), 400))
    v = rng.uniform(0.05, 0.2, len(cell))
    y = species_effect[cell, species] + observer_effect[cell, observer] + rng.normal(0, np.sqrt(v))
    w = 1 / v
    columns = {"cell": first + cell, "species": species, "observer": observer, "trait": "height", "evidence": "photo"}
    columns |= {"n": 1, "sum_w": w, "sum_wy": w * y, "sum_wy2": w * y * y, "sum_y": y, "sum_y2": y * y}
    columns |= {"sum_v": v, "sum_w2": w * w, "sum_aleatoric": v / 2}
    frame = pd.DataFrame(columns)[MOMENTS.names]
    frame[["species", "observer"]] = frame[["species", "observer"]].astype(str)
    return frame


def draw(frame: pd.DataFrame, biome: np.ndarray, cuts: list[int], *, biome_rows: int, cell_rows: int) -> DrawnCells:
    """Draw from the cells handed over in parts that end before these cells."""
    drawn = CellDraw(biome_rows, cell_rows)
    for start, end in zip([0, *cuts], [*cuts, len(biome)], strict=True):
        part = frame[(frame["cell"] >= start) & (frame["cell"] < end)]
        if len(part):
            drawn.add(CellMoments.of(part), biome[start:end])
    return drawn.drawn()


def test_all_rows_are_taken_as_they_are_below_the_bounds() -> None:
    sizes = [5, 1, 30, 12]
    cells = CellMoments.of(rows(0, sizes))
    drawn = CellDraw(48, 30)
    drawn.add(cells, np.array([0, 1, 0, 1]))
    found = drawn.drawn()
    assert found.place.tolist() == [0, 1, 2, 3]
    assert found.in_common.all()
    np.testing.assert_array_equal(found.of_row, cells.of_row)
    np.testing.assert_array_equal(found.species, cells.species_of_row)
    np.testing.assert_array_equal(found.observer, cells.observer_of_row)
    np.testing.assert_array_equal(found.weight, cells.rows["sum_w"])
    np.testing.assert_array_equal(found.y, cells.rows["sum_wy"] / cells.rows["sum_w"])


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 100),
    cuts=st.lists(st.integers(1, 59), max_size=5, unique=True).map(sorted),
    biome_rows=st.integers(1, 800),
    cell_rows=st.integers(1, 60),
)
def test_the_parts_that_cells_come_in_do_not_matter(
    seed: int, cuts: list[int], biome_rows: int, cell_rows: int
) -> None:
    rng = np.random.default_rng(seed)
    frame, biome = rows(seed, rng.integers(1, 80, 60).tolist()), rng.integers(0, 3, 60)
    whole = draw(frame, biome, [], biome_rows=biome_rows, cell_rows=cell_rows)
    found = draw(frame, biome, cuts, biome_rows=biome_rows, cell_rows=cell_rows)
    for name in DrawnCells.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    size = np.bincount(whole.of_row)
    for k in range(3):
        own = size[biome[whole.place] == k]
        assert own.sum() < biome_rows + size.max()
        # A biome's cells are all there unless enough rows are.
        assert own.sum() >= biome_rows or len(own) == (biome == k).sum()


def test_of_a_crowded_cell_whole_observers_are_taken() -> None:
    frame = rows(3, [400, 10])
    found = draw(frame, np.zeros(2, int), [], biome_rows=10_000, cell_rows=100)
    cells = CellMoments.of(frame)
    of_first = found.weight[found.of_row == 0]
    assert 100 <= len(of_first) <= 101
    assert len(found.weight) - len(of_first) == 10
    taken = np.isin(cells.rows["sum_w"][:400], of_first)
    by_observer = pd.Series(taken).groupby(cells.observer_of_row[:400])
    assert set(by_observer.mean()) == {0.0, 1.0}
    again = draw(frame[frame["cell"] == 0], np.zeros(1, int), [], biome_rows=10_000, cell_rows=100)
    np.testing.assert_array_equal(again.weight, of_first)


def test_the_common_sample_takes_the_same_share_of_every_biome() -> None:
    sizes, biome = [20] * 4000, np.arange(4000) % 10 == 0
    drawn = CellDraw(10_000, 1000)
    drawn.add(CellMoments.of(rows(5, sizes)), biome.astype(np.int64))
    found = drawn.drawn()
    of_small = biome[found.place]
    assert of_small.sum() == 400  # 8,000 rows: all of them
    assert (~of_small).sum() == 500
    common = found.place[found.in_common]
    assert (~biome[common]).sum() == 500
    assert biome[common].sum() == pytest.approx(400 * 500 / 3600, abs=30)


def test_components_of_a_sample_are_those_of_all_cells_but_for_their_stated_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = rows(6, [12] * 1500 + [700] * 3)
    biome = {cell: "wet" if cell % 2 else "dry" for cell in range(1500)}
    every = pool_components([CellMoments.of(frame)], "height", "photo", biome)
    monkeypatch.setattr(pooled_components, "CellDraw", partial(CellDraw, 3000, 200))
    drawn = pool_components([CellMoments.of(frame)], "height", "photo", biome)
    exact = ["biome", "noise", "variance_slope", "concentration", "clumping"]
    exact += ["cells", "cells_of_species", "cells_of_observers"]
    pd.testing.assert_frame_equal(drawn[exact], every[exact], check_exact=True)
    assert drawn["converged"].all()
    for name in ("species_variance", "observer_variance"):
        error = drawn[f"{name}_error"]
        assert (error > 1.2 * every[f"{name}_error"]).all()
        assert (np.abs(drawn[name] - every[name]) < 3 * error).all()
        assert (drawn[name] != every[name]).all()


def test_no_cells_give_no_rows() -> None:
    found = CellDraw().drawn()
    assert [len(getattr(found, name)) for name in DrawnCells.__dataclass_fields__] == [0] * 7


def test_cells_are_drawn_in_the_order_of_splitmix64() -> None:
    # Its first and third number from seed 0: those of the numbers 0 and twice its step.
    step = 0x9E3779B97F4A7C15
    of_third = np.array([2 * step % 2**64], dtype=np.uint64).view(np.int64)
    assert _hash(np.array([0])).tolist() == [0xE220A8397B1DCDAF]
    assert _hash(of_third).tolist() == [0x06C45D188009454F]
