from __future__ import annotations

import datetime
import io
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plant_traits.errors import ArchiveError, InputError, MissingInputError, TableError
from plant_traits.sources.gbif.simple import (
    as_text,
    read_simple_csv,
    read_simple_parquet,
    simple_csv_tables,
    simple_parquet_tables,
)
from plant_traits.sources.occurrences import OCCURRENCE_READERS, read_occurrences
from plant_traits.sources.raw_occurrence import RAW_OCCURRENCE, rejected_rows, write_raw_occurrence_tables

HEADER = [
    "gbifID", "datasetKey", "occurrenceID", "species", "scientificName", "decimalLatitude", "decimalLongitude",
    "coordinateUncertaintyInMeters", "eventDate", "day", "month", "year", "taxonKey", "basisOfRecord", "license",
    "rightsHolder", "recordedBy", "establishmentMeans",
]  # fmt: skip
ROWS = [
    ["11", "d1", "urn:1", "Ulex minor", 'Ulex "minor" Roth', "41.5", "-7.25", "12", "2021-05-03T10:11:12", "3", "5",
     "2021", "5X7", "HUMAN_OBSERVATION", "CC_BY_NC_4_0", "Ann", "Ann;Bob", "introduced"],
    ["12", "d1", "", "", "Ulex L.", "", "", "", "1999-07", "", "7", "1999", "3", "HUMAN_OBSERVATION", "CC0_1_0", "",
     "O'Hara", ""],
]  # fmt: skip
ELEMENT = pa.struct([("array_element", pa.string())])
CONCEPTS = pa.struct([("concepts", pa.list_(pa.string())), ("lineage", pa.list_(pa.string()))])


def table_text(rows: list[list[str]] = ROWS) -> str:
    return "\n".join("\t".join(row) for row in [HEADER, *rows]) + "\n"


def zipped(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", ".").replace("SLASH", "/"), content)
    return path


def test_a_csv_download_becomes_raw_occurrences(tmp_path: Path) -> None:
    frame = read_simple_csv(zipped(tmp_path / "a.zip", a__csv=table_text()), "gbif")
    assert list(frame.columns) == RAW_OCCURRENCE.names
    first, second = (row.dropna().to_dict() for _, row in frame.iterrows())
    assert first == {
        "source": "gbif", "dataset_key": "d1", "occurrence_id": "urn:1", "scientific_name": 'Ulex "minor" Roth',
        "species": "Ulex minor", "taxon_key": "5X7", "latitude": 41.5, "longitude": -7.25,
        "coordinate_uncertainty_m": 12.0, "observed_on": datetime.datetime(2021, 5, 3), "year": 2021.0,
        "recorded_by": "Ann;Bob", "basis_of_record": "HUMAN_OBSERVATION", "degree_of_establishment": "introduced",
        "licence": "CC-BY-NC-4.0", "attribution": "Ann",
    }  # fmt: skip
    assert second == {
        "source": "gbif", "dataset_key": "d1", "occurrence_id": "12", "scientific_name": "Ulex L.", "taxon_key": "3",
        "year": 1999.0, "recorded_by": "O'Hara", "basis_of_record": "HUMAN_OBSERVATION", "licence": "CC0-1.0",
        "attribution": "O'Hara",
    }  # fmt: skip
    assert rejected_rows(frame) == {}


def test_a_bare_table_a_byte_order_mark_and_other_line_ends_are_understood(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + table_text().replace("\n", "\r\n").encode())
    frame = read_simple_csv(tmp_path / "a.csv", "gbif")
    assert frame["occurrence_id"].tolist() == ["urn:1", "12"]
    assert frame["degree_of_establishment"].tolist()[0] == "introduced"


def test_rows_with_other_numbers_of_fields_are_counted(tmp_path: Path) -> None:
    text = table_text([ROWS[0], ["1", "2"], ROWS[1], [*ROWS[0], "one more"]])
    frame = read_simple_csv(zipped(tmp_path / "a.zip", a__csv=text), "gbif")
    assert frame["occurrence_id"].tolist() == ["urn:1", "12"]
    assert rejected_rows(frame) == {"malformed_row": 2}
    only_bad = read_simple_csv(zipped(tmp_path / "b.zip", a__csv=table_text([["1"]] * 3)), "gbif")
    assert len(only_bad) == 0
    assert rejected_rows(only_bad) == {"malformed_row": 3}
    assert len(read_simple_csv(zipped(tmp_path / "c.zip", a__csv=table_text([])), "gbif")) == 0


def test_a_large_table_comes_in_blocks_and_whole(tmp_path: Path) -> None:
    rows = [[str(k), *ROWS[0][1:2], f"urn:{k}", *ROWS[0][3:]] for k in range(150_000)]
    path = zipped(tmp_path / "a.zip", a__csv=table_text(rows))
    rejected = Counter[str]()
    tables = list(simple_csv_tables(path, "gbif", rejected))
    assert len(tables) > 1
    assert all(table.schema == RAW_OCCURRENCE for table in tables)
    found = pa.concat_tables(tables)["occurrence_id"].to_pylist()
    assert found == [f"urn:{k}" for k in range(150_000)]
    assert not rejected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (table_text().encode() + b"13\td\0\n", "NUL bytes"),
        (table_text().encode() + b"x" * 10_000_000 + b"\n", "line of more than"),
        (table_text([[*ROWS[0][:4], "y" * 10_000_000, *ROWS[0][5:]]]).encode(), "line of more than"),
        (
            table_text().encode() + table_text([ROWS[0]]).split("\n")[1].encode().replace(b"urn", b"\xff\xfe"),
            "(?i)utf-?8",
        ),
        (b"\xff\xfe" + table_text().encode("utf-16-le"), "UTF-8"),
        (b"", "columns .*gbifid.* are missing"),
        (table_text().replace("decimalLatitude", "lat").encode(), "'decimallatitude'. are missing"),
        (table_text().replace("species", "DATASETKEY", 1).encode(), "'datasetkey'. are there twice"),
    ],
)
def test_what_is_no_table_of_occurrences_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(TableError, match=told):
        read_simple_csv(tmp_path / "a.csv", "gbif")


def test_wrong_archives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        read_simple_csv(tmp_path / "none.zip", "gbif")
    with pytest.raises(MissingInputError):
        read_simple_csv(tmp_path / "none.csv", "gbif")
    with pytest.raises(MissingInputError):
        read_simple_parquet(tmp_path / "none.parquet", "gbif")
    with pytest.raises(ArchiveError, match="expected one table"):
        read_simple_csv(zipped(tmp_path / "a.zip", a__csv="", b__csv=""), "gbif")
    with pytest.raises(ArchiveError, match="expected Parquet files"):
        read_simple_parquet(zipped(tmp_path / "b.zip", a__csv=""), "gbif")
    with pytest.raises(TableError, match="not a readable Parquet table"):
        read_simple_parquet(zipped(tmp_path / "c.zip", a__parquet=b"PAR1 no PAR1"), "gbif")


def parquet_bytes(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def parquet_columns() -> dict[str, Any]:
    """The rows of ROWS in the types of a SIMPLE_PARQUET download."""
    columns: dict[str, Any] = {}
    for k, name in enumerate(HEADER):
        values = [row[k] or None for row in ROWS]
        kind: pa.DataType = pa.string()
        if name.startswith(("decimal", "coordinate")):
            kind, values = pa.float64(), [None if v is None else float(v) for v in values]
        elif name in ("day", "month", "year"):
            kind, values = pa.int32(), [None if v is None else int(v) for v in values]
        elif name == "recordedBy":
            kind = pa.list_(pa.string())
            values = [v.split(";") for v in values]
        elif name == "establishmentMeans":
            kind = pa.struct([("concept", pa.string()), ("lineage", pa.list_(pa.string()))])
            values = [None if v is None else {"concept": v, "lineage": ["alien", v]} for v in values]
        columns[name] = pa.array(values, kind)
    return columns


def test_a_parquet_download_says_the_same_as_the_csv(tmp_path: Path) -> None:
    expected = read_simple_csv(zipped(tmp_path / "a.zip", a__csv=table_text()), "gbif")
    content = parquet_bytes(parquet_columns())
    one = zipped(tmp_path / "b.zip", occurrence__parquetSLASH000000=content, readme__txt="x")
    assert read_simple_parquet(one, "gbif").equals(expected)
    (tmp_path / "c.parquet").write_bytes(content)
    assert read_simple_parquet(tmp_path / "c.parquet", "gbif").equals(expected)
    lower = {name.lower(): values for name, values in parquet_columns().items()}
    (tmp_path / "d.parquet").write_bytes(parquet_bytes(lower))
    assert read_simple_parquet(tmp_path / "d.parquet", "gbif").equals(expected)
    two = zipped(tmp_path / "e.zip", occurrence__parquetSLASH000001=content, occurrence__parquetSLASH000000=content)
    assert len(read_simple_parquet(two, "gbif")) == 4
    counts = write_raw_occurrence_tables(simple_parquet_tables(two, "gbif", tmp_path), tmp_path / "out.parquet", {})
    assert counts == {"rows": 4}
    assert sorted(x.name for x in tmp_path.iterdir()) == [
        "a.zip", "b.zip", "c.parquet", "d.parquet", "e.zip", "out.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (pa.array([7707728, None], pa.int64()), ["7707728", None]),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array([["a", "b"], None, [], ["c"]], pa.list_(pa.string())), ["a;b", None, "", "c"]),
        (pa.array([["x"], ["a", "b"], None, ["c"]], pa.list_(pa.string()))[1:], ["a;b", None, "c"]),
        (
            pa.array([[{"array_element": "a"}, {"array_element": "b"}], None], pa.list_(ELEMENT)),
            ["a;b", None],
        ),
        (
            pa.array([{"concepts": ["p", "q"], "lineage": []}, None], CONCEPTS),
            ["p;q", None],
        ),
        (pa.array([datetime.date(2021, 5, 3)]), ["2021-05-03"]),
        (pa.array([datetime.datetime(2021, 5, 3, 10)], pa.timestamp("ms")), ["2021-05-03 10:00:00.000"]),
    ],
)  # fmt: skip
def test_all_types_that_gbif_has_used_become_text(array: pa.Array, text: list[str | None]) -> None:
    assert as_text(array).to_pylist() == text


def test_the_readers_are_registered(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", a__csv=table_text())
    assert len(read_occurrences("gbif-simple-csv", path, "gbif")) == 2
    assert OCCURRENCE_READERS["gbif-simple-parquet"] is read_simple_parquet
    rejected = Counter({"malformed_row": 7})
    write_raw_occurrence_tables(simple_csv_tables(path, "gbif", Counter()), tmp_path / "occurrences.parquet", rejected)
    frame = read_occurrences("raw-parquet", tmp_path / "occurrences.parquet", "gbif")
    assert frame.equals(read_simple_csv(path, "gbif"))
    assert rejected_rows(frame) == {"malformed_row": 7}
    with pytest.raises(InputError, match=r"expected records of source 'inaturalist', found \['gbif'\]"):
        read_occurrences("raw-parquet", tmp_path / "occurrences.parquet", "inaturalist")


@pytest.mark.real
def test_the_real_download_has_all_its_rows(real_data: Path) -> None:
    path = real_data / "api_payloads" / "gbif" / "simple_csv_0011066-200127171203522.zip"
    frame = read_simple_csv(path, "gbif")
    assert len(frame) == 4463
    assert rejected_rows(frame) == {}
    assert frame["occurrence_id"].notna().all()
    assert frame["latitude"].notna().sum() == 4463 - 830
    assert set(frame["licence"]) == {"CC-BY-4.0"}
