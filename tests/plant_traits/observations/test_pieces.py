"""Pieces of a region are put together: what both sides of a border hold counts once, everything else stays."""

from __future__ import annotations

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from plant_traits.observations.pieces import join_pieces
from plant_traits.sources.raw_occurrence import concatenated, raw_occurrences, rejected_rows


def rows(*records: tuple[str, str | None, float], rejected: dict[str, int] | None = None) -> pd.DataFrame:
    ids, photos, latitudes = zip(*records, strict=True) if records else ((), (), ())
    columns = {
        "source": "gbif",
        "occurrence_id": pd.Series(ids, dtype="str"),
        "photo_id": pd.Series(photos, dtype="str"),
        "latitude": pd.Series(latitudes, dtype="float64"),
    }
    return raw_occurrences(columns, len(records), rejected)


def told(frame: pd.DataFrame) -> list[tuple[str, float]]:
    return list(zip(frame["occurrence_id"], frame["latitude"], strict=True))


def test_a_row_on_the_border_stays_in_the_first_piece() -> None:
    frames, lost = join_pieces([rows(("a", "1", 0.0), ("b", None, 30.0)), rows(("b", None, 30.0), ("c", "3", 40.0))])
    assert [told(x) for x in frames] == [[("a", 0.0), ("b", 30.0)], [("c", 40.0)]]
    assert lost == 1


def test_several_photos_of_a_record_are_several_rows() -> None:
    one, two = rows(("a", "1", 30.0), ("a", "2", 30.0)), rows(("a", "2", 30.0), ("a", "3", 30.0))
    frames, lost = join_pieces([one, two])
    assert [x["photo_id"].tolist() for x in frames] == [["1", "2"], ["3"]]
    assert lost == 1


def test_a_record_that_changed_meanwhile_is_left_to_cleaning() -> None:
    frames, lost = join_pieces([rows(("a", "1", 30.0)), rows(("a", "1", 30.0004))])
    assert [told(x) for x in frames] == [[("a", 30.0)], [("a", 30.0004)]]
    assert lost == 0


def test_repetitions_of_the_source_itself_stay() -> None:
    twice = rows(("a", "1", 30.0), ("a", "1", 30.0))
    frames, lost = join_pieces([twice, twice])
    assert [len(x) for x in frames] == [2, 0]
    assert lost == 2
    assert [len(x) for x in join_pieces([twice])[0]] == [2]


def test_rows_that_readers_rejected_stay_counted() -> None:
    one, two = rows(("a", "1", 3.0), rejected={"bad": 2}), rows(("a", "1", 3.0), rejected={"bad": 1})
    frames, _ = join_pieces([one, two])
    assert rejected_rows(concatenated(frames)) == {"bad": 3}
    assert join_pieces([])[0] == []
    assert [len(x) for x in join_pieces([rows(), rows()])[0]] == [0, 0]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sets(st.integers(0, 12)), min_size=1, max_size=5))
def test_every_row_is_there_once(held: list[set[int]]) -> None:
    frames, lost = join_pieces([rows(*((f"r{k}", None, float(k)) for k in sorted(some))) for some in held])
    found = concatenated(frames)["occurrence_id"].tolist()
    assert sorted(found) == sorted({f"r{k}" for some in held for k in some})
    assert lost == sum(len(some) for some in held) - len(found)
