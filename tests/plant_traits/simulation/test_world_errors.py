"""Cleaning finds the errors that a virtual world's records have and leaves good records alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from data_catalog import Catalog, WorldSettings
from plant_traits.month import Month
from plant_traits.observations.cleaning import CleanedObservations, clean
from plant_traits.regions import Region
from plant_traits.simulation.dirt import SHARES, plant_dirt
from plant_traits.simulation.flora import build_flora
from plant_traits.simulation.geography import build_cities
from plant_traits.simulation.observers import build_observers
from plant_traits.simulation.planet import bilinear, build_planet
from plant_traits.simulation.records import draw_sightings
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.traits import TraitModel, build_trait
from plant_traits.simulation.write_dwca import write_dwca
from plant_traits.sources.dwca import read_dwca

SEED = 11
PHOTOS = 5000
EARTH = Region("earth", -180, -90, 180, 90)


@dataclass(frozen=True)
class Crowd:
    """Many records, what is wrong with them, and what cleaning made of them."""

    records: pd.DataFrame  # with `key` and `dropped`
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
    cleaned = clean(read_dwca(path, "gbif"), month=Month.parse("2026-10"), region=EARTH, salt="a secret")
    kept = set(cleaned.observations["observation_id"].str.split(":", n=2).str[2])
    records["dropped"] = ~records["key"].isin(kept)
    return Crowd(records, cleaned, height, height.community(planet, flora))


def shares(records: pd.DataFrame) -> Mapping[str, float]:
    return records.groupby("planted")["dropped"].mean().to_dict()


def test_errors_are_planted_in_the_shares_promised(crowd: Crowd) -> None:
    counts = crowd.records["planted"].value_counts()
    originals = len(crowd.records) - counts["duplicate"]
    assert {kind: counts[kind] for kind in SHARES} == {kind: round(x * originals) for kind, x in SHARES.items()}
    assert counts["none"] == len(crowd.records) - sum(counts[kind] for kind in SHARES)


def test_every_record_is_accounted_for(crowd: Crowd) -> None:
    cleaned = crowd.cleaned
    assert cleaned.counts_in == len(cleaned.observations) + sum(cleaned.dropped.values())


@pytest.mark.parametrize("kind", [kind for kind in SHARES if kind != "misidentified"])
def test_cleaning_finds(kind: str, crowd: Crowd) -> None:
    assert shares(crowd.records)[kind] >= 0.95


@pytest.mark.parametrize("kind", ["none", "misidentified"])
def test_cleaning_leaves_alone(kind: str, crowd: Crowd) -> None:
    assert shares(crowd.records)[kind] < 0.03


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
