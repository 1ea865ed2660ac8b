from __future__ import annotations

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from plant_traits.errors import ArchiveError, InputError, TableError
from plant_traits.sources.dwca import read_dwca
from plant_traits.sources.dwca_meta import parse_meta
from plant_traits.sources.occurrences import OCCURRENCE_READERS, read_occurrences
from plant_traits.sources.raw_occurrence import RAW_OCCURRENCE, concatenated, rejected_rows

DWC = "http://rs.tdwg.org/dwc/terms/"
GBIF = "http://rs.gbif.org/terms/1.0/"
DC = "http://purl.org/dc/terms/"
OCCURRENCE = {
    "gbifID": GBIF, "datasetKey": GBIF, "occurrenceID": DWC, "scientificName": DWC, "species": GBIF, "taxonKey": GBIF,
    "genus": DWC, "family": DWC, "decimalLatitude": DWC, "decimalLongitude": DWC,
    "coordinateUncertaintyInMeters": DWC, "eventDate": DWC, "year": DWC, "month": DWC, "day": DWC, "recordedBy": DWC,
    "basisOfRecord": DWC, "degreeOfEstablishment": DWC, "license": DC, "rightsHolder": DC,
}  # fmt: skip
MEDIA = {"gbifID": GBIF, "type": DC, "format": DC, "identifier": DC, "creator": DC, "license": DC, "rightsHolder": DC}
INAT = "https://inaturalist-open-data.s3.amazonaws.com/photos"


def meta(terms: dict[str, str], location: str, row_type: str, tag: str) -> str:
    fields = "".join(f'<field index="{k}" term="{terms[t]}{t}"/>' for k, t in enumerate(terms))
    join = "id" if tag == "core" else "coreid"
    return (
        f'<{tag} encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" '
        f'ignoreHeaderLines="1" rowType="{row_type}"><files><location>{location}</location></files>'
        f'<{join} index="0"/>{fields}</{tag}>'
    )


def lines(terms: dict[str, str], rows: list[dict[str, str]]) -> str:
    return "\n".join(["\t".join(terms), *("\t".join(row.get(t, "") for t in terms) for row in rows)]) + "\n"


def archive(
    path: Path,
    rows: list[dict[str, str]],
    media: list[dict[str, str]],
    terms: dict[str, str] | None = None,
    extra: str = "",
) -> Path:
    core = terms or OCCURRENCE
    xml = (
        '<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="metadata.xml">'
        + meta(core, "occurrence.txt", DWC + "Occurrence", "core")
        + meta(core, "verbatim.txt", DWC + "Occurrence", "extension")
        + meta(MEDIA, "multimedia.txt", GBIF + "Multimedia", "extension")
        + "</archive>"
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("meta.xml", xml)
        out.writestr("occurrence.txt", lines(core, rows) + extra)
        out.writestr("verbatim.txt", lines(core, []))
        out.writestr("multimedia.txt", lines(MEDIA, media))
    return path


ROWS = [
    {
        "gbifID": "11", "datasetKey": "d1", "occurrenceID": "https://inat/1", "scientificName": "Quercus robur L.",
        "species": "Quercus robur", "taxonKey": "2878688", "genus": "Quercus", "family": "Fagaceae",
        "decimalLatitude": "48.5", "decimalLongitude": "-8.25", "coordinateUncertaintyInMeters": "12.0",
        "eventDate": "2021-05-03T10:11:12", "year": "2021", "recordedBy": 'Ann "A" O\'Hara',
        "basisOfRecord": "HUMAN_OBSERVATION", "license": "CC_BY_4_0", "rightsHolder": "Ann",
    },
    {
        "gbifID": "12", "datasetKey": "d1", "scientificName": "Ulex L.", "decimalLatitude": "n/a", "year": "1999",
        "month": "7", "day": "4", "eventDate": "1999-07", "basisOfRecord": "HUMAN_OBSERVATION",
        "degreeOfEstablishment": "cultivated",
    },
]  # fmt: skip
PHOTOS = [
    {"gbifID": "11", "type": "StillImage", "format": "image/jpeg", "identifier": f"{INAT}/901/original.jpg",
     "license": "http://creativecommons.org/licenses/by-nc/4.0/", "creator": "Bob"},
    {"gbifID": "11", "type": "StillImage", "format": "image/jpeg", "identifier": f"{INAT}/902/original.jpeg"},
    {"gbifID": "11", "type": "StillImage", "format": "image/jpeg", "identifier": f"{INAT}/902/original.jpeg"},
    {"gbifID": "11", "type": "Sound", "format": "audio/mpeg", "identifier": "https://x/y.mp3"},
    {"gbifID": "11", "type": "StillImage", "format": "image/jpeg"},
    {"gbifID": "99", "type": "StillImage", "format": "image/jpeg", "identifier": f"{INAT}/903/original.jpg"},
]  # fmt: skip


def test_one_row_per_record_and_photo(tmp_path: Path) -> None:
    frame = read_dwca(archive(tmp_path / "a.zip", ROWS, PHOTOS), "gbif")
    assert list(frame.columns) == RAW_OCCURRENCE.names
    assert frame["photo_id"].tolist()[:2] == ["901", "902"]
    assert frame["photo_id"].isna().tolist() == [False, False, True]
    assert frame["occurrence_id"].tolist() == ["https://inat/1", "https://inat/1", "12"]
    first = frame.iloc[0]
    assert (first["latitude"], first["longitude"], first["coordinate_uncertainty_m"]) == (48.5, -8.25, 12.0)
    assert first["recorded_by"] == 'Ann "A" O\'Hara'
    assert first["observed_on"] == pd.Timestamp("2021-05-03")
    assert (first["source"], first["dataset_key"], first["taxon_key"]) == ("gbif", "d1", "2878688")


def test_the_photos_licence_counts_where_it_is_stricter(tmp_path: Path) -> None:
    frame = read_dwca(archive(tmp_path / "a.zip", ROWS, PHOTOS), "gbif")
    assert frame["licence"].tolist()[:2] == ["CC-BY-NC-4.0", "CC-BY-4.0"]
    assert frame["attribution"].tolist()[:2] == ["Bob", "Ann"]


def test_an_unreadable_coordinate_is_missing_and_a_date_comes_from_its_parts(tmp_path: Path) -> None:
    last = read_dwca(archive(tmp_path / "a.zip", ROWS, []), "gbif").iloc[-1]
    assert pd.isna(last["latitude"])
    assert pd.isna(last["longitude"])
    assert last["observed_on"] == pd.Timestamp("1999-07-04")
    assert last["degree_of_establishment"] == "cultivated"


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", ROWS, PHOTOS, extra="13\tonly\tthree\n")
    frame = read_dwca(path, "gbif")
    assert len(frame) == 3
    assert rejected_rows(frame) == {
        "malformed_row_of_occurrence.txt": 1,
        "media_not_an_image": 1,
        "media_without_address": 1,
        "media_repeated_within_record": 1,
        "media_of_unknown_record": 1,
    }
    assert rejected_rows(concatenated([frame, frame]))["media_not_an_image"] == 2


def test_an_archive_of_no_record_is_an_empty_frame(tmp_path: Path) -> None:
    frame = read_dwca(archive(tmp_path / "a.zip", [], []), "gbif")
    assert len(frame) == 0
    assert list(frame.columns) == RAW_OCCURRENCE.names


@pytest.mark.parametrize("column", ["decimalLatitude", "decimalLongitude", "scientificName", "basisOfRecord"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    terms = {t: uri for t, uri in OCCURRENCE.items() if t != column}
    with pytest.raises(TableError, match=column):
        read_dwca(archive(tmp_path / "a.zip", ROWS, [], terms), "gbif")


def test_text_that_is_not_utf8_is_a_table_error(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", ROWS, [])
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.zip", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data.replace(b"Quercus", b"Qu\xe9rcus") if name == "occurrence.txt" else data)
    with pytest.raises(TableError, match="UTF-8"):
        read_dwca(tmp_path / "b.zip", "gbif")


def test_a_simple_csv_download_says_what_to_request(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("0001.csv", "gbifID\n")
    with pytest.raises(ArchiveError, match="format DWCA"):
        read_dwca(tmp_path / "a.zip", "gbif")


def test_a_declared_table_that_is_not_inside_is_an_archive_error(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", ROWS, [])
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "b.zip", "w") as new:
        new.writestr("meta.xml", old.read("meta.xml"))
    with pytest.raises(ArchiveError, match=r"occurrence\.txt"):
        read_dwca(tmp_path / "b.zip", "gbif")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b'<!DOCTYPE a [<!ENTITY x "y">]><archive xmlns="http://rs.tdwg.org/dwc/text/"/>', "document type"),
        ('<?xml version="1.0"?><!DOCTYPE a><archive/>'.encode("utf-16"), "document type"),
        (b"<archive", "not readable XML"),
        (b'<archive xmlns="http://rs.tdwg.org/dwc/text/"/>', "no core table"),
        (b" " * (6 * 1024**2), "at most"),
        (
            b'<archive xmlns="http://rs.tdwg.org/dwc/text/"><core><field index="x" term="t"/></core></archive>',
            "not a number",
        ),
        *(
            (
                f'<archive xmlns="http://rs.tdwg.org/dwc/text/"><core fieldsTerminatedBy="{mark}"><files><location>o'
                '</location></files><field index="0" term="t"/></core></archive>'.encode(),
                "expected one each",
            )
            for mark in ("\\n", "ab", "é", "")
        ),
    ],
)
def test_hostile_or_broken_declarations_are_refused(data: bytes, match: str) -> None:
    with pytest.raises(ArchiveError, match=match):
        parse_meta(data, "a.zip")


def test_an_unknown_reader_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=", ".join(sorted(OCCURRENCE_READERS))):
        read_occurrences("csv", Path("x"), "gbif")
    assert {"dwca", "coordinates-parquet", "photo-table"} <= set(OCCURRENCE_READERS)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "rows", "photos", "placed"),
    [("dwca_2013_gbif-results.zip", 158, 0, 56), ("dwca_2014_0000066-140928181241064.zip", 471, 210, 145)],
)
def test_real_archives_of_other_years_are_read(real_data: Path, name: str, rows: int, photos: int, placed: int) -> None:
    frame = read_dwca(real_data / "api_payloads" / "gbif" / name, "gbif")
    assert len(frame) == rows
    assert frame["photo_id"].notna().sum() == photos
    assert frame["latitude"].notna().sum() == placed
