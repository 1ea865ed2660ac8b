from __future__ import annotations

import json
from typing import Any

import pytest
import shapely
from pydantic import ValidationError

from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.gbif.predicate import (
    CATALOGUE_OF_LIFE,
    DownloadConditions,
    download_body,
    download_predicate,
    region_wkt,
)

WORLD = Region("world", -180, -90, 180, 90)
OCTOBER = Month(2026, 10)


def test_the_body_is_the_one_agreed_with_the_service() -> None:
    body = download_body(DownloadConditions(), WORLD, OCTOBER, "abc")
    assert json.loads(json.dumps(body)) == {
        "format": "DWCA",
        "checklistKey": "7ddf754f-d193-4cc9-b351-99906754a03b",
        "sendNotification": False,
        "machineDescription": {"application": "plant-traits", "plan": "abc"},
        "predicate": {
            "type": "and",
            "predicates": [
                {"type": "equals", "key": "TAXON_KEY", "value": "TP"},
                {"type": "equals", "key": "HAS_COORDINATE", "value": "true"},
                {"type": "equals", "key": "HAS_GEOSPATIAL_ISSUE", "value": "false"},
                {"type": "equals", "key": "OCCURRENCE_STATUS", "value": "present"},
                {"type": "equals", "key": "BASIS_OF_RECORD", "value": "HUMAN_OBSERVATION"},
                {"type": "in", "key": "LICENSE", "values": ["CC0_1_0", "CC_BY_4_0", "CC_BY_NC_4_0"]},
                {"type": "equals", "key": "MEDIA_TYPE", "value": "StillImage"},
                {
                    "type": "not",
                    "predicate": {"type": "in", "key": "DEGREE_OF_ESTABLISHMENT", "values": ["cultivated"]},
                },
                {"type": "lessThanOrEquals", "key": "COORDINATE_UNCERTAINTY_IN_METERS", "value": "5000"},
                {"type": "lessThan", "key": "EVENT_DATE", "value": "2026-11-01"},
            ],
        },
    }


def test_conditions_can_be_taken_away_and_changed() -> None:
    conditions = DownloadConditions(
        media_type=None, excluded_establishment=(), maximum_uncertainty_m=None, until="none", format="SIMPLE_CSV"
    )
    keys = [x.get("key") for x in download_predicate(conditions, WORLD, OCTOBER).json()["predicates"]]
    assert keys == [
        "TAXON_KEY", "HAS_COORDINATE", "HAS_GEOSPATIAL_ISSUE", "OCCURRENCE_STATUS", "BASIS_OF_RECORD", "LICENSE",
    ]  # fmt: skip
    assert "machineDescription" not in download_body(conditions, WORLD, OCTOBER)
    last = download_predicate(DownloadConditions(until="last_interpreted"), WORLD, Month(2026, 12)).json()
    assert last["predicates"][-1] == {"type": "lessThan", "key": "LAST_INTERPRETED", "value": "2027-01-01"}
    wide = download_predicate(DownloadConditions(maximum_uncertainty_m=1234567.5), WORLD, OCTOBER).json()
    assert wide["predicates"][8]["value"] == "1234567.5"


@pytest.mark.parametrize(
    ("bbox", "inside", "outside"),
    [
        ((5.5, -10, 10, 20), [(7, 0)], [(11, 0), (-7, 0), (7, 21)]),
        ((170, -50, -170, -10.5), [(175, -20), (-175, -20)], [(0, -20), (169, -20), (-169, -20)]),
        ((170, -50, -180, -10), [(175, -20)], [(-175, -20)]),
        ((180, -50, -170, -10), [(-175, -20)], [(175, -20)]),
    ],
)
def test_a_region_becomes_anticlockwise_boxes_that_do_not_cross_the_antimeridian(
    bbox: tuple[float, float, float, float], inside: list[tuple[float, float]], outside: list[tuple[float, float]]
) -> None:
    shape = shapely.from_wkt(region_wkt(Region("x", *bbox)))
    parts = list(getattr(shape, "geoms", [shape]))
    for part in parts:
        x, y = part.exterior.coords.xy
        area = sum(x[k] * y[k + 1] - x[k + 1] * y[k] for k in range(len(x) - 1)) / 2  # shoelace: positive anticlockwise
        assert area > 0
        assert max(x) - min(x) < 180
    assert all(shape.contains(shapely.Point(p)) for p in inside)
    assert not any(shape.contains(shapely.Point(p)) for p in outside)


def test_a_region_is_one_more_condition_and_the_globe_is_none() -> None:
    predicates = download_predicate(DownloadConditions(), Region("x", 5, 40, 15, 50), OCTOBER).json()["predicates"]
    assert predicates[-1] == {"type": "within", "geometry": "POLYGON ((15 40, 15 50, 5 50, 5 40, 15 40))"}
    assert region_wkt(WORLD) is None


@pytest.mark.parametrize(
    "wrong",
    [{"checklist_key": ""}, {"format": "SPECIES_LIST"}, {"maximum_uncertainty_m": 0}, {"licences": ()}, {"taxon": 1}],
)
def test_wrong_conditions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DownloadConditions(**wrong)


def test_the_checklist_is_always_sent() -> None:
    assert download_body(DownloadConditions(), WORLD, OCTOBER)["checklistKey"] == CATALOGUE_OF_LIFE
