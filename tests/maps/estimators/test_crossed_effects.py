from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.estimators.crossed_effects import CellCovariances, cell_blocks


def nested(cell: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Number groups so that no two cells share one."""
    return np.unique(cell * (group.max() + 1) + group, return_inverse=True)[1]


def design(rng: np.random.Generator, sizes: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    cell = np.repeat(np.arange(len(sizes)), sizes)
    # Some cells have many species and few observers, others the reverse.
    species = rng.integers(0, np.where(cell % 2, 12, 3))
    observer = rng.integers(0, np.where(cell % 2, 3, 12))
    return rng.uniform(0.5, 40, len(cell)), nested(cell, species), nested(cell, observer), cell


def dense(
    weight: np.ndarray, species: np.ndarray, observer: np.ndarray, a: float, b: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    by_species = (species[:, None] == species).astype(float)
    by_observer = (observer[:, None] == observer).astype(float)
    return np.diag(1 / weight) + a * by_species + b * by_observer, by_species, by_observer


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    a=st.sampled_from([0.0, 0.1225, 50.0]),
    b=st.sampled_from([0.0, 0.0225, 7.0]),
)
def test_every_cell_equals_dense_algebra(seed: int, sizes: list[int], a: float, b: float) -> None:
    rng = np.random.default_rng(seed)
    weight, species, observer, cell = design(rng, sizes)
    x = rng.normal(size=(len(cell), 3))
    seen = []
    for block in cell_blocks(weight, species, observer, cell):
        variance = np.ones(len(block.cells))
        covariances = CellCovariances(block, a * variance, b * variance)
        solved = covariances.solve(x[block.rows])
        log_determinants, traces = covariances.log_determinants(), covariances.traces()
        counts = block.group_counts()
        squares = block.squares(x[block.rows, 0])
        spread_species, spread_observer = block.spread(x[block.rows, 0])
        for place, number in enumerate(block.cells):
            own = np.flatnonzero(cell == number)
            at = block.cell_of_row == place
            assert block.rows[at].tolist() == own.tolist()
            v, by_species, by_observer = dense(weight[own], species[own], observer[own], a, b)
            inverse = np.linalg.inv(v)
            np.testing.assert_allclose(solved[at], inverse @ x[own], rtol=1e-9, atol=1e-9)
            assert log_determinants[place] == pytest.approx(np.linalg.slogdet(v)[1], rel=1e-10, abs=1e-10)
            expected = [(inverse * by_species).sum(), (inverse * by_observer).sum()]
            np.testing.assert_allclose(traces[place], expected, rtol=1e-9)
            assert counts[place].tolist() == [len(set(species[own])), len(set(observer[own]))]
            own_x = x[own, 0]
            np.testing.assert_allclose(squares[place], [own_x @ by_species @ own_x, own_x @ by_observer @ own_x])
            np.testing.assert_allclose(spread_species[at], by_species @ own_x, atol=1e-12)
            np.testing.assert_allclose(spread_observer[at], by_observer @ own_x, atol=1e-12)
        seen.extend(block.cells.tolist())
    assert sorted(seen) == list(range(len(sizes)))


def test_cells_of_a_block_are_of_similar_width() -> None:
    rng = np.random.default_rng(0)
    cell = np.repeat(np.arange(300), rng.integers(1, 400, 300))
    species, observer = (nested(cell, rng.integers(0, 1 + cell % 50)) for _ in range(2))
    blocks = list(cell_blocks(np.ones(len(cell)), species, observer, cell))
    assert len(blocks) < 30
    for block in blocks:
        width = np.bincount(block.cell_of_kept)
        assert block.width == width.max()
        assert width.max() <= max(1.2 * width.min(), width.min() + 1)
        assert (block.place_of_kept < width[block.cell_of_kept]).all()


def test_a_cell_too_large_to_share_a_block_is_solved_alone() -> None:
    rng = np.random.default_rng(0)
    cell = np.repeat([0, 1], [250_000, 250_000])
    species, observer = (nested(cell, rng.integers(0, 30, len(cell))) for _ in range(2))
    blocks = list(cell_blocks(np.ones(len(cell)), species, observer, cell))
    assert [block.cells.tolist() for block in blocks] == [[0], [1]]


def test_no_rows_make_no_blocks() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert list(cell_blocks(np.zeros(0), none, none, none)) == []
