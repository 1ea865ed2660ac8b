from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maps.moments.addition import KEYS, SUMS, merge
from maps.moments.reduction import count_losses, reduce_predictions
from plant_traits.errors import TableError
from plant_traits.grid import Grid
from plant_traits.schemas import MOMENTS, read_table, write_table

GRID = Grid(Fraction(1))


def observations(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "observation_id": [f"gbif:x:{i}" for i in range(n)],
            "species": [None if x == 4 else f"Quercus s{x}" for x in rng.integers(0, 5, n)],
            "observer": [None if x == 3 else f"u{x}" for x in rng.integers(0, 4, n)],
            "latitude": rng.uniform(45, 47, n),
            "longitude": rng.uniform(7, 9, n),
        }
    )


def predictions(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed + 1)
    return pd.DataFrame(
        {
            "observation_id": [f"gbif:x:{i}" for i in range(n)],
            "photo_id": [f"p{i}" for i in range(n)],
            "trait": rng.choice(["height", "sla"], n),
            "mean": rng.normal(1, 2, n).astype(np.float32),
            "variance_aleatoric": rng.uniform(0.01, 2, n).astype(np.float32),
            "variance_epistemic": rng.uniform(0, 0.5, n).astype(np.float32),
            "model_id": "m",
            "modalities": rng.choice(["image+geospatial", "image", "geospatial"], n),
            "status": "ok",
        }
    )


def test_sums_of_two_photos_by_hand() -> None:
    seen = pd.DataFrame(
        {
            "observation_id": ["a", "b"],
            "species": ["Acer campestre"] * 2,
            "observer": ["u"] * 2,
            "latitude": [89.5, 90.0],
            "longitude": [-180.0, 180.0],
        }
    )
    made = pd.DataFrame(
        {
            "observation_id": ["a", "b"],
            "photo_id": ["p", "q"],
            "trait": "height",
            "mean": [1.0, 3.0],
            "variance_aleatoric": [0.25, 0.5],
            "variance_epistemic": [0.25, 1.5],
            "modalities": ["image", "image+geospatial"],
            "status": "ok",
        }
    )
    moments = reduce_predictions(made, seen, GRID)
    assert moments.to_dict("records") == [
        {
            "cell": 0,
            "species": "Acer campestre",
            "observer": "u",
            "trait": "height",
            "evidence": "photo",
            "n": 2,
            "sum_w": 2.5,
            "sum_wy": 3.5,
            "sum_wy2": 6.5,
            "sum_y": 4.0,
            "sum_y2": 10.0,
            "sum_v": 2.5,
            "sum_w2": 4.25,
            "sum_aleatoric": 0.75,
        }
    ]


def test_missing_names_are_groups_of_their_own_and_order_is_canonical() -> None:
    moments = reduce_predictions(predictions(400), observations(400), GRID)
    assert moments["n"].sum() == 400
    assert moments["species"].isna().any()
    assert moments["observer"].isna().any()
    assert not moments.duplicated(list(KEYS)).any()
    expected = moments.sort_values(list(KEYS), na_position="last", kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(moments, expected)
    assert set(moments["evidence"]) == {"photo", "record"}


def test_losses_are_counted_and_left_out() -> None:
    made, seen = predictions(10), observations(10)
    made.loc[0, "status"] = "photo_corrupt"
    made.loc[1, "observation_id"] = "gbif:x:retracted"
    made.loc[2, "mean"] = np.nan
    made.loc[3, ["variance_aleatoric", "variance_epistemic"]] = 0.0
    seen.loc[4, "latitude"] = np.nan
    seen.loc[5, "longitude"] = 200.0
    assert count_losses(made, seen) == {
        "photo_corrupt": 1,
        "no_observation": 1,
        "no_finite_estimate": 2,
        "no_coordinates": 2,
    }
    assert reduce_predictions(made, seen, GRID)["n"].sum() == 4


def test_rows_in_any_order_give_the_same_bits() -> None:
    made, seen = predictions(300), observations(300)
    expected = reduce_predictions(made, seen, GRID)
    for seed in range(3):
        found = reduce_predictions(made.sample(frac=1, random_state=seed), seen.sample(frac=1, random_state=seed), GRID)
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


@settings(max_examples=30, deadline=None)
@given(shards=st.lists(st.integers(0, 6), min_size=120, max_size=120), seed=st.integers(0, 5), split=st.integers(0, 7))
def test_any_sharding_and_any_tree_of_merges_equals_one_reduction(shards: list[int], seed: int, split: int) -> None:
    made, seen = predictions(120, seed), observations(120, seed)
    whole = reduce_predictions(made, seen, GRID)
    shard = np.array(shards)
    parts = [reduce_predictions(made[shard == s], seen, GRID) for s in range(7)]
    flat = merge(parts)
    tree = merge([merge(parts[split:]), merge(parts[:split])])
    for found in (flat, tree):
        pd.testing.assert_frame_equal(found[[*KEYS, "n"]], whole[[*KEYS, "n"]])
        np.testing.assert_allclose(found[list(SUMS)], whole[list(SUMS)], rtol=1e-12, atol=1e-12)
    pd.testing.assert_frame_equal(merge(parts[::-1]), flat, check_exact=True)


def test_nothing_gives_an_empty_state_of_the_declared_types(tmp_path: Path) -> None:
    empty = reduce_predictions(predictions(3).assign(status="failed"), observations(3), GRID)
    for frame in (empty, merge([]), merge([empty, empty])):
        assert len(frame) == 0
        write_table(frame, tmp_path / "moments.parquet", MOMENTS)
        assert list(read_table(tmp_path / "moments.parquet", MOMENTS).columns) == MOMENTS.names


def test_observations_may_repeat_once_per_photo_but_not_contradict_themselves() -> None:
    made, seen = predictions(20), observations(20)
    twice = pd.concat([seen, seen.head(3)], ignore_index=True)
    pd.testing.assert_frame_equal(reduce_predictions(made, twice, GRID), reduce_predictions(made, seen, GRID))
    twice.loc[20, "species"] = "Another one"
    with pytest.raises(TableError, match="1 ids appear with different species"):
        reduce_predictions(made, twice, GRID)


def test_a_photo_predicted_twice_is_refused() -> None:
    made = predictions(5)
    with pytest.raises(TableError, match="2 photos are predicted more than once"):
        reduce_predictions(pd.concat([made, made.head(2).assign(model_id="other")]), observations(5), GRID)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(TableError, match="variance_epistemic"):
        reduce_predictions(predictions(2).drop(columns="variance_epistemic"), observations(2), GRID)
    with pytest.raises(TableError, match="observer"):
        reduce_predictions(predictions(2), observations(2).drop(columns="observer"), GRID)
    with pytest.raises(TableError, match="sum_w2"):
        merge([reduce_predictions(predictions(2), observations(2), GRID).drop(columns="sum_w2")])
