"""Identifications of a run's observations: what is asked, how often, what is kept of the answers and what is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pydantic import JsonValue

from data_catalog import HostLimits, Source
from plant_traits.errors import InputError, MissingInputError, TableError, WebError, WorkspaceError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.acquire import Acquired, acquire_source
from plant_traits.sources.inaturalist.identification_journal import JOURNAL
from plant_traits.sources.inaturalist.identification_source import InaturalistIdentifications
from plant_traits.sources.inaturalist.observations import IDENTIFICATION
from plant_traits.sources.protocol import Request
from plant_traits.sources.web.client import Web

HOST = "api.inaturalist.org"
SOURCE = Source(
    id="inaturalist", title="iNaturalist", kind="occurrences", licence="CC", citation="iNaturalist",
    hosts=(HostLimits(host=HOST, requests_per_minute=60),),
)  # fmt: skip
GBIF = "gbif:50c9509d-22c7-4a22-a47d-8c48425ef4a7:https://www.inaturalist.org/observations/"
UUID = "53411fc2-bdf0-434e-afce-4dac33970173"
OTHER = "gbif:7a3679ef-5582-4aaa-81f0-8c2545cafc81:q-123"

FAGACEAE = {"id": 3, "name": "Fagaceae", "rank": "family", "ancestor_ids": [48460, 3]}
QUERCUS = {"id": 4, "name": "Quercus", "rank": "genus", "ancestor_ids": [48460, 3, 4], "ancestors": [FAGACEAE]}
ROBUR = {"id": 5, "name": "Quercus robur", "rank": "species", "ancestry": "48460/3/4", "ancestors": [FAGACEAE, QUERCUS]}


class Server(Protocol):
    answer: Callable[[str], tuple[int, dict[str, str], bytes]]
    asked: list[str]


def observation(number: int, uuid: str = "", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    own = {
        "id": 10 * number, "user": {"id": 77, "login": "oakfriend", "name": "Ann Person"}, "taxon": ROBUR,
        "current": True, "own_observation": True, "category": "improving", "disagreement": None,
        "created_at": "2026-05-01T10:00:00Z",
    }  # fmt: skip
    return {
        "id": number,
        "uuid": uuid or f"00000000-0000-0000-0000-{number:012d}",
        "user": own["user"],
        "taxon": ROBUR,
        "identifications": [own],
        **more,
    }


class Service:
    """An oracle of ``/v1/observations`` asked by id or uuid, one page."""

    def __init__(self, observations: Sequence[dict[str, Any]]) -> None:
        self.observations = observations
        self.queries: list[tuple[str, list[str]]] = []

    def __call__(self, url: str) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(url)
        assert (parts.netloc, parts.path) == (HOST, "/v1/observations")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        name = "id" if "id" in query else "uuid"
        wanted = query[name].split(",")
        self.queries.append((name, wanted))
        assert int(query["per_page"]) == len(wanted) <= 200
        found = [x for x in self.observations if str(x[name]) in wanted]
        body = {"total_results": len(found), "page": 1, "per_page": len(wanted), "results": found}
        return 200, {"content-type": "application/json"}, json.dumps(body).encode()


def request_in(folder: Path, ids: Sequence[str], month: Month = Month(2026, 10), **settings: JsonValue) -> Request:
    folder.mkdir(exist_ok=True, parents=True)
    table = folder / "voted.parquet"
    pd.DataFrame({"observation_id": ids}).to_parquet(table)
    world = Region("world", -180, -90, 180, 90)
    return Request(SOURCE, month, world, settings, folder / "identifications", {"voted": table})


def acquired(request: Request, web: Web) -> tuple[Acquired, pd.DataFrame]:
    manifest = acquire_source(InaturalistIdentifications(), request, web)
    table = pq.read_table(request.folder / "identifications.parquet")
    assert table.schema.remove_metadata() == IDENTIFICATION
    return manifest, table.to_pandas()


def test_observations_are_asked_by_number_and_uuid_some_at_a_time(loopback: Server, web: Web, tmp_path: Path) -> None:
    loopback.answer = service = Service([*(observation(k) for k in (7, 8, 10)), observation(99, UUID)])
    # In the order of a run's table, a record with two photos twice.
    ids = [OTHER, *(f"{GBIF}{k}" for k in (10, 7, 7, 8)), f"inaturalist::{UUID}"]
    manifest, rows = acquired(request_in(tmp_path, ids, page_size=2), web)
    assert service.queries == [("id", ["7", "8"]), ("id", ["10"]), ("uuid", [UUID])]
    assert rows["occurrence_id"].tolist() == [f"{GBIF}10", f"{GBIF}7", f"{GBIF}8", f"inaturalist::{UUID}"]
    assert rows["observation_id"].tolist() == [10, 7, 8, 99]
    assert manifest.facts == {"observations": 4, "asked_now": 4, "of_other_services": 1}
    assert (manifest.counts, manifest.lost) == ({"rows": 4}, {})
    told = rows.iloc[0].drop(["created_at", "disagreement", "previous_taxon_id", "previous_taxon_name"])
    assert told.to_dict() == {
        "occurrence_id": f"{GBIF}10", "observation_id": 10, "identification_id": 100, "user_id": "77", "taxon_id": 5,
        "taxon_name": "Quercus robur", "rank": "species", "category": "improving", "current": True,
        "own_observation": True,
    }  # fmt: skip
    assert rows[["disagreement", "previous_taxon_id", "previous_taxon_name"]].isna().all(axis=None)
    assert rows["created_at"].iloc[0] == datetime(2026, 5, 1, 10, tzinfo=UTC)


def test_taxa_keep_what_is_above_them(loopback: Server, web: Web, tmp_path: Path) -> None:
    loopback.answer = Service([observation(7)])
    request = request_in(tmp_path, [f"{GBIF}7"])
    acquired(request, web)
    taxa = pd.read_parquet(request.folder / "taxa.parquet").set_index("taxon_id")
    assert taxa["ancestry"].to_dict() == {3: "48460", 4: "48460/3", 5: "48460/3/4"}
    assert taxa["rank"].to_dict() == {3: "family", 4: "genus", 5: "species"}
    assert taxa["active"].all()


def test_an_explicit_disagreement_keeps_what_it_was_with(loopback: Server, web: Web, tmp_path: Path) -> None:
    coarser = {
        "id": 71, "user": {"id": 9}, "taxon": QUERCUS, "current": True, "own_observation": False,
        "category": "maverick", "disagreement": True, "previous_observation_taxon_id": 5,
        "created_at": "2026-06-01T00:00:00Z",
    }  # fmt: skip
    given = observation(7)
    loopback.answer = Service([{**given, "identifications": [*given["identifications"], coarser]}])
    _, rows = acquired(request_in(tmp_path, [f"{GBIF}7"]), web)
    assert rows.loc[1, ["rank", "disagreement", "previous_taxon_name"]].tolist() == ["genus", True, "Quercus robur"]
    assert rows.loc[1, "previous_taxon_id"] == 5


def test_no_login_and_no_name_of_a_person_is_kept(loopback: Server, web: Web, tmp_path: Path) -> None:
    loopback.answer = Service([observation(7)])
    request = request_in(tmp_path, [f"{GBIF}7"])
    acquired(request, web)
    for path in request.folder.rglob("*"):
        content = path.read_bytes()
        assert b"oakfriend" not in content and b"Person" not in content


def test_the_months_share_answers_until_they_are_old(loopback: Server, web: Web, tmp_path: Path) -> None:
    loopback.answer = service = Service([observation(7), observation(8)])
    acquired(request_in(tmp_path, [f"{GBIF}7"], refresh_months=2), web)
    manifest, rows = acquired(request_in(tmp_path, [f"{GBIF}7", f"{GBIF}8"], Month(2026, 11), refresh_months=2), web)
    assert manifest.facts["asked_now"] == 1
    assert rows["observation_id"].tolist() == [7, 8]
    again = acquire_source(
        InaturalistIdentifications(),
        request_in(tmp_path, [f"{GBIF}7", f"{GBIF}8"], Month(2026, 11), refresh_months=2),
        web,
    )
    assert again.reused
    acquired(request_in(tmp_path, [f"{GBIF}7", f"{GBIF}8"], Month(2026, 12), refresh_months=2), web)
    assert service.queries == [("id", ["7"]), ("id", ["8"]), ("id", ["7"])]


def test_what_was_said_after_the_month_does_not_count(loopback: Server, web: Web, tmp_path: Path) -> None:
    given = observation(7)
    own = given["identifications"][0]
    times = ("2026-09-30T23:59:59Z", "2026-10-01T02:00:00+02:00", "2026-11-01T00:00:00Z")
    told = [{**own, "id": 70 + k, "created_at": time} for k, time in enumerate(times)]
    loopback.answer = Service([{**given, "identifications": [*told, {**own, "id": 79, "created_at": None}]}])
    manifest, rows = acquired(request_in(tmp_path, [f"{GBIF}7"], Month(2026, 10)), web)
    assert rows["identification_id"].tolist() == [70, 71, 79]
    assert manifest.counts == {"rows": 3, "rejected: made after the month": 1}
    manifest, rows = acquired(request_in(tmp_path, [f"{GBIF}7"], Month(2026, 9)), web)
    assert rows["identification_id"].tolist() == [70, 79]


def test_what_was_replaced_after_the_month_was_current_then(loopback: Server, web: Web, tmp_path: Path) -> None:
    def said(number: int, user: int, time: str, current: bool) -> dict[str, Any]:
        return {
            "id": number, "user": {"id": user}, "taxon": ROBUR, "current": current, "own_observation": False,
            "disagreement": False, "created_at": time,
        }  # fmt: skip

    july, november = "2026-07-01T00:00:00Z", "2026-11-05T00:00:00Z"
    told = [
        said(1, 5, july, current=False),  # withdrawn, and replaced by 2 before the month ended
        said(2, 5, july, current=False),
        said(3, 6, july, current=False),  # withdrawn for good
        said(4, 7, july, current=True),
        said(5, 5, november, current=True),
        said(6, 8, november, current=True),
    ]
    loopback.answer = Service([observation(7, identifications=told)])
    _, rows = acquired(request_in(tmp_path, [f"{GBIF}7"], Month(2026, 10)), web)
    assert rows.set_index("identification_id")["current"].to_dict() == {1: False, 2: True, 3: False, 4: True}
    _, rows = acquired(request_in(tmp_path, [f"{GBIF}7"], Month(2026, 11)), web)
    assert rows["current"].tolist() == [False, False, False, True, True, True]


def test_an_observation_that_is_gone_is_counted_and_not_asked_again(loopback: Server, web: Web, tmp_path: Path) -> None:
    loopback.answer = service = Service([observation(7)])
    manifest, rows = acquired(request_in(tmp_path, [f"{GBIF}7", f"{GBIF}8"]), web)
    assert manifest.lost == {"observations iNaturalist no longer has, or not readably": 1}
    assert rows["observation_id"].tolist() == [7]
    acquired(request_in(tmp_path, [f"{GBIF}8"]), web)
    assert len(service.queries) == 1


@pytest.mark.parametrize(
    "spoiled",
    [
        {"identifications": [{"user": {"id": 7}}]},
        {"identifications": ["Quercus"]},
        {"taxon": {"id": 10**30, "name": "Quercus", "rank": "genus"}},
        {"taxon": {"id": "oak", "name": "Quercus", "rank": "genus"}},
    ],
)
def test_an_answer_that_is_not_what_it_should_be_costs_that_observation(
    spoiled: dict[str, Any], loopback: Server, web: Web, tmp_path: Path
) -> None:
    loopback.answer = Service([observation(1), observation(2, **spoiled)])
    _, rows = acquired(request_in(tmp_path, [f"{GBIF}1", f"{GBIF}2"]), web)
    assert rows["occurrence_id"].tolist() == [f"{GBIF}1"]


def test_a_killed_fetch_asks_only_for_what_is_missing(loopback: Server, web: Web, tmp_path: Path) -> None:
    service = Service([observation(k) for k in range(1, 6)])
    loopback.answer = lambda url: (500, {}, b"") if "id=3" in url else service(url)
    ids = [f"{GBIF}{k}" for k in range(1, 6)]
    with pytest.raises(WebError, match="500"):
        acquired(request_in(tmp_path, ids, page_size=2), web)
    loopback.answer = service
    manifest, rows = acquired(request_in(tmp_path, ids, page_size=2), web)
    assert service.queries == [("id", ["1", "2"]), ("id", ["3", "4"]), ("id", ["5"])]
    assert manifest.facts["asked_now"] == 3
    assert rows["observation_id"].tolist() == [1, 2, 3, 4, 5]


def test_too_many_requests_are_waited_for(loopback: Server, web: Web, tmp_path: Path) -> None:
    service = Service([observation(7)])
    refusals = iter([(429, {"retry-after": "0"}, b""), (503, {}, b"")])
    loopback.answer = lambda url: next(refusals, None) or service(url)
    _, rows = acquired(request_in(tmp_path, [f"{GBIF}7"]), web)
    assert (len(rows), web.tally.retries) == (1, 2)


@pytest.mark.parametrize(
    "body", [b"[]", b"no json", b'{"results": 3}', b'{"total_results": 5, "results": []}', b'{"results": []}']
)
def test_what_is_not_a_whole_page_is_an_error(body: bytes, loopback: Server, web: Web, tmp_path: Path) -> None:
    loopback.answer = lambda _: (200, {"content-type": "application/json"}, body)
    with pytest.raises(WebError, match=r"identifications of 1 observations|expected JSON"):
        acquired(request_in(tmp_path, [f"{GBIF}7"]), web)


def test_no_observation_of_inaturalist_asks_nothing(loopback: Server, web: Web, tmp_path: Path) -> None:
    manifest, rows = acquired(request_in(tmp_path, [OTHER]), web)
    assert (loopback.asked, len(rows)) == ([], 0)
    assert manifest.facts == {"observations": 0, "asked_now": 0, "of_other_services": 1}


def test_bad_input_is_named(web: Web, tmp_path: Path) -> None:
    plugin = InaturalistIdentifications()
    with pytest.raises(InputError, match="refresh_months"):
        plugin.plan(request_in(tmp_path, [OTHER], refresh_months=0))
    request = request_in(tmp_path, [OTHER])
    with pytest.raises(MissingInputError, match="table `voted`"):
        plugin.plan(Request(SOURCE, request.month, request.region, {}, request.folder))
    request.tables["voted"].write_bytes(b"no table")
    with pytest.raises(TableError, match="observation_id"):
        plugin.plan(request)
    request = request_in(tmp_path, [f"{GBIF}7"])
    request.folder.mkdir(exist_ok=True)
    (request.folder / JOURNAL).write_bytes(b"no journal at all, but long enough to be one" * 30)
    with pytest.raises(WorkspaceError, match="remove it"):
        plugin.fetch(request, plugin.plan(request), web)
