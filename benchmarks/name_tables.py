"""Tables of the report on names from photos with a long tail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from name_photos import HELD_OUT, WITHOUT_PLANT, NamePhotos
from name_trainings import AXES, LEAST_TESTED, Job, Positions, untrained
from scipy import stats

from plant_traits.taxa.taxonet.open_set import known_threshold
from plant_traits.taxa.taxonet.recall import PARTS

MINUS = "\u2212"


def described(photos: NamePhotos, world: int) -> list[str]:
    """Return what the photos are."""
    rows = photos.rows
    trained = rows[rows["part"] == "train"]["label"].value_counts()
    sizes = rows["part"].value_counts()
    unknown = rows[rows["part"].isin(list(HELD_OUT))]["species"].nunique()
    return [
        f"## Compared: world {world}",
        "",
        f"Virtual plants: {trained.size} known species with {trained.max()} to {trained.min()} training photos "
        f"({sizes['train']:,} in all), {sizes['validation']} validation and {sizes['test']:,} test photos, balanced "
        f"over species; {sum(sizes[name] for name in HELD_OUT)} photos of {unknown} held-out species. Means and "
        f"deviations of the maps of stages 2 to 7 of the frozen EfficientNet-lite0, along {AXES} main axes. Head, "
        "middle and tail: more than 100, 20 to 100, fewer than 20 training photos.",
        "",
    ]


def comparison(
    positions: Positions, compared: Mapping[str, list[Job]], found: Mapping[str, dict[str, Any]]
) -> list[str]:
    """Compare methods, by title; the first is what the others are compared with."""
    first = next(iter(compared.values()))
    reference = _by_class(first, found)
    columns = ("macro", *PARTS, "genus", "family", "tnr", "balanced")
    lines = [
        f"Means over {len(first)} seeds with 95 % intervals of the mean (Student's t). The last column is the "
        "difference of macro recall with TaxoNet and its 95 % interval from resampled species (seeds averaged), which "
        "is what a new flora would change. TNR: held-out species below the threshold that keeps 95 % of the validation "
        "photos.",
        "",
        f"| method | macro recall | {' | '.join(columns[1:-2])} | TNR | balanced accuracy | TaxoNet {MINUS} method |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    for title, jobs in compared.items():
        cells = [_interval([found[job.key][name] for job in jobs]) for name in columns]
        chosen = ", ".join(f"{name} {value:g}" for name, value in jobs[0].settings.items())
        chosen += f", learning rate {jobs[0].learning_rate:g}" if jobs[0].from_space else ""
        gain = "" if jobs is first else _resampled(reference - _by_class(jobs, found))
        lines.append(f"| {title} ({chosen}) | {' | '.join(cells)} | {gain} |")
    for title, plain in untrained(positions).items():
        gain = _resampled(reference - np.array(plain["by_class"]))
        lines.append(f"| {title}, no training | {' | '.join(f'{plain[x]:.3f}' for x in columns)} | {gain} |")
    zeta = [found[job.key]["zeta"] for job in first]
    seconds = np.mean([found[job.key]["seconds"] for jobs in compared.values() for job in jobs])
    return [
        *lines,
        "",
        f"TaxoNet's learned ζ: {min(zeta):.3f} to {max(zeta):.3f}. A training took {seconds:.0f} s.",
        "",
    ]


def open_set(positions: Positions) -> list[str]:
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


def ablation(ablations: Mapping[str, list[Job]], found: Mapping[str, dict[str, Any]]) -> list[str]:
    """Compare TaxoNet with itself without a part."""
    lines = ["## TaxoNet without one of its parts", "", f"{len(ablations['nothing'])} seeds; as above.", ""]
    lines += [
        f"| without | macro recall | head | middle | tail | TNR | whole {MINUS} without |",
        "|---|---|---|---|---|---|---|",
    ]
    whole = _by_class(ablations["nothing"], found)
    for name, jobs in ablations.items():
        cells = [_interval([found[job.key][x] for job in jobs]) for x in ("macro", *PARTS, "tnr")]
        gain = "" if name == "nothing" else _resampled(whole - _by_class(jobs, found))
        lines.append(f"| {name} | {' | '.join(cells)} | {gain} |")
    return [*lines, ""]


def regions(regions: Mapping[str, list[Job]], found: Mapping[str, dict[str, Any]]) -> list[str]:
    """Compare recall in the half of the globe that was trained on and in the other, by title."""
    own = next(iter(regions.values()))
    first = found[own[0].key]
    lines = [
        "## From one half of the globe to the other",
        "",
        f"Trained and stopped on photos east of Greenwich; macro recall over the {first['species']} species with "
        f"{LEAST_TESTED} test photos or more in both halves ({first['home photos']} east, {first['away photos']} "
        f"west), mean of {len(own)} seeds.",
        "",
        "| method | east (home) | west (away) | lost |",
        "|---|---|---|---|",
    ]
    for title, jobs in regions.items():
        results = [found[job.key] for job in jobs]
        home, away = (float(np.mean([result[name] for result in results])) for name in ("home", "away"))
        lines.append(f"| {title} | {home:.3f} | {away:.3f} | {home - away:.3f} |")
    return [*lines, ""]


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
