"""What cleaning rounds find, what they cost and what they gain, where labels are wrong.

A share of the photos to be fitted gets the labels of another species, each rule of cleaning looks for them, and the
model trained on what is left is scored on held-out regions against the true values of the photographed plants. The
virtual world's own misidentified records are there in every row; "wrong" counts them with the planted ones. Judges are
those of the stage: one member each. Reads the training table of a finished run of the profile ``demo`` and prints a
Markdown table.

    python benchmarks/label_errors.py workspace [seed ...]
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from demo_run import training_table, true_values

from data_catalog import Trait, load_catalog
from plant_traits.model.cleaning_rounds import Rule, clean
from plant_traits.model.ensemble import Fitting, fit_ensemble
from plant_traits.model.prediction import predict
from plant_traits.model.scoring import accuracy, gaussian_crps
from plant_traits.model.trained_model import TrainedModel
from plant_traits.model.training import localised, split_records
from plant_traits.model.training_set import TrainingSet
from plant_traits.stages.cleaning_rounds import EPOCHS as JUDGE_EPOCHS
from plant_traits.stages.plant_scores import read_true_values
from plant_traits.stages.training_table import read_training_table

BoolArray = npt.NDArray[np.bool_]

SHARES = (0.0, 0.15)
RULES: tuple[Rule, ...] = ("published", "cross_fitted")
MEMBERS, EPOCHS = 2, 20
"""Fewer than the profile's, for time; every row of the table alike."""


def main(workspace: Path, seeds: list[int]) -> None:
    """Plant, clean, train and score, and print the mean over the seeds."""
    catalog = load_catalog()
    profile = catalog.profile("demo")
    traits = tuple(catalog.trait(name) for name in profile.traits)
    read = read_training_table(training_table(workspace), traits)
    known = read_true_values(true_values(workspace), traits).reindex(read.rows["photo_id"].astype(object))
    training = replace(read.training, image_features=np.array(read.training.image_features))
    stated = read.rows["species"].to_numpy(dtype=object)
    misidentified = known["true_species"].notna().to_numpy() & (known["true_species"].to_numpy(dtype=object) != stated)
    lines = []
    for seed in seeds:
        change = {"ensemble": MEMBERS, "epochs": EPOCHS, "refit": False, "seed": seed}
        how = Fitting(traits, profile.model.model_copy(update=change), "benchmark")
        judge = replace(how, settings=how.settings.model_copy(update={"ensemble": 1, "epochs": JUDGE_EPOCHS}))
        split = split_records(training, how)
        stopping = localised(training, split == "fitting", how)[0].rows(split == "stopping")
        held = split == "regions"
        values = known.loc[:, [f"true_{trait.id}" for trait in traits]].to_numpy(dtype=np.float64)[held]
        for share in SHARES:
            spoilt, planted = plant_label_errors(training, split == "fitting", share, seed)
            part = localised(spoilt, split == "fitting", how)[0].rows(split == "fitting")
            wrong, planted_here = (planted | misidentified)[split == "fitting"], planted[split == "fitting"]
            keeps = {"none": np.ones(len(wrong), dtype=bool)}
            for rule in RULES:

                def fit(some: TrainingSet, judge: Fitting = judge, stopping: TrainingSet = stopping) -> TrainedModel:
                    return fit_ensemble(judge, some, stopping).model

                keeps[rule] = clean(part, fit, rule, seed=seed).keep
            if share:
                keeps["the planted, known"] = ~planted_here
            for name, keep in keeps.items():
                started = time.perf_counter()
                model = fit_ensemble(how, part.rows(keep), stopping).model
                found = {"errors planted": share, "cleaning": name, "seed": seed, "dropped": int((~keep).sum())}
                found |= {"of them wrong": float(wrong[~keep].mean()) if not keep.all() else np.nan}
                found |= {"planted found": float((~keep)[planted_here].mean()) if share else np.nan}
                found |= scores(model, training.rows(held), values, traits)
                lines.append(found)
                print(found, f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    mean = pd.DataFrame(lines).drop(columns="seed").groupby(["errors planted", "cleaning"], sort=False).mean()
    print(as_markdown(mean.reset_index()))


def plant_label_errors(
    training: TrainingSet, among: BoolArray, share: float, seed: int
) -> tuple[TrainingSet, BoolArray]:
    """Give a share of some photos the labels of another species each.

    Args:
        training: n records.
        among: (n,) records of which the photos may be spoilt.
        share: of those photos.
        seed: of the choice.

    Returns:
        The records with wrong labels, and (n,) which they are.
    """
    generator = np.random.default_rng([seed, 15])
    species = np.array(training.species, dtype=object)
    photos = training.present()[0] & np.array([name is not None for name in species])
    chosen = generator.choice(np.flatnonzero(photos & among), round(share * (photos & among).sum()), replace=False)
    donors = np.flatnonzero(photos)[np.unique(species[photos].astype(str), return_index=True)[1]]
    picked = generator.integers(0, len(donors), len(chosen))
    own = species[donors[picked]] == species[chosen]
    donor = donors[(picked + own) % len(donors)]
    arrays = {}
    for name in ("label_median", "label_sd", "label_low", "label_high"):
        arrays[name] = getattr(training, name).copy()
        arrays[name][chosen] = arrays[name][donor]
    forms, names = np.array(training.growth_form, dtype=object), species.copy()
    forms[chosen], names[chosen] = forms[donor], species[donor]
    wrong = np.zeros(len(species), dtype=bool)
    wrong[chosen] = True
    return replace(training, growth_form=forms.tolist(), species=names.tolist(), **arrays), wrong


def scores(
    model: TrainedModel, held: TrainingSet, values: npt.NDArray[np.float64], traits: tuple[Trait, ...]
) -> dict[str, float]:
    """Score predictions of held-out plants against their true values: per trait r and RMSE, and the mean CRPS."""
    said = predict(model, held.image_features, held.covariates)
    variance = said.variance_aleatoric.astype(np.float64) + said.variance_epistemic
    found: dict[str, float] = {}
    crps = []
    for column, trait in enumerate(traits):
        rows = np.isfinite(values[:, column]) & held.present()[0]
        true, mean = values[rows, column], said.mean[rows, column].astype(np.float64)
        one = accuracy(true, mean)
        found |= {f"r {trait.id}": one["pearson_r"], f"RMSE {trait.id}": one["rmse"]}
        crps.append(float(gaussian_crps(true, mean, variance[rows, column]).mean()))
    mean_of = {
        kind: float(np.mean([value for key, value in found.items() if key.startswith(kind)])) for kind in ("r", "RMSE")
    }
    return found | {"mean r": mean_of["r"], "mean RMSE": mean_of["RMSE"], "mean CRPS": float(np.mean(crps))}


def as_markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown: r and RMSE of a trait in one column each, shares in per cent."""
    traits = [name.removeprefix("r ") for name in table.columns if name.startswith("r ")]
    lines = []
    for _, row in table.iterrows():
        share, found = (
            "–" if np.isnan(row[name]) else f"{row[name]:.0%}" for name in ("of them wrong", "planted found")
        )
        cells = [f"{row['errors planted']:.0%}", str(row["cleaning"]), f"{row['dropped']:.0f}", share, found]
        cells += [f"{row[f'r {name}']:.3f} / {row[f'RMSE {name}']:.3f}" for name in traits]
        cells.append(f"{row['mean r']:.3f} / {row['mean RMSE']:.3f} / {row['mean CRPS']:.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    head = ["wrong labels planted", "cleaning", "dropped", "of them wrong", "planted found"]
    head += [f"{name}: r / RMSE" for name in traits] + ["mean r / RMSE / CRPS"]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *lines])


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2:]] or [1])
