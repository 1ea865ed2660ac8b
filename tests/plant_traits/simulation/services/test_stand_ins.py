"""The stand-ins as a process: started, asked by our client, killed, started again, and never left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from data_catalog import HostLimits
from plant_traits.errors import WebError, WorkspaceError
from plant_traits.simulation.services import StandIns, serve
from plant_traits.sources.web.client import Patience, Web
from plant_traits.sources.web.download import download

GBIF = "https://api.gbif.org/v1"
PHOTOS = "https://inaturalist-open-data.s3.amazonaws.com"
BIO1 = "CHELSA_bio1_1981-2010_V.2.1.tif"
CHELSA = f"https://os.zhdk.cloud.switch.ch/envicloud/chelsa/chelsa_V2/GLOBAL/climatologies/1981-2010/bio/{BIO1}"
CLAY = "clay_0-5cm_mean_5000.tif"
SOIL = f"https://files.isric.org/soilgrids/latest/data_aggregated/5000m/clay/{CLAY}"
PRODUCT = "iNat_SLA_05deg_ln.tif"
REQUEST = {
    "format": "DWCA",
    "checklistKey": "7ddf754f-d193-4cc9-b351-99906754a03b",
    "predicate": {"type": "equals", "key": "TAXON_KEY", "value": "TP"},
}


@pytest.fixture
def client(tmp_path: Path) -> Callable[[StandIns], Web]:
    def make(stand_ins: StandIns) -> Web:
        limits = {x: HostLimits(host=x, requests_per_minute=60_000, connections=2) for x in stand_ins.routes}
        patience = Patience(attempts=8, first_wait_s=0.01, longest_wait_s=0.05, timeout_s=20.0)
        account = tmp_path / "pace.sqlite"
        return Web(limits, account, routes=stand_ins.routes, credentials=stand_ins.credentials, patience=patience)

    return make


def fetch_archive(web: Web, path: Path) -> tuple[bytes, int]:
    """Ask for a download until it can be had; return it and how often it was asked for."""
    for asked in range(1, 10):
        try:
            key = web.post(f"{GBIF}/occurrence/download/request", REQUEST, authenticate=True).content.decode()
            told = {"status": ""}
            while told["status"] != "SUCCEEDED":
                told = web.get(f"{GBIF}/occurrence/download/{key}").json()
            download(web, told["downloadLink"], path, expected_size=int(told["size"]))
        except WebError as error:
            assert error.reason in ("gone", "incomplete") or error.status is None
        else:
            return path.read_bytes(), asked
    raise TimeoutError(path)


def test_every_host_answers_from_the_world(tiny_world: Path, tmp_path: Path, client: Callable[[StandIns], Web]) -> None:
    with zipfile.ZipFile(tiny_world / "photos" / "photos.zip") as archive:
        name = archive.namelist()[0]
        photo = archive.read(name)
    with serve(tiny_world, state=tmp_path / "state") as stand_ins, client(stand_ins) as web:
        archive_file, asked = fetch_archive(web, tmp_path / "dwca.zip")
        assert asked == 1
        assert archive_file == next((tiny_world / "gbif").glob("*.zip")).read_bytes()
        assert web.get(f"{PHOTOS}/{name}").content == photo
        assert web.get(CHELSA).content == (tiny_world / "chelsa" / BIO1).read_bytes()
        assert web.get(SOIL).content == (tiny_world / "soilgrids" / CLAY).read_bytes()
        assert web.get("https://files.isric.org/soilgrids/latest/data/clay/clay_0-5cm_mean.vrt").status == 200
        for url in (
            f"https://zenodo.org/records/1/files/{PRODUCT}?download=1",
            f"https://raw.githubusercontent.com/owner/repository/main/maps/{PRODUCT}",
        ):
            assert web.get(url).content == (tiny_world / "products" / PRODUCT).read_bytes()
        plots = download(web, "https://idata.idiv.de/ddm/Data/DownloadZip/3474?version=5047", tmp_path / "plots.zip")
        with zipfile.ZipFile(plots.path) as archive:
            for path in (tiny_world / "splotopen").iterdir():
                assert archive.read(path.name) == path.read_bytes()
        species = json.loads((tiny_world / "world.json").read_text())["species"]["species"][0]
        matched = web.get(f"{GBIF.replace('v1', 'v2')}/species/match", params={"scientificName": species}).json()
        assert matched["usage"]["canonicalName"] == species
        assert web.get(f"{GBIF}/grscicoll/institution").json()["count"] == 61
        assert web.get(f"{GBIF}/occurrence/search", params={"limit": 0}).json()["count"] == 267
        api = web.get("https://api.inaturalist.org/v1/observations", params={"per_page": 1}).json()
        assert api["results"][0]["photos"]
        bucket = "https://gbif-open-data-eu-central-1.s3.eu-central-1.amazonaws.com"
        listing = web.get(f"{bucket}/", params={"list-type": 2, "prefix": "occurrence/", "delimiter": "/"})
        assert b"<Prefix>occurrence/2026-10-01/</Prefix>" in listing.content
        absent = {web_status(web, f"{PHOTOS}/photos/{k}/medium.jpg") for k in range(20)}
        assert absent == {403, 404}
        assert stand_ins.log.requests("os.zhdk.cloud.switch.ch") == {CHELSA: 1}
        assert stand_ins.log.completed()[CHELSA] == 1
        text = stand_ins.log.path.read_text()
        password = stand_ins.credentials["api.gbif.org"][1]
    assert password not in text
    assert "Basic" not in text


def web_status(web: Web, url: str) -> int | None:
    with pytest.raises(WebError) as error:
        web.get(url)
    return error.value.status


def test_a_patient_client_gets_the_same_in_spite_of_faults(
    tiny_world: Path, tmp_path: Path, client: Callable[[StandIns], Web]
) -> None:
    with zipfile.ZipFile(tiny_world / "photos" / "photos.zip") as archive:
        photos = {name: archive.read(name) for name in archive.namelist()[:15]}
    with serve(tiny_world, state=tmp_path / "state", faults=0.3, seed=2) as stand_ins, client(stand_ins) as web:
        archive_file, asked = fetch_archive(web, tmp_path / "dwca.zip")
        assert asked > 1  # the first file is erased
        assert archive_file == next((tiny_world / "gbif").glob("*.zip")).read_bytes()
        for name, content in photos.items():
            assert download(web, f"{PHOTOS}/{name}", tmp_path / "photo.jpg").path.read_bytes() == content
        faults = stand_ins.log.faults()
        assert len(faults) >= 4
        done = stand_ins.log.completed()
    assert sum(faults.values()) >= 8
    assert all(done[f"{PHOTOS}/{name}"] <= 1 for name in photos)


def test_a_killed_pair_goes_on(tiny_world: Path, tmp_path: Path, client: Callable[[StandIns], Web]) -> None:
    state = tmp_path / "state"
    with serve(tiny_world, state=state) as stand_ins, client(stand_ins) as web:
        key = web.post(f"{GBIF}/occurrence/download/request", REQUEST, authenticate=True).content.decode()
        assert web.get(f"{GBIF}/occurrence/download/{key}").json()["status"] == "PREPARING"
        web.get(f"{GBIF}/grscicoll/institution")  # a request is in the log before the next is answered, not before
        os.kill(stand_ins.pid, signal.SIGKILL)
    with serve(tiny_world, state=state) as stand_ins, client(stand_ins) as web:
        assert web.get(f"{GBIF}/occurrence/download/{key}").json()["status"] == "RUNNING"
        assert stand_ins.log.requests()[f"{GBIF}/occurrence/download/{key}"] == 2


def test_declared_rates_are_enforced(tiny_world: Path, tmp_path: Path) -> None:
    host = "os.zhdk.cloud.switch.ch"
    with serve(tiny_world, state=tmp_path / "state", rates={host: 12.0}) as stand_ins:
        address = CHELSA.replace(f"https://{host}", stand_ins.routes[host])
        # five seconds hold one request, a tenth more and five for crowding
        assert [httpx.get(address).status_code for _ in range(8)] == [200] * 6 + [429] * 2
        assert [x.url for x in stand_ins.log.over_rate()] == [CHELSA] * 2


ORPHAN = """
import sys
from pathlib import Path
from plant_traits.simulation.services import serve
with serve(Path(sys.argv[1]), state=Path(sys.argv[2])) as stand_ins:
    print(stand_ins.pid, flush=True)
    sys.stdin.read()
"""


def test_ends_with_the_process_that_started_it(tiny_world: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ORPHAN, str(tiny_world), str(tmp_path / "state")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        watched = os.pidfd_open(pid)
        parent.kill()
        ended, _, _ = select.select([watched], [], [], 20)
    os.close(watched)
    assert ended


def test_recorded_exchanges_answer_first(tiny_world: Path, tmp_path: Path, client: Callable[[StandIns], Web]) -> None:
    url = f"{GBIF}/species/5"
    tape = {"interactions": [{"request": {"method": "GET", "uri": url}, "response": {"status": 200, "body": "taped"}}]}
    (tmp_path / "tapes").mkdir()
    (tmp_path / "tapes" / "one.yaml").write_text(json.dumps(tape))
    recorded = tmp_path / "tapes"
    with serve(tiny_world, state=tmp_path / "state", recorded=recorded) as stand_ins, client(stand_ins) as web:
        assert web.get(url).content == b"taped"
        assert web_status(web, f"{GBIF}/species/6") == 404


def test_from_the_command_line_until_interrupted(tiny_world: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "plant_traits.simulation.services", "--world", str(tiny_world)]
    command += ["--state", str(tmp_path / "state"), "--faults", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert httpx.get(f"{told['routes']['api.gbif.org']}/v1/grscicoll/institution").status_code == 200
        assert told["credentials"]["api.gbif.org"][0] == "virtual-user"
        process.send_signal(signal.SIGINT)
        process.wait(20)


def test_a_folder_without_a_world_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gbif").mkdir()
    with pytest.raises(WorkspaceError, match=r"errors\.log"), serve(tmp_path, state=tmp_path / "state"):
        pass
    assert "expected one Darwin Core archive" in (tmp_path / "state" / "errors.log").read_text()
