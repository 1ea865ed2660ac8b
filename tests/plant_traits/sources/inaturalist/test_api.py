"""The API: deep paging by id, resuming, patience with "too many requests", and what is made of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
from pydantic import JsonValue

from data_catalog import HostLimits, Source
from plant_traits.errors import InputError, WebError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.acquire import acquire_source
from plant_traits.sources.inaturalist.api import InaturalistApi
from plant_traits.sources.inaturalist.observations import (
    IDENTIFICATION,
    VOTE,
    identifications,
    observations_to_raw,
    votes,
)
from plant_traits.sources.protocol import Request
from plant_traits.sources.raw_occurrence import read_raw_occurrences, rejected_rows
from plant_traits.sources.web.client import Web

HOST = "api.inaturalist.org"
SOURCE = Source(
    id="inaturalist", title="iNaturalist", kind="occurrences", licence="CC", citation="iNaturalist",
    hosts=(HostLimits(host=HOST, requests_per_minute=60),),
)  # fmt: skip
BOX = Region("box", 10.0, 50.0, 12.0, 52.0)
OPEN = ("cc0", "cc-by", "cc-by-nc")


class Server(Protocol):
    answer: Callable[[str], tuple[int, dict[str, str], bytes]]
    asked: list[str]
    agents: set[str]


def request_in(folder: Path, region: Region = BOX, **settings: JsonValue) -> Request:
    return Request(SOURCE, Month(2026, 10), region, settings, folder)


def taxon(number: int, name: str, rank: str, level: int, *ancestors: dict[str, Any]) -> dict[str, Any]:
    ids = [x["id"] for x in ancestors]
    return {"id": number, "name": name, "rank": rank, "rank_level": level, "ancestor_ids": [*ids, number]}


FAGACEAE = taxon(3, "Fagaceae", "family", 30)
QUERCUS = taxon(4, "Quercus", "genus", 20, FAGACEAE)
ROBUR = taxon(5, "Quercus robur", "species", 10, FAGACEAE, QUERCUS)
SUB = taxon(6, "Quercus robur pedunculiflora", "subspecies", 5, FAGACEAE, QUERCUS, ROBUR)


def observation(number: int, latitude: float, longitude: float, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "id": number,
        "uuid": f"uuid-{number}",
        "quality_grade": "research",
        "observed_on": "2020-05-06",
        "geojson": {"type": "Point", "coordinates": [str(longitude), str(latitude)]},
        "public_positional_accuracy": 30,
        "positional_accuracy": 5,
        "captive": False,
        "license_code": "cc0",
        "taxon": ROBUR,
        "user": {"id": 77, "login": "oakfriend", "name": "A. Person"},
        "photos": [
            {"id": 1000 + number, "license_code": "cc-by", "url": f"https://x.org/photos/{number}/square.jpg?1"}
        ],
        "identifications": [],
        **more,
    }


class Service:
    """An oracle of ``/v1/observations``: box, id_above, per_page, in order of the id."""

    def __init__(self, observations: list[dict[str, Any]]) -> None:
        self.observations = observations
        self.queries: list[dict[str, str]] = []

    def __call__(self, url: str) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(url)
        assert (parts.netloc, parts.path) == (HOST, "/v1/observations")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.queries.append(query)
        box = [float(query[name]) for name in ("swlat", "nelat", "swlng", "nelng")]
        inside = []
        for entry in self.observations:
            longitude, latitude = map(float, entry["geojson"]["coordinates"])
            if box[0] <= latitude <= box[1] and box[2] <= longitude <= box[3]:
                inside.append(entry)
        assert query["order_by"] == "id" and query["order"] == "asc" and "page" not in query
        left = sorted((x for x in inside if x["id"] > int(query["id_above"])), key=lambda x: x["id"])
        body = {"total_results": len(left), "page": 1, "per_page": 3, "results": left[: int(query["per_page"])]}
        return 200, {"content-type": "application/json"}, json.dumps(body).encode()


def test_pages_go_on_above_the_last_id(loopback: Server, web: Web, tmp_path: Path) -> None:
    service = Service([observation(k, 51.0, 11.0) for k in (3, 14, 15, 92, 65, 35, 89)] + [observation(7, 0.0, 0.0)])
    loopback.answer = service
    acquired = acquire_source(InaturalistApi(), request_in(tmp_path / "m", page_size=3), web)
    assert [q["id_above"] for q in service.queries] == ["0", "15", "89"]
    assert service.queries[0] == {
        "taxon_id": "211194", "quality_grade": "research", "photo_license": "CC0,CC-BY,CC-BY-NC", "d2": "2026-10-31",
        "geo": "true", "photos": "true", "order_by": "id", "order": "asc", "per_page": "3", "swlat": "50.0",
        "swlng": "10.0", "nelat": "52.0", "nelng": "12.0", "id_above": "0",
    }  # fmt: skip
    assert loopback.agents == {"plant-traits/0.1 (global plant trait maps)"}
    assert acquired.counts["rows"] == 7 and acquired.facts["count"] == 7
    frame = read_raw_occurrences(tmp_path / "m" / "occurrences.parquet")
    ids = [int(x.rsplit("/", 1)[1]) for x in frame["occurrence_id"]]
    assert ids == [3, 14, 15, 35, 65, 89, 92]
    assert acquire_source(InaturalistApi(), request_in(tmp_path / "m", page_size=3), web).reused


def test_too_many_requests_are_waited_for(loopback: Server, web: Web, tmp_path: Path) -> None:
    service = Service([observation(3, 51.0, 11.0)])
    refusals = iter([(429, {"retry-after": "0"}, b""), (429, {}, b"")])
    loopback.answer = lambda url: next(refusals, None) or service(url)
    acquired = acquire_source(InaturalistApi(), request_in(tmp_path / "m"), web)
    assert len(loopback.asked) == 3 and acquired.counts["rows"] == 1
    assert web.tally.retries == 2


def test_killed_fetch_asks_only_for_what_is_missing(loopback: Server, web: Web, tmp_path: Path) -> None:
    service = Service([observation(k, 51.0, 11.0) for k in range(1, 8)])
    loopback.answer = lambda url: (500, {}, b"") if "id_above=6" in url else service(url)
    with pytest.raises(WebError, match="500"):
        acquire_source(InaturalistApi(), request_in(tmp_path / "m", page_size=3), web)
    loopback.answer = service
    before = len(loopback.asked)
    acquired = acquire_source(InaturalistApi(), request_in(tmp_path / "m", page_size=3), web)
    assert [parse_qs(urlsplit(url).query)["id_above"] for url in loopback.asked[before:]] == [["6"]]
    assert acquired.counts["rows"] == 7


def test_nothing_is_written_outside_the_folder(
    loopback: Server, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    loopback.answer = Service([observation(3, 51.0, 11.0)])
    acquired = acquire_source(InaturalistApi(), request_in(tmp_path / "m"), web)
    assert not (tmp_path / "home").exists()
    found = {str(path.relative_to(tmp_path / "m")) for path in (tmp_path / "m").rglob("*") if path.is_file()}
    assert found == {*acquired.files, "acquired.json"}


def test_region_over_the_antimeridian_is_two_boxes(loopback: Server, web: Web, tmp_path: Path) -> None:
    service = Service([observation(1, -17.0, 179.0), observation(2, -17.0, -179.0), observation(3, -17.0, 0.0)])
    loopback.answer = service
    acquired = acquire_source(InaturalistApi(), request_in(tmp_path / "m", Region("fiji", 177, -20, -178, -15)), web)
    assert acquired.counts["rows"] == 2
    assert [(q["swlng"], q["nelng"]) for q in service.queries] == [("177.0", "180.0"), ("-180.0", "-178.0")]


def test_large_region_is_refused(loopback: Server, web: Web, tmp_path: Path) -> None:
    loopback.answer = Service([observation(k, 51.0, 11.0) for k in range(1, 8)])
    with pytest.raises(InputError, match=r"holds 7 observations or more, at most 5 .*inaturalist-open-data"):
        acquire_source(InaturalistApi(), request_in(tmp_path / "m", max_records=5, page_size=3), web)
    assert len(loopback.asked) == 1


@pytest.mark.parametrize("body", [b"[]", b'{"error": "x"}', b'{"results": []}'])
def test_answer_that_is_no_page_is_refused(loopback: Server, web: Web, tmp_path: Path, body: bytes) -> None:
    loopback.answer = lambda _: (200, {"content-type": "application/json"}, body)
    with pytest.raises(WebError, match="expected a page of observations"):
        acquire_source(InaturalistApi(), request_in(tmp_path / "m"), web)


def test_missing_observations_are_noticed(loopback: Server, web: Web, tmp_path: Path) -> None:
    body = {"total_results": 900, "results": [observation(1, 51.0, 11.0)]}
    loopback.answer = lambda _: (200, {"content-type": "application/json"}, json.dumps(body).encode())
    with pytest.raises(InputError, match="900 observations were promised and 1 came"):
        acquire_source(InaturalistApi(), request_in(tmp_path / "m"), web)


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="settings of `inaturalist-api` are wrong: page_size"):
        InaturalistApi().plan(request_in(tmp_path, page_size=500))


def test_licence_that_the_service_does_not_know_is_told(web: Web, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="photo_license"):
        acquire_source(InaturalistApi(), request_in(tmp_path / "m", photo_licences=["gpl"]), web)


def test_fields_of_an_observation() -> None:
    named = {"id": 1, "user": {"id": 9}, "taxon": SUB | {"ancestors": [FAGACEAE, QUERCUS, ROBUR]}}
    photos = [
        {"id": 1, "license_code": None, "url": "https://static.inaturalist.org/photos/1/square.jpg?7"},
        {"id": 2, "license_code": "cc-by-nc", "url": "https://static.inaturalist.org/photos/2/square.jpeg?7"},
        {"id": 3, "license_code": "cc0", "url": "https://static.inaturalist.org/photos/3/square.jpg"},
    ]
    first = observation(10, 51.0, 11.0, taxon=SUB, identifications=[named], photos=photos)
    second = observation(11, 51.0, 11.0, taxon=QUERCUS, photos=photos[:1], captive=True, geojson=None, location=None)
    frame = observations_to_raw([first, second], "inaturalist", OPEN)
    assert frame.loc[0].drop(["observed_on", "dataset_key", "degree_of_establishment"]).to_dict() == {
        "source": "inaturalist",
        "occurrence_id": "https://www.inaturalist.org/observations/10",
        "photo_id": "2",
        "photo_url": "https://static.inaturalist.org/photos/2/original.jpeg",
        "scientific_name": "Quercus robur pedunculiflora",
        "species": "Quercus robur",
        "taxon_key": "6",
        "genus": "Quercus",
        "family": "Fagaceae",
        "latitude": 51.0,
        "longitude": 11.0,
        "coordinate_uncertainty_m": 30.0,
        "year": 2020.0,
        "recorded_by": "oakfriend",
        "basis_of_record": "HUMAN_OBSERVATION",
        "licence": "CC-BY-NC",
        "attribution": "oakfriend",
    }
    assert frame["photo_id"].isna().tolist() == [False, True]
    assert frame["species"].isna().tolist() == [False, True] and frame.loc[1, "genus"] == "Quercus"
    assert frame["latitude"].isna().tolist() == [False, True]
    assert frame["degree_of_establishment"].fillna("").tolist() == ["", "captive"]
    assert rejected_rows(frame) == {"no_photo_under_the_licences": 1}
    assert len(observations_to_raw([], "inaturalist", OPEN)) == 0


def test_identifications_and_votes() -> None:
    who = [
        {"id": 21, "user": {"id": 9, "login": "b", "name": "B. Person"}, "taxon": ROBUR, "category": "supporting",
         "current": True, "own_observation": False, "disagreement": None, "created_at": "2018-09-05T14:34:22+02:00"},
        {"id": 20, "user": {"id": 77}, "taxon": QUERCUS, "category": "improving", "current": False,
         "own_observation": True, "disagreement": True, "created_at": "2018-09-05T12:34:22Z",
         "previous_observation_taxon_id": 5},
        {"id": 22, "user": {"id": 9}, "taxon": FAGACEAE, "disagreement": True, "previous_observation_taxon": QUERCUS},
    ]  # fmt: skip
    entry = observation(
        10, 51.0, 11.0, identifications=who,
        quality_metrics=[{"id": 1, "user_id": 9, "metric": "wild", "agree": False}],
        votes=[{"user_id": 8, "vote_flag": True, "vote_scope": "needs_id"}],
        faves=[{"user": {"id": 7, "login": "c"}, "vote_flag": True}],
    )  # fmt: skip
    rows = identifications([entry])
    assert [list(row) for row in rows] == [IDENTIFICATION.names] * 3
    assert rows[1] == {
        "occurrence_id": "https://www.inaturalist.org/observations/10", "observation_id": 10, "identification_id": 21,
        "user_id": "9", "taxon_id": 5, "taxon_name": "Quercus robur", "rank": "species", "category": "supporting",
        "current": True, "own_observation": False, "disagreement": None, "previous_taxon_id": None,
        "previous_taxon_name": None, "created_at": datetime(2018, 9, 5, 12, 34, 22, tzinfo=UTC),
    }  # fmt: skip
    assert [row["identification_id"] for row in rows] == [20, 21, 22]
    before = [(row["previous_taxon_id"], row["previous_taxon_name"]) for row in rows]
    assert before == [(5, "Quercus robur"), (None, None), (4, "Quercus")]
    assert [(x["kind"], x["subject"], x["agree"], x["user_id"]) for x in votes([entry])] == [
        ("quality metric", "wild", False, "9"), ("vote", "needs_id", True, "8"), ("favourite", None, True, "7"),
    ]  # fmt: skip
    assert "Person" not in json.dumps([rows, votes([entry])], default=str)


@pytest.mark.real
def test_recorded_observations(real_data: Path, loopback: Server, web: Web, tmp_path: Path) -> None:
    folder = real_data / "api_payloads" / "inaturalist"
    weevil = json.loads((folder / "get_observation.json").read_text())["results"][0]
    butterfly = json.loads((folder / "get_observations_page1.json").read_text())["results"][0]
    body = json.dumps({"total_results": 2, "results": [weevil, butterfly]}).encode()
    loopback.answer = lambda _: (200, {"content-type": "application/json"}, body)
    acquired = acquire_source(InaturalistApi(), request_in(tmp_path / "m"), web)
    frame = read_raw_occurrences(tmp_path / "m" / "occurrences.parquet")
    assert frame["occurrence_id"].tolist() == [weevil["uri"], butterfly["uri"]]
    assert frame["species"].tolist() == ["Lixus bardanae", "Danaus plexippus"]
    assert frame["genus"].tolist() == ["Lixus", "Danaus"]
    assert frame["family"].tolist() == ["Curculionidae", "Nymphalidae"]
    assert frame["latitude"].tolist() == [50.646894, 50.0949055]
    assert frame["longitude"].tolist() == [4.360086, -104.71929167]
    assert frame["photo_id"].tolist() == ["24355315", str(butterfly["photos"][0]["id"])]
    assert frame["photo_url"][0] == "https://static.inaturalist.org/photos/24355315/original.jpeg"
    assert frame["recorded_by"].tolist() == ["niconoe", "samroom"]
    names = pq.read_table(tmp_path / "m" / "identifications.parquet")
    assert names.schema.remove_metadata() == IDENTIFICATION
    assert len(names) == len(weevil["identifications"]) + len(butterfly["identifications"])
    assert acquired.counts["identifications"] == len(names)
    judged = pq.read_table(tmp_path / "m" / "votes.parquet")
    assert judged.schema.remove_metadata() == VOTE
    assert judged["kind"].to_pylist() == ["favourite"] and judged["user_id"].to_pylist() == ["101252"]
    stored = "".join(str(pq.read_table(path).to_pydict()) for path in (tmp_path / "m").glob("*.parquet"))
    assert "Nicolas" not in stored and "Furshong" not in stored


@pytest.mark.real
def test_recorded_quality_metrics(real_data: Path) -> None:
    entry = json.loads(
        (real_data / "api_payloads" / "inaturalist" / "get_observation_with_quality_metrics.json").read_text()
    )
    found = votes([entry])
    assert [x["subject"] for x in found if x["kind"] == "quality metric"] == [
        x["metric"] for x in entry["quality_metrics"]
    ]
    assert found and all(x["user_id"] for x in found)
