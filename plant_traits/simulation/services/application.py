"""All stand-ins for one world: which host is answered by what."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from functools import cache, partial
from pathlib import Path

import pandas as pd
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from data_catalog import WorldSettings
from plant_traits.month import Month
from plant_traits.simulation.landmarks import institutions
from plant_traits.simulation.services.account import Account
from plant_traits.simulation.services.bucket import Bucket
from plant_traits.simulation.services.faults import Faults
from plant_traits.simulation.services.folder_objects import FolderObjects
from plant_traits.simulation.services.front import Front
from plant_traits.simulation.services.gbif_downloads import Downloads
from plant_traits.simulation.services.gbif_registry import Registry
from plant_traits.simulation.services.gbif_search import Search
from plant_traits.simulation.services.gbif_species import SpeciesMatch
from plant_traits.simulation.services.inaturalist_api import InaturalistApi
from plant_traits.simulation.services.photo_objects import PhotoObjects
from plant_traits.simulation.services.rates import Rates
from plant_traits.simulation.services.recorded import Recorded
from plant_traits.simulation.services.request_log import LOG_NAME, LogWriter, RequestLog
from plant_traits.simulation.services.soil_mosaics import mosaic_routes
from plant_traits.simulation.services.state import State
from plant_traits.simulation.services.stored_zip import StoredZip
from plant_traits.simulation.services.world_files import CHELSA, SOILGRIDS, file_route, splotopen_route
from plant_traits.simulation.services.world_records import WorldRecords
from plant_traits.simulation.world_file import read_world_file
from plant_traits.simulation.write_identifications import write_identifications
from plant_traits.simulation.write_inaturalist import write_inaturalist
from plant_traits.simulation.write_snapshot import write_snapshots

ACCOUNT = Account("virtual-user", "virtual-password")
PHOTO_HOST = "inaturalist-open-data.s3.amazonaws.com"
SNAPSHOT_BUCKET = "gbif-open-data-eu-central-1"
SNAPSHOT_HOST = f"{SNAPSHOT_BUCKET}.s3.eu-central-1.amazonaws.com"
#: Requests per minute that services enforce unless other rates are declared.
ENFORCED_RATES: Mapping[str, float] = {"api.inaturalist.org": 100}
_MAKING = threading.Lock()
_PUBLISHED_AFTER = timedelta(days=1)  # the end of a month
HOSTS = (
    "api.gbif.org",
    "occurrence-download.gbif.org",
    SNAPSHOT_HOST,
    "api.inaturalist.org",
    PHOTO_HOST,
    "static.inaturalist.org",
    "os.zhdk.cloud.switch.ch",
    "files.isric.org",
    "idata.idiv.de",
    "zenodo.org",
    "raw.githubusercontent.com",
)


def application(
    world: Path,
    state: Path,
    *,
    share: float,
    seed: int,
    rates: Mapping[str, float],
    recorded: Path | None = None,
    month: str | None = None,
) -> Front:
    """Make the application that answers for all hosts.

    Args:
        world: folder of a virtual world.
        state: folder for what is remembered, made and logged.
        share: of requests that fail.
        seed: of what fails.
        rates: requests per minute by host that are enforced.
        recorded: folder of recorded exchanges that answer first.
        month: ``YYYY-MM`` whose end it is in the world; its first month where none is given.

    Raises:
        InputError: the world or the recorded exchanges cannot be read.
        PlantTraitsError: the month cannot be read.
    """
    first = WorldRecords.of_world(world)
    settings, species = read_world_file(world)
    today = settings.first_month if month is None else max(str(Month.parse(month)), settings.first_month)
    records = WorldRecords.of_world(world, today)
    months = [Month.parse(path.name) for path in sorted((world / "gbif").glob("[0-9]*-[0-9]*/")) if path.name <= today]
    made = state / "made"
    kept = State(state / "state.sqlite")
    photo_zips = [world / "photos" / name for name in ("photos.zip", *(f"{x}.zip" for x in months))]

    @cache
    def inaturalist() -> Path:
        def write(folder: Path) -> None:
            now = (records.occurrences, records.media) if months else None
            write_inaturalist(first.occurrences, first.media, photo_zips, settings.seed, folder, now=now)
            write_identifications(
                first.occurrences,
                records.occurrences,
                species,
                world / "truth" / "records.parquet",
                settings.seed,
                folder,
                first_day=Month.parse(settings.first_month).first_day,
                until=Month.parse(today).next.first_day,
            )

        return _made_once(made / "inaturalist" / today, write)

    @cache
    def photos() -> PhotoObjects:
        folder = inaturalist()
        stored = StoredZip(*photo_zips, folder / "new_photos.zip")
        return PhotoObjects(stored, FolderObjects(folder / "bucket"))

    @cache
    def snapshots() -> FolderObjects:
        def write(folder: Path) -> None:
            known = {str(x.next.first_day): WorldRecords.of_world(world, str(x)).occurrences for x in months}
            write_snapshots(first.occurrences, settings.seed, folder, known)

        return FolderObjects(_made_once(made / "snapshots" / today, write))

    bucket = Bucket("inaturalist-open-data", photos, absent=_photo_absent, quick=True)
    routes: dict[str, list[BaseRoute]] = {
        "api.gbif.org": [
            *_gbif(records, species, settings, kept, state / "archives", seed=seed, share=share, today=today)
        ],
        SNAPSHOT_HOST: [*Bucket(SNAPSHOT_BUCKET, snapshots).routes()],
        "api.inaturalist.org": [*InaturalistApi(inaturalist).routes()],
        PHOTO_HOST: [*bucket.routes()],
        "static.inaturalist.org": [*bucket.routes()],
        "os.zhdk.cloud.switch.ch": [file_route(f"{CHELSA}/{{name}}", world / "chelsa")],
        "files.isric.org": [
            file_route(f"{SOILGRIDS}/data_aggregated/5000m/{{p}}/{{name}}", world / "soilgrids"),
            file_route(f"{SOILGRIDS}/data_aggregated/5000m/{{name}}", world / "soilgrids"),
            *mosaic_routes(f"{SOILGRIDS}/data", world / "soilgrids", made / "soilgrids"),
        ],
        "idata.idiv.de": [splotopen_route(world / "splotopen", made)],
        "zenodo.org": [file_route("/records/{record}/files/{name}", world / "products")],
        "raw.githubusercontent.com": [file_route("/{folders:path}/{name}", world / "products")],
    }
    routes["occurrence-download.gbif.org"] = routes["api.gbif.org"]
    hosts: dict[str, ASGIApp] = {host: Starlette(routes=routes[host]) for host in HOSTS}
    past = RequestLog(state / LOG_NAME).entries()
    taped = None if recorded is None else Recorded.read(recorded)
    return Front(hosts, Faults(share, seed, past), Rates(rates), LogWriter(state / LOG_NAME), taped)


def _world_time(month: str) -> float:
    """Return the time, but never one at which the month was not over yet."""
    over = datetime.combine(Month.parse(month).next.first_day, clock_time(), UTC) + _PUBLISHED_AFTER
    return max(time.time(), over.timestamp())


def _gbif(
    records: WorldRecords,
    species: pd.DataFrame,
    settings: WorldSettings,
    kept: State,
    folder: Path,
    *,
    seed: int,
    share: float,
    today: str,
) -> list[BaseRoute]:
    month = "" if today == settings.first_month else today
    now = partial(_world_time, today)
    downloads = Downloads(records, folder, kept, ACCOUNT, seed=seed, erase_first=share > 0, now=now, month=month)
    registry = Registry(institutions(settings.seed), kept, ACCOUNT)
    return [
        *downloads.api_routes(),
        *downloads.file_routes(),
        *SpeciesMatch(species).routes(),
        *registry.routes(),
        *Search(records).routes(),
    ]


def _made_once(folder: Path, write: Callable[[Path], None]) -> Path:
    """Return a folder, filled by ``write`` unless that was done before; a half-filled one is filled anew."""
    whole = folder / ".whole"
    with _MAKING:
        if not whole.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write(folder)
            whole.touch()
    return folder


def _photo_absent(key: str) -> int:
    """Return 403 for some keys and 404 for others, as a bucket does that may not be listed by everyone."""
    return 403 if hashlib.sha256(key.encode()).digest()[0] % 3 == 0 else 404
