"""Bring GBIF occurrences in bulk: ask for a download once, wait until it is made, fetch, check and normalise it."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue

from plant_traits.errors import ArchiveError, InputError, WebError
from plant_traits.sources.dwca import write_dwca_occurrences
from plant_traits.sources.gbif.account_downloads import API, WAITING, explained, find_own_download, json_object
from plant_traits.sources.gbif.download_archive import count_records
from plant_traits.sources.gbif.download_journal import DownloadJournal
from plant_traits.sources.gbif.predicate import DownloadConditions, download_body
from plant_traits.sources.gbif.simple import simple_csv_tables, simple_parquet_tables
from plant_traits.sources.plugin_settings import read_settings
from plant_traits.sources.protocol import Fetched, Plan, Request
from plant_traits.sources.raw_occurrence import write_raw_occurrence_tables
from plant_traits.sources.web.client import Web
from plant_traits.sources.web.download import download

_FAILED = frozenset(["CANCELLED", "KILLED", "FAILED"])
_ERASED = "FILE_ERASED"
_KEY = re.compile(r"[0-9A-Za-z][0-9A-Za-z\-]{5,63}")


class GbifDownloadSettings(DownloadConditions):
    """Settings of the plug-in ``gbif-download``: the conditions, and how to wait.

    Attributes:
        poll_seconds: pause between two questions about the state of the download.
        max_wait_hours: how long one call waits; the download goes on at GBIF, and the next call finds it.
        listed_downloads: how many of the account's latest downloads are looked through for one of ours.
        count_tolerance: share of the stated number of records by which the file may differ.
    """

    poll_seconds: float = Field(default=60.0, gt=0)
    max_wait_hours: float = Field(default=24.0, gt=0)
    listed_downloads: int = Field(default=100, ge=1, le=1000)
    count_tolerance: float = Field(default=0.001, ge=0, lt=1)


class DownloadEndedError(WebError):
    """GBIF gave a download up.

    Attributes:
        state: its state, such as ``KILLED``.
    """

    def __init__(self, key: str, state: str) -> None:
        super().__init__(
            "unavailable",
            f"GBIF download {key} ended as {state} instead of SUCCEEDED; its key was set aside, so the next run asks "
            f"anew. If it ends so again, look at https://www.gbif.org/occurrence/download/{key}",
        )
        self.state = state


@dataclass(frozen=True)
class GbifDownload:
    """The plug-in ``gbif-download``; see ``GbifDownloadSettings``.

    The folder keeps ``download.json`` (the key of the download that was asked for) and ``<key>.zip``. The archive is
    kept as it came: it is what the DOI stands for.

    Attributes:
        sleep: waits so many seconds.
    """

    sleep: Callable[[float], None] = time.sleep

    def plan(self, request: Request) -> Plan:
        """Say what will be asked.

        Raises:
            InputError: the settings are wrong.
        """
        return Plan(asked=download_body(_settings(request), request.region, request.month))

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        """Ask, unless it was asked already, wait, and fetch the archive.

        A download that GBIF no longer holds is asked for anew, once.

        Raises:
            DownloadEndedError: it was cancelled, killed or failed.
            WebError: the service refused or failed, or the wait was too long.
        """
        settings = _settings(request)
        anew = 0
        while True:
            key, found = self._key(request, settings, plan, web)
            try:
                state = self._wait(key, settings, web)
                path = _fetch_archive(request, key, state, web)
            except DownloadEndedError as ended:
                DownloadJournal(request.folder).set_aside(key, ended.state)
                raise
            except WebError as error:
                if error.reason != "gone":
                    raise
                DownloadJournal(request.folder).set_aside(key, _ERASED)
                if anew:
                    raise WebError(
                        "gone",
                        f"GBIF download {key} is erased, though it was asked for anew just now; run again later, and "
                        f"look at https://www.gbif.org/occurrence/download/{key}",
                        error.status,
                    ) from error
                anew += 1
                continue
            facts = {**_facts(key, state), "asked_anew": anew, "found": found}
            return Fetched((path.name,), facts)

    def verify(self, request: Request, fetched: Fetched) -> None:
        """Read the archive through: its members, their checksums, and its number of records.

        Raises:
            InputError: it is not whole, not of the format or checklist asked for, or does not hold the records that
                GBIF states.
        """
        settings = _settings(request)
        checklist = fetched.facts.get("checklistKey")
        if checklist not in (None, settings.checklist_key):
            raise InputError(
                f"GBIF download {fetched.facts.get('key')}: asked for checklist {settings.checklist_key}, GBIF used "
                f"{checklist}; its taxon keys mean something else. Remove download.json and run again"
            )
        path = request.folder / fetched.files[0]
        try:
            self._verify_records(path, settings, fetched)
        except InputError:
            if path.is_file():  # else the next run would take it for fetched
                path.replace(path.with_name(f"{path.name}.refused"))
            raise

    def _verify_records(self, path: Path, settings: GbifDownloadSettings, fetched: Fetched) -> None:
        found, stated = count_records(path, settings.format), fetched.facts.get("totalRecords")
        if isinstance(stated, int) and abs(found - stated) > settings.count_tolerance * stated:
            raise ArchiveError(
                f"{path.name}: GBIF states {stated} records, the archive holds {found}; run again to fetch it anew"
            )

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        """Write ``occurrences.parquet``; see the protocol."""
        settings, path, source = _settings(request), request.folder / fetched.files[0], request.source.id
        target = destination / "occurrences.parquet"
        if settings.format == "SIMPLE_CSV":
            rejected = Counter[str]()
            return write_raw_occurrence_tables(simple_csv_tables(path, source, rejected), target, rejected)
        if settings.format == "SIMPLE_PARQUET":
            return write_raw_occurrence_tables(simple_parquet_tables(path, source, destination), target, {})
        return write_dwca_occurrences(path, source, destination)

    def _key(self, request: Request, settings: GbifDownloadSettings, plan: Plan, web: Web) -> tuple[str, str]:
        """Return the key of the download, and how it was had: from the journal, from the account's list, or asked."""
        journal = DownloadJournal(request.folder)
        known = journal.key(plan)
        if known is not None:
            return known, "journal"

        def listed() -> str | None:
            return find_own_download(web, plan, request.month, journal.given_up(), settings.listed_downloads)

        body = download_body(settings, request.region, request.month, plan.key)
        key, found = listed(), "list"
        if key is None:
            found = "asked"
            try:
                key = web.post(f"{API}/request", body, authenticate=True).content.decode("utf-8", "replace")
            except WebError as error:
                # It may have been taken although no answer came.
                key = listed() if error.status is None else None
                if key is None:
                    raise explained(error) from None
        key = key.strip('" \n')
        if not _KEY.fullmatch(key):
            raise WebError("unexpected_answer", f"{API}/request: expected the key of a download, found {key[:80]!r}")
        journal.write(plan, key, body)
        return key, found

    def _wait(self, key: str, settings: GbifDownloadSettings, web: Web) -> dict[str, Any]:
        waited = 0.0
        while True:
            state = json_object(web.get(f"{API}/{key}").json(), f"{API}/{key}")
            status = state.get("status")
            if status == "SUCCEEDED":
                return state
            if status in _FAILED:
                raise DownloadEndedError(key, str(status))
            if status == _ERASED:
                raise WebError("gone", f"GBIF download {key}: GBIF has erased its file")
            if status not in WAITING:
                raise WebError("unexpected_answer", f"{API}/{key}: a state of downloads is expected, found {status!r}")
            if waited >= settings.max_wait_hours * 3600:
                raise WebError(
                    "unavailable",
                    f"GBIF download {key} is still {status} after {waited / 3600:.1f} hours of waiting; run again "
                    "later, its key is kept",
                )
            self.sleep(settings.poll_seconds)
            waited += settings.poll_seconds


def download_citation(doi: str, created: str) -> str:
    """Write the citation that GBIF asks for.

    Args:
        doi: bare, such as ``10.15468/dl.np3k7j``.
        created: when the download was made, ISO 8601.

    Raises:
        WebError: ``unexpected_answer``, the date cannot be read.
    """
    try:
        day = datetime.fromisoformat(created)
    except ValueError as error:
        raise WebError("unexpected_answer", f"download {doi}: {created!r} is no date") from error
    return f"GBIF.org ({day.day} {day:%B %Y}) GBIF Occurrence Download https://doi.org/{doi}"


def _settings(request: Request) -> GbifDownloadSettings:
    return read_settings(request, GbifDownloadSettings, "gbif-download")


def _fetch_archive(request: Request, key: str, state: Mapping[str, Any], web: Web) -> Path:
    path = request.folder / f"{key}.zip"
    size = state.get("size")
    size = size if isinstance(size, int) and size > 0 else None
    if path.is_file() and path.stat().st_size == size:
        return path
    link = str(state.get("downloadLink") or f"{API}/request/{key}.zip")
    download(web, re.sub(r"^http://", "https://", link), path, expected_size=size)
    return path


def _facts(key: str, state: Mapping[str, Any]) -> dict[str, JsonValue]:
    asked = state.get("request")
    asked = asked if isinstance(asked, dict) else {}
    doi, created = state.get("doi"), state.get("created")
    cited = isinstance(doi, str) and isinstance(created, str)
    return {
        "key": key,
        "doi": doi,
        "citation": download_citation(str(doi), str(created)) if cited else None,
        **{name: state.get(name) for name in ("totalRecords", "size", "created", "license", "numberDatasets")},
        "checklistKey": asked.get("checklistKey"),
        "predicate": asked.get("predicate"),
    }
