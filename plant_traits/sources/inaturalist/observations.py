"""Turn observations, as iNaturalist's API writes them in JSON, into raw occurrences, identifications and votes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from plant_traits.sources.licences import normalise_licence
from plant_traits.sources.raw_occurrence import raw_occurrences

IDENTIFICATION = pa.schema(
    [
        pa.field("occurrence_id", pa.string()),  # as in the raw occurrences
        pa.field("observation_id", pa.int64()),
        pa.field("identification_id", pa.int64()),
        pa.field("user_id", pa.string()),  # a number, not a name
        pa.field("taxon_id", pa.int64()),
        pa.field("taxon_name", pa.string()),
        pa.field("rank", pa.string()),
        pa.field("category", pa.string()),  # leading, improving, supporting, maverick
        pa.field("current", pa.bool_()),
        pa.field("own_observation", pa.bool_()),
        pa.field("disagreement", pa.bool_()),  # with what the observation was filed under; null where nobody was asked
        pa.field("previous_taxon_id", pa.int64()),  # what it was filed under then
        pa.field("previous_taxon_name", pa.string()),
        pa.field("created_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""Columns of ``identifications.parquet``: who gave which name."""

VOTE = pa.schema(
    [
        pa.field("occurrence_id", pa.string()),
        pa.field("observation_id", pa.int64()),
        pa.field("user_id", pa.string()),
        pa.field("kind", pa.string()),  # quality metric, vote, favourite
        pa.field("subject", pa.string()),  # such as wild, location, needs_id
        pa.field("agree", pa.bool_()),
    ]
)
"""Columns of ``votes.parquet``: who judged what about an observation."""

_SIZES = ("square", "small", "medium", "large", "thumb")
_SPECIES_LEVEL = 10
_PREVIOUS = "previous_observation_taxon"


def observations_to_raw(
    observations: Sequence[Mapping[str, Any]], source: str, photo_licences: Sequence[str]
) -> pd.DataFrame:
    """Build raw occurrences from observations of ``/v1/observations``.

    Names of persons stay behind, but for the login. Coordinates are the public ones, with their public accuracy; an
    observation without coordinates keeps its row. Family and genus come from the ancestors that identifications carry,
    and are null where those do not.

    Args:
        observations: the page's ``results``.
        source: source id of the catalogue.
        photo_licences: licences of photos that are taken, such as ``cc-by``; the first photo under one of them counts.

    Returns:
        One row per observation, columns ``RAW_OCCURRENCE``; photos under no such licence are counted in its
        ``rejected_rows`` where the observation has no other.
    """
    ranks = known_taxa(observations)
    rows = [_row(observation, ranks, photo_licences) for observation in observations]
    names = list(rows[0]) if rows else []
    columns: dict[str, object] = {name: pd.Series([row[name] for row in rows]) for name in names}
    for name in ("latitude", "longitude", "coordinate_uncertainty_m"):
        if name in columns:
            columns[name] = pd.to_numeric(columns[name], errors="coerce")  # type: ignore[call-overload]
    if "observed_on" in columns:
        day = pd.to_datetime(columns["observed_on"], format="%Y-%m-%d", errors="coerce")  # type: ignore[call-overload]
        columns |= {"observed_on": day, "year": day.dt.year}
    without = sum(1 for x, row in zip(observations, rows, strict=True) if x.get("photos") and row["photo_id"] is None)
    frame = {"source": source, "basis_of_record": "HUMAN_OBSERVATION", **columns}
    return raw_occurrences(frame, len(rows), {"no_photo_under_the_licences": without} if without else None)


def identifications(observations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the identifications of observations as rows of ``IDENTIFICATION``, in order of observation and time."""
    known = known_taxa(observations)
    return [
        _identification(observation, entry, known)
        for observation in observations
        for entry in sorted(observation.get("identifications") or [], key=lambda x: int(x["id"]))
    ]


def votes(observations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return quality metrics, votes and favourites of observations as rows of ``VOTE``."""
    rows = []
    for observation in observations:
        judged = [
            *(("quality metric", x, x.get("metric"), x.get("agree")) for x in observation.get("quality_metrics") or []),
            *(("vote", x, x.get("vote_scope"), x.get("vote_flag")) for x in observation.get("votes") or []),
            *(("favourite", x, None, x.get("vote_flag")) for x in observation.get("faves") or []),
        ]
        rows += [
            {
                "occurrence_id": _occurrence_id(observation),
                "observation_id": int(observation["id"]),
                "user_id": _user(entry),
                "kind": kind,
                "subject": subject,
                "agree": agree,
            }
            for kind, entry, subject, agree in judged
        ]
    return rows


def known_taxa(observations: Iterable[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """Collect the taxa that observations and their identifications name, with those above them, by id."""
    known: dict[int, Mapping[str, Any]] = {}
    for observation in observations:
        said = observation.get("identifications") or []
        taxa = [observation.get("taxon"), *(x.get(name) for name in ("taxon", _PREVIOUS) for x in said)]
        for taxon in taxa:
            for entry in [*((taxon or {}).get("ancestors") or []), taxon or {}]:
                if entry.get("id") is not None:
                    known[int(entry["id"])] = entry
    return known


def _identification(
    observation: Mapping[str, Any], entry: Mapping[str, Any], known: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    taxon, previous = entry.get("taxon") or {}, entry.get(_PREVIOUS) or {}
    before = previous.get("id") or entry.get(f"{_PREVIOUS}_id")
    return {
        "occurrence_id": _occurrence_id(observation),
        "observation_id": int(observation["id"]),
        "identification_id": int(entry["id"]),
        "user_id": _user(entry),
        "taxon_id": taxon.get("id") or entry.get("taxon_id"),
        "taxon_name": taxon.get("name"),
        "rank": taxon.get("rank"),
        "category": entry.get("category"),
        "current": entry.get("current"),
        "own_observation": entry.get("own_observation"),
        "disagreement": entry.get("disagreement"),
        "previous_taxon_id": before,
        "previous_taxon_name": previous.get("name") or (known.get(before, {}).get("name") if before else None),
        "created_at": _time(entry.get("created_at")),
    }


def _row(
    observation: Mapping[str, Any], ranks: Mapping[int, Mapping[str, Any]], photo_licences: Sequence[str]
) -> dict[str, Any]:
    taxon = observation.get("taxon") or {}
    lineage = [ranks[int(x)] for x in [*(taxon.get("ancestor_ids") or []), taxon.get("id") or 0] if int(x) in ranks]
    named = {str(x.get("rank")): x.get("name") for x in lineage}
    latitude, longitude = _place(observation)
    photos = [x for x in observation.get("photos") or [] if (x.get("license_code") or "").lower() in photo_licences]
    photo = photos[0] if photos else {}
    login = (observation.get("user") or {}).get("login")
    accuracy = observation.get("public_positional_accuracy")
    of_species = str(taxon.get("rank")) if (taxon.get("rank_level") or 100) <= _SPECIES_LEVEL else None
    licence = photo.get("license_code") or observation.get("license_code")
    return {
        "occurrence_id": _occurrence_id(observation),
        "photo_id": None if not photo else str(photo["id"]),
        "photo_url": _original(photo.get("url")),
        "scientific_name": taxon.get("name"),
        "species": (named.get("species") or taxon.get("name")) if of_species else None,
        "taxon_key": None if not taxon else str(taxon.get("id")),
        "genus": named.get("genus"),
        "family": named.get("family"),
        "latitude": latitude,
        "longitude": longitude,
        "coordinate_uncertainty_m": observation.get("positional_accuracy") if accuracy is None else accuracy,
        "observed_on": observation.get("observed_on"),
        "recorded_by": login,
        "degree_of_establishment": "captive" if observation.get("captive") else None,
        "licence": None if licence is None else normalise_licence(str(licence)),
        "attribution": login,
    }


def _occurrence_id(observation: Mapping[str, Any]) -> str:
    """Return the observation's address, which is also its id in GBIF."""
    return f"https://www.inaturalist.org/observations/{int(observation['id'])}"


def _place(observation: Mapping[str, Any]) -> tuple[object, object]:
    """Return latitude and longitude of the public place, (None, None) where it is hidden."""
    longitude, latitude = ((observation.get("geojson") or {}).get("coordinates") or [None, None])[:2]
    if latitude is None and isinstance(observation.get("location"), str):
        latitude, _, longitude = observation["location"].partition(",")
    return latitude, longitude


def _original(url: object) -> str | None:
    """Return the address of a photo in its original size."""
    if not isinstance(url, str):
        return None
    folder, _, name = url.partition("?")[0].rpartition("/")
    stem, dot, extension = name.partition(".")
    return f"{folder}/original{dot}{extension}" if stem in _SIZES else f"{folder}/{name}"


def _user(entry: Mapping[str, Any]) -> str | None:
    number = (entry.get("user") or {}).get("id") or entry.get("user_id")
    return None if number is None else str(number)


def _time(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
