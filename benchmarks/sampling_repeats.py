"""How often a map's 95 % intervals cover the true cell means when the same planet is photographed again and again.

One virtual planet: its flora, traits, truth, covariates and vegetation plots stay. Each repeat draws other observers
and their records, what a model with the demo network's errors predicts from their photos
(``plant_traits.simulation.prediction_errors``), and a geospatial prediction learned from those
(``place_regression``, standing for the network). All else is the project's own code: moments, estimators, the filling
of cells, the area of applicability. The truth of a cell is the mean of its plants' traits, averaged by area.

    python benchmarks/sampling_repeats.py 200 --out repeats
    python benchmarks/repeats_table.py repeats
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from place_regression import Learned, importance, learn

from data_catalog import Trait, WorldSettings, load_catalog
from maps.applicability.area import area_of_applicability
from maps.comparison.metrics import block_of
from maps.estimators.estimate import estimate
from maps.moments.reduction import reduce_predictions
from maps.sampling.effort_weights import effort_estimates, reduce_to_subcells, subcell_grid, weigh_subcells
from maps.small_area.fill import fill_cells
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
from plant_traits.spatial_folds import spatial_folds

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ESTIMATORS = ("mean", "inverse_variance", "random_effects", "mixed")
EVERY = 10  # repeats between two in which further estimators are run
RICH = 20
BLOCK_DEGREES = 10.0  # of the folds of the geospatial prediction and of the area of applicability
FOLDS = 4
PERMUTED = 1000  # places that the area of applicability is measured on
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


def predict_land(world: World, sample: Sample, repeat: int) -> tuple[pd.DataFrame, pd.DataFrame, FloatArray]:
    """Learn the geospatial prediction of a repeat; return it for land, what it says held out, and what is outside."""
    place, of_photo, photos = np.unique(sample.place, return_inverse=True, return_counts=True)
    sums = [np.bincount(of_photo, sample.y[:, t], len(place)) for t in range(sample.y.shape[1])]
    y = np.column_stack(sums) / photos[:, None]
    covariates = world.fine_covariates[place]
    fold = spatial_folds(block_of(*world.planet.grid.centre_of(place), BLOCK_DEGREES), FOLDS)
    learned = learn(covariates, y, photos.astype(np.float64), fold, repeat)
    said = (y - learned.residual)[of_photo]
    on_land = learned.predict(world.covariates)
    traits = [model.trait.id for model in world.models]
    land = pd.concat(
        pd.DataFrame(
            {
                "cell": world.land,
                "trait": trait,
                "mean": on_land.mean[:, t],
                "variance_aleatoric": on_land.aleatoric[:, t],
                "variance_epistemic": on_land.epistemic[:, t],
            }
        )
        for t, trait in enumerate(traits)
    )
    where = sample.observations[["latitude", "longitude", "species"]]
    held_out = pd.concat(
        where.assign(trait=trait, n=1, label=sample.y[:, t], prediction=said[:, t]) for t, trait in enumerate(traits)
    )
    return land, held_out, _outside(world, learned, covariates, fold, repeat)


def _outside(world: World, learned: Learned, covariates: FloatArray, fold: IntArray, repeat: int) -> FloatArray:
    some = np.random.default_rng(repeat).permutation(len(covariates))[:PERMUTED]
    weight = importance(learned, covariates[some], repeat)
    there, land = learned.standard(covariates), learned.standard(world.covariates)
    out = []
    for of_trait in weight:
        area = area_of_applicability(there, fold, of_trait, seed=repeat, most_paired=PERMUTED)
        out.append(area.outside(area.dissimilarity(land)))
    return np.column_stack(out)


def run_repeat(world: World, repeat: int, records: int) -> pd.DataFrame:
    """Return one row per trait, method and kind of cell: cells, covered, squared error, error and width summed."""
    sample = draw_sample(world, repeat, records)
    land, held_out, outside = predict_land(world, sample, repeat)
    moments = reduce_predictions(sample.predictions, sample.observations, world.grid)
    found = {name: estimate(moments, name, biome=world.biome) for name in ESTIMATORS}
    variants: dict[str, pd.DataFrame | None] = {"filled": world.plots}
    if repeat % EVERY == 0:
        found["mixed_equal"] = estimate(moments, "mixed_equal", biome=world.biome)
        found["effort_weighted"] = _effort_weighted(world, sample)
        variants["filled, no plots"] = None
    for name, plots in variants.items():
        filled = fill_cells(found["mixed"], land, world.biome, plots, world.grid, held_out=held_out).cells
        found[f"mixed, {name}"] = filled
        if plots is not None:
            raw = {f"interval_{end}": filled[f"interval_raw_{end}"] for end in ("lower", "upper")}
            found[f"mixed, {name}, raw"] = filled.assign(**raw)
    photos = found["mean"].loc[found["mean"]["trait"] == found["mean"]["trait"].iloc[0]].set_index("cell")["n_photos"]
    n = photos.reindex(world.land).fillna(0).to_numpy()
    number = np.select([n >= RICH, n > 0], ["rich", "sparse"], default="empty")
    rows = []
    for t, model in enumerate(world.models):
        kinds = np.char.add(np.char.add(number.astype(str), " "), np.where(outside[:, t], "outside", "inside"))
        place = land.loc[land["trait"] == model.trait.id, "mean"].to_numpy()
        everything = {name: _aligned(table, model.trait.id, world.land) for name, table in found.items()}
        everything["geospatial"] = np.column_stack([place, np.full((len(place), 2), np.nan)])
        for name, values in everything.items():
            known = np.isfinite(values[:, 0])
            error = values[:, 0] - world.truth[:, t]
            covered = (values[:, 1] <= world.truth[:, t]) & (world.truth[:, t] <= values[:, 2])
            for kind in np.unique(kinds):
                own = known & (kinds == kind)
                rows.append(
                    (repeat, model.trait.id, name, kind, own.sum(), covered[own].sum(), (error[own] ** 2).sum(),
                     error[own].sum(), (values[own, 2] - values[own, 1]).sum())
                )  # fmt: skip
    columns = ["repeat", "trait", "method", "kind", "cells", "covered", "squares", "errors", "widths"]
    return pd.DataFrame(rows, columns=columns)


def _effort_weighted(world: World, sample: Sample) -> pd.DataFrame:
    sums = reduce_to_subcells(sample.predictions, sample.observations, world.grid)
    fine = subcell_grid(world.grid)
    cell = fine.cell_of(sample.observations["latitude"].to_numpy(), sample.observations["longitude"].to_numpy())
    effort = (
        pd.DataFrame({"cell": cell, "observer": sample.observations["observer"]})
        .groupby("cell")["observer"]
        .agg(n_records="size", n_observers="nunique")
        .reset_index()
    )
    return effort_estimates(weigh_subcells(sums, effort, world.grid)[0])


def _aligned(table: pd.DataFrame, trait: str, land: IntArray) -> FloatArray:
    own = table[table["trait"] == trait].set_index("cell")
    columns = ["location", "interval_lower", "interval_upper"]
    return np.asarray(own[columns].reindex(land).to_numpy(dtype=np.float64))


def _logged(name: str, values: FloatArray) -> FloatArray:
    return np.asarray(np.log1p(values) if name in LOGGED else values)


def main() -> None:
    """Run the repeats that are not there yet, one Parquet file each, and print the table of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repeats", type=int)
    parser.add_argument("--first", type=int, default=0, help="repeat to begin with, so that several processes share")
    parser.add_argument("--seed", type=int, help="of the planet; the demo's by default")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=Path("repeats"))
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    catalog = load_catalog()
    profile = catalog.profile("demo")
    if profile.inputs.world is None:
        raise SystemExit("profile 'demo' has no virtual world")
    settings = profile.inputs.world
    if chosen.seed is not None:
        settings = settings.model_copy(update={"seed": chosen.seed})
    world = make_world(settings, [catalog.trait(name) for name in profile.traits])
    for repeat in range(chosen.first, chosen.repeats):
        path = chosen.out / f"{repeat:04d}.parquet"
        if not path.exists():
            started = time.perf_counter()
            run_repeat(world, repeat, chosen.records).to_parquet(path, index=False)
            print(f"repeat {repeat}: {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
