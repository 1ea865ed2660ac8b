"""Shards that go on from month to month: what stays, what is cut, what leaves, and when small ones are joined."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plant_traits.errors import InputError, TableError
from plant_traits.observations.increments import MOST_POOR, ShardPlan, plan_increment
from plant_traits.observations.shards import SEVERAL, TILES, plan_shards, tile_name
from plant_traits.schemas import SHARD_PLAN, SHARD_PLAN_ROW, SHARD_ROW


def records(ids: list[int], seed: int = 1, species: str = "Poa annua") -> pd.DataFrame:
    """Return a row per id, its place drawn from the id; some have no photo, some two."""
    frame = pd.DataFrame({"observation_id": [f"gbif:d:{k}" for k in ids]}, dtype="str")
    for field in SHARD_ROW:
        if field.name not in frame:
            frame[field.name] = 1.0 if pa.types.is_floating(field.type) else None
    places = [np.random.default_rng([seed, k]).uniform(-1, 1, 2) for k in ids]
    frame["photo_id"] = [None if k % 7 == 0 else f"p{k}" for k in ids]
    frame["latitude"] = [45 + 9 * place[0] for place in places]
    frame["longitude"] = [5 + 9 * place[1] for place in places]
    frame["species"] = species
    return frame[SHARD_ROW.names]


def held(plan: ShardPlan, rows: pd.DataFrame) -> dict[str, set[str]]:
    """Return the ids of the rows of each shard."""
    names = plan.shards["shard"].to_numpy()[plan.rows["shard"].to_numpy()]
    return {str(name): set(own) for name, own in rows["observation_id"].groupby(names)}


def test_the_first_month_is_cut_as_it_always_was() -> None:
    rows = records(list(range(200)))
    plan = plan_increment(rows, 40)
    expected = plan_shards(rows, 40)
    assert plan.shards["shard"].tolist() == [shard.name for shard, _ in expected]
    assert plan.shards["tile"].tolist() == [shard.tile for shard, _ in expected]
    assert held(plan, rows) == {shard.name: set(own["observation_id"]) for shard, own in expected}
    assert plan.shards["new"].all()
    assert (plan.shards["live_hash"] == plan.shards["shard"]).all()
    assert plan.rows.dtypes.astype(str).tolist() == [str(field.type).replace("int", "int") for field in SHARD_PLAN_ROW]
    assert (plan.rows_kept, plan.rows_new, plan.rows_left) == (0, 200, 0)


def test_the_same_month_again_cuts_nothing() -> None:
    rows = records(list(range(200)))
    first = plan_increment(rows, 40)
    again = plan_increment(rows.sample(frac=1, random_state=1), 40, first)
    assert not again.shards["new"].any()
    columns = [name for name in SHARD_PLAN.names if name != "new"]
    pd.testing.assert_frame_equal(again.shards[columns], first.shards[columns])
    assert (again.rows_kept, again.rows_new, again.rows_left) == (200, 0, 0)


def test_changed_rows_are_cut_and_retracted_ones_leave() -> None:
    before = records(list(range(100)))
    after = before.drop(index=[3, 4]).reset_index(drop=True)
    after.loc[after["observation_id"] == "gbif:d:10", "species"] = "Poa alpina"
    after = pd.concat([after, records([200])], ignore_index=True)
    first = plan_increment(before, 1000)
    plan = plan_increment(after, 1000, first)
    was, now = held(first, before), held(plan, after)
    new = {name for name, is_new in zip(plan.shards["shard"], plan.shards["new"], strict=True) if is_new}
    assert set().union(*(now[name] for name in new)) == {"gbif:d:10", "gbif:d:200"}
    for name in set(now) - new:
        assert now[name] == was[name] - {"gbif:d:3", "gbif:d:4", "gbif:d:10"}
        told = plan.shards.set_index("shard").loc[name]
        assert (told["live_hash"] == name) == (now[name] == was[name])
        # What is live has the name that a shard of it would have.
        alone = plan_shards(after[after["observation_id"].isin(now[name])], 1000)
        assert told["live_hash"] == alone[0][0].name
        assert (told["cut"], told["live"]) == (len(was[name]), len(now[name]))
    assert (plan.rows_new, plan.rows_left, plan.rows_kept) == (2, 3, 97)


def test_one_of_two_photos_of_an_observation_can_leave() -> None:
    both = pd.concat([records([1]), records([1]).assign(photo_id="q")], ignore_index=True)
    first = plan_increment(both, 10)
    plan = plan_increment(both.iloc[[1]].reset_index(drop=True), 10, first)
    assert plan.shards[["cut", "live", "new"]].to_numpy().tolist() == [[2, 1, False]]
    assert (plan.rows_kept, plan.rows_left) == (1, 1)


def test_a_shard_without_a_live_row_is_dropped_and_a_row_that_comes_back_is_cut_anew() -> None:
    rows = records(list(range(20)))
    first = plan_increment(rows, 100)
    gone = plan_increment(rows.iloc[:0], 100, first)
    assert gone.shards.empty
    assert gone.rows_left == 20
    back = plan_increment(rows, 100, gone)
    assert back.shards["new"].all()
    assert set(back.shards["shard"]) == set(first.shards["shard"])


def test_rows_whose_photo_was_found_are_cut_again_where_it_was_lost() -> None:
    rows = records([1, 2, 3])
    rows["latitude"], rows["longitude"] = 45.0, 5.0
    first = plan_increment(rows, 10)
    (name,) = first.shards["shard"]
    found = pd.DataFrame({"shard": [name, "another"], "photo_id": ["p2", "p3"]})
    plan = plan_increment(rows, 10, first, found)
    assert sorted(map(sorted, held(plan, rows).values())) == [["gbif:d:1", "gbif:d:3"], ["gbif:d:2"]]
    assert (plan.rows_photo_found, plan.rows_kept, plan.rows_left) == (1, 2, 0)


def test_small_shards_of_a_tile_are_joined_when_they_are_too_many() -> None:
    rows = records(list(range(100)))
    rows["latitude"], rows["longitude"] = 45.0, 5.0
    plan, numbers = plan_increment(rows, 1000), []
    for month in range(1, 2 * MOST_POOR + 2):
        rows = pd.concat([rows, records([1000 + month]).assign(latitude=45.0, longitude=5.0)], ignore_index=True)
        plan = plan_increment(rows, 1000, plan)
        numbers.append(len(plan.shards))
        assert plan.rows_compacted == {13: 12, 25: 24}.get(month, 0)
    assert MOST_POOR == 12
    assert numbers == [*range(2, 14), *range(2, 14), 2]


def test_a_large_live_shard_is_not_cut_again_with_the_small_ones() -> None:
    rows = records(list(range(90))).assign(latitude=45.0, longitude=5.0)
    first = plan_increment(rows, 100)
    (large,) = first.shards["shard"]
    plan = first
    for month in range(MOST_POOR + 1):
        rows = pd.concat([rows, records([1000 + month]).assign(latitude=45.0, longitude=5.0)], ignore_index=True)
        plan = plan_increment(rows, 100, plan)
    assert large in set(plan.shards["shard"])
    assert len(plan.shards) == 2  # it, and the small ones joined


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60))), max_size=5), st.integers(1, 30))
def test_whatever_comes_and_goes_every_row_is_held_once(months: list[tuple[set[int], set[int]]], size: int) -> None:
    plan: ShardPlan | None = None
    before: pd.DataFrame | None = None
    for there, altered in months:
        rows = records(sorted(there))
        rows.loc[rows["observation_id"].isin([f"gbif:d:{k}" for k in altered]), "species"] = "Poa alpina"
        later = plan_increment(rows, size, plan)
        assert len(later.rows) == len(rows)
        counts = np.bincount(later.rows["shard"], minlength=len(later.shards))
        assert counts.tolist() == later.shards["live"].tolist()
        assert (counts > 0).all()
        assert (later.shards["live"] <= later.shards["cut"]).all()
        assert (later.shards["cut"] <= size).all()
        assert not later.shards["shard"].duplicated().any()
        tiles = TILES.cell_of(rows["latitude"].to_numpy(), rows["longitude"].to_numpy())
        own = later.shards["tile"].to_numpy()[later.rows["shard"].to_numpy()] if len(rows) else []
        assert all(x in {tile_name(int(tile)), SEVERAL} for tile, x in zip(tiles, own, strict=True))
        new = later.shards[later.shards["new"]]
        assert new["shard"].tolist() == new.sort_values(["tile", "shard"])["shard"].tolist()
        assert (new["tile"] == SEVERAL).sum() <= 1 + (later.shards["cut"] * new["new"]).sum() / size
        if plan is not None and before is not None:
            columns = ["observation_id", "species"]
            unchanged = len(rows[columns].merge(before[columns]))
            assert later.rows_new == len(rows) - unchanged
            assert later.rows_left == len(before) - unchanged
        plan, before = later, rows


def test_bad_input_is_refused() -> None:
    rows = records([1, 2])
    with pytest.raises(InputError, match="at least 1"):
        plan_increment(rows, 0)
    with pytest.raises(InputError, match="repeated"):
        plan_increment(pd.concat([rows, rows]), 10)
    plan = plan_increment(rows, 10)
    with pytest.raises(TableError, match="live_hash"):
        plan_increment(rows, 10, ShardPlan(plan.rows, plan.shards.drop(columns="live_hash"), 0, 0, 0, 0, 0))
    with pytest.raises(TableError, match="cut the shards afresh"):
        plan_increment(rows, 10, ShardPlan(plan.rows.assign(shard=9), plan.shards, 0, 0, 0, 0, 0))
