"""The photo plug-in: fetch the photos that observations name into a store that all months share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import JsonValue

from plant_traits.errors import InputError, MissingInputError, WorkspaceError
from plant_traits.sources.photo_store.fetching import Progress, fetch_photos
from plant_traits.sources.photo_store.index import INDEX, read_index, read_meta, write_meta
from plant_traits.sources.photo_store.pack import PACKS
from plant_traits.sources.photo_store.photo_list import PHOTO_LIST, count_states, write_photo_list
from plant_traits.sources.photo_store.rounds import begin_round, count_open, end_round, rounds_left_open
from plant_traits.sources.photo_store.settings import PhotoSettings
from plant_traits.sources.photo_store.store import PhotoStore
from plant_traits.sources.photo_store.verify import verify_store
from plant_traits.sources.photo_store.wanted import attach_wanted, stage_wanted, wanted_hash
from plant_traits.sources.plugin_settings import read_settings
from plant_traits.sources.protocol import OBSERVATIONS, Fetched, Plan, Request
from plant_traits.sources.web.client import Web

_NOT_ASKED = frozenset({"attempts", "pack_bytes", "failures_in_a_row"})  # they do not change what is wanted


class PhotoSource:
    """Fetch photos, each once, verify them, and keep them with their licence and attribution.

    The request's table ``observations`` names them (columns photo_id, photo_url, licence, attribution). The folder may
    be shared by all months: the store grows, and a photo that is there or is known to be gone is not asked for again.
    """

    def plan(self, request: Request) -> Plan:
        """Say which photos are wanted. A later run asks again while some were postponed or may come yet.

        Raises:
            InputError: the settings are wrong, or there is no table of observations.
        """
        asked = _asked(request)
        return Plan({**asked, "again": _rounds_left_open(request.folder, _key(asked))})

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        """Fetch what the store does not hold yet.

        Raises:
            InputError: the store holds photos of another size.
            WorkspaceError: the store cannot be written, or another process fills it.
        """
        settings = _settings(request)
        asked = _asked(request)
        with PhotoStore(request.folder, settings.pack_bytes) as store:
            _keep_to_size(store, settings.size)
            hosts = sorted(web.addresses.hosts)
            staged = _key({**asked, "reachable": [*hosts]})
            stage_wanted(store.index, request.folder, _table(request), staged, settings, hosts)
            this = begin_round(store.index, plan.key, settings.attempts, settings.retry_failed)
            wanted = count_open(store.index, this)
            done = fetch_photos(
                store,
                this,
                web,
                bounds=settings.bounds,
                failures_in_a_row=settings.failures_in_a_row,
                progress=_counting(request, wanted),
            )
            postponed = count_open(store.index, this)
            states = count_states(store.index)
            end_round(store.index, this, _key(asked))
        packs = sorted(path.name for path in (request.folder / PACKS).glob("*.tar"))
        facts: dict[str, JsonValue] = {
            "photos": sum(states.values()),
            "held": states.get("ok", 0),
            "asked for": wanted - postponed,
            "fetched": done.kept,
            "bytes fetched": done.bytes,
            "postponed": postponed,
        }
        lost = {reason: n for reason, n in states.items() if reason != "ok"}
        # A pack holds thousands of photos, each of which the store can check: it is never thrown away for one of them.
        return Fetched((INDEX, *(f"{PACKS}/{name}" for name in packs)), facts, lost, mended=True)

    def verify(self, request: Request, fetched: Fetched) -> None:
        """Check the store: no overlaps, a reason for every photo it lacks, and the bytes of those that are new.

        Raises:
            ArchiveError: index and packs do not agree.
        """
        verify_store(request.folder)

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        """Write ``photos.parquet``: what became of each wanted photo, columns ``PHOTO_STATE``."""
        with read_index(request.folder) as index:
            attach_wanted(index, request.folder)
            return write_photo_list(index, destination / PHOTO_LIST)


def _counting(request: Request, wanted: int) -> Callable[[Progress], None]:
    def tell(done: Progress) -> None:
        if request.progress is not None:
            request.progress(done.kept + done.failed, wanted)

    return tell


def _settings(request: Request) -> PhotoSettings:
    return read_settings(request, PhotoSettings, "photos")


def _keep_to_size(store: PhotoStore, size: str) -> None:
    held = read_meta(store.index, "size")
    if held is None:
        write_meta(store.index, "size", size)
    elif held != size:
        raise InputError(
            f"photo store {store.folder} holds photos of size {held!r}, {size!r} is wanted: set `size: {held}`, "
            "or let `into` name another folder"
        )


def _rounds_left_open(folder: Path, key: str) -> int:
    try:
        with read_index(folder) as index:
            return rounds_left_open(index, key)
    except (MissingInputError, WorkspaceError):
        return 0  # nothing was fetched yet, or the index will be made anew


def _table(request: Request) -> Path:
    if OBSERVATIONS not in request.tables:
        raise MissingInputError(
            f"source {request.source.id!r}: photos are fetched for a table `{OBSERVATIONS}`, found tables "
            f"{sorted(request.tables)}; run the stage that writes it first"
        )
    return request.tables[OBSERVATIONS]


def _asked(request: Request) -> dict[str, JsonValue]:
    settings = _settings(request)
    if not request.source.hosts:
        raise InputError(
            f"source {request.source.id!r} names no `hosts` in the catalogue: photos have nowhere to come from"
        )
    return {
        "photos": wanted_hash(_table(request)),
        "settings": settings.model_dump(mode="json", exclude=set(_NOT_ASKED)),
        "hosts": [*sorted(x.host for x in request.source.hosts)],
    }


def _key(asked: Mapping[str, JsonValue]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
