from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

from plant_traits.errors import InputError, TableError
from plant_traits.month import Month
from plant_traits.observations.ledger import update_ledger
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
