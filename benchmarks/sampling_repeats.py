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
import time
from pathlib import Path

import numpy as np
import pandas as pd
from place_regression import Learned, importance, learn
from repeated_world import FloatArray, IntArray, Sample, World, draw_sample, make_world

from data_catalog import load_catalog
from maps.applicability.area import area_of_applicability
from maps.estimators.estimate import estimate
from maps.moments.reduction import reduce_predictions
from maps.sampling.effort_weights import effort_estimates, reduce_to_subcells, subcell_grid, weigh_subcells
from maps.small_area.fill import fill_cells
from plant_traits.spatial_folds import block_of, spatial_folds

ESTIMATORS = ("mean", "inverse_variance", "random_effects", "mixed")
EVERY = 10  # repeats between two in which further estimators are run
RICH = 20
BLOCK_DEGREES = 10.0  # of the folds of the geospatial prediction and of the area of applicability
FOLDS = 4
PERMUTED = 1000  # places that the area of applicability is measured on


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
