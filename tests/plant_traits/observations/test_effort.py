"""The cap on what one observer gives in a day, and the effort of each cell."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plant_traits.errors import GridError, InputError, TableError
from plant_traits.grid import Grid
from plant_traits.observations.effort import cap_effort, target_group_effort

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
