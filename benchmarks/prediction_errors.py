"""What the demo's model errs by on photos of regions it was not trained on, taken apart: the source of ``DEMO_ERRORS``.

Trains on the training table of a finished run of the profile ``demo``, once a seed and each time without other regions.
Predictions from photo and place are regressed on what makes up a plant's trait (the mean of its growth form, its
species' departure, its place's response to climate and soil and to the hidden fields, its own departure). Of what is
left, products of pairs show what photos share: those of one species, and those of places at some distance. Prints
Markdown.

    python benchmarks/prediction_errors.py workspace 1 2 3 4 5
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from demo_run import training_table, true_values

from data_catalog import Trait, WorldSettings, load_catalog
from plant_traits.model.ensemble import Fitting
from plant_traits.model.trained_model import MODALITIES
from plant_traits.model.training import train
from plant_traits.simulation.flora import Flora, build_flora
from plant_traits.simulation.planet import Planet, bilinear, build_planet
from plant_traits.simulation.traits import build_trait
from plant_traits.stages.training_table import read_training_table

FloatArray = npt.NDArray[np.float64]

MEMBERS = 3
BOTH = MODALITIES.index("image+geospatial")
FAR = 4.0  # degrees; nearer pairs of one species share their place as well
DISTANCES = (0.0, 1.0, 4.0, 8.0, 16.0, 40.0, 180.0)  # degrees
PARTS = ("growth form", "species", "environment", "hidden", "individual")


def held_out(workspace: Path, seed: int, traits: tuple[Trait, ...]) -> pd.DataFrame:
    """Train once and return the predictions of the held-out regions: trait, photo_id, mean, variance, seed."""
    settings = load_catalog().profile("demo").model.model_copy(
        update={"ensemble": MEMBERS, "refit": False, "seed": seed}
    )  # fmt: skip
    read = read_training_table(training_table(workspace), traits, labels=settings.labels)
    held = train(read.training, Fitting(traits, settings, "benchmark")).held_out["regions"]
    photos = read.rows["photo_id"].iloc[held.rows].to_numpy(dtype=object)
    parts = [
        pd.DataFrame({"trait": trait.id, "photo_id": photos, "mean": held.mean[BOTH, :, t], "variance": variance})
        for t, trait in enumerate(traits)
        for variance in [held.variance[BOTH, :, t]]
    ]
    return pd.concat(parts).dropna(subset=["mean"]).assign(seed=seed)


def parts_of_truth(rows: pd.DataFrame, trait: Trait, world: WorldSettings, planet: Planet, flora: Flora) -> FloatArray:
    """Return (n, 5): what makes up each plant's trait, in the order of ``PARTS``."""
    model = build_trait(world.seed, trait, planet, flora)
    species = pd.Index(flora.species["species"]).get_indexer(pd.Index(rows["true_species"]))
    form = flora.species["form"].to_numpy()
    of_form = np.array([model.species_mean[form == k].mean() for k in range(3)])[form[species]]
    place = rows["true_latitude"].to_numpy(), rows["true_longitude"].to_numpy()
    environment = bilinear(model.environment, *place) * model.plasticity[species]
    hidden, mean = bilinear(model.hidden, *place), model.species_mean[species]
    own = rows[f"true_{trait.id}"].to_numpy() - mean - environment - hidden
    return np.column_stack([of_form, mean - of_form, environment, hidden, own])


def shared(rows: pd.DataFrame, rest: FloatArray) -> tuple[float, list[float]]:
    """Return the mean product of pairs of one species that are far apart, and of others by distance."""
    steps = len(DISTANCES) - 1
    total, count = np.zeros(steps + 1), np.zeros(steps + 1)  # the last is of one species
    for seed in rows["seed"].unique():
        own = (rows["seed"] == seed).to_numpy()
        species = rows.loc[own, "true_species"].to_numpy()
        latitude, longitude = (np.deg2rad(rows.loc[own, f"true_{x}"].to_numpy()) for x in ("latitude", "longitude"))
        point = np.column_stack(
            [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)]
        )
        first, second = np.triu_indices(int(own.sum()), 1)
        apart = np.rad2deg(np.arccos(np.clip((point[first] * point[second]).sum(axis=1), -1, 1)))
        product = rest[own][first] * rest[own][second]
        same = species[first] == species[second]
        step = np.clip(np.searchsorted(DISTANCES, apart, side="right") - 1, 0, steps - 1)
        step = np.where(same, np.where(apart > FAR, steps, -1), step)
        total += np.bincount(step[step >= 0], product[step >= 0], steps + 1)
        count += np.bincount(step[step >= 0], minlength=steps + 1)
    means = total / np.maximum(count, 1)
    return float(means[-1]), means[:-1].tolist()


def main(workspace: Path, seeds: list[int]) -> None:
    """Print a line a trait."""
    catalog = load_catalog()
    profile = catalog.profile("demo")
    world = profile.inputs.world or WorldSettings()
    traits = tuple(catalog.trait(name) for name in profile.traits)
    planet = build_planet(world.seed)
    flora = build_flora(world.seed, planet, world.species)
    truth = pd.read_parquet(true_values(workspace)).drop_duplicates("photo_id")
    rows = pd.concat([held_out(workspace, seed, traits) for seed in seeds]).merge(truth, on="photo_id")
    columns = ["trait", "photos", *(f"slope: {name}" for name in PARTS), "rest, sd", "shared by a species"]
    columns += [f"by places to {x:g}°" for x in DISTANCES[1:]] + ["sd of ln variance", "power of variance"]
    print("| " + " | ".join(columns) + " |", "|---" * len(columns) + "|", sep="\n")
    for trait in traits:
        own = rows[rows["trait"] == trait.id].reset_index(drop=True)
        parts = parts_of_truth(own, trait, world, planet, flora)
        design = np.column_stack([np.ones(len(own)), parts])
        slopes = np.linalg.lstsq(design, own["mean"].to_numpy(), rcond=None)[0]
        rest = own["mean"].to_numpy() - design @ slopes
        of_species, of_places = shared(own, rest)
        error = own["mean"].to_numpy() - own[f"true_{trait.id}"].to_numpy()
        stated = np.log(own["variance"].to_numpy())
        bins = pd.qcut(stated, 6, labels=False)
        by_bin = pd.DataFrame({"stated": stated, "squared": error**2}).groupby(bins).mean()
        power = np.polyfit(by_bin["stated"], np.log(by_bin["squared"]), 1)[0]
        values = [*slopes[1:], rest.std(), of_species, *of_places, stated.std(), power]
        print(f"| {trait.id} | {len(own)} | " + " | ".join(f"{x:.4f}" for x in values) + " |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(x) for x in sys.argv[2:]])
