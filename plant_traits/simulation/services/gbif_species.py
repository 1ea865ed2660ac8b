"""GBIF's name matching over the world's flora: exact names, synonyms, misspellings, higher ranks, and none."""

from __future__ import annotations

import difflib
from functools import cached_property, lru_cache
from typing import Any

import pandas as pd
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plant_traits.simulation.names import synonyms
from plant_traits.simulation.services.predicates import BACKBONE, CATALOGUE_OF_LIFE

_ALIKE = 0.9
_SYNONYM_KEY = 7_000_000
_ABOVE = (("KINGDOM", "P", "Plantae"), ("PHYLUM", "TP", "Tracheophyta"), ("CLASS", "MG", "Magnoliopsida"))


class SpeciesMatch:
    """Matches names with a flora."""

    def __init__(self, species: pd.DataFrame) -> None:
        """Take the flora: species, author, genus, family, order, taxon_key, genus_key, family_key."""
        self._species = species.reset_index(drop=True)
        self._matched = lru_cache(maxsize=100_000)(self.match)

    def routes(self) -> list[Route]:
        """Return the route at api.gbif.org."""
        return [Route("/v2/species/match", self.answer, methods=["GET"])]

    async def answer(self, request: Request) -> Response:
        """Answer a match; always 200, whatever the name."""
        asked = request.query_params
        checklist = asked.get("checklistKey", BACKBONE)
        if checklist not in (CATALOGUE_OF_LIFE, BACKBONE):
            return JSONResponse({"message": f"No matching service for checklistKey {checklist}"}, 400)
        name = asked.get("scientificName") or asked.get("name") or ""
        kingdom = asked.get("kingdom", "")
        return JSONResponse(await run_in_threadpool(self._matched, name, kingdom))

    def match(self, name: str, kingdom: str = "") -> dict[str, Any]:
        """Match one name.

        Args:
            name: with or without authors.
            kingdom: where it is stated and not Plantae, nothing is found.
        """
        words = name.replace("×", " ").replace("_", " ").split()
        if not words or kingdom.lower() not in ("", "plantae"):
            return _none("No name given" if not words else "No match because of too little confidence")
        genus = words[0].capitalize()
        if len(words) == 1:
            return self._higher(genus, "EXACT", 96)
        canonical = f"{genus} {words[1].lower()}"
        if canonical in self._accepted:
            return self._species_answer(self._accepted[canonical], "EXACT", 99)
        if canonical in self.synonyms:
            return self._species_answer(self.synonyms[canonical], "EXACT", 98, synonym=canonical)
        alike = difflib.get_close_matches(canonical, list(self._accepted), n=2, cutoff=_ALIKE)
        if alike:
            return self._species_answer(self._accepted[alike[0]], "VARIANT", 90)
        return self._higher(genus, "HIGHERRANK", 94)

    @cached_property
    def synonyms(self) -> dict[str, int]:
        """Rows of the accepted species by synonym."""
        return synonyms(self._species["species"].tolist(), self._species["genus"].tolist())

    @cached_property
    def _accepted(self) -> dict[str, int]:
        return {str(name): row for row, name in enumerate(self._species["species"])}

    def _species_answer(
        self, row: int, match_type: str, confidence: int, *, synonym: str | None = None
    ) -> dict[str, Any]:
        line = self._species.iloc[row]
        accepted = _usage(str(line["taxon_key"]), line["species"], line["author"], "SPECIES", "ACCEPTED")
        answer: dict[str, Any] = {"usage": accepted}
        if synonym is not None:
            answer["usage"] = _usage(str(_SYNONYM_KEY + row), synonym, line["author"], "SPECIES", "SYNONYM")
            answer["acceptedUsage"] = accepted
        answer["classification"] = [
            *self._classification(row),
            {"key": accepted["key"], "name": line["species"], "rank": "SPECIES"},
        ]
        return {**answer, **_diagnostics(match_type, confidence), "synonym": synonym is not None}

    def _higher(self, genus: str, match_type: str, confidence: int) -> dict[str, Any]:
        rows = self._genera.get(genus)
        if rows is None:
            alike = difflib.get_close_matches(genus, list(self._genera), n=1, cutoff=_ALIKE)
            if not alike:
                return _none("No match because of too little confidence")
            return self._higher(alike[0], "VARIANT" if match_type == "EXACT" else match_type, 85)
        line = self._species.iloc[rows]
        usage = _usage(str(line["genus_key"]), line["genus"], "", "GENUS", "ACCEPTED")
        answer = {"usage": usage, "classification": self._classification(rows)}
        return {**answer, **_diagnostics(match_type, confidence), "synonym": False}

    @cached_property
    def _genera(self) -> dict[str, int]:
        return {str(name): row for row, name in reversed(list(enumerate(self._species["genus"])))}

    def _classification(self, row: int) -> list[dict[str, str]]:
        line = self._species.iloc[row]
        above = [{"key": key, "name": name, "rank": rank} for rank, key, name in _ABOVE]
        order = {"key": f"O{line['order'][:3].upper()}", "name": line["order"], "rank": "ORDER"}
        family = {"key": str(line["family_key"]), "name": line["family"], "rank": "FAMILY"}
        genus = {"key": str(line["genus_key"]), "name": line["genus"], "rank": "GENUS"}
        return [*above, order, family, genus]


def _usage(key: str, canonical: str, author: str, rank: str, status: str) -> dict[str, str]:
    words = canonical.split(" ")
    usage = {"key": key, "name": f"{canonical} {author}".strip(), "canonicalName": canonical, "authorship": author}
    usage |= {"rank": rank, "code": "BOTANICAL", "status": status, "genericName": words[0], "type": "SCIENTIFIC"}
    return usage if len(words) == 1 else {**usage, "specificEpithet": words[1]}


def _diagnostics(match_type: str, confidence: int) -> dict[str, Any]:
    return {"diagnostics": {"matchType": match_type, "confidence": confidence, "timeTaken": 1, "timings": {}}}


def _none(note: str) -> dict[str, Any]:
    found = _diagnostics("NONE", 100)
    found["diagnostics"]["note"] = note
    return {**found, "synonym": False}
