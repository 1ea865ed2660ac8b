"""iNaturalist's monthly open-data tables: observations, photos, taxa and observers of all kingdoms, some 60 GB as text.

The tables are fetched whole and joined out of core by DuckDB, see ``open_data_tables``.

An observation's number, and with it its address, is not in these tables, only its UUID; so a record cannot be told
from its copy in GBIF (data set 50c9509d-22c7-4a22-a47d-8c48425ef4a7) by its id. The photo can: its id is in the
addresses of both, and cleaning keeps a photo that reached us twice only once. Whether a plant was planted is not in the
tables either; but the grade ``research`` excludes captive organisms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, JsonValue

from plant_traits.errors import TableError
from plant_traits.sources.inaturalist.open_data_tables import Selection, header, select_observations
from plant_traits.sources.plugin_settings import PluginSettings, read_settings
from plant_traits.sources.protocol import Fetched, Plan, Request
from plant_traits.sources.raw_occurrence import write_raw_occurrences
from plant_traits.sources.web.client import Web
from plant_traits.sources.web.download import download

BUCKET = "https://inaturalist-open-data.s3.amazonaws.com"
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "observations": (
        "observation_uuid",
        "observer_id",
        "latitude",
        "longitude",
        "positional_accuracy",
        "taxon_id",
        "quality_grade",
        "observed_on",
    ),
    "photos": ("photo_id", "observation_uuid", "extension", "license", "position"),
    "taxa": ("taxon_id", "ancestry", "rank_level", "rank", "name", "active"),
    "observers": ("observer_id", "login"),
}
"""Columns that each table must have; it may have more (``anomaly_score`` came in 2024)."""


class InaturalistOpenDataSettings(PluginSettings):
    """Settings of the plug-in ``inaturalist-open-data``."""

    taxon: str = Field(default="Tracheophyta", description="name of the taxon whose descendants are kept")
    quality_grades: tuple[str, ...] = Field(default=("research",), min_length=1)
    licences: tuple[str, ...] | None = Field(
        default=None, description="photos under these, as the tables spell them; all where none are given"
    )
    memory_gib: float = Field(default=4.0, gt=0.1, description="for the join; what is more goes to disk")
    threads: int = Field(default=2, ge=1)


class InaturalistOpenData:
    """Fetches the four tables and keeps one row per plant observation, with its first photo."""

    def plan(self, request: Request) -> Plan:
        """Say which tables will be fetched and what will be kept of them.

        Raises:
            InputError: the settings are wrong.
        """
        settings = read_settings(request, InaturalistOpenDataSettings, "inaturalist-open-data")
        kept = settings.model_dump(mode="json", exclude={"memory_gib", "threads"})
        asked = {**kept, "region": list(request.region.bbox), "month": str(request.month), "tables": sorted(COLUMNS)}
        return Plan(asked, requests=len(COLUMNS))

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        """Fetch the tables of the month that are not there yet; each goes on where it was cut off.

        Raises:
            WebError: a table cannot be had.
        """
        facts: dict[str, JsonValue] = {}
        for table in COLUMNS:
            path = request.folder / f"{table}.csv.gz"
            origin = path.with_name(f".{path.name}.json")  # what is at hand, and of which month's run
            known = _known(origin)
            if not (path.is_file() and known.get("month") == str(request.month)):
                origin.unlink(missing_ok=True)
                got = download(web, f"{BUCKET}/{path.name}", path)
                known = {"month": str(request.month), "size": got.size, "sha256": got.sha256, "etag": got.etag}
                aside = origin.with_suffix(".tmp")
                aside.write_text(json.dumps(known), encoding="utf-8")
                aside.replace(origin)
            facts[table] = known
        return Fetched(tuple(f"{table}.csv.gz" for table in COLUMNS), facts)

    def verify(self, request: Request, fetched: Fetched) -> None:
        """Check that each table has its columns.

        Raises:
            TableError: one has not.
        """
        for table, columns in COLUMNS.items():
            path = request.folder / f"{table}.csv.gz"
            found = header(path)
            missing = [column for column in columns if column not in found]
            if missing:
                raise TableError(
                    f"{path}: columns {missing} are missing; found {found[:12]}. If iNaturalist changed its tables, "
                    "correct `COLUMNS`; else remove the file and run again"
                )

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        """Write ``occurrences.parquet``; what was not asked for (other taxa, places, grades, months) is counted too.

        Raises:
            TableError: a table is damaged, or the taxon is not in it.
        """
        settings = read_settings(request, InaturalistOpenDataSettings, "inaturalist-open-data")
        selection = Selection(
            source=request.source.id,
            taxon=settings.taxon,
            quality_grades=settings.quality_grades,
            licences=settings.licences,
            region=request.region,
            month=request.month,
        )
        not_asked_for: dict[str, int] = {}
        frames = select_observations(
            {table: request.folder / f"{table}.csv.gz" for table in COLUMNS},
            selection,
            workspace=request.folder / ".joining",
            memory_gib=settings.memory_gib,
            threads=settings.threads,
            not_asked_for=not_asked_for,
        )
        counts = write_raw_occurrences(frames, destination / "occurrences.parquet")
        return {**counts, **{f"not asked for: {reason}": n for reason, n in sorted(not_asked_for.items())}}


def _known(path: Path) -> dict[str, JsonValue]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return {}
