"""A handful of records with known values, as a Darwin Core archive, and the account of the stand-in."""

from __future__ import annotations

import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.types import ASGIApp

from plant_traits.simulation.services.account import Account
from plant_traits.simulation.services.world_records import WorldRecords

INAT = "50c9509d-22c7-4a22-a47d-8c48425ef4a7"
OTHER = "7a3679ef-5582-4aaa-81f0-8c2545cafc81"
COLUMNS = (
    *("gbifID", "datasetKey", "occurrenceID", "basisOfRecord", "occurrenceStatus", "recordedBy", "eventDate", "year"),
    *("month", "decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters", "hasCoordinate"),
    *("hasGeospatialIssues", "degreeOfEstablishment", "order", "family", "genus", "species", "scientificName"),
    *("taxonKey", "speciesKey", "genusKey", "familyKey", "license", "mediaType", "lastInterpreted", "issue"),
)
_ROWS = (
    ("1", INAT, "10", "HUMAN_OBSERVATION", "2020-05-01", "48.0", "8.0", "10", "", "Aus bus", "101", "CC_BY_4_0"),
    ("2", INAT, "20", "HUMAN_OBSERVATION", "2021-06-02", "-30.0", "20.0", "9000", "", "Aus cus", "102", "CC0_1_0"),
    ("3", INAT, "30", "HUMAN_OBSERVATION", "2022-07-03", "", "", "", "", "Aus bus", "101", "CC_BY_NC_4_0"),
    (
        "4",
        OTHER,
        "x4",
        "HUMAN_OBSERVATION",
        "2023-08-04",
        "48.5",
        "8.5",
        "5",
        "cultivated",
        "Dus eus",
        "103",
        "CC_BY_4_0",
    ),
    ("5", OTHER, "x5", "FOSSIL_SPECIMEN", "2024-09-05", "10.0", "-170.0", "100", "", "Dus eus", "103", "CC_BY_4_0"),
)
_GENUS = {"Aus": ("11", "Aaceae", "21", "Rosales"), "Dus": ("12", "Daceae", "22", "Poales")}


def _row(row: tuple[str, ...]) -> str:
    key, dataset, number, basis, date, lat, lon, accuracy, establishment, species, taxon, licence = row
    genus_key, family, family_key, order = _GENUS[species[:3]]
    address = f"https://www.inaturalist.org/observations/{number}" if dataset == INAT else number
    values = (
        *(key, dataset, address, basis, "PRESENT", "ann", date, date[:4], str(int(date[5:7])), lat, lon, accuracy),
        *("true" if lat else "false", "false", establishment, order, family, species[:3], species, f"{species} L."),
        *(taxon, taxon, genus_key, family_key, licence, "StillImage", "2026-10-28T04:00:00.000Z", ""),
    )
    return "\t".join(values)


def _photo(key: str, photo: int) -> str:
    url = f"https://inaturalist-open-data.s3.amazonaws.com/photos/{photo}/original.jpg"
    return f"{key}\tStillImage\timage/jpeg\t{url}\thttp://creativecommons.org/licenses/by/4.0/legalcode\tann"


@pytest.fixture
def records(tmp_path: Path) -> WorldRecords:
    """Five records: in Germany, in South Africa (9 km uncertain), without place, cultivated, a fossil."""
    path = tmp_path / "records.zip"
    media = [_photo("1", 71), _photo("1", 72), _photo("2", 73), _photo("4", 74)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("occurrence.txt", "\n".join(["\t".join(COLUMNS), *map(_row, _ROWS), ""]))
        head = "gbifID\ttype\tformat\tidentifier\tlicense\tcreator"
        archive.writestr("multimedia.txt", "\n".join([head, *media, ""]))
        archive.writestr("meta.xml", "<archive/>")
        archive.writestr("citations.txt", "all of them")
    return WorldRecords(path)


@pytest.fixture
def account() -> Account:
    return Account("ann", "secret")


@pytest.fixture
def running() -> Callable[[ASGIApp], object]:
    """Return a context manager that serves an application on loopback and yields its port."""

    @contextmanager
    def run(app: ASGIApp) -> Iterator[int]:
        config = uvicorn.Config(
            app, port=0, log_level="critical", access_log=False, lifespan="off", proxy_headers=False
        )
        server = uvicorn.Server(config)
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)

    return run
