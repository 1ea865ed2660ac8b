"""What GBIF's name matching answers, read with care: which species a name stands for, if any.

The service always answers something. A fuzzy or partial answer names a genus or family and says so in its match type;
its confidence tells how sure it is of *that* answer (NONE may be sure at 100), so confidence never decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plant_traits.errors import WebError

SPECIES_MATCHES = frozenset(["EXACT", "VARIANT"])
"""Match types that say that the name itself was found, perhaps in another spelling."""
_AT_OR_BELOW_SPECIES = frozenset(
    [
        "SPECIES",
        "SPECIES_AGGREGATE",
        "SUBSPECIES",
        "INFRASPECIFIC_NAME",
        "VARIETY",
        "SUBVARIETY",
        "FORM",
        "SUBFORM",
        "CULTIVAR",
        "CULTIVAR_GROUP",
    ]
)
_SEVERAL_TAXA = re.compile(r"multiple[ _](?:equal[ _])?match|homonym", re.IGNORECASE)


@dataclass(frozen=True)
class NameMatch:
    """The answer for one name.

    Attributes:
        name: as it was asked.
        match_type: EXACT, VARIANT, HIGHERRANK, NONE or what else the service says.
        rank: rank of the usage found.
        status: ACCEPTED, SYNONYM, DOUBTFUL …, of the usage found.
        usage_key: key of the usage found.
        canonical: its name without authors.
        accepted_key: key of the accepted usage, the same where the name is accepted.
        accepted_name: its name without authors.
        accepted_species: binomial of the accepted species; null where the name itself was not found at species rank or
            below, or where it stands for several species.
        genus: of the accepted usage.
        family: of the accepted usage.
        homonyms: the name stands for several taxa, and the service could not tell which is meant.
        issues: what the service remarks, separated by ``; ``.
    """

    name: str
    match_type: str
    rank: str | None = None
    status: str | None = None
    usage_key: str | None = None
    canonical: str | None = None
    accepted_key: str | None = None
    accepted_name: str | None = None
    accepted_species: str | None = None
    genus: str | None = None
    family: str | None = None
    homonyms: bool = False
    issues: str | None = None

    @classmethod
    def read(cls, name: str, answer: object) -> NameMatch:
        """Read an answer of ``/v2/species/match``.

        Raises:
            WebError: ``unexpected_answer``, it has no match type.
        """
        diagnostics = answer.get("diagnostics") if isinstance(answer, Mapping) else None
        if not isinstance(answer, Mapping) or not isinstance(diagnostics, Mapping) or "matchType" not in diagnostics:
            raise WebError("unexpected_answer", f"match of {name!r}: expected a match type, found {str(answer)[:80]!r}")
        match_type = str(diagnostics["matchType"]).upper()
        remarks = [*(diagnostics.get("issues") or []), *(diagnostics.get("processingFlags") or [])]
        note = diagnostics.get("note")
        issues = "; ".join(map(str, [*remarks, *([note] if note else [])])) or None
        homonyms = _SEVERAL_TAXA.search(issues or "") is not None
        usage = answer.get("usage")
        if match_type == "NONE" or not isinstance(usage, Mapping):
            return cls(name, match_type, homonyms=homonyms, issues=issues)
        accepted = answer.get("acceptedUsage") or usage
        ranks = {str(x.get("rank", "")).upper(): x.get("name") for x in answer.get("classification") or []}
        found = (
            match_type in SPECIES_MATCHES
            and not homonyms
            and str(usage.get("rank")).upper() in _AT_OR_BELOW_SPECIES
            and str(accepted.get("rank")).upper() in _AT_OR_BELOW_SPECIES
        )
        return cls(
            name=name,
            match_type=match_type,
            rank=_text(usage.get("rank")),
            status=_text(usage.get("status")) or ("SYNONYM" if answer.get("synonym") else None),
            usage_key=_text(usage.get("key")),
            canonical=_text(usage.get("canonicalName")) or _text(usage.get("name")),
            accepted_key=_text(accepted.get("key")),
            accepted_name=_text(accepted.get("canonicalName")) or _text(accepted.get("name")),
            accepted_species=_species(accepted, ranks) if found else None,
            genus=_text(ranks.get("GENUS")) or _text(accepted.get("genericName")),
            family=_text(ranks.get("FAMILY")),
            homonyms=homonyms,
            issues=issues,
        )


def _species(accepted: Mapping[str, Any], ranks: Mapping[str, Any]) -> str | None:
    """Name the species of a usage at its rank or below."""
    if _text(accepted.get("genericName")) and _text(accepted.get("specificEpithet")):
        return f"{accepted['genericName']} {accepted['specificEpithet']}"
    if _text(ranks.get("SPECIES")):
        return str(ranks["SPECIES"])
    words = (_text(accepted.get("canonicalName")) or "").split()
    return " ".join(words[:2]) if len(words) > 1 else None


def _text(value: object) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None
