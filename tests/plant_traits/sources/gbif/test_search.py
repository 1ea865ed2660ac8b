"""Search of a small region: paging, cutting, resuming and the rows that come out."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from pydantic import JsonValue

from data_catalog import HostLimits, Source
from plant_traits.errors import InputError, WebError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.acquire import acquire_source
from plant_traits.sources.gbif.search import GbifSearch
from plant_traits.sources.gbif.search_records import records_to_raw
from plant_traits.sources.protocol import Request
from plant_traits.sources.raw_occurrence import read_raw_occurrences, rejected_rows
from plant_traits.sources.web.client import Web

HOST = "api.gbif.org"
COL = "7ddf754f-d193-4cc9-b351-99906754a03b"
SOURCE = Source(
    id="gbif", title="GBIF", kind="occurrences", licence="CC", citation="GBIF",
    hosts=(HostLimits(host=HOST, requests_per_minute=6000),),
)  # fmt: skip


class Asked(Protocol):
    url: str


class Server(Protocol):
    answer: Callable[[Asked], tuple[int, dict[str, str], bytes]]
    asked: list[Asked]


def request_in(folder: Path, region: Region | None = None, **settings: JsonValue) -> Request:
    return Request(SOURCE, Month(2026, 10), region or Region("box", 10.0, 50.0, 12.0, 52.0), settings, folder)


def record(key: int, latitude: float, longitude: float, **more: JsonValue) -> dict[str, Any]:
    photo = {
        "type": "StillImage",
        "identifier": f"https://inaturalist-open-data.s3.amazonaws.com/photos/{key}/original.jpg",
        "license": "http://creativecommons.org/licenses/by-nc/4.0/",
        "creator": "A. Person",
    }
    return {
        "key": key,
        "datasetKey": "50c9509d-22c7-4a22-a47d-8c48425ef4a7",
        "occurrenceID": f"https://www.inaturalist.org/observations/{key}",
        "scientificName": "Quercus robur L.",
        "species": "Quercus robur",
        "decimalLatitude": latitude,
        "decimalLongitude": longitude,
        "year": 2020,
        "eventDate": "2020-05-06T10:00:00",
        "basisOfRecord": "HUMAN_OBSERVATION",
        "license": "http://creativecommons.org/licenses/by/4.0/legalcode",
        "media": [photo],
        **more,
    }


class Index:
    """An oracle of the search: it filters, counts and pages a list of records as the service documents."""

    def __init__(self, records: list[dict[str, Any]], extra: int = 0) -> None:
        self.records = records
        self.extra = extra  # records it claims to hold at every place, without showing them
        self.queries: list[dict[str, list[str]]] = []

    def __call__(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(asked.url)
        assert parts.path == "/v1/occurrence/search"
        query = parse_qs(parts.query)
        self.queries.append(query)
        west, east = map(float, query["decimalLongitude"][0].split(","))
        south, north = map(float, query["decimalLatitude"][0].split(","))
        first, last = map(int, query.get("year", ["0,9999"])[0].split(","))
        found = [
            x
            for x in self.records
            if west <= x["decimalLongitude"] <= east
            and south <= x["decimalLatitude"] <= north
            and ("year" not in query or ("year" in x and first <= x["year"] <= last))
        ]
        offset, limit = int(query["offset"][0]), int(query["limit"][0])
        if offset + limit > 100_000 or limit > 300:
            return 400, {}, b"too deep"
        page = found[offset : offset + limit]
        body = {"offset": offset, "limit": limit, "endOfRecords": offset + limit >= len(found), "results": page}
        body["count"] = len(found) + (self.extra if found else 0)
        return 200, {"content-type": "application/json"}, json.dumps(body).encode()

    @property
    def pages(self) -> list[tuple[str, str, str]]:
        return [
            (q["decimalLongitude"][0], q["decimalLatitude"][0], q["offset"][0])
            for q in self.queries
            if q["limit"] != ["0"]
        ]


def test_pages_come_once_and_the_checklist_is_named(
    loopback: Server, open_web: Callable[..., Web], tmp_path: Path
) -> None:
    index = Index([record(k, 51.0, 11.0) for k in range(1, 8)])
    loopback.answer = index
    acquired = acquire_source(GbifSearch(), request_in(tmp_path / "m", page_size=3), open_web(HOST))
    assert acquired.counts == {"rows": 7}
    assert acquired.facts["count"] == 7
    assert acquired.facts["records_by_dataset"] == {"50c9509d-22c7-4a22-a47d-8c48425ef4a7": 7}
    assert index.pages == [
        ("10.0,12.0", "50.0,52.0", "0"),
        ("10.0,12.0", "50.0,52.0", "3"),
        ("10.0,12.0", "50.0,52.0", "6"),
    ]
    first = index.queries[0]
    assert first["checklistKey"] == [COL] and first["taxonKey"] == ["TP"]
    assert first["hasCoordinate"] == ["true"] and first["hasGeospatialIssue"] == ["false"]
    assert first["mediaType"] == ["StillImage"] and first["basisOfRecord"] == ["HUMAN_OBSERVATION"]
    assert first["license"] == ["CC0_1_0", "CC_BY_4_0", "CC_BY_NC_4_0"]
    assert first["coordinateUncertaintyInMeters"] == ["0,5000"]
    frame = read_raw_occurrences(tmp_path / "m" / "occurrences.parquet")
    assert frame["photo_id"].tolist() == ["1", "2", "3", "4", "5", "6", "7"]
    assert set(frame["licence"]) == {"CC-BY-NC-4.0"}  # the photo's is stricter than the record's
    assert frame["source"].unique().tolist() == ["gbif"]
    again = acquire_source(GbifSearch(), request_in(tmp_path / "m", page_size=3), open_web(HOST))
    assert again.reused


def test_killed_fetch_asks_only_for_what_is_missing(
    loopback: Server, open_web: Callable[..., Web], tmp_path: Path
) -> None:
    index = Index([record(k, 51.0, 11.0) for k in range(1, 8)])

    def failing(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        return (500, {}, b"") if "offset=6" in asked.url else index(asked)

    loopback.answer = failing
    with pytest.raises(WebError, match="500"):
        acquire_source(GbifSearch(), request_in(tmp_path / "m", page_size=3), open_web(HOST))
    before = len(index.queries)
    assert before == 3
    loopback.answer = index
    acquired = acquire_source(GbifSearch(), request_in(tmp_path / "m", page_size=3), open_web(HOST))
    assert acquired.counts["rows"] == 7
    assert [q["offset"] for q in index.queries[before:]] == [["6"]]


def test_record_that_slips_to_the_next_page_counts_once(
    loopback: Server, open_web: Callable[..., Web], tmp_path: Path
) -> None:
    index = Index([record(k, 51.0, 11.0) for k in range(1, 7)])

    def moving(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        reply = index(asked)
        if "offset=0" in asked.url and "limit=3" in asked.url:
            index.records.insert(0, record(99, 51.0, 11.0))
        return reply

    loopback.answer = moving
    acquired = acquire_source(GbifSearch(), request_in(tmp_path / "m", page_size=3), open_web(HOST))
    ids = read_raw_occurrences(tmp_path / "m" / "occurrences.parquet")["occurrence_id"].tolist()
    assert [x.rsplit("/", 1)[1] for x in ids] == ["1", "2", "3", "4", "5"]
    assert acquired.counts["rows"] == 5


def test_crowded_region_is_quartered(
    loopback: Server, open_web: Callable[..., Web], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plant_traits.sources.gbif.search.DEEPEST_RECORD", 4)
    places = [(50.5, 10.5), (50.5, 11.5), (51.5, 10.5), (51.0, 11.0), (51.6, 11.6), (51.7, 11.8)]
    index = Index([record(k, *place) for k, place in enumerate(places, start=1)])
    loopback.answer = index
    acquired = acquire_source(GbifSearch(), request_in(tmp_path / "m", page_size=2), open_web(HOST))
    assert acquired.counts["rows"] == 6  # the record on the common corner came four times
    assert {(x, y) for x, y, _ in index.pages} == {
        ("10.0,11.0", "50.0,51.0"),
        ("11.0,12.0", "50.0,51.0"),
        ("10.0,11.0", "51.0,52.0"),
        ("11.0,12.0", "51.0,52.0"),
    }


def test_crowded_place_is_cut_by_year_and_undated_records_are_counted(
    loopback: Server, open_web: Callable[..., Web], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plant_traits.sources.gbif.search.DEEPEST_RECORD", 2)
    dated = [record(k, 51.0, 11.0, year=2018 + k) for k in range(1, 6)]
    undated = record(9, 51.0, 11.0)
    del undated["year"], undated["eventDate"]
    index = Index([*dated, undated])
    loopback.answer = index
    place = Region("place", 10.9999, 50.9999, 11.0001, 51.0001)
    acquired = acquire_source(GbifSearch(), request_in(tmp_path / "m", place), open_web(HOST))
    assert acquired.counts["rows"] == 5
    assert acquired.lost == {"undated records of a crowded place": 1}


def test_region_over_the_antimeridian_is_two_boxes(
    loopback: Server, open_web: Callable[..., Web], tmp_path: Path
) -> None:
    index = Index([record(1, -17.0, 179.0), record(2, -17.0, -179.0), record(3, -17.0, 0.0)])
    loopback.answer = index
    fiji = Region("fiji", 177.0, -20.0, -178.0, -15.0)
    acquired = acquire_source(GbifSearch(), request_in(tmp_path / "m", fiji), open_web(HOST))
    assert acquired.counts["rows"] == 2
    assert {x for x, _, _ in index.pages} == {"177.0,180.0", "-180.0,-178.0"}


def test_large_region_is_refused(loopback: Server, open_web: Callable[..., Web], tmp_path: Path) -> None:
    loopback.answer = Index([record(k, 51.0, 11.0) for k in range(1, 8)])
    with pytest.raises(InputError, match=r"holds 7 records, at most 5.*gbif-download"):
        acquire_source(GbifSearch(), request_in(tmp_path / "m", max_records=5), open_web(HOST))


def test_missing_records_are_noticed(loopback: Server, open_web: Callable[..., Web], tmp_path: Path) -> None:
    loopback.answer = Index([record(k, 51.0, 11.0) for k in range(1, 8)], extra=50)
    with pytest.raises(InputError, match="promised 57 records and 7 came"):
        acquire_source(GbifSearch(), request_in(tmp_path / "m"), open_web(HOST))


def test_damaged_page_is_removed(loopback: Server, open_web: Callable[..., Web], tmp_path: Path) -> None:
    loopback.answer = Index([record(k, 51.0, 11.0) for k in range(1, 8)])
    plugin, request = GbifSearch(), request_in(tmp_path / "m")
    request.folder.mkdir()
    fetched = plugin.fetch(request, plugin.plan(request), open_web(HOST))
    page = request.folder / next(name for name in fetched.files if name.endswith(".gz"))
    page.write_bytes(page.read_bytes()[:-40])
    with pytest.raises(InputError, match="run again"):
        plugin.verify(request, fetched)
    assert not page.exists()


@pytest.mark.parametrize("settings", [{"page_size": 301}, {"max_record": 5}, {"largest_uncertainty_m": 0}])
def test_wrong_settings_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="settings of `gbif-search` are wrong: " + next(iter(settings))):
        GbifSearch().plan(request_in(tmp_path, **settings))


def test_answer_that_is_no_page_is_refused(loopback: Server, open_web: Callable[..., Web], tmp_path: Path) -> None:
    loopback.answer = lambda _: (200, {"content-type": "application/json"}, b'{"offset": 0}')
    with pytest.raises(WebError, match="expected a page of occurrences"):
        acquire_source(GbifSearch(), request_in(tmp_path / "m"), open_web(HOST))


def test_names_are_those_of_the_asked_checklist() -> None:
    in_col = {
        COL: {
            "usage": {"key": "4QT8R", "name": "Quercus pedunculata Ehrh.", "rank": "SPECIES"},
            "acceptedUsage": {"key": "4QT7H", "name": "Quercus robur L.", "rank": "SPECIES"},
            "classification": [
                {"name": "Fagaceae", "rank": "FAMILY"},
                {"name": "Quercus", "rank": "GENUS"},
                {"name": "Quercus robur", "rank": "SPECIES"},
            ],
        }
    }
    old = record(1, 51.0, 11.0, species="Quercus pedunculata", acceptedTaxonKey=2878688, classifications=in_col)
    frame = records_to_raw([old], "gbif", COL)
    assert frame.loc[0, ["species", "genus", "family", "taxon_key"]].tolist() == [
        "Quercus robur", "Quercus", "Fagaceae", "4QT7H",
    ]  # fmt: skip
    other = records_to_raw([old], "gbif", "another")
    assert other.loc[0, ["species", "taxon_key"]].tolist() == ["Quercus pedunculata", "2878688"]


def test_fields_of_one_record() -> None:
    media = [
        {"type": "Sound", "identifier": "https://x.org/a.mp3"},
        {"type": "StillImage", "license": "CC0"},
        {"type": "StillImage", "identifier": "https://x.org/a.jpg"},
        {"type": "StillImage", "identifier": "https://x.org/a.jpg"},
        {"identifier": "https://x.org/b.JPG?size=full", "rightsHolder": "B"},
    ]
    more = {
        "degreeOfEstablishment": {"concept": "native", "lineage": ["native"]},
        "coordinateUncertaintyInMeters": 12.5,
    }
    frame = records_to_raw([record(1, 51.0, 11.0, media=media, recordedBy="C", **more)], "gbif", COL)
    assert frame["photo_url"].tolist() == ["https://x.org/a.jpg", "https://x.org/b.JPG?size=full"]
    assert frame["photo_id"].str.fullmatch("url-[0-9a-f]{32}").all()
    assert frame["attribution"].tolist() == ["C", "B"]
    assert frame["licence"].tolist() == ["CC-BY-4.0", "CC-BY-4.0"]
    assert frame["degree_of_establishment"].tolist() == ["native", "native"]
    assert str(frame.loc[0, "observed_on"].date()) == "2020-05-06"
    assert rejected_rows(frame) == {
        "media_not_an_image": 1, "media_without_address": 1, "media_repeated_within_record": 1,
    }  # fmt: skip


def recorded(path: Path) -> list[dict[str, Any]]:
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    calls = content.get("interactions") or content.get("http_interactions")
    return [{"uri": call["request"]["uri"], **call["response"]} for call in calls]


@pytest.mark.real
def test_recorded_page(real_data: Path) -> None:
    (call,) = recorded(real_data / "api_payloads" / "gbif" / "test_search_key2.yaml")
    records = json.loads(call["body"]["string"])["results"]
    frame = records_to_raw(records, "gbif", COL)
    # Told by counting the payload: 300 records with 226 media, of which 26 are no images and 13 images lack an address.
    assert frame["occurrence_id"].nunique() == 300
    assert frame["photo_id"].notna().sum() == 187
    with_photo = frame.dropna(subset=["photo_id"])
    assert len(frame) == 187 + 300 - with_photo["occurrence_id"].nunique()
    assert (
        frame["latitude"].notna().sum() - frame.duplicated("occurrence_id").where(frame["latitude"].notna()).sum()
        == 168
    )
    assert set(frame["species"]) == {"Cycas circinalis"} and set(frame["family"]) == {"Cycadaceae"}
    assert rejected_rows(frame) == {"media_not_an_image": 26, "media_without_address": 13}
    first = frame.iloc[0]
    assert first["photo_id"] == "348380890" and first["licence"] == "CC-BY-NC-4.0"
    assert str(first["observed_on"].date()) == "2024-01-28"
    assert (first["latitude"], first["longitude"], first["coordinate_uncertainty_m"]) == (8.448675, 77.48716, 31279.0)


@pytest.mark.real
def test_recorded_pages_through_the_client(
    real_data: Path, loopback: Server, open_web: Callable[..., Web], tmp_path: Path
) -> None:
    calls = recorded(real_data / "api_payloads" / "gbif" / "occ_search_looping_works.yml")
    bodies = [_unpacked(call["body"]["raw_gzip"]) for call in calls]
    count = json.loads(bodies[0])["count"]
    by_offset = {json.loads(body)["offset"]: body for body in bodies}

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        query = parse_qs(urlsplit(asked.url).query)
        if query["limit"] == ["0"]:
            return 200, {}, json.dumps({"count": 600, "results": []}).encode()
        return 200, {}, by_offset[int(query["offset"][0])]

    loopback.answer = answer
    acquired = acquire_source(GbifSearch(), request_in(tmp_path / "m", page_size=250), open_web(HOST))
    keys = {x["key"] for body in bodies for x in json.loads(body)["results"]}
    assert count >= 600 and len(keys) == acquired.facts["records"]


def _unpacked(text: str) -> bytes:
    packed = base64.b64decode(text)
    return gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else zlib.decompress(packed)


@pytest.mark.real
def test_recorded_refusal_is_told(
    real_data: Path, loopback: Server, open_web: Callable[..., Web], tmp_path: Path
) -> None:
    calls = recorded(real_data / "api_payloads" / "gbif" / "rgbif_occ_data_fails_well.yml")
    loopback.answer = lambda _: (400, {"content-type": "text/plain"}, calls[1]["body"]["string"].encode())
    with pytest.raises(WebError, match="latitude must be between -90 and 90") as failure:
        acquire_source(GbifSearch(), request_in(tmp_path / "m"), open_web(HOST))
    assert failure.value.status == 400
