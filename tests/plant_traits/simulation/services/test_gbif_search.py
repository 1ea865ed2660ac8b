"""Occurrence search: shape, filters, pages and their limits."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from plant_traits.simulation.services.gbif_search import Search
from plant_traits.simulation.services.predicates import CATALOGUE_OF_LIFE
from plant_traits.simulation.services.world_records import WorldRecords

URL = "/v1/occurrence/search"


@pytest.fixture
def client(records: WorldRecords) -> TestClient:
    return TestClient(Starlette(routes=Search(records).routes()))


def test_a_record_has_the_services_shape(client: TestClient) -> None:
    told = client.get(URL, params={"occurrenceId": "https://www.inaturalist.org/observations/10"}).json()
    assert (told["offset"], told["limit"], told["endOfRecords"], told["count"]) == (0, 20, True, 1)
    record = told["results"][0]
    assert (record["key"], record["gbifID"], record["taxonKey"], record["year"]) == (1, "1", 101, 2020)
    assert (record["decimalLatitude"], record["decimalLongitude"]) == (48.0, 8.0)
    assert record["license"] == "http://creativecommons.org/licenses/by/4.0/legalcode"
    assert "degreeOfEstablishment" not in record
    assert record["media"][1] == {
        "type": "StillImage",
        "format": "image/jpeg",
        "identifier": "https://inaturalist-open-data.s3.amazonaws.com/photos/72/original.jpg",
        "license": "http://creativecommons.org/licenses/by/4.0/legalcode",
        "creator": "ann",
    }
    assert client.get("/v1/occurrence/1").json() == record
    assert client.get("/v1/occurrence/99").status_code == 404


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ({"taxonKey": "TP", "checklistKey": CATALOGUE_OF_LIFE}, [1, 2, 3, 4, 5]),
        ({"taxonKey": "TP"}, []),  # the default is the other taxonomy
        ({"hasCoordinate": "true", "basisOfRecord": "HUMAN_OBSERVATION"}, [1, 2, 4]),
        ({"license": ["CC0_1_0", "CC_BY_NC_4_0"]}, [2, 3]),
        ({"year": "2021,2023"}, [2, 3, 4]),
        ({"geometry": "POLYGON((0 40, 20 40, 20 60, 0 60, 0 40))"}, [1, 4]),
        ({"decimalLatitude": "0,50", "decimalLongitude": "-180,0"}, [5]),
        ({"coordinateUncertaintyInMeters": "0,5000"}, [1, 4, 5]),
        ({"noSuchFilter": "1", "month": "6"}, [2]),
    ],
)
def test_filters(client: TestClient, query: dict[str, str], keys: list[int]) -> None:
    told = client.get(URL, params=query).json()
    assert [record["key"] for record in told["results"]] == keys
    assert told["count"] == len(keys)


def test_pages(client: TestClient) -> None:
    told = client.get(URL, params={"limit": 2, "offset": 2}).json()
    assert ([x["key"] for x in told["results"]], told["endOfRecords"], told["count"]) == ([3, 4], False, 5)
    last = client.get(URL, params={"limit": 2, "offset": 4}).json()
    assert ([x["key"] for x in last["results"]], last["endOfRecords"]) == ([5], True)
    assert client.get(URL, params={"limit": 5}).json()["endOfRecords"]
    assert client.get(URL, params={"limit": 0}).json()["count"] == 5
    assert client.get(URL, params={"limit": 1000}).json()["limit"] == 300


@pytest.mark.parametrize(
    "query",
    [
        {"offset": "99990", "limit": "20"},
        {"limit": "many"},
        {"offset": "-1"},
        {"year": "soon"},
        {"geometry": "POLYGON((0 40, 0 60, 20 60, 20 40, 0 40))"},
    ],
)
def test_refuses(client: TestClient, query: dict[str, str]) -> None:
    assert client.get(URL, params=query).status_code == 400


def test_the_last_reachable_record_is_the_100000th(client: TestClient) -> None:
    assert client.get(URL, params={"offset": "99980", "limit": "20"}).status_code == 200
