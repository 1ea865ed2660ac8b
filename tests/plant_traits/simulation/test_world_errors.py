"""Cleaning finds the errors that a virtual world's records have and leaves good records alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from data_catalog import Catalog, WorldSettings
from plant_traits.month import Month
from plant_traits.observations.cleaning import CleanedObservations, clean, flagged_rows
from plant_traits.observations.flags import FATAL, Flag
from plant_traits.observations.reference_places import reference_places
from plant_traits.regions import Region
from plant_traits.simulation.dirt import SHARES, SUSPECT_SHARES, plant_dirt
from plant_traits.simulation.flora import build_flora
from plant_traits.simulation.geography import build_cities
from plant_traits.simulation.landmarks import institutions
from plant_traits.simulation.observers import build_observers
from plant_traits.simulation.planet import bilinear, build_planet
from plant_traits.simulation.raw_dirt import OTHER_SOURCE, ROW_SHARES, spoil_rows
from plant_traits.simulation.records import INNOCENT, draw_sightings
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.traits import TraitModel, build_trait
from plant_traits.simulation.write_dwca import write_dwca
from plant_traits.sources.dwca import read_dwca

SEED = 11
PHOTOS = 5000
EARTH = Region("earth", -180, -90, 180, 90)
MONTH = Month.parse("2026-10")


@dataclass(frozen=True)
class Crowd:
    """Many records, what is wrong with them, and what cleaning made of them."""

    raw: pd.DataFrame
    records: pd.DataFrame  # with `key`, `dropped` and `flags`
    cleaned: CleanedObservations
    height: TraitModel
    community: npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def crowd(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Crowd:
    settings = WorldSettings(seed=SEED, photos=PHOTOS, species=80, observers=200)
    planet = build_planet(SEED)
    flora = build_flora(SEED, planet, settings.species)
    height = build_trait(SEED, catalog.trait("height"), planet, flora)
    cities = build_cities(stream(SEED, "cities"), settings.observers)
    observers = build_observers(SEED, cities, settings.observers)
    sightings = plant_dirt(SEED, draw_sightings(settings, planet, flora, cities, observers, [height]), flora)
    folder = tmp_path_factory.mktemp("gbif")
    records = sightings.records.assign(key=write_dwca(sightings, flora, folder)["occurrenceID"])
    (path,) = folder.glob("*.zip")
    raw = read_dwca(path, "gbif")
    gardens = institutions(SEED)[["latitude", "longitude"]].to_numpy()
    known = replace(reference_places(), institutions=gardens)
    cleaned = clean(raw, month=MONTH, region=EARTH, salt="a secret", places=known)
    kept = set(cleaned.observations["observation_id"].str.split(":", n=2).str[2])
    records["dropped"] = ~records["key"].isin(kept)
    rows = flagged_rows(raw, month=MONTH, region=EARTH, salt="a secret", places=known)
    first = rows.assign(key=rows["observation_id"].str.split(":", n=2).str[2]).drop_duplicates("key").set_index("key")
    records["flags"] = first.loc[records["key"], "flags"].to_numpy()
    return Crowd(raw, records, cleaned, height, height.community(planet, flora))


def shares(records: pd.DataFrame) -> Mapping[str, float]:
    return records.groupby("planted")["dropped"].mean().to_dict()


def test_errors_are_planted_in_the_shares_promised(crowd: Crowd) -> None:
    counts = crowd.records["planted"].value_counts()
    originals = len(crowd.records) - counts["duplicate"]
    promised = SHARES | SUSPECT_SHARES
    assert {kind: counts[kind] for kind in promised} == {kind: round(x * originals) for kind, x in promised.items()}
    assert counts["none"] == len(crowd.records) - sum(counts[kind] for kind in promised)


def test_every_record_is_accounted_for(crowd: Crowd) -> None:
    cleaned = crowd.cleaned
    assert cleaned.counts_in == len(cleaned.observations) + sum(cleaned.dropped.values())


@pytest.mark.parametrize("kind", [kind for kind in SHARES if kind != "misidentified"])
def test_cleaning_finds(kind: str, crowd: Crowd) -> None:
    assert shares(crowd.records)[kind] >= 0.95


@pytest.mark.parametrize("kind", ["none", "misidentified"])
def test_cleaning_leaves_alone(kind: str, crowd: Crowd) -> None:
    assert shares(crowd.records)[kind] < 0.03


@pytest.mark.parametrize(
    ("kind", "flag"),
    [
        ("future", Flag.AFTER_MONTH),
        ("one_zero_coordinate", Flag.COORDINATE_ZERO),
        ("equal_coordinates", Flag.COORDINATE_EQUAL),
        ("gbif_headquarters", Flag.GBIF_HEADQUARTERS),
        ("centroid", Flag.COUNTRY_CENTROID),
        ("province_centroid", Flag.PROVINCE_CENTROID),
        ("fossil", Flag.BASIS_OF_RECORD),
        ("living_specimen", Flag.BASIS_OF_RECORD),
        ("capital", Flag.CAPITAL),
        ("institution", Flag.INSTITUTION),
        ("default_uncertainty", Flag.UNCERTAINTY_DEFAULT),
    ],
)
def test_the_test_made_for_an_error_finds_it(kind: str, flag: Flag, crowd: Crowd) -> None:
    planted = crowd.records[crowd.records["planted"] == kind]
    assert len(planted) >= 8
    assert ((planted["flags"] & int(flag)) != 0).mean() >= 0.95


def test_what_is_only_suspect_is_kept(crowd: Crowd) -> None:
    assert set(SUSPECT_SHARES) == {"capital", "institution", "default_uncertainty", "outlier"}
    for kind in ("institution", "default_uncertainty"):
        assert shares(crowd.records)[kind] < 0.1, kind


def test_good_records_at_odd_places_are_kept(crowd: Crowd) -> None:
    innocent = crowd.records[(crowd.records["innocent"] != "none") & (crowd.records["planted"] == "none")]
    assert set(innocent["innocent"]) == set(INNOCENT)
    assert len(innocent) >= 25
    assert innocent["dropped"].mean() < 0.1
    # a kilometre off the generalised coastline is no sea, and the next street is not the garden
    by_kind = innocent.groupby("innocent")["flags"]
    assert not any((flags & int(Flag.SEA | Flag.INSTITUTION)).any() for _, flags in by_kind)
    assert (by_kind.get_group("near_capital") & int(Flag.CAPITAL)).all()


def test_rows_are_spoilt_as_other_files_are(crowd: Crowd) -> None:
    usable = crowd.raw["photo_id"].notna() & (crowd.raw["coordinate_uncertainty_m"] < 5000)
    rows = spoil_rows(SEED, crowd.raw, usable)
    counts = rows["planted"].value_counts()
    assert {kind: counts[kind] for kind in ROW_SHARES} == {
        kind: round(share * usable.sum()) for kind, share in ROW_SHARES.items()
    }
    assert usable.loc[rows.loc[rows["planted"] != "none", "row"]].all()
    pd.testing.assert_frame_equal(rows, spoil_rows(SEED, crowd.raw, usable))
    found = flagged_rows(rows, month=MONTH, region=EARTH, salt="a secret", places=reference_places())
    for kind, flag in (
        ("out_of_range", Flag.COORDINATE_OUT_OF_RANGE),
        ("no_species", Flag.NO_SPECIES),
        ("date_missing", Flag.DATE_MISSING),
    ):
        assert ((found.loc[found["planted"] == kind, "flags"] & int(flag)) != 0).all(), kind
    elsewhere = found[found["source"] == OTHER_SOURCE]
    assert (elsewhere["planted"] == "repeated_photo").all()
    seen_there = ((elsewhere["flags"] & int(Flag.REPEATED_PHOTO)) != 0) | ((elsewhere["flags"] & int(FATAL)) != 0)
    assert seen_there.mean() > 0.95
    twice = found[found["row"].isin(found.loc[found["planted"] == "repeated_record", "row"])]
    assert twice.groupby("row")["flags"].agg(lambda own: int(((own & int(FATAL)) == 0).sum())).max() == 1


def test_records_of_a_region_have_the_height_that_its_plants_have(crowd: Crowd) -> None:
    records = crowd.records
    latitude, longitude = records["true_latitude"].to_numpy(), records["true_longitude"].to_numpy()
    filled = np.where(np.isfinite(crowd.community), crowd.community, np.nanmean(crowd.community))
    place = pd.DataFrame(
        {
            "region": np.floor(latitude / 10) * 100 + np.floor(longitude / 10),
            "seen": records["true_height"],
            "true": bilinear(filled, latitude, longitude),
        }
    )
    means = place.groupby("region").agg(n=("seen", "size"), seen=("seen", "mean"), true=("true", "mean"))
    means = means[means["n"] >= 10]
    assert len(means) > 30
    assert means["seen"].corr(means["true"]) > 0.3


def test_more_names_may_be_wrong(catalog: Catalog) -> None:
    settings = WorldSettings(seed=3, photos=400, species=40, observers=30, misidentified=0.3)
    planet = build_planet(3)
    flora = build_flora(3, planet, settings.species)
    observers = build_observers(3, build_cities(stream(3, "cities"), 30), 30)
    models = [build_trait(3, catalog.trait("height"), planet, flora)]
    drawn = draw_sightings(settings, planet, flora, build_cities(stream(3, "cities"), 30), observers, models)
    wrong = plant_dirt(3, drawn, flora, settings.misidentified).records
    usual = plant_dirt(3, drawn, flora).records
    pd.testing.assert_frame_equal(usual, plant_dirt(3, drawn, flora, WorldSettings().misidentified).records)
    assert (wrong["planted"] == "misidentified").sum() == round(0.3 * len(drawn.records))
    misnamed = wrong["stated_species_index"] != wrong["true_species_index"]
    assert (misnamed == (wrong["planted"] == "misidentified")).all()
    assert (usual["planted"] == "misidentified").sum() == round(0.08 * len(drawn.records))
