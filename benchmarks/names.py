"""TaxoNet against its baselines on long-tailed photos of virtual plants, and prototypes on real photos.

All methods train the same head on the same features: it starts where two Gaussians in the space of the features end
(``head_of_space``), and compares photos with a vector per species by cosines. Every method has as many tries on the
validation photos of one world, of its own strength, the scale and the learning rate; the try with the best macro recall
is taken, and methods are compared on the test photos of another world, which nothing was chosen on. TaxoNet stands
there twice: with one margin, as published, and with a margin of the target's own. The baselines see each training photo
as it is and cropped and mirrored; TaxoNet's tail photos, which its batches are enlarged with, are also mixed with
altered copies of themselves. Logit adjustment is trained with these parts of TaxoNet as well, to tell what they bring
from what the loss brings, and with a head that starts at random, to tell what the start brings. Batches have the
published proportions (8 tail photos on 32) at four times the size. Every training is kept in the folder, so that a
second run only adds what is missing. Writes a Markdown report.

    python benchmarks/names.py folder DIR report.md [workers]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from name_tables import ablation, comparison, described, open_set, regions
from name_trainings import Job, cached_photos, finished
from real_names import real_photos

from plant_traits.taxa.taxonet.losses import SMALLEST_GAMMA, LossName

TUNED, COMPARED = 7, 8
"""Seeds of the worlds that settings are chosen in and that methods are compared in."""
RATES = (2e-3, 2e-4)
"""Learning rates; each try is made with both."""
SCALES = (8.0, 16.0, 32.0)
TRIES: dict[str, tuple[dict[str, float], ...]] = {
    "taxonet": tuple(
        {"margin": margin, "target_margin": target, "scale": scale, "beta": 0.999}
        for margin, scale in ((0.86, 8.0), (0.57, 12.0), (0.43, 16.0))
        for target in (0.0, 0.05, 0.1)
    ),
    "published": (
        *({"margin": x, "scale": scale, "beta": 0.999} for x in (0.15, 0.3) for scale in SCALES),
        {"margin": 0.05, "scale": 8.0, "beta": 0.999},
        {"margin": 0.05, "scale": 16.0, "beta": 0.999},
        {"margin": 0.15, "scale": 32.0, "beta": 0.9},
    ),
    "logit_adjustment": tuple({"tau": tau, "scale": scale} for tau in (0.75, 1.0, 1.25) for scale in (8.0, 12.0, 16.0)),
    "ldam": tuple({"largest": x, "scale": scale} for x in (0.1, 0.25, 0.5) for scale in SCALES),
    "am_softmax": tuple({"margin": x, "scale": scale} for x in (0.02, 0.05, 0.15) for scale in SCALES),
    "class_balanced": tuple({"beta": x, "scale": scale} for x in (0.9, 0.99, 0.999) for scale in SCALES),
    "cross_entropy": tuple({"scale": x} for x in (4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 24.0, 32.0)),
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
    "target margin (0)": {"settings": {"target_margin": 0.0}},
    "norm-guided selection (tail photos stay on top)": {"norm_guided": False},
    "tail photos and selection": {"extra": 0},
    "altered copies": {"mixed": False},
    "start at the feature space": {"from_space": False},
}
TUNING_SEEDS, SEEDS, REGION_SEEDS = (100, 101), range(5), range(3)
PARTS_OF_TAXONET = {"extra": 32, "mixed": True}
WITH_PARTS = "logit adjustment with TaxoNet's tail photos, selection and copies"
FROM_RANDOM = "logit adjustment, head started at random"
RANDOM_TRIED = {"tau": 1.0, "scale": 16.0}
"""Chosen in world 7 for a head that starts at random."""


def jobs_of(name: str, purpose: str, seeds: Iterable[int], world: int = COMPARED, **change: Any) -> list[Job]:  # noqa: ANN401
    """Return a method's trainings."""
    settings: dict[str, Any] = {**(PARTS_OF_TAXONET if name in LOSSES else {}), **change}
    loss: LossName = LOSSES.get(name, name)  # type: ignore[arg-type]
    return [Job(purpose, world, loss, seed, **settings) for seed in seeds]


def main(folder: Path, data: Path, report: Path, workers: int) -> None:
    """Train whatever is missing and write the report, after each part what there is."""
    tries = {
        name: [jobs_of(name, "try", TUNING_SEEDS, TUNED, settings=x, learning_rate=y) for x in settings for y in RATES]
        for name, settings in TRIES.items()
    }
    cached_photos(folder, TUNED)
    found = finished(folder, [job for own in tries.values() for jobs in own for job in jobs], workers)

    def recall(jobs: list[Job]) -> float:
        return float(np.mean([found[job.key]["validation"] for job in jobs]))

    chosen = {name: max(own, key=recall)[0] for name, own in tries.items()}
    best = {name: {"settings": job.settings, "learning_rate": job.learning_rate} for name, job in chosen.items()}
    positions = cached_photos(folder, COMPARED)
    compared = {title: jobs_of(name, "comparison", SEEDS, **best[name]) for name, title in TITLES.items()}
    adjusted = best["logit_adjustment"]
    compared[WITH_PARTS] = jobs_of("logit_adjustment", "control", SEEDS, **adjusted, **PARTS_OF_TAXONET)
    compared[FROM_RANDOM] = jobs_of("logit_adjustment", "control", SEEDS, settings=RANDOM_TRIED, from_space=False)
    found = finished(folder, [job for jobs in compared.values() for job in jobs], workers)
    text = ["# Names from photos with a long tail", "", f"## Chosen: world {TUNED}", ""]
    text += ["| method | tries | macro recall of the validation photos, least and largest |", "|---|---|---|"]
    for name, own in tries.items():
        recalls = [recall(jobs) for jobs in own]
        text.append(f"| {TITLES[name]} | {len(own)} | {min(recalls):.3f} to {max(recalls):.3f} |")
    text += ["", *described(positions.photos, COMPARED), *comparison(positions, compared, found)]
    text += [*open_set(positions), *real_photos(folder, data)]
    report.write_text("\n".join(text) + "\n", encoding="utf-8")
    ablations = {"nothing": compared[TITLES["taxonet"]]}
    for name, change in ABLATIONS.items():
        settings = {**chosen["taxonet"].settings, **change.get("settings", {})}
        ablations[name] = jobs_of("taxonet", "ablation", SEEDS, **{**best["taxonet"], **change, "settings": settings})
    found = finished(folder, [job for jobs in ablations.values() for job in jobs], workers)
    text += ["", *ablation(ablations, found)]
    report.write_text("\n".join(text) + "\n", encoding="utf-8")
    halves = {
        title: jobs_of(name, "regions", REGION_SEEDS, **best[name], east_only=True) for name, title in TITLES.items()
    }
    found = finished(folder, [job for jobs in halves.values() for job in jobs], workers)
    text += regions(halves, found)
    report.write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 1)
