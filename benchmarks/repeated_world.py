"""A virtual planet that is photographed again and again: what stays, and the records of one repeat."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from data_catalog import Trait, WorldSettings
from plant_traits.covariates.biomes import biomes
from plant_traits.grid import Grid
from plant_traits.simulation.dirt import SHARES, lookalikes
from plant_traits.simulation.flora import Flora, build_flora
from plant_traits.simulation.geography import Cities, build_cities
from plant_traits.simulation.observers import build_observers
from plant_traits.simulation.planet import Planet, build_planet
from plant_traits.simulation.prediction_errors import DEMO_ERRORS, predict_plants
from plant_traits.simulation.records import draw_sightings
from plant_traits.simulation.seeds import stream
from plant_traits.simulation.traits import TraitModel, build_trait
from plant_traits.simulation.write_splotopen import write_splotopen
from plant_traits.sources.splotopen import read_plots

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RECORDS_PER_OBSERVER = 15
LOGGED = ("bio12", "bio13", "bio14", "bio16", "bio17", "bio18", "bio19")
HIDDEN_LAYERS = ("history", "disturbance", "elevation")


@dataclass(frozen=True)
class World:
    """What does not change from repeat to repeat.

    Attributes:
        settings: of the demo's world.
        planet: the planet.
        flora: its plants.
        models: its traits.
        cities: where observers live.
        plots: latitude, longitude, trait, value of the vegetation plots.
        grid: the cells of the maps.
        land: (n,) land cells.
        truth: (n, traits) their community means, working space.
        covariates: (n, c) their climate and soil.
        fine_covariates: (360 * 720, c) the same of half-degree cells.
        biome: biome by land cell.
    """

    settings: WorldSettings
    planet: Planet
    flora: Flora
    models: list[TraitModel]
    cities: Cities
    plots: pd.DataFrame
    grid: Grid
    land: IntArray
    truth: FloatArray
    covariates: FloatArray
    fine_covariates: FloatArray
    biome: Mapping[int, str]


def make_world(settings: WorldSettings, traits: list[Trait]) -> World:
    """Build the planet, and bring truth and covariates to cells of 1 degree, by area."""
    planet = build_planet(settings.seed)
    flora = build_flora(settings.seed, planet, settings.species)
    models = [build_trait(settings.seed, trait, planet, flora) for trait in traits]
    with tempfile.TemporaryDirectory() as folder:
        write_splotopen(settings.seed, planet, flora, models, settings.plots, Path(folder))
        plots = read_plots(Path(folder), traits).plots
    grid = Grid.parse("1deg")
    parent = grid.cell_of(*planet.grid.centre_of(np.arange(planet.grid.size)))
    living = planet.land.ravel()
    weight = np.where(living, planet.grid.area_m2.ravel(), 0.0)
    total = np.bincount(parent, weight, grid.size)
    land = np.flatnonzero(total > 0)

    def to_cells(field: FloatArray) -> FloatArray:
        values = np.where(living, np.nan_to_num(field.ravel()), 0.0)
        return np.asarray(np.bincount(parent, weight * values, grid.size)[land] / total[land])

    names = [name for name in planet.layers if name not in HIDDEN_LAYERS]
    coarse = {name: to_cells(planet.layers[name]) for name in names}
    fine = {name: planet.layers[name].ravel() for name in names}
    found = biomes(coarse)
    return World(
        settings,
        planet,
        flora,
        models,
        build_cities(stream(settings.seed, "cities"), max(20, settings.observers)),
        plots,
        grid,
        land,
        np.column_stack([to_cells(model.community(planet, flora)) for model in models]),
        np.column_stack([_logged(name, coarse[name]) for name in names]),
        np.column_stack([_logged(name, fine[name]) for name in names]),
        {int(cell): str(name) for cell, name in zip(land, found, strict=True) if name is not None},
    )


@dataclass(frozen=True)
class Sample:
    """The records of a repeat, one photo each, and what the model makes of the photos.

    Attributes:
        observations: observation_id, species (as stated), observer, latitude, longitude.
        place: (n,) half-degree cell.
        predictions: columns of ``schemas.PREDICTION``.
        y: (n, traits) their means.
    """

    observations: pd.DataFrame
    place: IntArray
    predictions: pd.DataFrame
    y: FloatArray


def draw_sample(world: World, repeat: int, records: int) -> Sample:
    """Let other observers photograph the planet, name some plants wrongly, and predict what the photos show."""
    seed = world.settings.seed
    observers = build_observers(seed * 1_000_003 + repeat, world.cities, max(5, records // RECORDS_PER_OBSERVER))
    settings = world.settings.model_copy(update={"photos": round(records * 1.12 / 0.98)})
    drawn = draw_sightings(
        settings, world.planet, world.flora, world.cities, observers, world.models, sample=("repeat", repeat)
    ).records
    rng = stream(seed, "repeat", repeat)
    wrong = np.flatnonzero(rng.random(len(drawn)) < SHARES["misidentified"])
    stated = drawn["true_species_index"].to_numpy().copy()
    stated[wrong] = lookalikes(rng, drawn.iloc[wrong], world.flora)
    ids = np.char.add("o", np.arange(len(drawn)).astype(str)).astype(object)
    latitude, longitude = drawn["true_latitude"].to_numpy(), drawn["true_longitude"].to_numpy()
    observations = pd.DataFrame(
        {
            "observation_id": ids,
            "species": world.flora.species["species"].to_numpy(object)[stated],
            "observer": drawn["login"].to_numpy(object),
            "latitude": latitude,
            "longitude": longitude,
        }
    )
    parts = []
    for model in world.models:
        trait = model.trait.id
        species = drawn["true_species_index"].to_numpy()
        truth = drawn[f"true_{trait}"].to_numpy()
        found = predict_plants(rng, DEMO_ERRORS[trait], model, world.flora, species, latitude, longitude, truth)
        parts.append(
            pd.DataFrame(
                {
                    "observation_id": ids,
                    "photo_id": ids,
                    "trait": trait,
                    "mean": found.mean,
                    "variance_aleatoric": found.aleatoric,
                    "variance_epistemic": found.epistemic,
                    "modalities": "image+geospatial",
                    "status": "ok",
                }
            )
        )
    y = np.column_stack([part["mean"].to_numpy() for part in parts])
    place = world.planet.grid.cell_of(latitude, longitude)
    return Sample(observations, place, pd.concat(parts, ignore_index=True), y)


def _logged(name: str, values: FloatArray) -> FloatArray:
    return np.asarray(np.log1p(values) if name in LOGGED else values)
