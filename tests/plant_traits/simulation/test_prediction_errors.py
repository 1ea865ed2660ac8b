"""Simulated predictions err as they are told to, and state variances that are right on average."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_catalog import Catalog, WorldSettings
from plant_traits.simulation.flora import Flora, build_flora
from plant_traits.simulation.geography import build_cities
from plant_traits.simulation.observers import build_observers
from plant_traits.simulation.planet import Planet, bilinear, build_planet
from plant_traits.simulation.prediction_errors import (
    DEMO_ERRORS,
    PlantPredictions,
    PredictionErrors,
    predict_plants,
)
from plant_traits.simulation.records import draw_sightings
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.traits import FloatArray, IntArray, TraitModel, build_trait

SEED = 5
PLANTS = 20_000
PERFECT = PredictionErrors(1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 10.0, 0.3, 0.4, 0.8)


@pytest.fixture(scope="module")
def planet() -> Planet:
    return build_planet(SEED)


@pytest.fixture(scope="module")
def flora(planet: Planet) -> Flora:
    return build_flora(SEED, planet, 120)


@pytest.fixture(scope="module")
def height(catalog: Catalog, planet: Planet, flora: Flora) -> TraitModel:
    return build_trait(SEED, catalog.trait("height"), planet, flora)


Plants = tuple[IntArray, FloatArray, FloatArray, FloatArray]


@pytest.fixture(scope="module")
def plants(height: TraitModel, flora: Flora, planet: Planet) -> Plants:
    rng = np.random.default_rng(1)
    cell = rng.choice(np.flatnonzero(planet.land.ravel()), PLANTS)
    latitude, longitude = planet.grid.centre_of(cell)
    species = rng.integers(0, 120, PLANTS)
    return species, latitude, longitude, height.draw(rng, species, latitude, longitude)


def drawn(
    errors: PredictionErrors, height: TraitModel, flora: Flora, plants: Plants, seed: int = 2
) -> PlantPredictions:
    return predict_plants(np.random.default_rng(seed), errors, height, flora, *plants)


def test_stated_variances_are_right_on_average_and_where_they_differ(
    height: TraitModel, flora: Flora, plants: Plants
) -> None:
    found = drawn(PERFECT, height, flora, plants)
    stated = found.aleatoric + found.epistemic
    squares = (found.mean - plants[3]) ** 2
    assert (squares / stated).mean() == pytest.approx(1.0, abs=1e-9)
    assert squares.mean() == pytest.approx(0.3**2, rel=0.03)
    assert np.log(stated).std() == pytest.approx(0.4, rel=0.03)
    assert found.aleatoric / stated == pytest.approx(0.8)
    sure = stated < np.median(stated)
    assert squares[sure].mean() / stated[sure].mean() == pytest.approx(1.0, rel=0.06)
    assert squares[~sure].mean() / stated[~sure].mean() == pytest.approx(1.0, rel=0.06)


def test_predictions_follow_each_part_of_the_truth_by_its_slope(
    height: TraitModel, flora: Flora, plants: Plants
) -> None:
    species, latitude, longitude, truth = plants
    errors = replace(PERFECT, form=1.1, species=0.6, environment=0.9, hidden=0.3, individual=0.4, photo_sd=0.01)
    found = drawn(errors, height, flora, plants)
    form = flora.species["form"].to_numpy()
    of_form = np.array([height.species_mean[form == k].mean() for k in range(3)])[form[species]]
    environment = bilinear(height.environment, latitude, longitude) * height.plasticity[species]
    hidden = bilinear(height.hidden, latitude, longitude)
    departs = height.species_mean[species] - of_form
    own = truth - height.species_mean[species] - environment - hidden
    parts = np.column_stack([np.ones(PLANTS), of_form, departs, environment, hidden, own])
    slopes = np.linalg.lstsq(parts, found.mean, rcond=None)[0][1:]
    assert slopes == pytest.approx([1.1, 0.6, 0.9, 0.3, 0.4], abs=0.01)
    assert (found.mean - truth).mean() == pytest.approx(0.0, abs=1e-3)


def test_photos_of_a_species_share_an_error(height: TraitModel, flora: Flora, plants: Plants) -> None:
    species = plants[0]
    shared = []
    for seed in range(30):
        found = drawn(replace(PERFECT, species_sd=0.2, photo_sd=0.05), height, flora, plants, seed)
        error = found.mean - plants[3]
        mean = np.bincount(species, error) / np.bincount(species)
        shared.append(mean.std())
        assert (error - mean[species]).std() == pytest.approx(0.05, rel=0.05)
    assert np.mean(shared) == pytest.approx(0.2, rel=0.05)


def test_photos_of_a_place_share_an_error_that_fades_with_distance(
    height: TraitModel, flora: Flora, plants: Plants
) -> None:
    latitude = np.repeat([0.25, 1.25, 60.25], PLANTS // 3)
    there = tuple(x[: len(latitude)] for x in plants)
    chosen: Plants = (there[0], latitude, np.full(len(latitude), 20.25), there[3])
    means = np.array(
        [
            [part.mean() for part in np.split(drawn(errors, height, flora, chosen, seed).mean - chosen[3], 3)]
            for seed in range(120)
            for errors in [replace(PERFECT, place_sd=0.3, place_degrees=8.0, photo_sd=0.01)]
        ]
    )
    near, far = (means[:, 0] - means[:, 1]).std(), (means[:, 0] - means[:, 2]).std()
    # exp(-1/128) of the variance is shared at 1 degree, nothing at 60
    assert near == pytest.approx(0.3 * np.sqrt(2 * (1 - np.exp(-1 / 128))), rel=0.25)
    assert far == pytest.approx(0.3 * np.sqrt(2), rel=0.2)


def test_the_same_stream_gives_the_same_predictions(height: TraitModel, flora: Flora, plants: Plants) -> None:
    one, same, other = (drawn(DEMO_ERRORS["height"], height, flora, plants, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.mean, same.mean)
    np.testing.assert_array_equal(one.epistemic, same.epistemic)
    assert (one.mean != other.mean).all()


def test_another_sample_is_of_the_same_planet(planet: Planet, flora: Flora, height: TraitModel) -> None:
    settings = WorldSettings(seed=SEED, photos=500, species=120, observers=30)
    cities = build_cities(stream(SEED, "cities"), 30)
    observers = build_observers(SEED, cities, 30)
    plain, first, again, second = (
        draw_sightings(settings, planet, flora, cities, observers, [height], sample=sample).records
        for sample in ((), ("repeat", 1), ("repeat", 1), ("repeat", 2))
    )
    assert len(plain) == len(first) == len(second)
    assert first.equals(again)
    for one, other in ((plain, first), (first, second)):
        assert (one["true_latitude"] != other["true_latitude"]).all()
        own, expected = (
            x["true_height"]
            - height.expected(*(x[f"true_{name}"].to_numpy() for name in ("species_index", "latitude", "longitude")))
            for x in (one, other)
        )
        assert own.std() == pytest.approx(0.25, rel=0.15)
        assert abs(np.corrcoef(own, expected)[0, 1]) < 0.2
