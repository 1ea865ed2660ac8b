"""Moments read a block at a time, and estimated so, are those of all cells at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maps.estimators.blocks import estimate_blocks, pool_blocks
from maps.estimators.estimate import ESTIMATORS, estimate, variance_components
from maps.estimators.pooled_components import read_components
from maps.moments.addition import KEYS, merge
from maps.moments.files import count_rows_and_cells, moment_blocks
from maps.stages.cells import EVIDENCE, estimate_cells, merge_moments, read_estimates
from plant_traits.schemas import MOMENTS, write_table

FRESH = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}

Draw = Callable[..., pd.DataFrame]


@pytest.mark.parametrize("row_group", [1, 17, 1000])
@pytest.mark.parametrize("block_rows", [1, 9, 30, 10_000])
def test_a_crowded_cell_comes_apart_by_trait(moments: Draw, tmp_path: Path, row_group: int, block_rows: int) -> None:
    rows = moments(700, 9)
    rows["cell"] = np.where(np.arange(700) % 4 > 1, 540 * 16, rows["cell"])
    whole = merge([rows])
    pq.write_table(pa.Table.from_pandas(whole, MOMENTS, preserve_index=False), tmp_path / "m", row_group_size=row_group)
    found = moment_blocks(tmp_path / "m", block_rows=block_rows)
    blocks = [block.to_pandas() for block in found]
    together = pd.concat(blocks).sort_values(list(KEYS), na_position="last", ignore_index=True)
    pd.testing.assert_frame_equal(together, whole)
    pairs = [pair for block in blocks for pair in set(zip(block["cell"], block["trait"], strict=True))]
    assert len(pairs) == len(set(pairs))
    crowded = whole.groupby("cell").size() > block_rows
    for block in blocks:
        if crowded[block["cell"]].any():
            assert block[["cell", "trait"]].drop_duplicates().shape == (1, 2)
    cells = pd.concat(block["cell"] for block in blocks)
    assert cells.is_monotonic_increasing


@pytest.mark.parametrize("block_rows", [50, 120, 10_000])
@pytest.mark.parametrize("row_group", [1, 17, 1000])
def test_blocks_hold_whole_cells_whatever_the_row_groups(
    moments: Draw, tmp_path: Path, block_rows: int, row_group: int
) -> None:
    whole = merge([moments(500, 4)])
    assert whole.groupby("cell").size().max() <= 50
    pq.write_table(pa.Table.from_pandas(whole, MOMENTS, preserve_index=False), tmp_path / "m", row_group_size=row_group)
    blocks = [block.to_pandas() for block in moment_blocks(tmp_path / "m", block_rows=block_rows)]
    pd.testing.assert_frame_equal(pd.concat(blocks, ignore_index=True), whole)
    assert sum(block["cell"].nunique() for block in blocks) == whole["cell"].nunique()
    assert all(len(block) >= block_rows for block in blocks[:-1])


def test_cells_are_counted_by_evidence_whatever_the_row_groups(moments: Draw, tmp_path: Path) -> None:
    whole = merge([moments(300, 6)])
    pq.write_table(pa.Table.from_pandas(whole, MOMENTS, preserve_index=False), tmp_path / "m", row_group_size=50)
    expected = whole.groupby("evidence")["cell"].nunique().to_dict()
    assert count_rows_and_cells(tmp_path / "m") == (len(whole), expected)


@settings(max_examples=6, **FRESH)
@given(seed=st.integers(0, 100), block_rows=st.sampled_from([1, 40, 200]), species=st.sampled_from([1, 2, 4]))
def test_estimates_by_block_equal_those_of_all_cells_at_once(
    moments: Draw, tmp_path: Path, seed: int, block_rows: int, species: int
) -> None:
    whole = merge([moments(200, seed, species=species)])
    write_table(whole, tmp_path / "m", MOMENTS)
    biome = {int(cell): "wet" if k % 3 else "dry" for k, cell in enumerate(whole["cell"].unique()[:-1])}
    names = list(ESTIMATORS)

    def blocks() -> Iterator[pa.Table]:
        return moment_blocks(tmp_path / "m", block_rows=block_rows)

    for evidence in EVIDENCE:
        pooled = pool_blocks(blocks, names, evidence, biome)
        expected = variance_components(whole[whole["evidence"] == evidence], biome)
        pd.testing.assert_frame_equal(pooled.components, expected, check_exact=True)
        parts = list(estimate_blocks(blocks, names, evidence, pooled, biome))
        for name in names:
            found = pd.concat([part[name] for part in parts], ignore_index=True)
            at_once = estimate(whole, name, evidence, biome=biome)
            pd.testing.assert_frame_equal(found, at_once, check_exact=False, rtol=1e-12, atol=1e-12)


def test_a_block_of_cells_alone_is_estimated_with_what_all_cells_tell(moments: Draw) -> None:
    whole = merge([moments(600, 3)])
    photos = whole[whole["evidence"] == "photo"]
    components, cells = variance_components(photos), photos["cell"].unique()[:4]
    some = photos[photos["cell"].isin(cells)]
    for name in ("mixed", "mixed_equal"):
        expected = estimate(whole, name).query("cell in @cells").reset_index(drop=True)
        found = estimate(some, name, components=components)
        pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-12, atol=1e-12)
        assert not np.allclose(estimate(some, name)["standard_error"], expected["standard_error"], rtol=1e-3)


def test_stages_merge_and_estimate_what_the_functions_do(moments: Draw, tmp_path: Path) -> None:
    rows = moments(400, 7)
    folders = []
    for k in range(3):
        folders.append(tmp_path / str(k))
        folders[-1].mkdir()
        write_table(merge([rows[k::3]]), folders[-1] / "moments.parquet", MOMENTS)
    (tmp_path / "merged").mkdir()
    (tmp_path / "cells").mkdir()
    whole = merge([rows])
    summary = merge_moments(tmp_path / "merged", shards=folders)
    photos = whole[whole["evidence"] == "photo"]
    assert summary["out"] == {"rows of moments": len(whole), "cells with a photo": photos["cell"].nunique()}
    steps: list[tuple[int, int]] = []
    names = ["mean", "mixed", "random_effects"]
    estimate_cells(
        tmp_path / "cells", moments=tmp_path / "merged", estimators=names, progress=lambda *x: steps.append(x)
    )
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for evidence in EVIDENCE:
        for name, found in read_estimates(tmp_path / "cells", evidence, names).items():
            expected = estimate(whole, name, evidence)
            pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-12, atol=1e-12)
    components = read_components(tmp_path / "cells")
    assert components["evidence"].tolist() == ["photo", "photo", "record", "record"]
    expected = variance_components(whole[whole["evidence"] == "record"])
    found = components.tail(2).reset_index(drop=True)
    # Sums that were merged in another order are equal to rounding; the slope is a quotient of their sums.
    slopes = [frame.pop("variance_slope") for frame in (found, expected)]
    pd.testing.assert_series_equal(*slopes, check_exact=False, rtol=1e-12, atol=1e-15)
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_dtype=False)
