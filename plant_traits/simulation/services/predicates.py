"""Predicates of GBIF's download service: what is wrong with one, and which records it selects."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import shapely

from plant_traits.simulation.services.world_records import BoolArray, WorldRecords

CATALOGUE_OF_LIFE = "7ddf754f-d193-4cc9-b351-99906754a03b"
BACKBONE = "d7dddbf4-2cf0-4f39-9b2a-bb099caae36c"
_VASCULAR_PLANTS = {CATALOGUE_OF_LIFE: "TP", BACKBONE: "7707728"}
_LICENCES = {"by-nc": "CC_BY_NC_4_0", "/by/": "CC_BY_4_0", "zero": "CC0_1_0"}
_TEXT_COLUMNS = {
    "BASIS_OF_RECORD": "basisOfRecord",
    "OCCURRENCE_STATUS": "occurrenceStatus",
    "COUNTRY": "countryCode",
    "DATASET_KEY": "datasetKey",
    "DEGREE_OF_ESTABLISHMENT": "degreeOfEstablishment",
    "ESTABLISHMENT_MEANS": "establishmentMeans",
    "GBIF_ID": "gbifID",
    "OCCURRENCE_ID": "occurrenceID",
    "CATALOG_NUMBER": "catalogNumber",
    "INSTITUTION_CODE": "institutionCode",
    "RECORDED_BY": "recordedBy",
    "TAXON_RANK": "taxonRank",
    "SCIENTIFIC_NAME": "scientificName",
    "LICENSE": "license",
    "MEDIA_TYPE": "mediaType",
    "ISSUE": "issue",
}
_NUMBER_COLUMNS = {
    "YEAR": "year",
    "MONTH": "month",
    "DAY": "day",
    "DECIMAL_LATITUDE": "decimalLatitude",
    "DECIMAL_LONGITUDE": "decimalLongitude",
    "COORDINATE_UNCERTAINTY_IN_METERS": "coordinateUncertaintyInMeters",
}
_DATE_COLUMNS = {"EVENT_DATE": "eventDate", "LAST_INTERPRETED": "lastInterpreted", "MODIFIED": "modified"}
_FLAG_COLUMNS = {"HAS_COORDINATE": "hasCoordinate", "HAS_GEOSPATIAL_ISSUE": "hasGeospatialIssues"}
_TAXON_COLUMNS = {
    "TAXON_KEY": ("taxonKey", "acceptedTaxonKey", "speciesKey", "genusKey", "familyKey"),
    "ACCEPTED_TAXON_KEY": ("acceptedTaxonKey",),
    "SPECIES_KEY": ("speciesKey",),
    "GENUS_KEY": ("genusKey",),
    "FAMILY_KEY": ("familyKey",),
}
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "equals": operator.eq,
    "lessThan": operator.lt,
    "lessThanOrEquals": operator.le,
    "greaterThan": operator.gt,
    "greaterThanOrEquals": operator.ge,
}
_KNOWN_KEYS = frozenset([*_TEXT_COLUMNS, *_NUMBER_COLUMNS, *_DATE_COLUMNS, *_FLAG_COLUMNS, *_TAXON_COLUMNS, "GEOMETRY"])


class PredicateError(ValueError):
    """A predicate that the service refuses; the text is for the asker."""


def selected(predicate: object, records: WorldRecords, checklist: str) -> BoolArray:
    """Return for each record of the world whether a predicate selects it.

    A record without a value matches no comparison, as at GBIF; ``not`` turns that round.

    Args:
        predicate: as sent, from JSON.
        records: the world's.
        checklist: key of the taxonomy that taxon keys belong to.

    Raises:
        PredicateError: it is not one that GBIF would take.
    """
    if not isinstance(predicate, dict) or not isinstance(predicate.get("type"), str):
        raise PredicateError(f"a predicate must be an object with a type: {predicate!r}")
    kind = predicate["type"]
    if kind in ("and", "or"):
        parts = predicate.get("predicates")
        if not isinstance(parts, list) or not parts:
            raise PredicateError(f"{kind} needs a list of predicates")
        masks = [selected(part, records, checklist) for part in parts]
        return np.asarray(np.all(masks, axis=0) if kind == "and" else np.any(masks, axis=0))
    if kind == "not":
        return ~selected(predicate.get("predicate"), records, checklist)
    if kind == "within":
        return within(predicate.get("geometry"), records)
    name = predicate.get("parameter") if kind in ("isNull", "isNotNull") else predicate.get("key")
    if name not in _KNOWN_KEYS:
        raise PredicateError(f"Unknown search parameter: {name!r}")
    if kind in ("isNull", "isNotNull"):
        missing = _missing(str(name), records)
        return missing if kind == "isNull" else ~missing
    if kind == "in":
        values = predicate.get("values")
        if not isinstance(values, list) or not values:
            raise PredicateError(f"{name}: in needs a list of values")
        key = predicate.get("checklistKey", checklist)
        return np.asarray(np.any([compared(str(name), "equals", v, records, key) for v in values], axis=0))
    if kind not in _COMPARISONS or predicate.get("value") is None:
        raise PredicateError(f"not a predicate: {predicate!r}")
    return compared(str(name), kind, predicate["value"], records, predicate.get("checklistKey", checklist))


def compared(name: str, kind: str, value: object, records: WorldRecords, checklist: str) -> BoolArray:
    """Compare a search parameter of all records with a value.

    Raises:
        PredicateError: the value is not of the parameter's kind, or the parameter cannot be compared so.
    """
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if name in _NUMBER_COLUMNS:
        return _numbered(name, kind, text, records)
    if name in _DATE_COLUMNS:
        return _dated(_DATE_COLUMNS[name], kind, text, records)
    if kind != "equals":
        raise PredicateError(f"{name} cannot be compared with {kind}")
    if name == "GEOMETRY":
        return within(text, records)
    if name in _TAXON_COLUMNS:
        return _taxon(name, text, records, checklist)
    return _equal(name, text, records)


def within(geometry: object, records: WorldRecords) -> BoolArray:
    """Return which records lie within a polygon in WKT, whose shells must run anticlockwise.

    Raises:
        PredicateError: it is no polygon, or one that runs clockwise, which at GBIF means the rest of the world.
    """
    try:
        shape = shapely.from_wkt(str(geometry))
    except shapely.GEOSException as error:
        raise PredicateError(f"The geometry is not valid WKT: {error}") from None
    polygons = list(shapely.get_parts(shape))
    if shape.geom_type not in ("Polygon", "MultiPolygon") or not polygons or not shape.is_valid:
        raise PredicateError("The geometry must be a valid POLYGON or MULTIPOLYGON")
    for polygon in polygons:
        if not polygon.exterior.is_ccw:
            raise PredicateError("The geometry's points must be in anticlockwise order")
    west, south, east, north = shape.bounds
    if south < -90 or north > 90 or west < -180 or east > 180:
        raise PredicateError("The geometry lies outside -180..180, -90..90")
    latitude, longitude = records.numbers("decimalLatitude"), records.numbers("decimalLongitude")
    has = np.isfinite(latitude) & np.isfinite(longitude)
    inside = shapely.intersects_xy(shape, np.where(has, longitude, 0.0), np.where(has, latitude, 0.0))
    return np.asarray(inside & has)


def _equal(name: str, text: str, records: WorldRecords) -> BoolArray:
    if name in _FLAG_COLUMNS and text not in ("true", "false"):
        raise PredicateError(f"{name}: true or false, not {text!r}")
    column = pd.Series(records.texts({**_FLAG_COLUMNS, **_TEXT_COLUMNS}[name]), dtype=object)
    if name == "LICENSE":
        return np.asarray(column.map(_licence) == text)
    if name in ("MEDIA_TYPE", "ISSUE"):
        kinds = column.unique()
        holding = [kind for kind in kinds if text.lower() in kind.lower().split(";")]
        return np.asarray(column.isin(holding))
    return np.asarray(column.str.lower() == text.lower())


def _numbered(name: str, kind: str, text: str, records: WorldRecords) -> BoolArray:
    """Compare numbers; ``low,high`` is a range, in which ``*`` stands for no bound."""
    numbers = records.numbers(_NUMBER_COLUMNS[name])
    low, comma, high = text.partition(",")
    try:
        if comma and kind == "equals":
            return np.asarray((numbers >= _bound(low, -np.inf)) & (numbers <= _bound(high, np.inf)))
        return np.asarray(_COMPARISONS[kind](numbers, float(text)))
    except ValueError:
        raise PredicateError(f"{name}: not a number: {text!r}") from None


def _taxon(name: str, key: str, records: WorldRecords, checklist: str) -> BoolArray:
    if key == _VASCULAR_PLANTS.get(checklist):
        return np.ones(len(records.occurrences), dtype=bool)
    columns = [records.texts(column) == key for column in _TAXON_COLUMNS[name]]
    return np.asarray(np.any(columns, axis=0))


def _missing(name: str, records: WorldRecords) -> BoolArray:
    columns = {**_TEXT_COLUMNS, **_NUMBER_COLUMNS, **_DATE_COLUMNS, **_FLAG_COLUMNS}
    if name == "GEOMETRY":
        return np.asarray(records.texts("decimalLatitude") == "")
    column = columns.get(name) or _TAXON_COLUMNS[name][0]
    return np.asarray(records.texts(column) == "")


def _dated(column: str, kind: str, text: str, records: WorldRecords) -> BoolArray:
    """Compare dates, of any precision: the first 10 characters are the day, an interval goes by its start."""
    days = pd.Series(records.texts(column)).str.slice(0, 10)
    low, comma, high = text.partition(",")
    for part in (low, high):
        if part not in ("", "*") and not _is_date(part):
            raise PredicateError(f"{column}: not a date: {text!r}")
    known = (days != "").to_numpy(bool)
    if comma and kind == "equals":
        after = np.ones(len(days), bool) if low in ("", "*") else (days >= low).to_numpy(bool)
        before = np.ones(len(days), bool) if high in ("", "*") else (days <= high + "~").to_numpy(bool)
        return np.asarray(known & after & before)
    if kind == "equals":
        return np.asarray(days.str.startswith(text[:10]).to_numpy(bool) & known)
    return np.asarray(_COMPARISONS[kind](days, text[:10]).to_numpy(bool) & known)


def _is_date(text: str) -> bool:
    try:
        np.datetime64(text.removesuffix("Z"))
    except ValueError:
        return False
    return True


def _bound(text: str, default: float) -> float:
    return default if text in ("", "*") else float(text)


def _licence(text: str) -> str:
    return next((name for part, name in _LICENCES.items() if part in text), text)
