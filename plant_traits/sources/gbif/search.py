"""Occurrences of a small region by GBIF's anonymous search; what is large is had by a download.

The search gives at most 300 records a page and 100,000 records a query, so a region with more is quartered until each
box has few enough; one that cannot be made smaller is cut by year. Boxes share their edges: a record on one may come
twice and counts once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from plant_traits.errors import InputError, WebError
from plant_traits.regions import Region
from plant_traits.sources.gbif.checklist import CATALOGUE_OF_LIFE, TRACHEOPHYTA
from plant_traits.sources.gbif.lookups import occurrence_search
from plant_traits.sources.gbif.search_records import records_to_raw
from plant_traits.sources.page_journal import read_page, write_page
from plant_traits.sources.plugin_settings import PluginSettings, read_settings
from plant_traits.sources.protocol import Fetched, Plan, Request
from plant_traits.sources.raw_occurrence import write_raw_occurrences
from plant_traits.sources.web.client import Web

LARGEST_PAGE = 300
DEEPEST_RECORD = 100_000
_FIRST_YEAR = 1500
_SMALLEST_BOX_DEGREES = 1e-3
_MISSING_SHARE = 0.01

_Search = Callable[..., Any]


class GbifSearchSettings(PluginSettings):
    """Settings of the plug-in ``gbif-search``; the defaults are those of a download."""

    taxon_key: str = TRACHEOPHYTA
    checklist_key: str = CATALOGUE_OF_LIFE
    max_records: int = Field(default=50_000, ge=1, description="a larger region is refused: request a download")
    page_size: int = Field(default=LARGEST_PAGE, ge=1, le=LARGEST_PAGE)
    with_image: bool = True
    basis_of_record: tuple[str, ...] = ("HUMAN_OBSERVATION",)
    licences: tuple[str, ...] = ("CC0_1_0", "CC_BY_4_0", "CC_BY_NC_4_0")
    largest_uncertainty_m: float | None = Field(default=5000.0, gt=0)


@dataclass(frozen=True)
class Part:
    """One query: a box in degrees that does not cross the antimeridian, and the years, where it is cut by year.

    Attributes:
        west, south, east, north: the box; its edges belong to it.
        first_year: first year, None where it is not cut by year.
        last_year: last year.
        count: records that the service says it holds.
    """

    west: float
    south: float
    east: float
    north: float
    first_year: int | None = None
    last_year: int | None = None
    count: int = 0


class GbifSearch:
    """Fetches the occurrences of a small region, page by page; each page is kept and not asked for again."""

    def plan(self, request: Request) -> Plan:
        """Say what will be searched for.

        Raises:
            InputError: the settings are wrong.
        """
        settings = read_settings(request, GbifSearchSettings, "gbif-search")
        asked = {**settings.model_dump(mode="json"), "region": list(request.region.bbox), "month": str(request.month)}
        return Plan(asked, requests=settings.max_records // settings.page_size + 1)

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        """Count, cut into parts that fit, and fetch every page that is not there yet.

        Raises:
            InputError: the region holds more records than ``max_records``.
            WebError: the service failed for good.
        """
        settings = read_settings(request, GbifSearchSettings, "gbif-search")
        pages = request.folder / f"pages-{plan.key[:12]}"
        pages.mkdir(parents=True, exist_ok=True)
        search, query = occurrence_search(web), _query(settings)
        parts, total, undated = self._parts(request, settings, pages / "parts.json", search, query)
        for k, part in enumerate(parts):
            for offset in range(0, min(part.count, DEEPEST_RECORD), settings.page_size):
                page = pages / f"part-{k:04d}-{offset:06d}.json.gz"
                if not page.exists():
                    limit = min(settings.page_size, DEEPEST_RECORD - offset)
                    answer = search(**query, **_where(part), limit=limit, offset=offset)
                    _check(answer, page.name)
                    write_page(page, answer)
        files = sorted(f"{pages.name}/{page.name}" for page in pages.glob("part-*.json.gz"))
        per_dataset: Counter[str] = Counter()
        for records in _distinct_records(request.folder, files):
            per_dataset.update(str(record.get("datasetKey")) for record in records)
        return Fetched(
            files=(f"{pages.name}/parts.json", *files),
            facts={
                "count": total - undated,
                "records": per_dataset.total(),
                "checklist_key": settings.checklist_key,
                "records_by_dataset": dict(sorted(per_dataset.items())),
            },
            lost={"undated records of a crowded place": undated} if undated else {},
        )

    def verify(self, request: Request, fetched: Fetched) -> None:
        """Check that every page can be read and that about as many records came as were promised.

        Raises:
            InputError: pages are damaged or records are missing; the damaged page is removed, so that the next run
                fetches it again.
        """
        keys = sum(len(records) for records in _distinct_records(request.folder, fetched.files))
        promised = int(str(fetched.facts["count"]))
        # The index changes while pages are fetched: a few records may slip from one page to another.
        if keys < promised * (1 - _MISSING_SHARE) - 1:
            raise InputError(
                f"source {request.source.id!r}: the search promised {promised} records and {keys} came; remove "
                f"{request.folder} and run again"
            )

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        """Write one row per record and photo."""
        settings = read_settings(request, GbifSearchSettings, "gbif-search")
        frames = (
            records_to_raw(records, request.source.id, settings.checklist_key)
            for records in _distinct_records(request.folder, fetched.files)
        )
        return write_raw_occurrences(frames, destination / "occurrences.parquet")

    def _parts(
        self, request: Request, settings: GbifSearchSettings, journal: Path, search: _Search, query: dict[str, Any]
    ) -> tuple[list[Part], int, int]:
        """Return the parts, cut now or by an earlier call, the number of records, and of those that no part reaches."""
        if journal.exists():
            known = json.loads(journal.read_text(encoding="utf-8"))
            return [Part(**entry) for entry in known["parts"]], int(known["total"]), int(known["undated"])

        def count(part: Part) -> int:
            answer = search(**query, **_where(part), limit=0, offset=0)
            _check(answer, "the count")
            return int(answer["count"])

        whole = [Part(*box, count=count(Part(*box))) for box in _boxes(request.region)]
        total = sum(part.count for part in whole)
        if total > settings.max_records:
            raise InputError(
                f"source {request.source.id!r}: region {request.region.name!r} holds {total} records, at most "
                f"{settings.max_records} are searched for; use the plug-in `gbif-download`, a smaller region, or raise "
                "`max_records`"
            )
        parts, undated = _cut(whole, count, request.month.year)
        aside = journal.with_suffix(".tmp")
        found = {"parts": [asdict(part) for part in parts], "total": total, "undated": undated}
        aside.write_text(json.dumps(found), encoding="utf-8")
        aside.replace(journal)
        return parts, total, undated


def _query(settings: GbifSearchSettings) -> dict[str, Any]:
    query: dict[str, Any] = {
        "taxonKey": settings.taxon_key,
        "checklistKey": settings.checklist_key,
        "hasCoordinate": True,
        "hasGeospatialIssue": False,
        "occurrenceStatus": "PRESENT",
        "basisOfRecord": list(settings.basis_of_record),
        "license": list(settings.licences),
    }
    if settings.with_image:
        query["mediaType"] = "StillImage"
    if settings.largest_uncertainty_m is not None:
        query["coordinateUncertaintyInMeters"] = f"0,{settings.largest_uncertainty_m:g}"
    return query


def _where(part: Part) -> dict[str, str]:
    where = {
        "decimalLongitude": f"{part.west!r},{part.east!r}",
        "decimalLatitude": f"{part.south!r},{part.north!r}",
    }
    if part.first_year is not None:
        where["year"] = f"{part.first_year},{part.last_year}"
    return where


def _boxes(region: Region) -> list[tuple[float, float, float, float]]:
    west, south, east, north = map(float, region.bbox)
    if west < east:
        return [(west, south, east, north)]
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


def _cut(parts: list[Part], count: Callable[[Part], int], last_year: int) -> tuple[list[Part], int]:
    """Cut parts until each fits into one query; also return how many records of a cut by year have no year."""
    fitting, waiting, undated = [], list(reversed(parts)), 0
    while waiting:
        part = waiting.pop()
        if part.count == 0:
            continue
        if part.count <= DEEPEST_RECORD:
            fitting.append(part)
            continue
        smaller = [Part(**{**asdict(x), "count": count(x)}) for x in _smaller(part, last_year)]
        if part.first_year is None and smaller[0].first_year is not None:
            undated += max(0, part.count - sum(x.count for x in smaller))
        waiting.extend(reversed(smaller))
    return fitting, undated


def _smaller(part: Part, last_year: int) -> list[Part]:
    """Quarter a box; halve the years of one that is too small to be quartered."""
    w, s, e, n = part.west, part.south, part.east, part.north
    if part.first_year is None and max(e - w, n - s) > _SMALLEST_BOX_DEGREES:
        x, y = (w + e) / 2, (s + n) / 2
        return [Part(w, s, x, y), Part(x, s, e, y), Part(w, y, x, n), Part(x, y, e, n)]
    first, last = part.first_year or _FIRST_YEAR, part.last_year or last_year
    if first == last:
        raise InputError(
            f"{part.count} records at {s}°, {w}° in {first} are more than a search can reach ({DEEPEST_RECORD}); "
            "use the plug-in `gbif-download`"
        )
    middle = (first + last) // 2
    return [Part(w, s, e, n, first, middle), Part(w, s, e, n, middle + 1, last)]


def _check(answer: object, what: str) -> None:
    if not (isinstance(answer, dict) and isinstance(answer.get("results"), list) and "count" in answer):
        raise WebError("unexpected_answer", f"{what}: expected a page of occurrences, found {str(answer)[:80]!r}")


def _distinct_records(folder: Path, files: Iterable[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield the records of each page that no earlier page had."""
    seen: set[str] = set()
    for name in files:
        if not name.endswith(".json.gz"):
            continue
        fresh = []
        for record in read_page(folder / name)["results"]:
            key = str(record.get("key"))
            if key not in seen:
                seen.add(key)
                fresh.append(record)
        yield fresh
