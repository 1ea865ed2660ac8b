"""What observers recorded: who saw which plant where and when, before and after dirt is planted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from data_catalog import WorldSettings
from plant_traits.simulation.flora import Flora
from plant_traits.simulation.geography import Cities, is_land
from plant_traits.simulation.landmarks import capitals, coast, country_centres, institutions, near
from plant_traits.simulation.observers import Observers
from plant_traits.simulation.planet import Planet
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.traits import TraitModel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

INAT_DATASET = "50c9509d-22c7-4a22-a47d-8c48425ef4a7"
SECOND_DATASET = "7a3679ef-5582-4aaa-81f0-8c2545cafc81"  # Pl@ntNet observations
_SECOND_PHOTO = 0.12  # share of records with a second photo
LICENCES = ("http://creativecommons.org/licenses/by-nc/4.0/legalcode", "http://creativecommons.org/licenses/by/4.0/legalcode",
             "http://creativecommons.org/publicdomain/zero/1.0/legalcode")  # fmt: skip
# Good records at places that look wrong: share, closest and farthest distance in km from a place of that kind.
INNOCENT = {
    "coast": (0.004, 0.0, 0.9),
    "near_capital": (0.003, 1.0, 9.0),
    "near_centroid": (0.001, 1.2, 5.0),
    "near_institution": (0.002, 0.2, 2.0),
}


@dataclass(frozen=True)
class Sightings:
    """Records and their photos.

    Attributes:
        records: one row per record, true and stated values side by side; ``number`` is the record's for ever,
            ``interpreted`` the month of its last change.
        photos: one row per photo: photo_id, record (row), copy_of (photo row whose picture it repeats, or itself).
    """

    records: pd.DataFrame
    photos: pd.DataFrame


def draw_sightings(
    settings: WorldSettings,
    planet: Planet,
    flora: Flora,
    cities: Cities,
    observers: Observers,
    models: list[TraitModel],
    *,
    sample: tuple[str | int, ...] = (),
) -> Sightings:
    """Let observers record plants near their homes and on journeys, by their taste.

    Every record has its plant's true trait values (working space, columns ``true_<trait>``). Nothing is wrong yet.

    Args:
        settings: seed, and number of photos.
        planet: where.
        flora: what grows there.
        cities: where observers start from.
        observers: who.
        models: the traits of the plants.
        sample: names another, independent sample of records of the same planet, flora and observers.
    """
    rng = stream(settings.seed, "records", *sample)
    count = max(1, round(settings.photos / (1 + _SECOND_PHOTO) * 0.98))
    observer = rng.choice(observers.effort.size, count, p=observers.effort)
    latitude, longitude = _places(rng, observer, observers, cities)
    innocent = _move_to_landmarks(settings.seed, sample, latitude, longitude)
    species = _choose(rng, planet, flora, observers, observer, latitude, longitude)
    table = flora.species.iloc[species]
    day = np.datetime64("2026-09-30") - np.floor(rng.beta(1.0, 3.0, count) * 3800).astype(np.int64)
    phone = rng.random(count) < 0.85
    records = pd.DataFrame(
        {
            "number": np.arange(count),
            "observer": observer,
            "login": observers.name[observer],
            "true_species_index": species,
            "stated_species_index": species,
            "true_latitude": latitude,
            "true_longitude": longitude,
            "latitude": latitude.round(6),
            "longitude": longitude.round(6),
            "uncertainty_m": np.where(phone, rng.gamma(2.0, 8.0, count), rng.lognormal(5.0, 1.0, count))
            .round()
            .clip(3, 4500),
            "date": day,
            "licence": rng.choice(LICENCES, count, p=[0.62, 0.28, 0.10]),
            "dataset_key": np.where(rng.random(count) < 0.94, INAT_DATASET, SECOND_DATASET),
            "cultivated": False,
            "basis": "HUMAN_OBSERVATION",
            "innocent": innocent,
            "planted": "none",
            "interpreted": settings.first_month,
            "true_species": table["species"].to_numpy(),
        }
    )
    for model in models:
        plants = stream(settings.seed, "plants", model.trait.id, *sample)
        records[f"true_{model.trait.id}"] = model.draw(plants, species, latitude, longitude)
    return Sightings(records=records, photos=_photos(rng, settings.photos, count))


def _photos(rng: np.random.Generator, photos: int, records: int) -> pd.DataFrame:
    record = np.arange(records)
    extra = np.sort(rng.choice(records, max(0, round(photos * 0.98) - records), replace=False))
    record = np.sort(np.concatenate([record, extra]), kind="stable")
    photo_id = 240_000_000 + np.cumsum(rng.integers(3, 90, record.size))
    return pd.DataFrame({"photo_id": photo_id, "record": record, "copy_of": np.arange(record.size)})


def _places(
    rng: np.random.Generator, observer: IntArray, observers: Observers, cities: Cities
) -> tuple[FloatArray, FloatArray]:
    count = observer.size
    journey = rng.random(count) < 0.12
    target = np.where(journey, rng.choice(cities.effort.size, count, p=cities.effort), observers.city[observer])
    latitude = np.full(count, np.nan)
    longitude = np.full(count, np.nan)
    for attempt in range(60):
        todo = np.flatnonzero(np.isnan(latitude))
        if todo.size == 0:
            break
        shrink = 0.92**attempt
        distance = rng.gamma(1.4, observers.reach_km[observer[todo]] / 1.4) * shrink / 111.2
        bearing = rng.uniform(0, 2 * np.pi, todo.size)
        road = 0.25 * np.round(4 * bearing / np.pi) * np.pi  # eight roads lead out of every city
        bearing = np.where(rng.random(todo.size) < 0.4, road + rng.normal(0, 0.06, todo.size), bearing)
        city = target[todo]
        lat = cities.latitude[city] + distance * np.cos(bearing)
        lon = cities.longitude[city] + distance * np.sin(bearing) / np.cos(np.deg2rad(cities.latitude[city]))
        good = (np.abs(lat) < 70) & (np.abs(lon) < 179.9)
        good &= is_land(lat, np.clip(lon, -180, 180))
        latitude[todo[good]], longitude[todo[good]] = lat[good], lon[good]
    rest = np.isnan(latitude)
    latitude[rest], longitude[rest] = cities.latitude[target[rest]], cities.longitude[target[rest]]
    return latitude, longitude


def _move_to_landmarks(
    seed: int, sample: tuple[str | int, ...], latitude: FloatArray, longitude: FloatArray
) -> npt.NDArray[np.str_]:
    """Move a few observers to places of ``INNOCENT``, in place, before they look for plants; say whom."""
    rng = stream(seed, "innocents", *sample)
    table = institutions(seed)[["latitude", "longitude"]].to_numpy(dtype=np.float64)
    places = {
        "coast": coast(),
        "near_capital": capitals(),
        "near_centroid": country_centres(),
        "near_institution": table,
    }
    kind = np.full(latitude.size, "none", dtype="<U16")
    order = rng.permutation(latitude.size)
    for name, (share, closest, farthest) in INNOCENT.items():
        count = round(share * latitude.size)
        rows, order = order[:count], order[count:]
        on_land = name != "coast"
        latitude[rows], longitude[rows] = near(rng, places[name], count, closest, farthest, on_land=on_land)
        kind[rows] = name
    return kind


def _choose(
    rng: np.random.Generator,
    planet: Planet,
    flora: Flora,
    observers: Observers,
    observer: IntArray,
    latitude: FloatArray,
    longitude: FloatArray,
) -> IntArray:
    """Pick a species per record: what grows there, flattened (rarities attract), times the observer's taste."""
    form = flora.species["form"].to_numpy()
    colour = flora.species["colourful"].to_numpy()
    row = flora.row_of_cell[planet.grid.cell_of(latitude, longitude)]
    out = np.empty(observer.size, dtype=np.int64)
    step = 5000
    for start in range(0, observer.size, step):
        part = slice(start, start + step)
        who = observer[part]
        appeal = observers.taste[who][:, form] * np.exp(0.7 * observers.love_of_colour[who][:, None] * colour)
        weight = flora.share[row[part]].astype(np.float64) ** 0.85 * appeal
        edge = np.cumsum(weight, axis=1)
        pick = rng.random(who.size)[:, None] * edge[:, -1:]
        out[part] = np.minimum((edge < pick).sum(1), form.size - 1)
    return out
