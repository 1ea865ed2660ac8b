"""The life of a download, from its request to its erasure."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from plant_traits.simulation.services.account import Account
from plant_traits.simulation.services.gbif_downloads import Downloads
from plant_traits.simulation.services.predicates import CATALOGUE_OF_LIFE
from plant_traits.simulation.services.state import State
from plant_traits.simulation.services.world_records import WorldRecords

API = "/v1/occurrence/download"
ANN = ("ann", "secret")
BODY = {
    "format": "DWCA",
    "checklistKey": CATALOGUE_OF_LIFE,
    "predicate": {"type": "within", "geometry": "POLYGON((0 40, 20 40, 20 60, 0 60, 0 40))"},
    "sendNotification": False,
}


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(records: WorldRecords, account: Account, clock: Clock, tmp_path: Path) -> Callable[..., TestClient]:
    def make(erase_first: bool = False) -> TestClient:
        state = State(tmp_path / "state" / "state.sqlite")
        downloads = Downloads(records, tmp_path / "files", state, account, seed=1, erase_first=erase_first, now=clock)
        app = Starlette(routes=[*downloads.api_routes(), *downloads.file_routes()])
        return TestClient(app, follow_redirects=False)

    return make


def request(client: TestClient, **changes: Any) -> str:  # noqa: ANN401
    answer = client.post(f"{API}/request", json={**BODY, **changes}, auth=ANN)
    assert answer.status_code == 201
    assert answer.headers["content-type"].startswith("text/plain")
    assert re.fullmatch(r"\d{7}-\d{15}", answer.text)
    return answer.text


def finish(client: TestClient, key: str) -> dict[str, Any]:
    for _ in range(6):
        told: dict[str, Any] = client.get(f"{API}/{key}").json()
        if told["status"] == "SUCCEEDED":
            return told
    raise TimeoutError(key)


def file_of(client: TestClient, key: str, **headers: str) -> Any:  # noqa: ANN401
    led = client.get(f"{API}/request/{key}.zip")
    assert led.status_code == 302
    place = f"/occurrence/download/request/{key}.zip"
    assert led.headers["location"] == f"https://occurrence-download.gbif.org{place}"
    return client.get(place, headers=headers)


def test_is_prepared_run_and_then_offered(start: Callable[..., TestClient]) -> None:
    client = start()
    key = request(client)
    assert client.get(f"{API}/request/{key}.zip").status_code == 404
    first = client.get(f"{API}/{key}").json()
    assert (first["key"], first["status"], first["size"], first["totalRecords"]) == (key, "PREPARING", 0, 2)
    assert first["request"]["predicate"] == BODY["predicate"]
    assert "doi" not in first
    assert client.get(f"{API}/{key}").json()["status"] == "RUNNING"
    last = finish(client, key)
    assert re.fullmatch(r"10\.15468/dl\.[0-9a-f]{6}", last["doi"])
    assert last["downloadLink"] == f"https://api.gbif.org{API}/request/{key}.zip"
    content = file_of(client, key).content
    assert len(content) == last["size"]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        occurrences = archive.read("occurrence.txt").decode().splitlines()
        media = archive.read("multimedia.txt").decode().splitlines()
        assert archive.namelist() == ["occurrence.txt", "multimedia.txt", "meta.xml", "citations.txt"]
    assert [line.split("\t")[0] for line in occurrences] == ["gbifID", "1", "4"]
    assert [line.split("\t")[0] for line in media] == ["gbifID", "1", "1", "4"]


def test_the_whole_archive_is_given_as_it_is(start: Callable[..., TestClient], records: WorldRecords) -> None:
    client = start()
    key = request(client, predicate={"type": "equals", "key": "TAXON_KEY", "value": "TP"})
    assert finish(client, key)["totalRecords"] == 5
    assert file_of(client, key).content == records.archive.read_bytes()


def test_simple_csv_has_the_records_and_no_photos(start: Callable[..., TestClient]) -> None:
    client = start()
    key = request(client, format="SIMPLE_CSV")
    finish(client, key)
    with zipfile.ZipFile(io.BytesIO(file_of(client, key).content)) as archive:
        assert archive.namelist() == [f"{key}.csv"]
        lines = [line.split("\t") for line in archive.read(f"{key}.csv").decode().splitlines()]
    assert [line[lines[0].index("species")] for line in lines] == ["species", "Aus bus", "Dus eus"]
    assert {len(line) for line in lines} == {len(lines[0])}


def test_a_file_goes_on_where_it_was_cut_off(start: Callable[..., TestClient]) -> None:
    client = start()
    key = request(client)
    finish(client, key)
    whole = file_of(client, key)
    rest = file_of(client, key, **{"Range": "bytes=100-", "If-Range": whole.headers["etag"]})
    assert (rest.status_code, rest.content) == (206, whole.content[100:])
    assert rest.headers["content-range"] == f"bytes 100-{len(whole.content) - 1}/{len(whole.content)}"
    other = file_of(client, key, **{"Range": "bytes=100-", "If-Range": '"another state"'})
    assert (other.status_code, other.content) == (200, whole.content)


def test_the_same_request_has_the_same_key_for_48_hours(start: Callable[..., TestClient], clock: Clock) -> None:
    client = start()
    key = request(client)
    clock.now += 47.9 * 3600
    assert request(client) == key
    assert request(client, format="SIMPLE_CSV") != key
    clock.now += 3600
    assert request(client) != key


def test_a_first_file_is_erased_once_and_a_new_request_succeeds(start: Callable[..., TestClient]) -> None:
    client = start(erase_first=True)
    key = request(client)
    finish(client, key)
    assert client.get(f"{API}/request/{key}.zip").status_code == 410
    assert client.get(f"{API}/{key}").json()["status"] == "FILE_ERASED"
    assert client.get(f"/occurrence/download/request/{key}.zip").status_code == 410
    new = request(client)
    assert new != key
    finish(client, new)
    assert file_of(client, new).status_code == 200


def test_a_restart_forgets_nothing(start: Callable[..., TestClient]) -> None:
    key = request(start())
    assert start().get(f"{API}/{key}").json()["status"] == "PREPARING"
    again = start()
    assert again.get(f"{API}/{key}").json()["status"] == "RUNNING"
    assert request(again) == key
    told = finish(again, key)
    assert len(file_of(start(), key).content) == told["size"]


def test_keys_do_not_depend_on_the_order_of_requests(start: Callable[..., TestClient], tmp_path: Path) -> None:
    client = start()
    keys = [request(client), request(client, format="SIMPLE_CSV")]
    (tmp_path / "state" / "state.sqlite").unlink()
    for suffix in ("-wal", "-shm"):
        (tmp_path / "state" / f"state.sqlite{suffix}").unlink(missing_ok=True)
    client = start()
    assert [request(client, format="SIMPLE_CSV"), request(client)] == keys[::-1]


def test_who_is_not_known_is_refused(start: Callable[..., TestClient]) -> None:
    client = start()
    for auth in (None, ("ann", "wrong"), ("bob", "secret")):
        assert client.post(f"{API}/request", json=BODY, auth=auth).status_code == 401
        assert client.get(f"{API}/user/ann", auth=auth).status_code == 401
    assert client.get(f"{API}/user/bob", auth=ANN).status_code == 403
    assert client.post(f"{API}/request", json={**BODY, "creator": "bob"}, auth=ANN).status_code == 403
    assert client.get(f"{API}/user/ann", auth=ANN).json()["count"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "DOCX"},
        {"format": "SIMPLE_PARQUET"},
        {"checklistKey": "0000"},
        {"predicate": {"type": "within", "geometry": "POLYGON((0 40, 0 60, 20 60, 20 40, 0 40))"}},
        {"predicate": None},
        {"notificationAddresses": "ann@example.org"},
    ],
)
def test_wrong_requests_are_refused(start: Callable[..., TestClient], changes: dict[str, Any]) -> None:
    answer = start().post(f"{API}/request", json={**BODY, **changes}, auth=ANN)
    assert answer.status_code == 400
    assert answer.text


def test_a_body_that_is_no_json_is_refused(start: Callable[..., TestClient]) -> None:
    assert start().post(f"{API}/request", content=b"{", auth=ANN).status_code == 400


def test_unknown_keys_are_404(start: Callable[..., TestClient]) -> None:
    client = start()
    key = "0000000-000000000000000"
    for path in (f"{API}/{key}", f"{API}/request/{key}.zip", f"/occurrence/download/request/{key}.zip"):
        assert client.get(path).status_code == 404
    assert client.delete(f"{API}/request/{key}", auth=ANN).status_code == 404


def test_a_users_downloads_are_listed_newest_first(start: Callable[..., TestClient]) -> None:
    client = start()
    keys = [request(client, machineDescription={"n": n}) for n in range(3)]
    page = client.get(f"{API}/user/ann", params={"limit": 2}, auth=ANN).json()
    assert (page["count"], page["endOfRecords"], [x["key"] for x in page["results"]]) == (3, False, keys[:0:-1])
    assert page["results"][0]["request"]["machineDescription"] == {"n": 2}
    rest = client.get(f"{API}/user/ann", params={"limit": 2, "offset": 2}, auth=ANN).json()
    assert (rest["endOfRecords"], [x["key"] for x in rest["results"]]) == (True, keys[:1])
    finish(client, keys[1])
    done = client.get(f"{API}/user/ann", params={"status": "SUCCEEDED"}, auth=ANN).json()
    assert [x["key"] for x in done["results"]] == [keys[1]]


def test_three_downloads_in_the_making_are_enough(start: Callable[..., TestClient], clock: Clock) -> None:
    client = start()
    for n in range(3):
        request(client, machineDescription={"n": n})
    assert client.post(f"{API}/request", json=BODY, auth=ANN).status_code == 429
    assert request(client, machineDescription={"n": 0})
    clock.now += 61
    request(client)


def test_a_cancelled_download_is_not_found_again(start: Callable[..., TestClient]) -> None:
    client = start()
    key = request(client)
    assert client.delete(f"{API}/request/{key}", auth=ANN).status_code == 204
    assert client.get(f"{API}/{key}").json()["status"] == "CANCELLED"
    assert client.get(f"{API}/request/{key}.zip").status_code == 404
    assert request(client) != key
