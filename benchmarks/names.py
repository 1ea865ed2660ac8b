"""TaxoNet against its baselines on long-tailed photos of virtual plants, and prototypes on real photos.

All methods train the same head on the same features: main axes of frozen features, a hidden layer, an embedding, and
cosines with a vector per species. Every method has as many tries on the validation photos, of its own strength and of
the scale, and the try with the best macro recall is taken. TaxoNet stands there twice: with one margin, as published,
and with a margin of the target's own. The baselines see each training
photo as it is and cropped and mirrored; TaxoNet's tail photos, which its batches are enlarged with, are also mixed with
altered copies of themselves. Logit adjustment is trained with these parts of TaxoNet as well, to tell what they bring
from what the loss brings. Batches have the published proportions (8 tail photos on 32) at four times the size. Every
training is kept in the folder, so that a second run only adds what is missing. Writes a Markdown report.

    python benchmarks/names.py folder DIR report.md [workers]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from name_photos import HELD_OUT, WITHOUT_PLANT, NamePhotos, load_or_make
from scipy import stats

from plant_traits.model.encoders import load_encoder
from plant_traits.model.features import encode_photos, read_features, write_features
from plant_traits.taxa.taxonet.feature_space import fit_feature_space
from plant_traits.taxa.taxonet.losses import SMALLEST_GAMMA, LossName
from plant_traits.taxa.taxonet.open_set import familiarity, known_threshold, score_open_set
from plant_traits.taxa.taxonet.prototypes import class_prototypes, cosines, leave_one_out_cosines
from plant_traits.taxa.taxonet.recall import PARTS, evaluate_names
from plant_traits.taxa.taxonet.selection import TailSampling
from plant_traits.taxa.taxonet.training import Copies, NameFitting, train_names

TRIES: dict[str, tuple[dict[str, float], ...]] = {
    "cross_entropy": tuple({"scale": x} for x in (8.0, 16.0, 32.0)),
    "am_softmax": ({"margin": 0.05, "scale": 16.0}, {"margin": 0.15, "scale": 16.0}, {"margin": 0.05, "scale": 32.0}),
    "ldam": ({"largest": 0.25, "scale": 16.0}, {"largest": 0.25, "scale": 32.0}, {"largest": 0.5, "scale": 16.0}),
    "logit_adjustment": ({"tau": 1.0, "scale": 16.0}, {"tau": 1.25, "scale": 8.0}, {"tau": 1.5, "scale": 8.0}),
    "class_balanced": ({"beta": 0.99, "scale": 16.0}, {"beta": 0.999, "scale": 16.0}, {"beta": 0.999, "scale": 32.0}),
    "published": ({"margin": 0.15, "beta": 0.9}, {"margin": 0.22, "beta": 0.999}, {"margin": 0.44, "scale": 16.0}),
    "taxonet": (
        {"margin": 0.43, "target_margin": 0.0, "scale": 16.0, "beta": 0.999},
        {"margin": 0.86, "target_margin": 0.0, "scale": 8.0, "beta": 0.999},
        {"margin": 0.86, "target_margin": 0.1, "scale": 8.0, "beta": 0.999},
    ),
}
LOSSES: dict[str, LossName] = {"published": "dual_margin", "taxonet": "dual_margin"}
"""Of the methods that are not called after their loss."""
TITLES = {
    "taxonet": "TaxoNet, own target margin",
    "published": "TaxoNet, one margin (as published)",
    "logit_adjustment": "logit adjustment",
    "ldam": "LDAM",
    "am_softmax": "AM-Softmax",
    "class_balanced": "class-balanced",
    "cross_entropy": "cross-entropy",
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "power scaling (ζ = 1)": {"settings": {"gamma": SMALLEST_GAMMA, "learnable": False}},
    "regulariser (λ = 0)": {"settings": {"regularisation": 0.0}},
    "effective priors (frequencies)": {"settings": {"beta": 0.999999}},
    "norm-guided selection (tail photos stay on top)": {"norm_guided": False},
    "tail photos and selection": {"extra": 0},
    "altered copies": {"mixed": False},
}
TUNING_SEED, SEEDS, ABLATION_SEEDS, REGION_SEEDS = 100, range(5), range(5), range(3)
AXES = 192
STAGES = slice(2560, 4096)  # of the features: means and deviations of the maps of stages 2 to 7
BATCH, EXTRA = 128, 32
WEST = 0.0  # photos east of this longitude are one half of the globe
LEAST_TESTED = 3  # test photos of a species in either half, for the species to be scored there
MINUS, MULTIPLIED = "\u2212", "\u00d7"


@dataclass(frozen=True)
class Job:
    """One training."""

    purpose: str
    loss: LossName
    seed: int
    settings: dict[str, float] = field(default_factory=dict)
    extra: int = 0
    norm_guided: bool = True
    mixed: bool = False
    east_only: bool = False

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


@lru_cache(maxsize=1)
def cached_photos(folder: Path) -> Positions:
    """Read the photos once per process."""
    photos = load_or_make(folder)
    train, label = (photos.rows["part"] == "train").to_numpy(), photos.rows["label"].to_numpy()
    wide, copies = photos.features[:, STAGES], photos.copies[:, STAGES]
    space = fit_feature_space(wide[train], label[train], int(label.max()) + 1, AXES)
    along = [(((x - space.mean) / space.deviation) @ space.axes).astype(np.float32) for x in (wide, copies)]
    return Positions(photos, *along, space.species_scores(wide), space.plant_scores(wide))


def run(job: Job, folder: Path) -> dict[str, Any]:
    """Train and score; recall by class is kept for intervals."""
    torch.set_num_threads(1)
    positions = cached_photos(folder)
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
    how = NameFitting(
        loss=job.loss,
        loss_settings=job.settings,
        hidden=256,
        embedding=128,
        dropout=0.3,
        weight_decay=0.05,
        epochs=18,
        patience=6,
        sampling=TailSampling(BATCH, job.extra, 0.1 if job.extra else 0.0),
        norm_guided=job.norm_guided,
        seed=job.seed,
    )
    features = positions.rows
    validation = (features[part["validation"]], label[part["validation"]])
    copies = Copies(positions.copies[used], of[photos.copy_of[used]], photos.mixed[used])
    started = time.perf_counter()
    species = [str(number) for number in classes]
    trained = train_names(features[part["train"]], label[part["train"]], species, validation, how, copies=copies)
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
                f"{job.purpose} {job.loss} {job.seed} {job.settings}: {result['macro']:.3f}",
                file=sys.stderr,
                flush=True,
            )
    return found


PARTS_OF_TAXONET = {"extra": EXTRA, "mixed": True}
CONTROL = "logit adjustment with TaxoNet's tail photos, selection and copies"


def main(folder: Path, data: Path, report: Path, workers: int) -> None:
    """Train whatever is missing and write the report, after each part what there is."""
    photos = cached_photos(folder).photos
    own = {name: PARTS_OF_TAXONET if name in LOSSES else {} for name in TRIES}

    def jobs_of(name: str, purpose: str, seeds: Iterable[int], **change: Any) -> list[Job]:  # noqa: ANN401
        return [Job(purpose, LOSSES.get(name, name), seed, **{**own[name], **change}) for seed in seeds]  # type: ignore[arg-type]

    tries = {
        name: [job for x in settings for job in jobs_of(name, "try", [TUNING_SEED], settings=x)]
        for name, settings in TRIES.items()
    }
    found = finished(folder, [job for jobs in tries.values() for job in jobs], workers)
    best = {name: max(jobs, key=lambda job: found[job.key]["validation"]).settings for name, jobs in tries.items()}
    compared = {name: jobs_of(name, "comparison", SEEDS, settings=best[name]) for name in TRIES}
    control = jobs_of("logit_adjustment", "control", SEEDS, settings=best["logit_adjustment"], **PARTS_OF_TAXONET)
    found = finished(folder, [job for jobs in (*compared.values(), control) for job in jobs], workers)
    text = [*_described(photos), *_comparison(cached_photos(folder), compared, control, found)]
    text += [*_open_set(cached_photos(folder)), *_real(folder, data)]
    report.write_text("\n".join(text) + "\n", encoding="utf-8")
    ablations = {"nothing": compared["taxonet"][: len(ABLATION_SEEDS)]}
    for name, change in ABLATIONS.items():
        settings = {**best["taxonet"], **change.get("settings", {})}
        ablations[name] = jobs_of("taxonet", "ablation", ABLATION_SEEDS, **{**change, "settings": settings})
    found = finished(folder, [job for jobs in ablations.values() for job in jobs], workers)
    text += _ablation(ablations, found)
    report.write_text("\n".join(text) + "\n", encoding="utf-8")
    regions = {name: jobs_of(name, "regions", REGION_SEEDS, settings=best[name], east_only=True) for name in TRIES}
    found = finished(folder, [job for jobs in regions.values() for job in jobs], workers)
    text += _regions(regions, found)
    report.write_text("\n".join(text) + "\n", encoding="utf-8")


def _described(photos: NamePhotos) -> list[str]:
    rows = photos.rows
    trained = rows[rows["part"] == "train"]["label"].value_counts()
    sizes = rows["part"].value_counts()
    unknown = rows[rows["part"].isin(list(HELD_OUT))]["species"].nunique()
    return [
        "# Names from photos with a long tail",
        "",
        f"Virtual plants: {trained.size} known species with {trained.max()} to {trained.min()} training photos "
        f"({sizes['train']:,} in all), {sizes['validation']} validation and {sizes['test']:,} test photos, balanced "
        f"over species; {sum(sizes[name] for name in HELD_OUT)} photos of {unknown} held-out species. Means and "
        f"deviations of the maps of stages 2 to 7 of the frozen EfficientNet-lite0, along {AXES} main axes. Head, "
        "middle and tail: more than 100, 20 to 100, fewer than 20 training photos.",
        "",
    ]


def _comparison(
    positions: Positions, compared: dict[str, list[Job]], control: list[Job], found: dict[str, dict[str, Any]]
) -> list[str]:
    reference = _by_class(compared["taxonet"], found)
    columns = ("macro", *PARTS, "genus", "family", "tnr", "balanced")
    lines = [
        "## Comparison",
        "",
        f"Means over {len(SEEDS)} seeds with 95 % intervals of the mean (Student's t). The last column is the "
        "difference of macro recall with TaxoNet and its 95 % interval from resampled species (seeds averaged), which "
        "is what a new flora would change. TNR: held-out species below the threshold that keeps 95 % of the validation "
        "photos.",
        "",
        f"| method | macro recall | {' | '.join(columns[1:-2])} | TNR | balanced accuracy | TaxoNet {MINUS} method |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    for title, jobs in {**{title: compared[name] for name, title in TITLES.items()}, CONTROL: control}.items():
        cells = [_interval([found[job.key][name] for job in jobs]) for name in columns]
        chosen = ", ".join(f"{name} {value:g}" for name, value in jobs[0].settings.items())
        gain = "" if jobs is compared["taxonet"] else _resampled(reference - _by_class(jobs, found))
        lines.append(f"| {title} ({chosen}) | {' | '.join(cells)} | {gain} |")
    for title, plain in _untrained(positions).items():
        gain = _resampled(reference - np.array(plain["by_class"]))
        lines.append(f"| {title}, no training | {' | '.join(f'{plain[x]:.3f}' for x in columns)} | {gain} |")
    zeta = [found[job.key]["zeta"] for job in compared["taxonet"]]
    seconds = np.mean([found[job.key]["seconds"] for jobs in compared.values() for job in jobs])
    return [
        *lines,
        "",
        f"TaxoNet's learned ζ: {min(zeta):.3f} to {max(zeta):.3f}. A training took {seconds:.0f} s.",
        "",
    ]


def _untrained(positions: Positions) -> dict[str, dict[str, Any]]:
    photos = positions.photos
    rows, label = photos.rows, photos.rows["label"].to_numpy()
    part = {name: (rows["part"] == name).to_numpy() for name in rows["part"].unique()}
    counts = np.bincount(label[part["train"]])
    prototypes = class_prototypes(positions.rows[part["train"]], label[part["train"]], len(counts))
    found = {"prototypes": cosines(positions.rows, prototypes), "feature space": positions.open_set}
    return {title: score(photos, part, label, likeness, counts) for title, likeness in found.items()}


def _open_set(positions: Positions) -> list[str]:
    """Score the two thresholds that a model of names has: of known species, and of plants."""
    rows = positions.photos.rows
    part = {name: (rows["part"] == name).to_numpy() for name in rows["part"].unique()}
    scores = {"known species": (positions.open_set.max(axis=1), 0.95), "plant": (positions.plant, 0.99)}
    shown = ("test", *HELD_OUT, *WITHOUT_PLANT)
    lines = [
        "## What is rejected",
        "",
        "Share of photos below a threshold that keeps 95 % (species) or 99 % (plants) of the validation photos, by "
        "scores of the feature space.",
        "",
        f"| score | {' | '.join('test photos of known species' if x == 'test' else x for x in shown)} |",
        "|---|" + "---|" * len(shown),
    ]
    for title, (values, kept) in scores.items():
        threshold = known_threshold(values[part["validation"]], kept)
        lines.append(f"| {title} | {' | '.join(f'{(values[part[x]] < threshold).mean():.3f}' for x in shown)} |")
    return [*lines, ""]


def _ablation(ablations: dict[str, list[Job]], found: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["## TaxoNet without one of its parts", "", f"{len(ABLATION_SEEDS)} seeds; as above.", ""]
    lines += [
        "| without | macro recall | head | middle | tail | TNR | whole − without |",
        "|---|---|---|---|---|---|---|",
    ]
    whole = _by_class(ablations["nothing"], found)
    for name, jobs in ablations.items():
        cells = [_interval([found[job.key][x] for job in jobs]) for x in ("macro", *PARTS, "tnr")]
        gain = "" if name == "nothing" else _resampled(whole - _by_class(jobs, found))
        lines.append(f"| {name} | {' | '.join(cells)} | {gain} |")
    return [*lines, ""]


def _regions(regions: dict[str, list[Job]], found: dict[str, dict[str, Any]]) -> list[str]:
    first = found[regions["taxonet"][0].key]
    lines = [
        "## From one half of the globe to the other",
        "",
        f"Trained and stopped on photos east of Greenwich; macro recall over the {first['species']} species with "
        f"{LEAST_TESTED} test photos or more in both halves ({first['home photos']} east, {first['away photos']} "
        f"west), mean of {len(REGION_SEEDS)} seeds.",
        "",
        "| method | east (home) | west (away) | lost |",
        "|---|---|---|---|",
    ]
    for loss, title in TITLES.items():
        results = [found[job.key] for job in regions[loss]]
        home, away = (float(np.mean([result[name] for result in results])) for name in ("home", "away"))
        lines.append(f"| {title} | {home:.3f} | {away:.3f} | {home - away:.3f} |")
    return [*lines, ""]


def _real(folder: Path, data: Path) -> list[str]:
    """Score prototypes on real photos, the photos of one observation being left out together."""
    table = pd.read_csv(data / "photos" / "inat_ucsc.csv")
    files = [data / "photos" / "inat_ucsc" / name for name in table["img_name"]]
    table, files = table[[path.is_file() for path in files]], [path for path in files if path.is_file()]
    cached = folder / "real-dinov2-small.parquet"
    if not cached.exists():
        encoded = encode_photos([x.name for x in files], (x.read_bytes() for x in files), load_encoder("dinov2-small"))
        write_features(encoded, cached)
    read = read_features(cached)
    usable = np.array([status == "ok" for status in read.status])
    species, label = np.unique(table["scientific_name"].to_numpy(dtype=str)[usable], return_inverse=True)
    observation, counts = table["iNat ID"].to_numpy()[usable], np.bincount(label)
    known = table[usable].assign(label=label).drop_duplicates("label").sort_values("label")
    ranks = {rank: pd.factorize(known[f"taxon_{rank}_name"])[0] for rank in ("genus", "family")}
    alone = int((counts == 1).sum())
    lines = [
        "## Real photos",
        "",
        f"{usable.sum()} photos of {len(species)} species ({counts.min()} to {counts.max()} each, median "
        f"{np.median(counts):g}; {alone} species with one photo, which leaving it out makes unknown), frozen "
        "DINOv2-small features, prototypes made without the photo's own observation, nothing trained. The interval is "
        "of resampled species.",
        "",
        "| features | accuracy | among the first five | macro recall | genus | family |",
        "|---|---|---|---|---|---|",
    ]
    whole = read.features[usable]
    half = whole.shape[1] // 2
    parts = {"class token and mean patch token": whole, "class token": whole[:, :half]}
    for title, features in parts.items():
        ranked = (-leave_one_out_cosines(features, label, observation, len(species))).argsort(axis=1)
        recall = evaluate_names(ranked[:, 0], label, counts, ranks)
        five = float((ranked[:, :5] == label[:, None]).any(axis=1).mean())
        rng = np.random.default_rng(0)
        low, high = np.quantile([rng.choice(recall.by_class, len(species)).mean() for _ in range(2000)], [0.025, 0.975])
        lines.append(
            f"| {title} | {recall.accuracy:.3f} | {five:.3f} | {recall.macro:.3f} ({low:.3f} to {high:.3f}) | "
            f"{recall.by_rank['genus']:.3f} | {recall.by_rank['family']:.3f} |"
        )
    return lines


def _by_class(jobs: list[Job], found: dict[str, dict[str, Any]]) -> npt.NDArray[np.float64]:
    return np.asarray(np.mean([found[job.key]["by_class"] for job in jobs], axis=0))


def _interval(values: list[float]) -> str:
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.3f} ± {half:.3f}"


def _resampled(differences: npt.NDArray[np.float64]) -> str:
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(differences), (4000, len(differences)))
    low, high = np.quantile(differences[drawn].mean(axis=1), [0.025, 0.975])
    return f"{differences.mean():+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 1)
