"""Institutions by pages, and derived data sets with a DOI."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from plant_traits.simulation.services.account import Account
from plant_traits.simulation.services.gbif_registry import Registry
from plant_traits.simulation.services.state import State

ANN = ("ann", "secret")
DATASET = "50c9509d-22c7-4a22-a47d-8c48425ef4a7"
BODY = {"title": "A map", "sourceUrl": "https://maps.example/1", "relatedDatasets": {DATASET: 3}}


@pytest.fixture
def client(account: Account, tmp_path: Path) -> TestClient:
    columns = ["key", "name", "code", "latitude", "longitude"]
    places = pd.DataFrame([("a", "Garden", "G", 1.5, 3.0), ("b", "Museum", "M", -2.0, 4.0)], columns=columns)
    return TestClient(Starlette(routes=Registry(places, State(tmp_path / "state.sqlite"), account).routes()))


def test_institutions_come_in_pages_and_one_has_no_place(client: TestClient) -> None:
    url = "/v1/grscicoll/institution"
    first = client.get(url, params={"limit": 2}).json()
    assert (first["count"], first["endOfRecords"]) == (3, False)
    assert [(x["key"], x["latitude"], x["longitude"]) for x in first["results"]] == [("a", 1.5, 3.0), ("b", -2.0, 4.0)]
    last = client.get(url, params={"limit": 2, "offset": 2}).json()
    assert last["endOfRecords"]
    assert "latitude" not in last["results"][0]
    assert client.get(url, params={"limit": 5000}).json()["limit"] == 1000
    assert client.get(url, params={"limit": "all"}).status_code == 400


def test_a_derived_dataset_has_a_doi_and_is_remembered(client: TestClient) -> None:
    answer = client.post("/v1/derivedDataset", json={**BODY, "originalDownloadDOI": "10.15468/dl.x"}, auth=ANN)
    assert answer.status_code == 201
    told = answer.json()
    assert told["doi"].startswith("10.15468/dd.")
    assert told["doi"] in told["citation"]
    kept = client.get(f"/v1/derivedDataset/{told['doi']}").json()
    assert (kept["relatedDatasets"], kept["originalDownloadDOI"]) == ({DATASET: 3}, "10.15468/dl.x")
    assert client.get("/v1/derivedDataset/10.15468/dd.none").status_code == 404


@pytest.mark.parametrize(
    "changes",
    [{"title": ""}, {"sourceUrl": None}, {"relatedDatasets": {}}, {"relatedDatasets": {"no key": 1}},
     {"relatedDatasets": {DATASET: 0}}, {"relatedDatasets": [DATASET]}],
)  # fmt: skip
def test_incomplete_derived_datasets_are_refused(client: TestClient, changes: dict[str, object]) -> None:
    assert client.post("/v1/derivedDataset", json={**BODY, **changes}, auth=ANN).status_code == 400


def test_only_the_account_may_register(client: TestClient) -> None:
    assert client.post("/v1/derivedDataset", json=BODY).status_code == 401
    assert client.post("/v1/derivedDataset", json=BODY, auth=("ann", "no")).status_code == 401
