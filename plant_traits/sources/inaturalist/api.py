"""Observations of a small region by iNaturalist's API, with everyone's identifications and votes.

What is large is had from the open-data tables; these lack who identified what, from which a name is verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field
from pyinaturalist.constants import API_V1
from pyinaturalist.session import ClientSession
from pyinaturalist.session import get as ask_inaturalist

from plant_traits.errors import InputError, WebError
from plant_traits.regions import Region
from plant_traits.sources.inaturalist.observations import (
    IDENTIFICATION,
    VOTE,
    identifications,
    observations_to_raw,
    votes,
)
from plant_traits.sources.inaturalist.session import inaturalist_session
from plant_traits.sources.page_journal import read_page, write_page
from plant_traits.sources.plugin_settings import PluginSettings, read_settings
from plant_traits.sources.protocol import Fetched, Plan, Request
from plant_traits.sources.raw_occurrence import write_raw_occurrences
from plant_traits.sources.web.client import Web

LARGEST_PAGE = 200
TRACHEOPHYTA = 211194
"""iNaturalist's id of the vascular plants."""
_MISSING_SHARE = 0.01


class InaturalistApiSettings(PluginSettings):
    """Settings of the plug-in ``inaturalist-api``."""

    taxon_id: int = Field(default=TRACHEOPHYTA, ge=1)
    quality_grades: tuple[str, ...] = Field(default=("research",), min_length=1)
    photo_licences: tuple[str, ...] = ("cc0", "cc-by", "cc-by-nc")
    max_records: int = Field(default=10_000, ge=1, description="a larger region is refused: use the open-data tables")
    page_size: int = Field(default=LARGEST_PAGE, ge=1, le=LARGEST_PAGE)


class InaturalistApi:
    """Fetches the observations of a region in order of their id, page by page; each page is kept."""

    def plan(self, request: Request) -> Plan:
        """Say what will be asked.

        Raises:
            InputError: the settings are wrong.
        """
        settings = read_settings(request, InaturalistApiSettings, "inaturalist-api")
        asked = {**settings.model_dump(mode="json"), "region": list(request.region.bbox), "month": str(request.month)}
        return Plan(asked, requests=settings.max_records // settings.page_size + 1)

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        """Fetch every page that is not there yet; a page begins above the last id of the one before.

        Raises:
            InputError: the region holds more observations than ``max_records``.
            WebError: the service failed for good.
        """
        settings = read_settings(request, InaturalistApiSettings, "inaturalist-api")
        folder = request.folder / f"pages-{plan.key[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        session = inaturalist_session(web, folder)
        files: list[str] = []
        promised = 0
        last_day = (request.month.next.first_day - timedelta(days=1)).isoformat()
        for k, box in enumerate(_boxes(request.region)):
            query = {**_query(settings), **box}
            above, last = 0, False
            while not last:
                path = folder / f"box-{k}-above-{above:012d}.json.gz"
                if not path.exists():
                    answer = _ask(session, last_day, {**query, "id_above": above})
                    _check(answer, path.name)
                    write_page(path, answer)
                page = read_page(path)
                if above == 0:
                    promised += int(page["total_results"])
                    _refuse_if_large(request, promised, settings.max_records)
                files.append(f"{folder.name}/{path.name}")
                results = page["results"]
                last = len(results) < settings.page_size
                above = max((int(entry["id"]) for entry in results), default=above)
        return Fetched(tuple(files), {"count": promised, "taxon_id": settings.taxon_id})

    def verify(self, request: Request, fetched: Fetched) -> None:
        """Check that every page can be read and that about as many observations came as were promised.

        Raises:
            InputError: they did not.
        """
        found = sum(len(page) for page in _distinct(request.folder, fetched.files))
        promised = int(str(fetched.facts["count"]))
        # Observations are made and withdrawn while pages are fetched.
        if found < promised * (1 - _MISSING_SHARE) - 1:
            raise InputError(
                f"source {request.source.id!r}: {promised} observations were promised and {found} came; remove "
                f"{request.folder} and run again"
            )

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        """Write ``occurrences.parquet``, ``identifications.parquet`` and ``votes.parquet``."""
        settings = read_settings(request, InaturalistApiSettings, "inaturalist-api")
        counts: dict[str, int] = {}
        for name, schema, read in (
            ("identifications", IDENTIFICATION, identifications),
            ("votes", VOTE, votes),
        ):
            counts[name] = 0
            with pq.ParquetWriter(destination / f"{name}.parquet", schema, compression="zstd") as writer:
                for page in _distinct(request.folder, fetched.files):
                    table = pa.Table.from_pylist(read(page), schema)
                    counts[name] += len(table)
                    writer.write_table(table)
        frames: Iterator[pd.DataFrame] = (
            observations_to_raw(page, request.source.id, settings.photo_licences)
            for page in _distinct(request.folder, fetched.files)
        )
        return {**write_raw_occurrences(frames, destination / "occurrences.parquet"), **counts}


def _ask(session: ClientSession, last_day: str, query: Mapping[str, Any]) -> Any:  # noqa: ANN401 - checked after
    # Given as a parameter, the day would become a moment: its midnight, before what was seen on that day.
    address = f"{API_V1}/observations?d2={last_day}"
    try:
        return ask_inaturalist(address, session=session, **query).json()
    except ValueError as error:
        raise InputError(f"iNaturalist cannot be asked for this: {error}; correct the settings") from error


def _query(settings: InaturalistApiSettings) -> dict[str, Any]:
    return {
        "taxon_id": settings.taxon_id,
        "quality_grade": list(settings.quality_grades),
        "photo_license": [licence.upper() for licence in settings.photo_licences],
        "geo": True,
        "photos": True,
        "order_by": "id",
        "order": "asc",
        "per_page": settings.page_size,
    }


def _boxes(region: Region) -> list[dict[str, float]]:
    west, south, east, north = map(float, region.bbox)
    spans = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
    return [{"swlat": south, "swlng": w, "nelat": north, "nelng": e} for w, e in spans]


def _refuse_if_large(request: Request, promised: int, most: int) -> None:
    if promised > most:
        raise InputError(
            f"source {request.source.id!r}: region {request.region.name!r} holds {promised} observations or more, at "
            f"most {most} are asked for; use the plug-in `inaturalist-open-data`, a smaller region, or raise "
            "`max_records`"
        )


def _check(answer: object, what: str) -> None:
    whole = isinstance(answer, dict) and isinstance(answer.get("results"), list) and "total_results" in answer
    if not whole:
        raise WebError("unexpected_answer", f"{what}: expected a page of observations, found {str(answer)[:80]!r}")


def _distinct(folder: Path, files: Iterable[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield the observations of each page that no earlier page had."""
    seen: set[int] = set()
    for name in files:
        fresh = []
        for entry in read_page(folder / name)["results"]:
            if int(entry["id"]) not in seen:
                seen.add(int(entry["id"]))
                fresh.append(entry)
        yield fresh
