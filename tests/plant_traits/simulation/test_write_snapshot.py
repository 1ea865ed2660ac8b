"""Snapshots have GBIF's columns and types, and differ by what was added and retracted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plant_traits.simulation.services.world_records import WorldRecords
from plant_traits.simulation.write_snapshot import DATES, snapshot_table, write_snapshots


@pytest.fixture(scope="module")
def occurrences(tiny_world: Path) -> pd.DataFrame:
    return WorldRecords.of_world(tiny_world).occurrences


@pytest.fixture(scope="module")
def folder(occurrences: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshots")
    write_snapshots(occurrences, 7, path)
    return path


def read(folder: Path, date: str) -> pa.Table:
    parts = sorted((folder / "occurrence" / date / "occurrence.parquet").iterdir())
    assert [part.name for part in parts] == ["000000", "000001", "000002"]
    return pa.concat_tables([pq.read_table(part) for part in parts])


def test_types(folder: Path) -> None:
    schema = read(folder, DATES[1]).schema
    assert all(name == name.lower() for name in schema.names)
    assert schema.field("gbifid").type == pa.string()
    assert schema.field("taxonkey").type == pa.string()
    assert schema.field("decimallatitude").type == pa.float64()
    assert schema.field("year").type == pa.int32()
    assert schema.field("eventdate").type == pa.timestamp("ms")
    assert schema.field("mediatype").type == pa.list_(pa.struct([pa.field("array_element", pa.string())]))
    assert (folder / "occurrence" / DATES[1] / "citation.txt").read_text().startswith("GBIF.org (2026-10-01)")


def test_successive_snapshots(folder: Path, occurrences: pd.DataFrame) -> None:
    tables = {date: read(folder, date).to_pandas() for date in DATES}
    plants = {date: set(t.loc[t["kingdom"] == "Plantae", "gbifid"]) for date, t in tables.items()}
    ours = set(occurrences["gbifID"])
    assert plants[DATES[1]] == plants[DATES[2]] == ours
    assert len(ours - plants[DATES[0]]) == 5  # 2 % of 267 came later
    assert len(plants[DATES[0]] - ours) == 3  # 1 % of 267 were retracted
    assert (tables[DATES[1]]["phylum"] == "Chordata").sum() == 13


def test_values_are_kept_and_what_is_empty_is_null(occurrences: pd.DataFrame) -> None:
    table = snapshot_table(occurrences).to_pandas()
    stated = pd.to_numeric(occurrences["decimalLatitude"], errors="coerce")
    assert stated.isna().any()
    pd.testing.assert_series_equal(table["decimallatitude"], stated, check_names=False)
    assert table["eventdate"].dt.strftime("%Y-%m-%d").tolist() == occurrences["eventDate"].str[:10].tolist()
    assert [x[0]["array_element"] for x in table["recordedby"]] == occurrences["recordedBy"].tolist()
    assert table["license"].isin(["CC0_1_0", "CC_BY_4_0", "CC_BY_NC_4_0"]).all()
    assert [list(x) for x in table["issue"]] == [[x] if x else [] for x in occurrences["issue"]]


def test_the_same_records_give_the_same_bytes(folder: Path, occurrences: pd.DataFrame, tmp_path: Path) -> None:
    write_snapshots(occurrences, 7, tmp_path)
    for path in folder.rglob("0000*"):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()
