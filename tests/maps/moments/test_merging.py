"""Moments merged from files are those merged in memory, however they are split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maps.moments.addition import KEYS, SUMS, merge
from maps.moments.files import moment_blocks
from maps.moments.merging import merge_files
from plant_traits.errors import TableError
from plant_traits.schemas import MOMENTS, write_table

FRESH = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}

Draw = Callable[..., pd.DataFrame]


def write_shards(rows: pd.DataFrame, shard: np.ndarray, folder: Path) -> list[Path]:
    paths = []
    for k in np.unique(shard):
        paths.append(folder / f"{k}.parquet")
        write_table(merge([rows[shard == k]]), paths[-1], MOMENTS)
    return paths


@settings(max_examples=25, **FRESH)
@given(seed=st.integers(0, 100), shards=st.integers(1, 9), block_rows=st.integers(1, 400))
def test_any_split_over_files_and_ranges_equals_one_merge(
    moments: Draw, tmp_path: Path, seed: int, shards: int, block_rows: int
) -> None:
    rows = moments(300, seed)
    shard = np.random.default_rng(seed).integers(0, shards, len(rows))
    paths = write_shards(rows, shard, tmp_path)
    count = merge_files(paths, tmp_path / "merged", block_rows=block_rows)
    merge_files(paths[::-1], tmp_path / "again", block_rows=10_000)
    found = pd.read_parquet(tmp_path / "merged")
    pd.testing.assert_frame_equal(found, pd.read_parquet(tmp_path / "again"), check_exact=True)
    whole = merge([rows])
    pd.testing.assert_frame_equal(found[[*KEYS, "n"]], whole[[*KEYS, "n"]])
    np.testing.assert_allclose(found[list(SUMS)], whole[list(SUMS)], rtol=1e-12, atol=1e-12)
    assert count.rows_in == sum(pq.read_metadata(path).num_rows for path in paths)
    assert count.rows_out == len(whole)
    assert count.cells == whole.groupby("evidence")["cell"].nunique().to_dict()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize("block_rows", [3, 20, 60, 200])
def test_a_crowded_cell_among_sparse_ones_is_merged_some_species_at_a_time(
    moments: Draw, tmp_path: Path, block_rows: int
) -> None:
    rows = moments(900, 8, cells=250, species=40)
    rows["cell"] = np.where(np.arange(900) % 3 == 0, rows["cell"], 540 * 100**2 + np.arange(900) % 2)
    rows["species"] = [None if k % 11 == 0 else f"s{k % 37}" for k in range(900)]
    paths = write_shards(rows, np.arange(900) % 4, tmp_path)
    merge_files(paths, tmp_path / "merged", block_rows=block_rows)
    merge_files(paths, tmp_path / "at once", block_rows=10_000)
    expected = pd.read_parquet(tmp_path / "at once")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "merged"), expected, check_exact=True)
    pd.testing.assert_frame_equal(expected[[*KEYS, "n"]], merge([rows])[[*KEYS, "n"]])
    blocks = list(moment_blocks(tmp_path / "merged", block_rows=block_rows))
    pairs = [block.select(["cell", "trait"]).group_by(["cell", "trait"]).aggregate([]) for block in blocks]
    assert sum(map(len, pairs)) == len(expected[["cell", "trait"]].drop_duplicates())


def test_merged_files_can_be_merged_again_with_new_shards(moments: Draw, tmp_path: Path) -> None:
    rows = moments(400, 1)
    paths = write_shards(rows, np.arange(400) % 4, tmp_path)
    merge_files(paths[:3], tmp_path / "state", block_rows=50)
    merge_files([tmp_path / "state", paths[3]], tmp_path / "next", block_rows=50)
    merge_files(paths, tmp_path / "rebuilt", block_rows=60)
    found, expected = pd.read_parquet(tmp_path / "next"), pd.read_parquet(tmp_path / "rebuilt")
    pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-12, atol=1e-12)


@settings(max_examples=15, **FRESH)
@given(seed=st.integers(0, 100), block_rows=st.integers(1, 300))
def test_a_state_with_rows_added_and_taken_out_equals_a_rebuild(
    moments: Draw, tmp_path: Path, seed: int, block_rows: int
) -> None:
    rows = moments(400, seed)
    month = np.random.default_rng(seed).integers(0, 4, len(rows))
    paths = write_shards(rows, month, tmp_path)
    merge_files(paths[:3], tmp_path / "state", block_rows=50)
    count = merge_files([tmp_path / "state", paths[3]], tmp_path / "next", retracted=[paths[0]], block_rows=block_rows)
    merge_files(paths[1:], tmp_path / "rebuilt")
    found, expected = pd.read_parquet(tmp_path / "next"), pd.read_parquet(tmp_path / "rebuilt")
    pd.testing.assert_frame_equal(found[[*KEYS, "n"]], expected[[*KEYS, "n"]])
    np.testing.assert_allclose(found[list(SUMS)], expected[list(SUMS)], rtol=1e-9, atol=1e-11)
    assert count.rows_out == len(expected)
    assert count.imprecise.tolist() == []


def test_cells_left_imprecise_are_named_and_foreign_rows_refused(moments: Draw, tmp_path: Path) -> None:
    rows = moments(3, 0).assign(cell=[5, 5, 9], species="s", observer="u", trait="sla", evidence="photo")
    rows.loc[0, "sum_w2"] = 1e9
    write_table(merge([rows]), tmp_path / "state", MOMENTS)
    write_table(rows.iloc[:1], tmp_path / "gone", MOMENTS)
    count = merge_files([tmp_path / "state"], tmp_path / "next", retracted=[tmp_path / "gone"])
    assert count.imprecise.tolist() == [5]
    assert pd.read_parquet(tmp_path / "next")["n"].tolist() == [1, 1]
    write_table(rows.iloc[:1].assign(cell=7), tmp_path / "foreign", MOMENTS)
    with pytest.raises(TableError, match="not in the state"):
        merge_files([tmp_path / "state"], tmp_path / "next", retracted=[tmp_path / "foreign"])


def test_a_row_group_holds_whole_cells_and_about_the_rows_asked_for(moments: Draw, tmp_path: Path) -> None:
    rows = moments(2000, 2, cells=300)
    paths = write_shards(rows, np.arange(2000) % 5, tmp_path)
    merge_files(paths, tmp_path / "merged", block_rows=100)
    file = pq.ParquetFile(tmp_path / "merged")
    assert file.num_row_groups >= 10
    seen: set[int] = set()
    for k in range(file.num_row_groups):
        cells = set(file.read_row_group(k)["cell"].to_pylist())
        assert not cells & seen
        seen |= cells
    largest = merge([rows]).groupby("cell").size().max()
    assert max(file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)) <= 100 + largest


def test_sources_may_be_unsorted_or_empty(moments: Draw, tmp_path: Path) -> None:
    rows = moments(100, 3)
    write_table(rows.sample(frac=1, random_state=0), tmp_path / "a", MOMENTS)
    write_table(rows.head(0), tmp_path / "b", MOMENTS)
    merge_files([tmp_path / "b", tmp_path / "a"], tmp_path / "merged", block_rows=7)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "merged"), merge([rows]))
    for sources in ([], [tmp_path / "b"]):
        assert merge_files(sources, tmp_path / "none").rows_out == 0
        assert list(moment_blocks(tmp_path / "none")) == []
        assert pq.read_schema(tmp_path / "none").remove_metadata() == MOMENTS


def test_a_file_that_is_none_of_moments_is_named(moments: Draw, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no Parquet", encoding="utf-8")
    pq.write_table(pa.table({"cell": [1]}), tmp_path / "other")
    for name, message in (("text", "not a readable Parquet file"), ("other", "expected columns"), ("gone", "gone")):
        with pytest.raises(TableError, match=message):
            merge_files([tmp_path / name], tmp_path / "merged")
    whole = merge([moments(3000, 5, cells=300)])
    write_table(whole, tmp_path / "damaged", MOMENTS)
    data = bytearray((tmp_path / "damaged").read_bytes())
    data[100:8000] = bytes(7900)
    (tmp_path / "damaged").write_bytes(data)
    with pytest.raises(TableError, match="damaged"):
        merge_files([tmp_path / "damaged"], tmp_path / "merged")
    write_table(whole.iloc[::-1], tmp_path / "unsorted", MOMENTS)
    with pytest.raises(TableError, match="sorted by cell"):
        list(moment_blocks(tmp_path / "unsorted"))
