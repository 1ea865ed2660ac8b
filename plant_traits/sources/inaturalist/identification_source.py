"""Who gave which name to the observations of a run: iNaturalist's identifications, by the numbers of the observations.

Observations come from GBIF, whose occurrence ids end with iNaturalist's number, or from the open tables, whose ids end
with its UUID; those of other services have no identifications here. Each observation is asked once, up to 200 to a
request, and the answer kept for the months to come; one older than ``refresh_months`` is asked again, since the crowd
goes on naming. Of persons only numbers are kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field
from pyinaturalist.constants import API_V1

from plant_traits.errors import InputError, MissingInputError, TableError, WebError
from plant_traits.sources.inaturalist.identification_journal import TAXON, IdentificationJournal
from plant_traits.sources.inaturalist.observations import IDENTIFICATION
from plant_traits.sources.plugin_settings import PluginSettings, read_settings
from plant_traits.sources.protocol import VOTED, Fetched, Plan, Request
from plant_traits.sources.web.client import Web

IDENTIFICATIONS, TAXA = "identifications.parquet", "taxa.parquet"

_NUMBER = re.compile(r"inaturalist\.org/observations/(\d{1,18})$")
_UUID = re.compile(r"^inaturalist:.*:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$")
_BATCH = 50_000
_MOST_UUIDS = 100  # in one address
_PAGE_LIMIT = 128 * 1024 * 1024  # bytes; an observation with its taxa is some ten to a hundred thousand
_TAXON = pa.schema(list(zip(TAXON, (pa.int64(), pa.string(), pa.string(), pa.string(), pa.bool_()), strict=True)))


class IdentificationSettings(PluginSettings):
    """Settings of the plug-in ``inaturalist-identifications``."""

    refresh_months: int = Field(default=6, ge=1, description="an older answer is asked again")
    page_size: int = Field(default=200, ge=1, le=200, description="observations to a request")


class InaturalistIdentifications:
    """Fetches the identifications of the observations of the table ``voted`` (column ``observation_id``)."""

    def plan(self, request: Request) -> Plan:
        """Say which observations will be asked.

        Raises:
            InputError: the settings are wrong, or there is no table of observations.
        """
        settings = read_settings(request, IdentificationSettings, "inaturalist-identifications")
        digest, known = hashlib.sha256(), 0
        for _, asked in _wanted(request):
            digest.update(f"{asked}\n".encode())
            known += 1
        wanted = {"observations": known, "hash": digest.hexdigest(), "month": str(request.month)}
        asked_for = {**settings.model_dump(mode="json", exclude={"page_size"}), **wanted}
        return Plan(asked_for, requests=-(-known // settings.page_size))

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        """Ask for the observations that the journal does not know, and keep every answer as it comes.

        Raises:
            WebError: the service failed for good; the answers that came are kept.
        """
        settings = read_settings(request, IdentificationSettings, "inaturalist-identifications")
        with IdentificationJournal.open(request.folder) as journal:
            journal.want(_wanted(request))
            due = journal.due(request.month, settings.refresh_months)
            done = 0
            for name, keys in _questions(due, settings.page_size):
                journal.keep(keys, _ask(web, name, keys), request.month)
                done += len(keys)
                if request.progress is not None:
                    request.progress(done, len(due))
            counts = journal.count()
        lost = {"observations iNaturalist no longer has, or not readably": counts["gone"]} if counts["gone"] else {}
        facts = {"observations": sum(counts.values()), "asked_now": len(due)}
        return Fetched((), {**facts, "of_other_services": _others(request)}, lost)

    def verify(self, request: Request, fetched: Fetched) -> None:
        """Check that there is an answer for every observation.

        Raises:
            InputError: there is not.
        """
        with IdentificationJournal.open(request.folder) as journal:
            journal.want(_wanted(request))
            missing = journal.count()["not asked"]
        if missing:
            raise InputError(
                f"source {request.source.id!r}: {missing} observations have no answer in {request.folder}; run again"
            )

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        """Write ``identifications.parquet`` (``IDENTIFICATION``) and ``taxa.parquet``.

        ``occurrence_id`` is the id that the observation has in the table that was asked for; identifications that were
        made after the month are left out.
        """
        end = datetime.combine(request.month.next.first_day, time(), UTC)
        rows = after = 0
        with (
            IdentificationJournal.open(request.folder) as journal,
            pq.ParquetWriter(destination / IDENTIFICATIONS, IDENTIFICATION, compression="zstd") as writer,
        ):
            journal.want(_wanted(request))
            for batch, late in journal.identifications(end):
                writer.write_table(pa.Table.from_pylist(batch, IDENTIFICATION))
                rows, after = rows + len(batch), after + late
            pq.write_table(pa.Table.from_pylist(journal.taxa(), _TAXON), destination / TAXA, compression="zstd")
        return {"rows": rows, **({"rejected: made after the month": after} if after else {})}


def _ids(request: Request) -> Iterator[str]:
    """Yield the ids of the observations, each once; equal ids follow each other.

    Raises:
        MissingInputError: there is no table.
        TableError: it cannot be read.
    """
    path = request.tables.get(VOTED)
    if path is None or not path.is_file():
        raise MissingInputError(
            f"source {request.source.id!r}: identifications are fetched for a table `{VOTED}` with a column "
            f"`observation_id`, found {path or 'none'}; run the stage that writes it first"
        )
    before = None
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH, columns=["observation_id"]):
                for text in batch.column("observation_id").to_pylist():
                    if text is not None and text != before:
                        before = text
                        yield text
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise TableError(f"{path}: expected a Parquet table with a column `observation_id` ({error})") from error


def _wanted(request: Request) -> Iterator[tuple[str, str]]:
    """Yield the ids of iNaturalist's observations, each with the number or UUID that it is asked by."""
    for text in _ids(request):
        asked = _key(text)
        if asked is not None:
            yield text, asked


def _others(request: Request) -> int:
    return sum(_key(text) is None for text in _ids(request))


def _key(text: str) -> str | None:
    """Return the number or UUID that iNaturalist knows an observation by; None for one of another service."""
    found = _NUMBER.search(text) or _UUID.search(text)
    return None if found is None else found[1]


def _questions(due: list[str], page_size: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the parameter and the values of each request."""
    numbers = [str(x) for x in sorted(int(x) for x in due if x.isdigit())]
    uuids = [x for x in due if not x.isdigit()]
    for name, keys, most in (("id", numbers, page_size), ("uuid", uuids, min(page_size, _MOST_UUIDS))):
        for start in range(0, len(keys), most):
            yield name, keys[start : start + most]


def _ask(web: Web, name: str, keys: list[str]) -> list[dict[str, Any]]:
    # pyinaturalist's session takes an answer that is no JSON for a lost connection; the client knows better.
    query: dict[str, str | int | float | list[str]] = {name: ",".join(keys), "order_by": "id", "order": "asc"}
    page = web.get(f"{API_V1}/observations", params=query | {"per_page": len(keys)}, limit_bytes=_PAGE_LIMIT).json()
    results = page.get("results") if isinstance(page, dict) else None
    if not isinstance(results, list) or page.get("total_results") != len(results):
        raise WebError(
            "unexpected_answer",
            f"identifications of {len(keys)} observations: expected one page of all of them, found {str(page)[:80]!r}",
        )
    return [entry for entry in results if isinstance(entry, dict)]
