"""Turn occurrence records, as GBIF's API writes them in JSON, into raw occurrences: one row per record and photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from plant_traits.sources.licences import stricter_licence
from plant_traits.sources.photo_ids import photo_ids
from plant_traits.sources.raw_occurrence import raw_occurrences

_ID = "record"
# Columns of ours, each with the fields that may hold it, the best first; as in the reader of Darwin Core archives.
_FIELDS: dict[str, tuple[str, ...]] = {
    "dataset_key": ("datasetKey",),
    "occurrence_id": ("occurrenceID", "key"),
    "scientific_name": ("scientificName",),
    "species": ("species",),
    "taxon_key": ("acceptedTaxonKey", "taxonKey", "speciesKey"),
    "genus": ("genus",),
    "family": ("family",),
    "recorded_by": ("recordedBy",),
    "basis_of_record": ("basisOfRecord",),
    "degree_of_establishment": ("degreeOfEstablishment", "establishmentMeans"),
    "licence": ("license",),
    "attribution": ("rightsHolder", "recordedBy"),
}
_NUMBERS = {
    "latitude": "decimalLatitude",
    "longitude": "decimalLongitude",
    "coordinate_uncertainty_m": "coordinateUncertaintyInMeters",
    "year": "year",
    "month": "month",
    "day": "day",
}
_MEDIA = ("type", "format", "identifier", "license", "rightsHolder", "creator")


def records_to_raw(records: Sequence[Mapping[str, Any]], source: str, checklist_key: str) -> pd.DataFrame:
    """Build raw occurrences from records of ``/v1/occurrence/search``.

    Args:
        records: the page's ``results``.
        source: source id of the catalogue.
        checklist_key: the taxonomy whose names are taken, where the records carry several.

    Returns:
        One row per record and photo, columns ``RAW_OCCURRENCE``; media that are no images, have no address or stand
        twice in a record are counted in its ``rejected_rows``.
    """
    rejected: dict[str, int] = {}
    occurrences = _occurrences([_in_checklist(record, checklist_key) for record in records])
    photos = _photos(records, rejected)
    joined = occurrences.merge(photos, on=_ID, how="left", sort=False)
    joined["licence"] = stricter_licence(joined["licence"], joined["photo_licence"])
    joined["attribution"] = joined["photo_attribution"].fillna(joined["attribution"])
    joined["source"] = source
    return raw_occurrences({name: joined[name] for name in joined.columns}, len(joined), rejected)


def _in_checklist(record: Mapping[str, Any], checklist_key: str) -> Mapping[str, Any]:
    """Put the names of one taxonomy in place of the record's own, where it carries them."""
    known = (record.get("classifications") or {}).get(checklist_key)
    if not isinstance(known, Mapping):
        return record
    usage = known.get("acceptedUsage") or known.get("usage") or {}
    ranks = {str(x.get("rank", "")).upper(): x.get("name") for x in known.get("classification") or []}
    return {
        **record,
        "acceptedTaxonKey": usage.get("key"),
        "taxonKey": (known.get("usage") or {}).get("key"),
        "species": ranks.get("SPECIES"),
        "genus": ranks.get("GENUS"),
        "family": ranks.get("FAMILY"),
    }


def _occurrences(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame({_ID: np.arange(len(records))})
    for ours, fields in _FIELDS.items():
        values = [next((text for field in fields if (text := _text(record.get(field)))), None) for record in records]
        frame[ours] = pd.Series(values, dtype="str")
    for ours, field in _NUMBERS.items():
        numbers = pd.Series([record.get(field) for record in records], dtype=object)
        frame[ours] = pd.to_numeric(numbers, errors="coerce").astype("float64")
    event_date = pd.Series([_text(record.get("eventDate")) for record in records], dtype="str")
    iso = event_date.str.extract(r"^\s*(\d{4}-\d{2}-\d{2})(?=$|[T/ ])", expand=False)
    from_text = pd.to_datetime(iso, format="%Y-%m-%d", errors="coerce")
    from_parts = pd.to_datetime(frame[["year", "month", "day"]], errors="coerce")
    frame["observed_on"] = from_text.fillna(from_parts).astype("datetime64[s]")
    frame["year"] = frame["year"].fillna(frame["observed_on"].dt.year)
    return frame.drop(columns=["month", "day"])


def _text(value: object) -> str | None:
    """Read a field as text; a term of a vocabulary comes as ``{"concept": …}``."""
    if isinstance(value, Mapping):
        value = value.get("concept")
    text = "" if value is None else str(value).strip()
    return text or None


def _photos(records: Sequence[Mapping[str, Any]], rejected: dict[str, int]) -> pd.DataFrame:
    media = [(k, item) for k, record in enumerate(records) for item in record.get("media") or []]
    table = pd.DataFrame({_ID: pd.Series([k for k, _ in media], dtype="int64")})
    for field in _MEDIA:
        table[field] = pd.Series([_text(item.get(field)) for _, item in media], dtype="str")
    kind = (table["type"].fillna("") + " " + table["format"].fillna("")).str.lower()
    other = kind.str.contains("sound|moving|interactive|audio|video|text/|html|ld\\+json", regex=True)
    by_name = table["identifier"].str.contains(r"\.(?:jpe?g|png|webp|tiff?)(?:$|\?)", case=False, regex=True, na=False)
    image = ~other & (kind.str.contains("stillimage|image/", regex=True) | by_name)
    chosen = table[image & table["identifier"].notna()]
    photos = pd.DataFrame(
        {
            _ID: chosen[_ID],
            "photo_url": chosen["identifier"],
            "photo_id": photo_ids(chosen["identifier"]),
            "photo_licence": chosen["license"],
            "photo_attribution": chosen["rightsHolder"].fillna(chosen["creator"]),
        }
    )
    repeated = photos.duplicated([_ID, "photo_id"])
    for reason, n in (
        ("media_not_an_image", int((~image).sum())),
        ("media_without_address", int((image & table["identifier"].isna()).sum())),
        ("media_repeated_within_record", int(repeated.sum())),
    ):
        if n:
            rejected[reason] = n
    return photos[~repeated]
