from __future__ import annotations

import numpy as np
import pytest

from maps.small_area.recalibration import (
    LINE,
    LINE_BY_BIOME,
    NONE,
    SHIFT,
    SHIFT_BY_BIOME,
    Recalibration,
    recalibrate,
)
from plant_traits.grid import FloatArray, IntArray
from plant_traits.spatial_folds import spatial_folds


def draw(
    seed: int, n: int, intercept: tuple[float, ...], slope: tuple[float, ...], noise: float = 0.5
) -> tuple[FloatArray, FloatArray, IntArray, IntArray]:
    """A look, the plots that lines by biome make of it, the biomes and the blocks."""
    rng = np.random.default_rng(seed)
    group = rng.integers(1, len(slope) + 1, n)
    look = rng.normal(1.0, 1.0, n)
    plot = np.asarray(intercept)[group - 1] + np.asarray(slope)[group - 1] * look + rng.normal(0, noise, n)
    return look, plot, group, rng.integers(0, 40, n)


def fit(look: FloatArray, plot: FloatArray, group: IntArray, block: IntArray, **more: object) -> Recalibration:
    fold = spatial_folds(block, 5)
    return recalibrate(look, plot, np.ones(len(look)), group, int(group.max()) + 1, fold, block, **more)  # type: ignore[arg-type]


def test_line_that_says_nothing_is_not_taken() -> None:
    look, plot, group, block = draw(1, 400, (0.0, 0.0), (1.0, 1.0))
    found = fit(look, plot, group, block)
    assert found.form == NONE
    np.testing.assert_array_equal(found.apply(look, group), look)
    assert found.bias == pytest.approx(0.0, abs=0.1)
    assert found.gain <= found.gain_error


@pytest.mark.parametrize(
    ("intercept", "slope", "forms"),
    [
        ((0.4, 0.4), (1.0, 1.0), (SHIFT, SHIFT_BY_BIOME, LINE, LINE_BY_BIOME)),
        ((0.5, 0.5), (0.5, 0.5), (LINE, LINE_BY_BIOME)),
        ((-0.8, 0.8), (1.0, 1.0), (SHIFT_BY_BIOME, LINE_BY_BIOME)),
        ((1.0, -1.0), (0.4, 1.5), (LINE_BY_BIOME,)),
    ],
)
def test_line_that_pays_is_found(
    intercept: tuple[float, ...], slope: tuple[float, ...], forms: tuple[str, ...]
) -> None:
    look, plot, group, block = draw(2, 3_000, intercept, slope)
    found = fit(look, plot, group, block)
    assert found.form in forms
    expected = np.asarray(intercept)[group - 1] + np.asarray(slope)[group - 1] * look
    assert np.sqrt(np.mean((found.apply(look, group) - expected) ** 2)) < 0.06
    assert found.gain > found.gain_error > 0


def test_bias_is_that_of_the_look_against_plots() -> None:
    look, plot, group, block = draw(3, 3_000, (-0.3,), (1.0,))
    assert fit(look, plot, group, block).bias == pytest.approx(0.3, abs=0.03)


def test_biome_of_few_cells_is_drawn_to_the_line_of_all() -> None:
    look, plot, group, block = draw(4, 2_000, (0.5,), (1.0,))
    group[:5] = 2
    plot[:5] += 3.0
    found = fit(look, plot, group, block, forms=(NONE, SHIFT_BY_BIOME))
    assert found.form == SHIFT_BY_BIOME
    assert found.intercept[1] == pytest.approx(0.5, abs=0.05)
    assert 0.5 < found.intercept[2] < 1.8
    assert found.intercept[0] == pytest.approx(0.5, abs=0.05)


def test_no_size_of_a_few_outliers_matters() -> None:
    look, plot, group, block = draw(5, 1_000, (0.5,), (0.6,))
    clean = fit(look, plot, group, block)
    plot[::100] = 1e6
    spoilt = fit(look, plot, group, block)
    assert spoilt.form in (LINE, LINE_BY_BIOME)
    np.testing.assert_allclose(spoilt.apply(look, group), clean.apply(look, group), atol=0.1)


def test_too_few_cells_or_blocks_leave_the_look() -> None:
    look, plot, group, block = draw(6, 400, (1.0,), (1.0,))
    assert fit(look[:19], plot[:19], group[:19], block[:19]).form == NONE
    assert fit(look, plot, group, block % 4).form == NONE
    nothing = fit(look, np.full(400, np.nan), group, block)
    assert nothing.form == NONE
    assert np.isnan(nothing.bias)
