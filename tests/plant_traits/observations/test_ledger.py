from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plant_traits.errors import InputError, TableError
from plant_traits.month import Month
from plant_traits.observations.ledger import (
    LedgerChanges,
    check_drop,
    ledger_changes,
    ledger_counts,
    update_ledger,
)
from plant_traits.schemas import LEDGER, OBSERVATION

MAY, JUNE, JULY = Month(2026, 5), Month(2026, 6), Month(2026, 7)


def observations(month: Month, **species: str) -> pd.DataFrame:
    frame = pd.DataFrame({"observation_id": list(species), "species": list(species.values()), "snapshot": str(month)})
    for field in OBSERVATION:
        if field.name not in frame:
            frame[field.name] = 1.0 if pa.types.is_floating(field.type) else None
    frame["flags"] = month.month
    return frame[OBSERVATION.names]


def states(ledger: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    return {row.observation_id: (row.first_snapshot, row.last_snapshot, row.state) for row in ledger.itertuples()}


def test_observations_live_change_disappear_and_come_back() -> None:
    first = update_ledger(None, observations(MAY, a="Poa annua", b="Poa alpina", c="Poa nemoralis"), MAY)
    pa.Table.from_pandas(first, schema=LEDGER, preserve_index=False)
    assert states(first) == {name: ("2026-05", "2026-05", "live") for name in "abc"}
    second = update_ledger(first, observations(JUNE, a="Poa annua", b="Poa trivialis", d="Briza media"), JUNE)
    assert states(second) == {
        "a": ("2026-05", "2026-06", "live"),
        "b": ("2026-05", "2026-06", "changed"),
        "c": ("2026-05", "2026-05", "retracted"),
        "d": ("2026-06", "2026-06", "live"),
    }
    third = update_ledger(second, observations(JULY, b="Poa trivialis", c="Poa nemoralis"), JULY)
    assert states(third) == {
        "a": ("2026-05", "2026-06", "retracted"),
        "b": ("2026-05", "2026-07", "live"),
        "c": ("2026-05", "2026-07", "live"),
        "d": ("2026-06", "2026-06", "retracted"),
    }


def test_the_same_month_twice_changes_nothing() -> None:
    first = update_ledger(None, observations(MAY, a="Poa annua", b="Poa alpina", c="Poa pratensis"), MAY)
    june = observations(JUNE, a="Poa annua", b="Poa trivialis")
    second = update_ledger(first, june, JUNE)
    pd.testing.assert_frame_equal(update_ledger(second, june, JUNE), second)


def test_the_order_of_rows_and_photos_does_not_matter() -> None:
    rows = observations(MAY, a="Poa annua", b="Poa alpina")
    rows = pd.concat([rows, rows.iloc[:1].assign(photo_id="7"), rows.iloc[:1].assign(photo_id="8")])
    ledger = update_ledger(None, rows, MAY)
    pd.testing.assert_frame_equal(update_ledger(None, rows.iloc[::-1], MAY), ledger)
    fewer = update_ledger(ledger, rows.iloc[:3], JUNE)
    assert states(fewer)["a"][2] == "changed"


def test_a_ledger_that_is_ahead_is_refused() -> None:
    ledger = update_ledger(None, observations(JUNE, a="Poa annua"), JUNE)
    with pytest.raises(InputError, match="2026-06, later than 2026-05"):
        update_ledger(ledger, observations(MAY, a="Poa annua"), MAY)


def test_missing_columns_are_named() -> None:
    rows = observations(MAY, a="Poa annua")
    with pytest.raises(TableError, match="species"):
        update_ledger(None, rows.drop(columns="species"), MAY)
    with pytest.raises(TableError, match="state"):
        update_ledger(update_ledger(None, rows, MAY).drop(columns="state"), rows, MAY)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("species", "Poa alpina"),
        ("latitude", 1.00001),
        ("longitude", -1.0),
        ("licence", "CC-BY-NC-4.0"),
        ("photo_id", "8"),
        ("photo_url", "https://x/photos/8/original.jpg"),
        ("observed_on", pd.Timestamp("2020-05-02")),
        ("coordinate_uncertainty_m", None),
    ],
)
def test_what_a_record_says_of_itself_is_its_content(column: str, value: object) -> None:
    ledger = update_ledger(None, observations(MAY, a="Poa annua", b="Poa annua"), MAY)
    rows = observations(JUNE, a="Poa annua", b="Poa annua")
    rows[column] = rows[column].astype(object)
    rows.loc[0, column] = value
    if column == "observed_on":
        rows[column] = pd.to_datetime(rows[column])
    elif isinstance(value, float) or value is None:
        rows[column] = rows[column].astype("float64")
    after = update_ledger(ledger, rows, JUNE)
    assert after["state"].tolist() == ["changed", "live"]
    assert ledger_changes(ledger, after) == LedgerChanges(added=(), returned=(), changed=("a",), retracted=())


@pytest.mark.parametrize("column", ["flags", "snapshot", "growth_form"])
def test_what_others_say_of_a_record_is_not(column: str) -> None:
    ledger = update_ledger(None, observations(MAY, a="Poa annua"), MAY)
    rows = observations(JUNE, a="Poa annua").assign(**{column: 7 if column == "flags" else "other"})
    assert update_ledger(ledger, rows, JUNE)["state"].tolist() == ["live"]


def test_a_new_gbif_id_is_no_new_observation() -> None:
    # an observation is known by its source, dataset and the data set's own id
    ledger = update_ledger(None, observations(MAY, **{"gbif:d:https://x/1": "Poa annua"}), MAY)
    rows = observations(JUNE, **{"gbif:d:https://x/1": "Poa annua"})
    assert ledger_changes(ledger, update_ledger(ledger, rows, JUNE)) == LedgerChanges((), (), (), ())


def test_lists_of_what_became_of_observations() -> None:
    may = update_ledger(None, observations(MAY, a="Poa annua", b="Poa alpina", c="Poa nemoralis"), MAY)
    june = update_ledger(may, observations(JUNE, a="Poa annua", b="Poa trivialis", d="Briza media"), JUNE)
    july = update_ledger(june, observations(JULY, b="Poa trivialis", c="Poa pratensis"), JULY)
    assert ledger_changes(None, may) == LedgerChanges(("a", "b", "c"), (), (), ())
    assert ledger_changes(may, june) == LedgerChanges(("d",), (), ("b",), ("c",))
    assert ledger_changes(june, july) == LedgerChanges((), ("c",), (), ("a", "d"))
    assert ledger_changes(may, july) == LedgerChanges((), (), ("b", "c"), ("a",))
    assert ledger_changes(july, july) == LedgerChanges((), (), (), ())
    with pytest.raises(InputError, match="lacks 1 observations"):
        ledger_changes(july, may)


def test_observations_are_counted_by_source_and_state() -> None:
    rows = {f"gbif:d:{k}": "Poa annua" for k in range(3)} | {"inaturalist:o:1": "Poa annua"}
    ledger = update_ledger(None, observations(MAY, **rows), MAY)
    rows = {"gbif:d:0": "Poa annua", "gbif:d:1": "Poa alpina", "inaturalist:o:1": "Poa annua", "try::9": "Poa annua"}
    counts = ledger_counts(update_ledger(ledger, observations(JUNE, **rows), JUNE))
    assert counts.to_dict("index") == {
        "gbif": {"live": 1, "changed": 1, "retracted": 1},
        "inaturalist": {"live": 1, "changed": 0, "retracted": 0},
        "try": {"live": 1, "changed": 0, "retracted": 0},
    }


def test_a_source_that_failed_retracts_nothing() -> None:
    many = {f"gbif:d:{k}": "Poa annua" for k in range(10)} | {f"inaturalist:o:{k}": "Poa annua" for k in range(10)}
    ledger = update_ledger(None, observations(MAY, **many), MAY)
    two_gone = observations(JUNE, **{name: "Poa annua" for name in list(many)[2:]})
    assert ledger_counts(update_ledger(ledger, two_gone, JUNE, largest_drop=0.2))["retracted"].to_dict() == {
        "gbif": 2,
        "inaturalist": 0,
    }
    three_gone = observations(JUNE, **{name: "Poa annua" for name in list(many)[3:]})
    with pytest.raises(InputError, match=r"^3 of the 10 observations of gbif are no longer there.* 0\.2 "):
        update_ledger(ledger, three_gone, JUNE, largest_drop=0.2)
    # a source that sent nothing at all, though the total is large and others grew
    one_source = observations(JUNE, **{f"gbif:d:{k}": "Poa annua" for k in range(100)})
    with pytest.raises(InputError, match="10 of the 10 observations of inaturalist"):
        check_drop(ledger, one_source, 0.9)
    check_drop(ledger, one_source, 0.9, may_shrink=["inaturalist"])
    check_drop(ledger, one_source, 1.0)


def test_new_records_do_not_hide_that_the_old_ones_are_gone() -> None:
    ledger = update_ledger(None, observations(MAY, **{f"gbif:d:{k}": "Poa annua" for k in range(10)}), MAY)
    renamed = observations(JUNE, **{f"gbif:d:new-{k}": "Poa annua" for k in range(10)})
    with pytest.raises(InputError, match="10 of the 10"):
        check_drop(ledger, renamed, 0.2)


def test_records_that_were_retracted_before_are_not_missed_again() -> None:
    first = update_ledger(None, observations(MAY, **{f"gbif:d:{k}": "Poa annua" for k in range(10)}), MAY)
    rows = {f"gbif:d:{k}": "Poa annua" for k in range(8)}
    second = update_ledger(first, observations(JUNE, **rows), JUNE)
    check_drop(second, observations(JULY, **rows), 0.0)


def test_a_share_that_is_none_is_refused() -> None:
    ledger = update_ledger(None, observations(MAY, a="Poa annua"), MAY)
    with pytest.raises(InputError, match=r"0 to 1, found 20"):
        check_drop(ledger, observations(JUNE, a="Poa annua"), 20)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcde"), st.sampled_from(["Poa annua", "Poa alpina"]), min_size=0), max_size=6
    )
)
def test_month_by_month_gives_what_the_whole_history_gives(history: list[dict[str, str]]) -> None:
    months = [Month(2026, 1 + k) for k in range(len(history))]
    ledger = None
    for month, rows in zip(months, history, strict=True):
        before, ledger = ledger, update_ledger(ledger, observations(month, **rows), month)
        changes = ledger_changes(before, ledger)
        earlier = {} if month == months[0] else history[month.month - 2]
        assert set(changes.added) | set(changes.returned) == set(rows) - set(earlier)
        assert set(changes.retracted) == set(earlier) - set(rows)
        assert set(changes.changed) == {name for name in rows if name in earlier and rows[name] != earlier[name]}
    wanted = {}
    for name in sorted(set().union(*history)):
        seen = [k for k, rows in enumerate(history) if name in rows]
        if seen[-1] < len(history) - 1:
            state = "retracted"
        elif len(seen) > 1 and history[seen[-1]][name] != history[seen[-2]][name]:
            state = "changed"
        else:
            state = "live"
        wanted[name] = (str(months[seen[0]]), str(months[seen[-1]]), state)
    assert ledger is None or states(ledger) == wanted
