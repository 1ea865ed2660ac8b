from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from plant_traits.covariates.layers import open_raster
from plant_traits.covariates.raster import CheckedRaster, RangeCount

WriteRaster = Callable[..., Path]


@pytest.mark.parametrize(
    ("dtype", "stored", "nodata", "valid_range", "expected"),
    [
        # value = stored / 10 - 5
        ("int16", [-32768, -100, -50, 0, 150, 151], -32768, (-10, 10), [np.nan, np.nan, -10, -5, 10, np.nan]),
        ("uint8", [0, 1, 255], 255, (-10, 100), [-5, -4.9, np.nan]),
        ("uint8", [0, 1, 255], -9999, (-1000, 1000), [-5, -4.9, 20.5]),
        ("uint8", [0, 1, 255], 0.5, None, [-5, -4.9, 20.5]),
        ("uint8", [0, 1, 255], None, (500, 600), [np.nan, np.nan, np.nan]),
        ("float32", [np.nan, np.inf, -1e30, 60.0], -1e30, (0, 2), [np.nan, np.nan, np.nan, 1]),
    ],
)
def test_numbers_that_are_no_values_are_masked_as_stored(
    write_raster: WriteRaster,
    dtype: str,
    stored: list[float],
    nodata: float | None,
    valid_range: tuple[float, float] | None,
    expected: list[float],
) -> None:
    path = write_raster(np.array([stored], dtype=dtype), west=0, north=1, size=1)
    with open_raster(path, name="x") as raster:
        checked = CheckedRaster("x", raster.dataset, 1, 0.1, -5.0, nodata, valid_range)
        values, count = checked.read()
    np.testing.assert_allclose(values[0], expected, atol=1e-5)
    assert count.valid - count.outside == np.isfinite(expected).sum()


def test_a_negative_scale_turns_the_range_round(write_raster: WriteRaster) -> None:
    path = write_raster(np.array([[0, 10, 20, 30]], np.int16), west=0, north=1, size=1)
    with open_raster(path, name="x") as raster:
        values, count = CheckedRaster("x", raster.dataset, 1, -1.0, 0.0, None, (-20, -10)).read()
    np.testing.assert_array_equal(values[0], [np.nan, -10, -20, np.nan])
    assert count == RangeCount(valid=4, outside=2)


def test_storage_blocks_are_read_whole_where_memory_allows(tmp_path: Path, write_raster: WriteRaster) -> None:
    path = write_raster(np.zeros((10, 4000), np.uint8), west=0, north=10, size=0.01)
    with open_raster(path, name="x") as raster:
        block = raster.dataset.block_shapes[0][0]
        assert block > 1
        heights = [w.height for w in raster.row_blocks(4000)]
        assert heights[0] == block
        assert sum(heights) == 10
        assert [w.height for w in raster.row_blocks(40)] == [1] * 10
