"""The acquisition against stand-ins: faults change nothing, rates hold, a kill loses and repeats nothing."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_catalog import load_catalog
from plant_traits.simulation.services.request_log import LOG_NAME, RequestLog
from plant_traits.simulation.world import build_world

pytestmark = pytest.mark.system

SCRIPT = Path(__file__).with_name("acquire_virtual.py")
PHOTO_HOST = "inaturalist-open-data.s3.amazonaws.com"
ASK = "https://api.gbif.org/v1/occurrence/download/request"
KILL_AT = (4, 12, 30, 60, 140, 230)  # requests in the log


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    catalog = load_catalog()
    profile = catalog.profile("tiny")
    folder = tmp_path_factory.mktemp("world")
    build_world(profile.inputs.world, [catalog.trait(x) for x in profile.traits], folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(world, folder, 0.0)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    return folder


def start(world: Path, folder: Path, faults: float) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(world), str(folder / "mirror"), str(folder / "tables"), str(faults)]
    return subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def log_of(folder: Path) -> RequestLog:
    return RequestLog(folder / "mirror" / ".services" / LOG_NAME)


def contents(folder: Path) -> dict[str, str]:
    """Hash every table and raster that later stages read."""
    mirror = folder / "mirror"
    read = [
        *mirror.glob("*/*/*/occurrences.parquet"),
        *mirror.glob("reference/*/institutions.parquet"),
        *mirror.glob("chelsa/*.tif"),
        *mirror.glob("soilgrids/*.tif"),
        *mirror.glob("splotopen/*.txt"),
        *mirror.glob("photos/photos.parquet"),
        *mirror.glob("identifications/*.parquet"),
        *(folder / "tables").glob("*.parquet"),
    ]
    return {x.relative_to(folder).as_posix(): hashlib.sha256(x.read_bytes()).hexdigest() for x in read}


def photos_asked_again(folder: Path) -> int:
    return sum(n - 1 for n in log_of(folder).completed(PHOTO_HOST).values())


@pytest.mark.timeout(600)
def test_one_fault_in_ten_changes_no_table(world: Path, undisturbed: Path, tmp_path: Path) -> None:
    process = start(world, tmp_path, 0.1)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    log = log_of(tmp_path)
    assert sum(log.faults().values()) > 0.05 * sum(log.requests().values())
    assert len(contents(undisturbed)) == 2 + 1 + 19 + 9 + 3 + 1 + 2 + 11
    assert contents(tmp_path) == contents(undisturbed)
    assert log.over_rate() == []
    assert photos_asked_again(tmp_path) == 0


def test_without_faults_everything_is_asked_once(undisturbed: Path) -> None:
    log = log_of(undisturbed)
    assert log.completed(PHOTO_HOST).most_common(1)[0][1] == 1
    posted = [x for x in log.entries("api.gbif.org") if x.method == "POST"]
    assert [x.url for x in posted] == [ASK]
    limits = load_catalog().source("inaturalist").hosts
    for host in limits:
        assert log.busiest(host.host) <= host.requests_per_minute + 1


@pytest.mark.timeout(900)
def test_kills_lose_and_repeat_nothing(world: Path, undisturbed: Path, tmp_path: Path) -> None:
    killed = 0
    for requests in (*KILL_AT, None):
        process = start(world, tmp_path, 0.1)
        if requests is None:
            output, _ = process.communicate(timeout=400)
            assert process.returncode == 0, output
            break
        while process.poll() is None and sum(log_of(tmp_path).requests().values()) < requests:
            time.sleep(0.02)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate()
    assert killed == len(KILL_AT)
    assert contents(tmp_path) == contents(undisturbed)
    log = log_of(tmp_path)
    assert log.over_rate() == []
    # What was on its way when the process died is asked for again: at most one photo a connection.
    (connections,) = (x.connections for x in load_catalog().source("inaturalist").hosts if x.host == PHOTO_HOST)
    assert photos_asked_again(tmp_path) <= killed * connections
    # Two: the stand-in erases the first archive once, and the client asks for another.
    taken = [x for x in log.entries("api.gbif.org") if x.method == "POST" and x.status in (200, 201)]
    assert len(taken) == 2
