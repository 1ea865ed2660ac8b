"""What is asked of a GBIF occurrence download: conditions as settings, built into typed predicates, written as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import shapely
from pydantic import Field, JsonValue

from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.gbif.checklist import CATALOGUE_OF_LIFE, TRACHEOPHYTA
from plant_traits.sources.plugin_settings import PluginSettings

DownloadFormat = Literal["DWCA", "SIMPLE_CSV", "SIMPLE_PARQUET"]


@dataclass(frozen=True)
class Compare:
    """A term compared with a value."""

    key: str
    value: str
    how: Literal["equals", "lessThan", "lessThanOrEquals", "greaterThan", "greaterThanOrEquals"] = "equals"

    def json(self) -> dict[str, JsonValue]:
        """Write it as the service reads it."""
        return {"type": self.how, "key": self.key, "value": self.value}


@dataclass(frozen=True)
class OneOf:
    """A term whose value is one of several."""

    key: str
    values: tuple[str, ...]

    def json(self) -> dict[str, JsonValue]:
        """Write it as the service reads it."""
        return {"type": "in", "key": self.key, "values": list(self.values)}


@dataclass(frozen=True)
class Within:
    """A place inside a region, as anticlockwise well-known text in degrees, EPSG:4326."""

    geometry: str

    def json(self) -> dict[str, JsonValue]:
        """Write it as the service reads it."""
        return {"type": "within", "geometry": self.geometry}


@dataclass(frozen=True)
class Not:
    """What a predicate does not hold for; records that do not state the term stay."""

    predicate: Compare | OneOf | Within

    def json(self) -> dict[str, JsonValue]:
        """Write it as the service reads it."""
        return {"type": "not", "predicate": self.predicate.json()}


@dataclass(frozen=True)
class All:
    """What all of several predicates hold for."""

    predicates: tuple[Compare | OneOf | Within | Not, ...]

    def json(self) -> dict[str, JsonValue]:
        """Write it as the service reads it."""
        return {"type": "and", "predicates": [x.json() for x in self.predicates]}


class DownloadConditions(PluginSettings):
    """Settings: which occurrences are asked for, and in which format.

    Attributes:
        format: ``DWCA`` alone carries the addresses of photos.
        checklist_key: the taxonomy that ``taxon_key`` belongs to; always sent, as the service's default is another one.
        taxon_key: the taxon, with all that belongs to it.
        basis_of_record: kind of record.
        media_type: medium that a record must have; None for records with or without.
        licences: licences of records, as the service writes them.
        excluded_establishment: degrees of establishment that are left out; records that do not state one stay.
        maximum_uncertainty_m: largest coordinate uncertainty in metres; None for any. Where it is set, the service
            leaves out records that do not state theirs.
        until: which date must lie before the end of the run's month: the event's, that of the service's last
            interpretation of the record, or none.
    """

    format: DownloadFormat = "DWCA"
    checklist_key: str = Field(default=CATALOGUE_OF_LIFE, min_length=1)
    taxon_key: str = Field(default=TRACHEOPHYTA, min_length=1)
    basis_of_record: str = "HUMAN_OBSERVATION"
    media_type: str | None = "StillImage"
    licences: tuple[str, ...] = Field(default=("CC0_1_0", "CC_BY_4_0", "CC_BY_NC_4_0"), min_length=1)
    excluded_establishment: tuple[str, ...] = ("cultivated",)
    maximum_uncertainty_m: float | None = Field(default=5000.0, gt=0)
    until: Literal["event_date", "last_interpreted", "none"] = "event_date"


def download_predicate(conditions: DownloadConditions, region: Region, month: Month) -> All:
    """Build the predicate of the occurrences of a region, known by the end of a month.

    Args:
        conditions: what else must hold.
        region: its box; the whole globe adds no condition.
        month: the run's month.
    """
    parts: list[Compare | OneOf | Within | Not] = [
        Compare("TAXON_KEY", conditions.taxon_key),
        Compare("HAS_COORDINATE", "true"),
        Compare("HAS_GEOSPATIAL_ISSUE", "false"),
        Compare("OCCURRENCE_STATUS", "present"),
        Compare("BASIS_OF_RECORD", conditions.basis_of_record),
        OneOf("LICENSE", conditions.licences),
    ]
    if conditions.media_type is not None:
        parts.append(Compare("MEDIA_TYPE", conditions.media_type))
    if conditions.excluded_establishment:
        parts.append(Not(OneOf("DEGREE_OF_ESTABLISHMENT", conditions.excluded_establishment)))
    if conditions.maximum_uncertainty_m is not None:
        bound = f"{conditions.maximum_uncertainty_m:.10g}"
        parts.append(Compare("COORDINATE_UNCERTAINTY_IN_METERS", bound, "lessThanOrEquals"))
    if conditions.until != "none":
        key = "EVENT_DATE" if conditions.until == "event_date" else "LAST_INTERPRETED"
        parts.append(Compare(key, month.next.first_day.isoformat(), "lessThan"))
    geometry = region_wkt(region)
    if geometry is not None:
        parts.append(Within(geometry))
    return All(tuple(parts))


def region_wkt(region: Region) -> str | None:
    """Write a region as anticlockwise well-known text, None for the whole globe.

    A box across the antimeridian becomes two: the service would read a polygon from 170° to −170° as the long way
    round, and a clockwise one as everything but the box.
    """
    west, south, east, north = region.bbox
    if region.bbox == (-180.0, -90.0, 180.0, 90.0):
        return None
    if west < east:
        return str(shapely.box(west, south, east, north, ccw=True).wkt)
    spans = [(a, b) for a, b in ((west, 180.0), (-180.0, east)) if a < b]
    boxes = [shapely.box(a, south, b, north, ccw=True) for a, b in spans]
    return str(boxes[0].wkt if len(boxes) == 1 else shapely.MultiPolygon(boxes).wkt)


def download_body(
    conditions: DownloadConditions, region: Region, month: Month, plan_key: str | None = None
) -> dict[str, JsonValue]:
    """Build the body of a download request.

    Args:
        conditions: which occurrences, in which format.
        region: where.
        month: the run's month.
        plan_key: key of the plan; it goes along as machine description, by which our own request is found again.
    """
    body: dict[str, JsonValue] = {
        "format": conditions.format,
        "checklistKey": conditions.checklist_key,
        "predicate": download_predicate(conditions, region, month).json(),
        "sendNotification": False,
    }
    if plan_key is not None:
        body["machineDescription"] = {"application": "plant-traits", "plan": plan_key}
    return body
