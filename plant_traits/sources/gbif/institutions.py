"""Institutions that keep collections, from the registry GRSciColl: records at their doors are rarely wild plants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pydantic import Field

from plant_traits.errors import InputError, WebError
from plant_traits.schemas import write_table
from plant_traits.sources.gbif.lookups import institution_search
from plant_traits.sources.page_journal import read_page, write_page
from plant_traits.sources.plugin_settings import PluginSettings, read_settings
from plant_traits.sources.protocol import Fetched, Plan, Request
from plant_traits.sources.web.client import Web

INSTITUTION = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("name", pa.string()),
        pa.field("code", pa.string()),
        pa.field("latitude", pa.float64()),  # degrees north, null where the place is not known
        pa.field("longitude", pa.float64()),  # degrees east
        pa.field("country", pa.string()),  # ISO 3166-1 alpha-2
    ]
)
"""Columns of ``institutions.parquet``, one row per institution, also where its place is not known."""


class GbifInstitutionsSettings(PluginSettings):
    """Settings of the plug-in ``gbif-institutions``."""

    active_only: bool = Field(default=False, description="leave out those that closed; their specimens still exist")
    page_size: int = Field(default=1000, ge=1, le=1000)


class GbifInstitutions:
    """Fetches the whole list, page by page; each page is kept and not asked for again."""

    def plan(self, request: Request) -> Plan:
        """Say what will be listed.

        Raises:
            InputError: the settings are wrong.
        """
        settings = read_settings(request, GbifInstitutionsSettings, "gbif-institutions")
        return Plan({**settings.model_dump(mode="json"), "month": str(request.month)})

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        """Fetch every page that is not there yet.

        Raises:
            WebError: the service failed for good.
        """
        settings = read_settings(request, GbifInstitutionsSettings, "gbif-institutions")
        search = institution_search(web)
        folder = request.folder / f"pages-{plan.key[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        files: list[str] = []
        offset, last = 0, False
        while not last:
            path = folder / f"{offset:06d}.json.gz"
            if not path.exists():
                answer = search(
                    limit=settings.page_size, offset=offset, active="true" if settings.active_only else None
                )
                if not (isinstance(answer, dict) and isinstance(answer.get("results"), list)):
                    raise WebError("unexpected_answer", f"institutions: expected a page, found {str(answer)[:80]!r}")
                write_page(path, answer)
            page = read_page(path)
            files.append(f"{folder.name}/{path.name}")
            offset += settings.page_size
            last = bool(page.get("endOfRecords")) or not page["results"]
        return Fetched(tuple(files), {"count": int(page.get("count") or 0)})

    def verify(self, request: Request, fetched: Fetched) -> None:
        """Check that every page can be read and that about as many institutions came as were promised.

        Raises:
            InputError: they did not.
        """
        found = sum(len(read_page(request.folder / name)["results"]) for name in fetched.files)
        promised = int(str(fetched.facts["count"]))
        if found < 0.99 * promised:
            raise InputError(
                f"source {request.source.id!r}: the list promised {promised} institutions and {found} came; remove "
                f"{request.folder} and run again"
            )

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        """Write ``institutions.parquet`` (``INSTITUTION``), in key order.

        Coordinates that cannot be a place (out of range, or 0°, 0°) become null, and are counted.
        """
        entries = [entry for name in fetched.files for entry in read_page(request.folder / name)["results"]]
        frame = pd.DataFrame(list(map(_row, entries)), columns=INSTITUTION.names)
        places = ["latitude", "longitude"]
        for column in places:
            frame[column] = pd.to_numeric(frame[column], errors="coerce").astype("float64")
        repeated = frame["key"].duplicated()
        frame = frame[~repeated].sort_values("key", ignore_index=True)
        stated = frame[places].notna().all(axis=1)
        zero = (frame["latitude"] == 0) & (frame["longitude"] == 0)
        on_earth = frame["latitude"].abs().le(90) & frame["longitude"].abs().le(180) & ~zero
        frame[places] = frame[places].where(stated & on_earth)
        write_table(frame, destination / "institutions.parquet", INSTITUTION)
        counts = {
            "rejected: repeated": int(repeated.sum()),
            "without coordinates": int((~stated).sum()),
            "impossible coordinates": int((stated & ~on_earth).sum()),
        }
        return {"rows": len(frame), **{name: n for name, n in counts.items() if n}}


def _row(entry: Mapping[str, Any]) -> tuple[object, ...]:
    """Read one institution: its place is its own, or its address's."""
    address = entry.get("address") or entry.get("mailingAddress") or {}
    postal = entry.get("mailingAddress") or {}
    return (
        entry.get("key"),
        entry.get("name"),
        entry.get("code"),
        entry.get("latitude"),
        entry.get("longitude"),
        address.get("country") or postal.get("country") or entry.get("country"),
    )
