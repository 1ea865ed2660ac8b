"""GBIF's registry: institutions that keep collections, and derived data sets that cite what was used."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from plant_traits.simulation.services.account import Account
from plant_traits.simulation.services.state import State

_LARGEST_PAGE = 1000
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DERIVED = "derived"
_WITHOUT_PLACE = {
    "key": "00000000-0000-4000-8000-ffffffffffff",
    "code": "NOWHERE",
    "name": "Herbarium without a place",
    "active": True,
    "address": {"country": "FR"},
}


class Registry:
    """Answers for institutions and derived data sets."""

    def __init__(self, institutions: pd.DataFrame, state: State, account: Account) -> None:
        """Open the registry.

        Args:
            institutions: columns key, name, code, latitude, longitude.
            state: remembers derived data sets.
            account: who may register them.
        """
        self._institutions = institutions
        self._state = state
        self._account = account

    def routes(self) -> list[Route]:
        """Return the routes at api.gbif.org."""
        return [
            Route("/v1/grscicoll/institution", self.institutions, methods=["GET"]),
            Route("/v1/derivedDataset", self.derive, methods=["POST"]),
            Route("/v1/derivedDataset/{prefix}/{suffix}", self.derived, methods=["GET"]),
        ]

    async def institutions(self, request: Request) -> Response:
        """List institutions, a page at a time; the last one has no place, as many real ones."""
        try:
            limit = min(int(request.query_params.get("limit", "20")), _LARGEST_PAGE)
            offset = int(request.query_params.get("offset", "0"))
        except ValueError:
            return PlainTextResponse("limit and offset must be whole numbers", 400)
        entries = [_institution(line) for line in self._institutions.to_dict("records")]
        entries.append(_WITHOUT_PLACE)
        return JSONResponse(
            {
                "offset": offset,
                "limit": limit,
                "endOfRecords": offset + limit >= len(entries),
                "count": len(entries),
                "results": entries[offset : offset + limit],
            }
        )

    async def derive(self, request: Request) -> Response:
        """Register a derived data set and answer its DOI, 201."""
        user = self._account.user_of(request)
        if user is None:
            return self._account.unauthorised()
        try:
            told = json.loads(await request.body())
            problem = _problem(told)
        except ValueError:
            problem = "no JSON"
        if problem:
            return PlainTextResponse(f"Invalid derived dataset: {problem}", 400)
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        doi = f"10.15468/dd.{digest[:6]}"
        today = datetime.now(UTC)
        cited = f"Derived dataset GBIF.org ({today.day} {today:%B %Y}) {told['title']} https://doi.org/{doi}"
        kept: dict[str, Any] = {
            "doi": doi,
            "citation": cited,
            "title": told["title"],
            "description": told.get("description", ""),
            "sourceUrl": told["sourceUrl"],
            "originalDownloadDOI": told.get("originalDownloadDOI"),
            "createdBy": user,
            "modifiedBy": user,
            "relatedDatasets": told["relatedDatasets"],
        }
        self._state.put(_DERIVED, doi, kept)
        return JSONResponse({k: v for k, v in kept.items() if k != "relatedDatasets" and v is not None}, 201)

    async def derived(self, request: Request) -> Response:
        """Answer a derived data set by its DOI."""
        doi = f"{request.path_params['prefix']}/{request.path_params['suffix']}"
        kept = self._state.get(_DERIVED, doi)
        return Response(status_code=404) if kept is None else JSONResponse(kept)


def _institution(line: dict[Any, Any]) -> dict[str, Any]:
    return {
        "key": line["key"],
        "code": line["code"],
        "name": line["name"],
        "active": True,
        "latitude": round(float(line["latitude"]), 6),
        "longitude": round(float(line["longitude"]), 6),
        "address": {"country": "FR"},
    }


def _problem(told: object) -> str:
    if not isinstance(told, dict):
        return "an object is needed"
    missing = [name for name in ("title", "sourceUrl", "relatedDatasets") if not told.get(name)]
    if missing:
        return f"{', '.join(missing)} must be given"
    counts = told["relatedDatasets"]
    if not isinstance(counts, dict) or not all(
        _UUID.fullmatch(key) and isinstance(n, int) and n > 0 for key, n in counts.items()
    ):
        return "relatedDatasets must map dataset keys to numbers of records"
    return ""
