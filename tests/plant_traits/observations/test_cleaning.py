from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from plant_traits.errors import InputError, TableError
from plant_traits.month import Month
from plant_traits.observations.cleaning import CleanedObservations, clean, flagged_rows
from plant_traits.observations.flags import FATAL, Flag, names_of
from plant_traits.observations.outliers import species_outliers
from plant_traits.observations.places import ReferencePlaces, in_sea, natural_earth, within
from plant_traits.regions import Region
from plant_traits.schemas import OBSERVATION
from plant_traits.sources.occurrences import read_occurrences
from plant_traits.sources.raw_occurrence import concatenated, raw_occurrences

WORLD = Region("world", -180, -90, 180, 90)
MONTH = Month(2026, 10)
NONE = np.empty((0, 2))
PLACES = ReferencePlaces(
    land=(shapely.box(0, 0, 60, 60),),
    country_centroids=np.array([[30.0, 40.0]]),
    province_centroids=NONE,
    capitals=np.array([[35.0, 45.0]]),
    institutions=NONE,
)
MORE_PLACES = replace(PLACES, province_centroids=np.array([[20.0, 41.0]]), institutions=np.array([[25.0, 42.0]]))
GOOD = {
    "source": "gbif", "dataset_key": "d", "photo_id": None, "scientific_name": "Poa annua L.", "species": "Poa annua",
    "genus": "Poa", "family": "Poaceae", "latitude": 10.5, "longitude": 20.25, "observed_on": "2020-05-01",
    "recorded_by": "Ann", "basis_of_record": "HUMAN_OBSERVATION", "licence": "CC0-1.0",
}  # fmt: skip


def raw(*changes: dict[str, object]) -> pd.DataFrame:
    frame = pd.DataFrame([GOOD | {"occurrence_id": str(k)} | change for k, change in enumerate(changes)])
    return raw_occurrences({name: frame[name] for name in frame.columns}, len(frame))


def cleaned(*changes: dict[str, object], **given: object) -> CleanedObservations:
    settings = {"month": MONTH, "region": WORLD, "salt": "s", "places": PLACES} | given
    return clean(raw(*changes), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"latitude": None}, "coordinate_missing"),
        ({"longitude": float("nan")}, "coordinate_missing"),
        ({"latitude": 91.0}, "coordinate_out_of_range"),
        ({"longitude": -180.5}, "coordinate_out_of_range"),
        ({"longitude": 0.0}, "coordinate_zero"),
        ({"latitude": 0.4, "longitude": 0.3}, "coordinate_zero"),
        ({"latitude": 20.25, "longitude": 20.25}, "coordinate_equal"),
        ({"species": None, "scientific_name": "Poa L."}, "no_species"),
        ({"basis_of_record": "FOSSIL_SPECIMEN"}, "basis_of_record"),
        ({"basis_of_record": "LivingSpecimen"}, "basis_of_record"),
        ({"degree_of_establishment": "Cultivated"}, "captive"),
        ({"observed_on": "1899-12-31"}, "year_early"),
        ({"observed_on": None, "year": 1899}, "year_early"),
        ({"observed_on": "2026-11-01"}, "after_month"),
        ({"observed_on": None, "year": 2027}, "after_month"),
        ({"coordinate_uncertainty_m": 10_001.0}, "uncertainty_large"),
        ({"latitude": 55.67, "longitude": 12.58}, "gbif_headquarters"),
        ({"latitude": 30.005, "longitude": 40.0}, "country_centroid"),
        ({"latitude": -40.0}, "sea"),
    ],
)
def test_a_fatal_flag_costs_the_record(change: dict[str, object], flag: str) -> None:
    found = cleaned(change, {"latitude": 11.0})
    assert found.dropped == {flag: 1}
    assert found.observations["observation_id"].tolist() == ["gbif:d:1"]
    assert found.counts_in == 2


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"observed_on": None}, "date_missing"),
        ({"observed_on": None, "year": 2026}, "date_missing"),
        ({"coordinate_uncertainty_m": 3036.0}, "uncertainty_default"),
        ({"latitude": 35.05, "longitude": 45.0}, "capital"),
    ],
)
def test_another_flag_is_only_noted(change: dict[str, object], flag: str) -> None:
    found = cleaned(change)
    assert found.dropped == {}
    assert found.flagged == {flag: 1}
    assert names_of(int(found.observations["flags"].iloc[0])) == (flag,)
    assert not Flag[flag.upper()] & FATAL


@pytest.mark.parametrize(
    "change",
    [
        {"observed_on": "2026-10-31"},
        {"observed_on": "1900-01-01"},
        {"coordinate_uncertainty_m": 10_000.0},
        {"latitude": 30.02, "longitude": 40.0},
        {"latitude": 60.005},  # less than a kilometre off the coast
        {"latitude": 10.5, "longitude": 0.6},
    ],
)
def test_the_edge_of_a_test_is_kept(change: dict[str, object]) -> None:
    found = cleaned(change)
    assert len(found.observations) == 1
    assert found.flagged == {}


@pytest.mark.parametrize(
    ("latitude", "longitude", "dropped", "flagged"),
    [
        (20.008, 41.0, {"province_centroid": 1}, {}),  # 890 m
        (20.010, 41.0, {}, {}),  # 1,112 m
        (25.0008, 42.0, {}, {"institution": 1}),  # 89 m
        (25.0010, 42.0, {}, {}),  # 111 m
    ],
)
def test_provinces_and_institutions_are_tested_where_they_are_known(
    latitude: float, longitude: float, dropped: dict[str, int], flagged: dict[str, int]
) -> None:
    found = cleaned({"latitude": latitude, "longitude": longitude}, places=MORE_PLACES)
    assert (found.dropped, found.flagged, found.not_tested) == (dropped, flagged, ())


def test_each_test_has_its_own_count_whatever_else_is_wrong_with_a_row() -> None:
    found = cleaned(
        {"latitude": 0.0, "longitude": 0.0, "observed_on": "1850-01-01", "coordinate_uncertainty_m": 301.0},
        {"degree_of_establishment": "cultivated", "basis_of_record": "LIVING_SPECIMEN", "observed_on": "1850-01-01"},
        {"latitude": 11.0, "coordinate_uncertainty_m": 999.0},
    )
    assert found.dropped == {"coordinate_zero": 1, "basis_of_record": 1}
    assert found.flagged == {"uncertainty_default": 1}
    assert found.found == {
        "coordinate_zero": 1,
        "coordinate_equal": 1,
        "basis_of_record": 1,
        "captive": 1,
        "year_early": 2,
        "uncertainty_default": 2,
    }


def test_rows_can_be_looked_at_with_their_flags() -> None:
    frame = raw({}, {"latitude": 91.0}).assign(note=["good", "bad"])
    rows = flagged_rows(frame, month=MONTH, region=WORLD, salt="s", places=PLACES)
    assert rows[["note", "observation_id"]].to_numpy().tolist() == [["good", "gbif:d:0"], ["bad", "gbif:d:1"]]
    assert [names_of(flags) for flags in rows["flags"]] == [(), ("coordinate_out_of_range",)]
    assert set(OBSERVATION.names) <= set(rows.columns)


def test_where_reference_places_came_from_is_told() -> None:
    found = clean(raw({}), month=MONTH, region=WORLD, salt="s")
    assert found.not_tested == ("institution",)
    assert "GeoNames" in found.origins["capital"]


def test_an_observation_has_its_schema_and_identity() -> None:
    found = cleaned({"photo_id": "7", "photo_url": "https://x/photos/7/original.jpg", "species": "Poa annua var. alba"})
    pa.Table.from_pandas(found.observations, schema=OBSERVATION, preserve_index=False)
    row = found.observations.iloc[0]
    assert row["observation_id"] == "gbif:d:0"
    assert (row["species"], row["genus"], row["snapshot"]) == ("Poa annua", "Poa", "2026-10")
    assert "Ann" not in row["observer"]
    assert len(row["observer"]) == 24
    assert found.not_tested == ("province_centroid", "institution")


def test_observers_are_hashed_with_the_salt() -> None:
    changes = (
        {"recorded_by": "Ann"},
        {"recorded_by": " ann", "latitude": 11.0},
        {"recorded_by": None, "latitude": 12.0},
    )
    one, again, unknown = cleaned(*changes).observations["observer"]
    assert one == again != unknown
    assert cleaned(*changes, salt="other").observations["observer"].tolist()[0] != one
    with pytest.raises(InputError, match="salt"):
        cleaned(*changes, salt="")


def test_what_comes_twice_counts_once() -> None:
    found = cleaned(
        {"photo_id": "7"},
        {"photo_id": "7", "occurrence_id": "0"},  # the same row again
        {"photo_id": "8", "occurrence_id": "0"},  # a second photo of the record
        {"photo_id": "7", "source": "inat", "latitude": 11.0},  # the same photo from elsewhere
        {"photo_id": "9"},  # the same plant, as another record of the same person
        {"photo_id": "10", "recorded_by": "Bob"},  # another person
    )
    assert found.observations[["observation_id", "photo_id"]].to_numpy().tolist() == [
        ["gbif:d:0", "7"],
        ["gbif:d:0", "8"],
        ["gbif:d:5", "10"],
    ]
    assert found.dropped == {"duplicate": 1, "repeated_photo": 1, "repeated_record": 1}


def test_photos_of_unknown_observers_are_evidence_each_but_bare_records_are_not() -> None:
    found = cleaned({"recorded_by": None, "photo_id": "1"}, {"recorded_by": None, "photo_id": "2"})
    assert len(found.observations) == 2
    assert cleaned({"recorded_by": None}, {"recorded_by": None}).dropped == {"duplicate": 1}


def test_a_dropped_record_does_not_stand_for_a_good_one() -> None:
    found = cleaned({"photo_id": "7", "latitude": None}, {"photo_id": "7"})
    assert found.observations["observation_id"].tolist() == ["gbif:d:1"]


def test_region_selects() -> None:
    found = cleaned({}, {"latitude": 40.0}, region=Region("box", 10, 5, 30, 20))
    assert found.dropped == {"outside_region": 1}


def test_rows_the_reader_lost_are_in_the_account() -> None:
    frame = raw({})
    frame.attrs["rejected"] = {"malformed_row_of_occurrence.txt": 2}
    found = clean(concatenated([frame]), month=MONTH, region=WORLD, salt="s", places=PLACES)
    assert found.counts_in == 3
    assert found.dropped == {"malformed_row_of_occurrence.txt": 2}


def test_a_frame_that_is_no_raw_occurrence_is_refused() -> None:
    with pytest.raises(TableError, match="latitude"):
        clean(raw({}).drop(columns="latitude"), month=MONTH, region=WORLD, salt="s", places=PLACES)


def test_no_rows_are_no_observations() -> None:
    found = clean(raw_occurrences({}, 0), month=MONTH, region=WORLD, salt="s", places=PLACES)
    assert found.observations.empty
    assert found.counts_in == 0
    pa.Table.from_pandas(found.observations, schema=OBSERVATION, preserve_index=False)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "occurrence_id": st.sampled_from("abc"),
                "photo_id": st.sampled_from(["1", "2", "3", None]),
                "latitude": st.sampled_from([10.0, 11.0, None]),
                "recorded_by": st.sampled_from(["Ann", "Bob", None]),
            }
        ),
        min_size=1,
        max_size=12,
    ),
    st.randoms(),
)
def test_the_order_of_rows_does_not_matter_and_no_row_is_lost(rows: list[dict[str, object]], random: object) -> None:
    found = cleaned(*rows)
    assert found.counts_in == len(rows) == len(found.observations) + sum(found.dropped.values())
    random.shuffle(rows)  # type: ignore[attr-defined]
    again = cleaned(*rows)
    pd.testing.assert_frame_equal(found.observations, again.observations)
    assert found.dropped == again.dropped


def test_distance_to_places_is_great_circle() -> None:
    place = np.array([[60.0, 179.999]])
    # 0.017 degrees of longitude at 60 degrees are 945 m, across the antimeridian
    lat, lon = np.array([60.0, 60.0, np.nan]), np.array([-179.984, -179.98, 0.0])
    assert within(lat, lon, place, 1000.0).tolist() == [True, False, False]
    assert within(lat, lon, NONE, 1000.0).tolist() == [False, False, False]


def test_natural_earth_tells_land_from_sea() -> None:
    places = natural_earth()
    lat = np.array([48.0, 0.0, 78.5, -33.9, 36.99, 64.9])
    lon = np.array([8.0, -30.0, 16.0, 151.0, -122.06, -18.5])
    assert in_sea(lat, lon, places.land, 1000.0).tolist() == [False, True, False, False, False, False]
    assert len(places.country_centroids) > 400


def test_an_outlier_is_far_from_all_others_of_its_species() -> None:
    lat = pd.Series([*np.linspace(40, 41, 20), -30.0, 50.0])
    lon = pd.Series([*np.linspace(10, 12, 20), 150.0, 20.0])
    species = pd.Series(["Poa annua"] * 21 + ["Poa alpina"])
    assert np.flatnonzero(species_outliers(species, lat, lon)).tolist() == [20]
    few = slice(15, 21)  # six places are too few to judge
    assert not species_outliers(species[few], lat[few], lon[few]).any()


def test_flags_are_distinct_bits() -> None:
    assert len({int(flag) for flag in Flag}) == len(list(Flag)) == 23
    assert names_of(int(Flag.SEA | Flag.CAPITAL)) == ("sea", "capital")


@pytest.mark.real
def test_real_occurrences_are_cleaned(real_data: Path) -> None:
    file = real_data / "occurrences" / "plant_occurrences_merged.parquet"
    frame = read_occurrences("coordinates-parquet", file, "merged-occurrences")
    found = clean(frame, month=MONTH, region=WORLD, salt="s")
    assert found.counts_in == 194_124 == len(found.observations) + sum(found.dropped.values())
    # 2,957 records at 0/0 and 41 more on the equator or the prime meridian
    assert found.dropped["coordinate_zero"] == 2998
    assert found.dropped["no_species"] == 15
    assert found.found["no_species"] == 17
    assert found.found["date_missing"] == 194_124
    assert 400 < found.found["capital"] < 700
    assert 80 < found.found["province_centroid"] < 200
    assert 180_000 < len(found.observations) < 185_000
