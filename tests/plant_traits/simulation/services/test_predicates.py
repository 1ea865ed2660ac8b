"""Predicates select the records that GBIF would, and are refused where GBIF refuses them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from plant_traits.simulation.services.predicates import BACKBONE, CATALOGUE_OF_LIFE, PredicateError, selected
from plant_traits.simulation.services.world_records import WorldRecords

EUROPE = "POLYGON((0 40, 20 40, 20 60, 0 60, 0 40))"
CLOCKWISE = "POLYGON((0 40, 0 60, 20 60, 20 40, 0 40))"


def keys(predicate: object, records: WorldRecords, checklist: str = CATALOGUE_OF_LIFE) -> str:
    return "".join(np.asarray(records.texts("gbifID"))[selected(predicate, records, checklist)])


def equals(key: str, value: object, kind: str = "equals") -> dict[str, Any]:
    return {"type": kind, "key": key, "value": value}


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        (equals("TAXON_KEY", "TP"), "12345"),
        (equals("TAXON_KEY", "101"), "13"),
        (equals("TAXON_KEY", "12"), "45"),
        (equals("TAXON_KEY", "21"), "123"),
        (equals("HAS_COORDINATE", "true"), "1245"),
        (equals("HAS_COORDINATE", False), "3"),
        (equals("BASIS_OF_RECORD", "HUMAN_OBSERVATION"), "1234"),
        (equals("OCCURRENCE_STATUS", "present"), "12345"),
        (equals("MEDIA_TYPE", "StillImage"), "12345"),
        (equals("LICENSE", "CC_BY_4_0"), "145"),
        ({"type": "in", "key": "LICENSE", "values": ["CC0_1_0", "CC_BY_NC_4_0"]}, "23"),
        ({"type": "not", "predicate": equals("DEGREE_OF_ESTABLISHMENT", "cultivated")}, "1235"),
        # a record without an uncertainty is not known to be below one
        (equals("COORDINATE_UNCERTAINTY_IN_METERS", "5000", "lessThanOrEquals"), "145"),
        ({"type": "isNull", "parameter": "COORDINATE_UNCERTAINTY_IN_METERS"}, "3"),
        ({"type": "isNotNull", "parameter": "DEGREE_OF_ESTABLISHMENT"}, "4"),
        (equals("YEAR", "2021,2023"), "234"),
        (equals("YEAR", "*,2021"), "12"),
        (equals("MONTH", "7"), "3"),
        (equals("EVENT_DATE", "2021-06-02", "greaterThanOrEquals"), "2345"),
        (equals("EVENT_DATE", "2021-06-02", "lessThan"), "1"),
        (equals("EVENT_DATE", "2021-01-01,2022-12-31"), "23"),
        (equals("EVENT_DATE", "2020-05-01,2021-06-02"), "12"),
        (equals("EVENT_DATE", "*,2021"), "12"),
        (equals("EVENT_DATE", "2023"), "4"),
        (equals("LAST_INTERPRETED", "2026-10-29", "greaterThanOrEquals"), ""),
        ({"type": "within", "geometry": EUROPE}, "14"),
        ({"type": "and", "predicates": [equals("TAXON_KEY", "101"), equals("YEAR", "2020")]}, "1"),
        ({"type": "or", "predicates": [equals("TAXON_KEY", "102"), equals("YEAR", "2020")]}, "12"),
    ],
)  # fmt: skip
def test_selects(predicate: dict[str, Any], expected: str, records: WorldRecords) -> None:
    assert keys(predicate, records) == expected


def test_a_key_belongs_to_its_checklist(records: WorldRecords) -> None:
    assert keys(equals("TAXON_KEY", "TP"), records, BACKBONE) == ""
    assert keys(equals("TAXON_KEY", "7707728"), records, BACKBONE) == "12345"
    assert keys({**equals("TAXON_KEY", "TP"), "checklistKey": CATALOGUE_OF_LIFE}, records, BACKBONE) == "12345"


@pytest.mark.parametrize(
    ("predicate", "complaint"),
    [
        ({"type": "within", "geometry": CLOCKWISE}, "anticlockwise"),
        ({"type": "within", "geometry": "POLYGON((0 0, 1"}, "WKT"),
        ({"type": "within", "geometry": "POINT(1 2)"}, "POLYGON"),
        ({"type": "within", "geometry": "POLYGON((0 40, 200 40, 200 60, 0 60, 0 40))"}, "outside"),
        (equals("NO_SUCH_THING", "1"), "NO_SUCH_THING"),
        (equals("YEAR", "soon"), "number"),
        (equals("EVENT_DATE", "soon"), "date"),
        (equals("HAS_COORDINATE", "perhaps"), "true or false"),
        (equals("BASIS_OF_RECORD", "A", "lessThan"), "cannot be compared"),
        ({"type": "in", "key": "LICENSE", "values": []}, "list of values"),
        ({"type": "and", "predicates": []}, "list of predicates"),
        ({"type": "sounds like", "key": "YEAR", "value": "1"}, "not a predicate"),
        ({"key": "YEAR"}, "type"),
        ("TAXON_KEY=TP", "object"),
    ],
)
def test_refuses(predicate: object, complaint: str, records: WorldRecords) -> None:
    with pytest.raises(PredicateError, match=complaint):
        selected(predicate, records, CATALOGUE_OF_LIFE)
