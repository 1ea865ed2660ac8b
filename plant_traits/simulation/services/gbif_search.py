"""GBIF's occurrence search: filters, pages of at most 300, nothing beyond the 100,000th record."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from plant_traits.simulation.services.predicates import BACKBONE, PredicateError, compared
from plant_traits.simulation.services.world_records import WorldRecords

LARGEST_PAGE = 300
DEEPEST_RECORD = 100_000
_PARAMETERS = {
    "taxonKey": "TAXON_KEY", "acceptedTaxonKey": "ACCEPTED_TAXON_KEY", "speciesKey": "SPECIES_KEY",
    "genusKey": "GENUS_KEY", "familyKey": "FAMILY_KEY", "year": "YEAR", "month": "MONTH", "eventDate": "EVENT_DATE",
    "lastInterpreted": "LAST_INTERPRETED", "geometry": "GEOMETRY", "mediaType": "MEDIA_TYPE",
    "basisOfRecord": "BASIS_OF_RECORD", "hasCoordinate": "HAS_COORDINATE", "license": "LICENSE",
    "hasGeospatialIssue": "HAS_GEOSPATIAL_ISSUE", "occurrenceStatus": "OCCURRENCE_STATUS", "country": "COUNTRY",
    "datasetKey": "DATASET_KEY", "degreeOfEstablishment": "DEGREE_OF_ESTABLISHMENT",
    "establishmentMeans": "ESTABLISHMENT_MEANS", "occurrenceId": "OCCURRENCE_ID", "catalogNumber": "CATALOG_NUMBER",
    "coordinateUncertaintyInMeters": "COORDINATE_UNCERTAINTY_IN_METERS", "decimalLatitude": "DECIMAL_LATITUDE",
    "decimalLongitude": "DECIMAL_LONGITUDE", "gbifId": "GBIF_ID", "institutionCode": "INSTITUTION_CODE",
    "recordedBy": "RECORDED_BY", "issue": "ISSUE", "scientificName": "SCIENTIFIC_NAME",
}  # fmt: skip
_NUMBERS = ("decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters")
_WHOLE = ("year", "month", "day", "taxonKey", "acceptedTaxonKey", "speciesKey", "genusKey", "familyKey")
_LEFT_OUT = ("hasCoordinate", "hasGeospatialIssues", "mediaType", "issue")
_LICENCE_ADDRESS = {
    "CC_BY_NC_4_0": "http://creativecommons.org/licenses/by-nc/4.0/legalcode",
    "CC_BY_4_0": "http://creativecommons.org/licenses/by/4.0/legalcode",
    "CC0_1_0": "http://creativecommons.org/publicdomain/zero/1.0/legalcode",
}


class Search:
    """Answers searches over the world's records."""

    def __init__(self, records: WorldRecords) -> None:
        self._records = records
        self._found = lru_cache(maxsize=256)(self._find)

    def routes(self) -> list[Route]:
        """Return the routes at api.gbif.org."""
        return [
            Route("/v1/occurrence/search", self.search, methods=["GET"]),
            Route("/v1/occurrence/{key:int}", self.one, methods=["GET"]),
        ]

    async def search(self, request: Request) -> Response:
        """Answer a page of the records that fit all filters; values of one filter are alternatives."""
        asked = request.query_params
        try:
            limit, offset = int(asked.get("limit", "20")), int(asked.get("offset", "0"))
        except ValueError:
            return PlainTextResponse("limit and offset must be whole numbers", 400)
        limit = min(limit, LARGEST_PAGE)
        if limit < 0 or offset < 0 or offset + limit > DEEPEST_RECORD:
            return PlainTextResponse(f"Max offset of {DEEPEST_RECORD} exceeded: {offset} + {limit}", 400)
        try:
            rows = await run_in_threadpool(self._found, _filters(asked), asked.get("checklistKey", BACKBONE))
        except PredicateError as error:
            return PlainTextResponse(str(error), 400)
        page = rows[offset : offset + limit]
        return JSONResponse(
            {
                "offset": offset,
                "limit": limit,
                "endOfRecords": offset + limit >= len(rows),
                "count": len(rows),
                "results": [self._record(int(row)) for row in page],
                "facets": [],
            }
        )

    async def one(self, request: Request) -> Response:
        """Answer one record by its key."""
        rows = np.flatnonzero(self._records.texts("gbifID") == str(request.path_params["key"]))
        return JSONResponse(self._record(int(rows[0]))) if rows.size else Response(status_code=404)

    def _find(self, filters: Sequence[tuple[str, tuple[str, ...]]], checklist: str) -> npt.NDArray[np.intp]:
        chosen = np.ones(len(self._records.occurrences), dtype=bool)
        for name, values in filters:
            alternatives = [compared(name, "equals", value, self._records, checklist) for value in values]
            chosen &= np.any(alternatives, axis=0)
        return np.flatnonzero(chosen)

    def _record(self, row: int) -> dict[str, Any]:
        stated = {name: value for name, value in self._records.occurrences.iloc[row].items() if value != ""}
        record: dict[str, Any] = {"key": int(stated["gbifID"])}
        for name, value in stated.items():
            text = str(name)
            if text in _NUMBERS:
                record[text] = float(value)
            elif text in _WHOLE and str(value).isdigit():
                record[text] = int(value)
            elif text == "license":
                record[text] = _LICENCE_ADDRESS.get(value, value)
            elif text not in _LEFT_OUT:
                record[text] = value
        record["issues"] = [x for x in str(stated.get("issue", "")).split(";") if x]
        media = self._records.media
        rows = self._records.media_of.get(stated["gbifID"], [])
        record["media"] = [{str(k): v for k, v in media.iloc[m].items() if k != "gbifID" and v != ""} for m in rows]
        return record


def _filters(asked: QueryParams) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the known filters and their values; as at GBIF, unknown parameters are passed over."""
    names = sorted({name for name in asked if name in _PARAMETERS})
    return tuple((_PARAMETERS[name], tuple(sorted(asked.getlist(name)))) for name in names)
