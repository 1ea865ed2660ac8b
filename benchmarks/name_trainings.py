"""Trainings of names on photos of a world, each kept in a folder's record once it is done."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from name_photos import HELD_OUT, NamePhotos, load_or_make

from plant_traits.taxa.taxonet.feature_space import fit_feature_space
from plant_traits.taxa.taxonet.losses import LossName
from plant_traits.taxa.taxonet.open_set import familiarity, known_threshold, score_open_set
from plant_traits.taxa.taxonet.prototypes import class_prototypes, cosines
from plant_traits.taxa.taxonet.recall import evaluate_names
from plant_traits.taxa.taxonet.selection import TailSampling
from plant_traits.taxa.taxonet.training import Copies, NameFitting, train_names

AXES = 192
STAGES = slice(2560, 4096)  # of the features: means and deviations of the maps of stages 2 to 7
BATCH = 128
WEST = 0.0  # photos east of this longitude are one half of the globe
LEAST_TESTED = 3  # test photos of a species in either half, for the species to be scored there
LIGHT = NameFitting(dropout=0.0, epochs=10, patience=6)
"""From the feature space, whose axes and embeddings it takes."""
FROM_RANDOM = NameFitting(hidden=256, embedding=128, dropout=0.3, weight_decay=0.05, epochs=18, patience=6)


@dataclass(frozen=True)
class Job:
    """One training, in a world, with a head that starts at the feature space or at random."""

    purpose: str
    world: int
    loss: LossName
    seed: int
    settings: dict[str, float] = field(default_factory=dict)
    learning_rate: float = 2e-3
    extra: int = 0
    norm_guided: bool = True
    mixed: bool = False
    east_only: bool = False
    from_space: bool = True

    @property
    def key(self) -> str:
        """What tells it from others, the purpose left out."""
        return json.dumps({name: value for name, value in asdict(self).items() if name != "purpose"}, sort_keys=True)


@dataclass(frozen=True)
class Positions:
    """The photos and copies as positions along the main axes of the training photos."""

    photos: NamePhotos
    rows: npt.NDArray[np.float32]
    copies: npt.NDArray[np.float32]
    open_set: npt.NDArray[np.float64]
    plant: npt.NDArray[np.float64]


@lru_cache(maxsize=2)
def cached_photos(folder: Path, world: int) -> Positions:
    """Read the photos once per process."""
    photos = load_or_make(folder, world)
    train, label = (photos.rows["part"] == "train").to_numpy(), photos.rows["label"].to_numpy()
    wide, copies = photos.features[:, STAGES], photos.copies[:, STAGES]
    space = fit_feature_space(wide[train], label[train], int(label.max()) + 1, AXES)
    along = [(((x - space.mean) / space.deviation) @ space.axes).astype(np.float32) for x in (wide, copies)]
    return Positions(photos, *along, space.species_scores(wide), space.plant_scores(wide))


def run(job: Job, folder: Path) -> dict[str, Any]:
    """Train and score; recall by class is kept for intervals."""
    torch.set_num_threads(1)
    positions = cached_photos(folder, job.world)
    photos = positions.photos
    rows, label = photos.rows, photos.rows["label"].to_numpy()
    part = {name: (rows["part"] == name).to_numpy() for name in rows["part"].unique()}
    east = (rows["longitude"] > WEST).to_numpy()
    classes = np.arange(label.max() + 1)
    if job.east_only:
        part["train"], part["validation"] = part["train"] & east, part["validation"] & east
        classes = np.unique(label[part["train"]])
    to_class = np.full(label.max() + 2, -1)
    to_class[classes] = np.arange(len(classes))
    label = to_class[label]
    known = ("train", "validation", "test")
    part = {name: chosen & (label >= 0) if name in known else chosen for name, chosen in part.items()}
    of = np.full(len(rows), -1)
    of[part["train"]] = np.arange(part["train"].sum())
    used = (of[photos.copy_of] >= 0) & (job.mixed | ~photos.mixed)
    how = replace(
        replace(LIGHT, learning_rate=job.learning_rate) if job.from_space else FROM_RANDOM,
        loss=job.loss,
        loss_settings=job.settings,
        sampling=TailSampling(BATCH, job.extra, 0.1 if job.extra else 0.0),
        norm_guided=job.norm_guided,
        seed=job.seed,
    )
    features = positions.rows
    validation = (features[part["validation"]], label[part["validation"]])
    copies = Copies(positions.copies[used], of[photos.copy_of[used]], photos.mixed[used])
    started = time.perf_counter()
    species = [str(number) for number in classes]
    train = (features[part["train"]], label[part["train"]])
    start = fit_feature_space(*train, len(classes), AXES) if job.from_space else None
    trained = train_names(*train, species, validation, how, start=start, copies=copies)
    seconds = time.perf_counter() - started
    likeness = trained.model.cosines(features)
    found = score(photos, part, label, likeness, trained.model.counts)
    course = trained.course
    found |= {"validation": float(course["macro_recall"].max()), "epochs": len(course), "seconds": seconds}
    found["zeta"] = float(course["zeta"].iloc[trained.best_epoch - 1])
    if job.east_only:
        found |= _by_half(part["test"], label, east, likeness, len(classes))
    return found


def score(
    photos: NamePhotos,
    part: dict[str, npt.NDArray[np.bool_]],
    label: npt.NDArray[np.int64],
    likeness: npt.NDArray[np.floating],
    counts: npt.NDArray[np.int64],
) -> dict[str, Any]:
    """Return the figures of one table row from the cosines of all photos."""
    known = photos.rows[part["train"]].assign(label=label[part["train"]]).drop_duplicates("label").sort_values("label")
    ranks = {rank: pd.factorize(known[rank])[0] for rank in ("genus", "family")}
    tested = part["test"]
    named = likeness[tested].argmax(axis=1)
    recall = evaluate_names(named, label[tested], counts, ranks)
    threshold = known_threshold(familiarity(likeness[part["validation"]]))
    unknown = np.any([part[name] for name in HELD_OUT], axis=0)
    told = score_open_set(threshold, familiarity(likeness[tested]), familiarity(likeness[unknown]))
    return {
        "macro": recall.macro,
        **recall.by_part,
        **recall.by_rank,
        "tpr": told.true_positive_rate,
        "tnr": told.true_negative_rate,
        "balanced": told.balanced_accuracy,
        "by_class": recall.by_class.tolist(),
    }


def untrained(positions: Positions) -> dict[str, dict[str, Any]]:
    """Return the figures of what needs no training: prototypes, and the two Gaussians of the feature space."""
    photos = positions.photos
    rows, label = photos.rows, photos.rows["label"].to_numpy()
    part = {name: (rows["part"] == name).to_numpy() for name in rows["part"].unique()}
    counts = np.bincount(label[part["train"]])
    prototypes = class_prototypes(positions.rows[part["train"]], label[part["train"]], len(counts))
    found = {"prototypes": cosines(positions.rows, prototypes), "feature space": positions.open_set}
    return {title: score(photos, part, label, likeness, counts) for title, likeness in found.items()}


def _by_half(
    tested: npt.NDArray[np.bool_],
    label: npt.NDArray[np.int64],
    east: npt.NDArray[np.bool_],
    likeness: npt.NDArray[np.floating],
    classes: int,
) -> dict[str, Any]:
    """Return macro recall in either half of the globe over the species with enough test photos in both."""
    halves = {"home": tested & east, "away": tested & ~east}
    photos = {name: np.bincount(label[chosen], minlength=classes) for name, chosen in halves.items()}
    both = (photos["home"] >= LEAST_TESTED) & (photos["away"] >= LEAST_TESTED)
    out: dict[str, Any] = {"species": int(both.sum())}
    for name, chosen in halves.items():
        some = chosen & both[np.maximum(label, 0)]
        named = likeness[some].argmax(axis=1)
        out[name] = evaluate_names(named, label[some], np.ones(classes)).macro
        out[f"{name} photos"] = int(some.sum())
    return out


def finished(folder: Path, jobs: Iterable[Job], workers: int) -> dict[str, dict[str, Any]]:
    """Run what is not in the folder's record yet, and return all results by key."""
    record = folder / "trainings.jsonl"
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    found: dict[str, dict[str, Any]] = {line["key"]: line for line in map(json.loads, lines)}
    missing = list({job.key: job for job in jobs if job.key not in found}.values())
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for job, result in zip(missing, pool.map(run, missing, [folder] * len(missing)), strict=True):
            found[job.key] = {"key": job.key, **result}
            with record.open("a", encoding="utf-8") as out:
                out.write(json.dumps(found[job.key]) + "\n")
            print(
                f"{job.purpose} {job.loss} {job.seed} {job.settings}: {result['validation']:.3f}",
                file=sys.stderr,
                flush=True,
            )
    return found
