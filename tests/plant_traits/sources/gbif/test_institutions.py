"""The registry of institutions: pages, places and what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import JsonValue

from data_catalog import HostLimits, Source
from plant_traits.errors import InputError, WebError
from plant_traits.month import Month
from plant_traits.observations.reference_places import read_institutions
from plant_traits.regions import Region
from plant_traits.schemas import read_table
from plant_traits.sources.acquire import acquire_source
from plant_traits.sources.gbif.institutions import INSTITUTION, GbifInstitutions
from plant_traits.sources.protocol import Request
from plant_traits.sources.web.client import Web

HOST = "api.gbif.org"
SOURCE = Source(
    id="grscicoll", title="GRSciColl", kind="reference", licence="CC0", citation="GBIF",
    hosts=(HostLimits(host=HOST, requests_per_minute=600),),
)  # fmt: skip


class Asked(Protocol):
    url: str


class Server(Protocol):
    answer: Callable[[Asked], tuple[int, dict[str, str], bytes]]
    asked: list[Asked]


ENTRIES = [
    {"key": "k3", "name": "Kew", "code": "K", "latitude": 51.4788, "longitude": -0.2956, "active": True,
     "address": {"city": "Richmond", "country": "GB"}},
    {"key": "k1", "name": "Nowhere", "code": "N", "active": True, "address": {"country": "DE"}},
    {"key": "k2", "name": "Berlin", "code": "B", "latitude": "52.4575", "longitude": 13.3033, "active": False,
     "mailingAddress": {"country": "DE"}},
    {"key": "k4", "name": "Island of null", "code": "Z", "latitude": 0, "longitude": 0},
    {"key": "k5", "name": "Swapped", "code": "S", "latitude": 120.1, "longitude": 10},
]  # fmt: skip


def registry(asked: Asked) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(asked.url)
    query = parse_qs(parts.query)
    assert parts.path == "/v1/grscicoll/institution"
    entries = [x for x in ENTRIES if x.get("active") or "active" not in query]
    offset, limit = int(query["offset"][0]), int(query["limit"][0])
    page = entries[offset : offset + limit]
    body = {"offset": offset, "limit": limit, "endOfRecords": offset + limit >= len(entries), "count": len(entries)}
    return 200, {"content-type": "application/json"}, json.dumps({**body, "results": page}).encode()


def request_in(folder: Path, **settings: JsonValue) -> Request:
    return Request(SOURCE, Month(2026, 10), Region("world", -180, -90, 180, 90), settings, folder)


def test_institutions_with_a_place(loopback: Server, open_web: Callable[..., Web], tmp_path: Path) -> None:
    loopback.answer = registry
    acquired = acquire_source(GbifInstitutions(), request_in(tmp_path / "m", page_size=2), open_web(HOST))
    assert len(loopback.asked) == 3
    frame = read_table(tmp_path / "m" / "institutions.parquet", INSTITUTION).set_index("key")
    assert frame.index.tolist() == ["k1", "k2", "k3", "k4", "k5"]
    assert frame.dropna(subset=["latitude", "longitude"]).to_dict("index") == {
        "k2": {"name": "Berlin", "code": "B", "latitude": 52.4575, "longitude": 13.3033, "country": "DE"},
        "k3": {"name": "Kew", "code": "K", "latitude": 51.4788, "longitude": -0.2956, "country": "GB"},
    }
    assert frame["latitude"].isna().tolist() == frame["longitude"].isna().tolist() == [True, False, False, True, True]
    assert acquired.counts == {"rows": 5, "without coordinates": 1, "impossible coordinates": 2}
    places, listed = read_institutions(tmp_path / "m" / "institutions.parquet")
    assert listed == 5 and places.tolist() == [[52.4575, 13.3033], [51.4788, -0.2956]]


def test_closed_institutions_can_be_left_out(loopback: Server, open_web: Callable[..., Web], tmp_path: Path) -> None:
    loopback.answer = registry
    acquire_source(GbifInstitutions(), request_in(tmp_path / "m", active_only=True), open_web(HOST))
    assert read_table(tmp_path / "m" / "institutions.parquet", INSTITUTION)["key"].tolist() == ["k1", "k3"]


def test_killed_fetch_goes_on(loopback: Server, open_web: Callable[..., Web], tmp_path: Path) -> None:
    loopback.answer = lambda x: (502, {}, b"") if "offset=4" in x.url else registry(x)
    with pytest.raises(WebError):
        acquire_source(GbifInstitutions(), request_in(tmp_path / "m", page_size=2), open_web(HOST))
    before = len(loopback.asked)
    loopback.answer = registry
    acquire_source(GbifInstitutions(), request_in(tmp_path / "m", page_size=2), open_web(HOST))
    assert [x.url.split("offset=")[1][0] for x in loopback.asked[before:]] == ["4"]


def test_short_list_is_noticed(loopback: Server, open_web: Callable[..., Web], tmp_path: Path) -> None:
    body = {"offset": 0, "limit": 1000, "endOfRecords": True, "count": 900, "results": ENTRIES}
    loopback.answer = lambda _: (200, {}, json.dumps(body).encode())
    with pytest.raises(InputError, match="promised 900 institutions and 5 came"):
        acquire_source(GbifInstitutions(), request_in(tmp_path / "m"), open_web(HOST))


def test_page_without_results_is_refused(loopback: Server, open_web: Callable[..., Web], tmp_path: Path) -> None:
    loopback.answer = lambda _: (200, {}, b'{"error": "none"}')
    with pytest.raises(WebError, match="expected a page"):
        acquire_source(GbifInstitutions(), request_in(tmp_path / "m"), open_web(HOST))
