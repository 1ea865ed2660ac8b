"""The cap on what one observer gives in a day, and the effort of each cell."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plant_traits.errors import GridError, InputError, TableError
from plant_traits.grid import Grid
from plant_traits.observations import effort
from plant_traits.observations.effort import (
    BEYOND_CAP,
    EffortCount,
    cap_effort,
    effort_records,
    read_effort,
    records_beyond_cap,
    target_group_effort,
)
from plant_traits.schemas import EFFORT_RECORD, OBSERVATION, write_table

ONE_DEGREE = Grid.parse("1deg")


def photos(*rows: tuple[str, str, str | None, float]) -> pd.DataFrame:
    """Rows of observer, species, day and latitude, each its own record with one photo."""
    frame = pd.DataFrame(list(rows), columns=["observer", "species", "observed_on", "latitude"])
    frame["observed_on"] = pd.to_datetime(frame["observed_on"])
    names = [str(k) for k in range(len(frame))]
    return frame.assign(longitude=20.5, observation_id=names, photo_id=names)


GOOD = ("ann", "Poa annua", "2020-05-01", 10.5)


def test_at_most_k_of_one_observer_species_day_and_cell_stay() -> None:
    rows = photos(
        *[GOOD] * 5,
        *[("bob", *GOOD[1:])] * 2,  # another observer
        *[("ann", "Poa alpina", *GOOD[2:])] * 2,  # another species
        *[("ann", "Poa annua", "2020-05-02", 10.5)] * 2,  # another day
        *[(*GOOD[:3], 11.0)] * 2,  # the cell to the north
    )
    kept, left_out = cap_effort(rows, 2, ONE_DEGREE)
    assert left_out == 3
    assert set(rows["observation_id"]) - set(kept["observation_id"]) <= {"0", "1", "2", "3", "4"}
    assert list(kept.columns) == list(rows.columns)
    assert kept["observation_id"].astype(int).is_monotonic_increasing


def test_a_larger_cell_holds_more_of_them() -> None:
    rows = photos(GOOD, (*GOOD[:3], 11.5))
    assert cap_effort(rows, 1, ONE_DEGREE)[1] == 0
    assert cap_effort(rows, 1, Grid.parse("5deg"))[1] == 1


def test_photos_of_one_record_count_each() -> None:
    rows = photos(GOOD, GOOD, GOOD).assign(observation_id="same")
    assert cap_effort(rows, 2, ONE_DEGREE)[1] == 1


def test_without_a_date_nothing_is_left_out() -> None:
    rows = photos(*[("ann", "Poa annua", None, 10.5)] * 4)
    kept, left_out = cap_effort(rows, 1, ONE_DEGREE)
    assert (len(kept), left_out) == (4, 0)


def test_nothing_over_the_cap_stays_as_it_is() -> None:
    rows = photos(GOOD, GOOD)
    kept, left_out = cap_effort(rows, 2, ONE_DEGREE)
    pd.testing.assert_frame_equal(kept, rows)
    assert left_out == 0
    assert cap_effort(rows.iloc[:0], 1, ONE_DEGREE)[1] == 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ann", "bob"]),
            st.just("Poa annua"),
            st.sampled_from(["2020-05-01", "2020-05-02", None]),
            st.sampled_from([10.5, 11.5]),
        ),
        min_size=1,
        max_size=25,
    ),
    st.integers(1, 4),
    st.randoms(),
)
def test_it_is_a_cap_whatever_the_order_and_a_smaller_one_is_part_of_a_larger(
    rows: list[tuple[str, str, str | None, float]], k: int, random: object
) -> None:
    frame = photos(*rows)
    kept, left_out = cap_effort(frame, k, ONE_DEGREE)
    wanted = sum(max(0, n - k) for (_, _, day, _), n in Counter(rows).items() if day is not None)
    assert left_out == wanted == len(frame) - len(kept)
    order = list(range(len(frame)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert set(cap_effort(frame.iloc[order], k, ONE_DEGREE)[0]["photo_id"]) == set(kept["photo_id"])
    assert set(kept["photo_id"]) <= set(cap_effort(frame, k + 1, ONE_DEGREE)[0]["photo_id"])


def test_effort_counts_records_and_people_of_a_cell() -> None:
    rows = photos(GOOD, GOOD, ("bob", "Poa alpina", None, 10.2), ("ann", "Poa annua", "2020-05-01", 40.0))
    rows.loc[1, "observation_id"] = "0"  # a second photo of the first record
    found = target_group_effort(rows, ONE_DEGREE)
    north, south = ONE_DEGREE.cell_of([40.0, 10.5], [20.5, 20.5]).tolist()
    assert found.to_numpy().tolist() == [[north, 1, 1], [south, 2, 2]]
    assert found.columns.tolist() == ["cell", "n_records", "n_observers"]
    assert target_group_effort(rows.iloc[:0], ONE_DEGREE).empty


def test_without_a_cap_all_stays() -> None:
    rows = photos(*[GOOD] * 9)
    kept, left_out = cap_effort(rows, None, ONE_DEGREE)
    pd.testing.assert_frame_equal(kept, rows)
    assert left_out == 0


def test_records_beyond_the_cap_are_those_of_which_nothing_was_kept() -> None:
    rows = photos(*[GOOD] * 6).assign(observation_id=["a", "a", "b", "b", "c", "d"])
    kept, _ = cap_effort(rows, 2, ONE_DEGREE)
    beyond = records_beyond_cap(rows, kept)
    assert beyond.columns.tolist() == EFFORT_RECORD.names
    assert sorted([*beyond["observation_id"], *kept["observation_id"].unique()]) == ["a", "b", "c", "d"]
    assert records_beyond_cap(rows, rows).empty
    with pytest.raises(TableError, match="latitude"):
        records_beyond_cap(rows.drop(columns="latitude"), kept)


records = st.lists(
    st.tuples(st.sampled_from(["ann", "bob", None]), st.floats(-90, 90), st.floats(-180, 180), st.integers(1, 3)),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(records, st.integers(1, 5), st.sampled_from(["1deg", "60deg", "0.5deg"]), st.sampled_from([1, 1000]))
def test_counting_part_by_part_gives_what_counting_at_once_gives(
    rows: list[tuple[str | None, float, float, int]], parts: int, text: str, held: int
) -> None:
    frame = pd.DataFrame(rows, columns=["observer", "latitude", "longitude", "photos"])
    frame["observation_id"] = [str(k) for k in range(len(frame))]
    grid = Grid.parse(text)
    expected = target_group_effort(frame.loc[frame.index.repeat(frame["photos"])], grid)
    count, without = EffortCount(grid), EffortCount(grid, observers=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effort, "_HELD", held)
        for k in range(parts):
            count.add(frame.iloc[k::parts])
            without.add(frame.iloc[k::parts])
    pd.testing.assert_frame_equal(count.table(), expected)
    pd.testing.assert_frame_equal(without.table(), expected.assign(n_observers=0))


def month_of(folder: Path, ids: list[str], beyond: list[str]) -> Path:
    """Write observations of these ids, a row per photo, and those beyond the cap."""
    rows = pd.DataFrame({field.name: [None] * len(ids) for field in OBSERVATION}).assign(
        observation_id=ids, observer="ann", latitude=10.5, longitude=20.5, flags=0
    )
    write_table(rows, folder / "observations.parquet", OBSERVATION)
    left = pd.DataFrame({"observation_id": beyond, "observer": "bob", "latitude": 10.5, "longitude": 20.5})
    write_table(left, folder / BEYOND_CAP, EFFORT_RECORD)
    return folder


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_every_record_is_read_once_wherever_a_batch_ends(
    tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effort, "_BATCH", batch)
    folder = month_of(tmp_path, ["a", "b", "b", "b", "c", "c", "d"], ["e"])
    read = [name for part in effort_records(folder) for name in part["observation_id"]]
    assert read == ["a", "b", "c", "d", "e"]
    assert read_effort(folder, ONE_DEGREE).to_numpy().tolist() == [[ONE_DEGREE.cell_of(10.5, 20.5), 5, 2]]


def test_observations_that_cannot_be_counted_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "_BATCH", 1)
    with pytest.raises(TableError, match="sorted by observation_id"):
        read_effort(month_of(tmp_path, ["b", "a"], []), ONE_DEGREE)
    (tmp_path / BEYOND_CAP).unlink()
    month = month_of(tmp_path, ["a"], [])
    (month / BEYOND_CAP).unlink()
    with pytest.raises(TableError, match="beyond_cap"):
        read_effort(month, ONE_DEGREE)
    (month / "observations.parquet").unlink()
    with pytest.raises(TableError, match="build them again"):
        read_effort(month, ONE_DEGREE)


def test_bad_input_is_named() -> None:
    rows = photos(GOOD)
    with pytest.raises(InputError, match="at least 1, found 0"):
        cap_effort(rows, 0, ONE_DEGREE)
    with pytest.raises(TableError, match="observer"):
        cap_effort(rows.drop(columns="observer"), 1, ONE_DEGREE)
    with pytest.raises(TableError, match="observation_id"):
        target_group_effort(rows.drop(columns="observation_id"), ONE_DEGREE)
    with pytest.raises(GridError, match="out-of-range"):
        cap_effort(rows.assign(latitude=95.0), 1, ONE_DEGREE)
