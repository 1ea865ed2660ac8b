"""Sets of names on simulated long-tailed posteriors: coverage and size by score and threshold, and species at risk.

A flora of 1,000 species in 330 genera, photographed with the frequencies of a power law. A photo is a point around the
centre of its species, which lies near that of its genus; some photos are hard and lie farther off. The classifier is
imperfect in the ways real ones are: it knows a species' centre only as well as its training photos tell (rare ones are
drawn towards their genus and are wrong by chance), it takes every photo for an easy one, and it leans towards common
species more than their frequency warrants. Calibration and test photos follow the frequencies; coverage within classes
is measured on as many further photos of each species, since of many there is no test photo. Writes a Markdown table.

    python benchmarks/prediction_sets.py [table.md]
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from plant_traits.taxa.prediction_sets.coverage import Coverage, evaluate_sets
from plant_traits.taxa.prediction_sets.scores import Kind, make_score, training_frequencies
from plant_traits.taxa.prediction_sets.thresholds import Scope, SetRule, fit_rule

SPECIES, GENERA, DIMENSION = 1_000, 330, 24
TRAINING, CALIBRATION, TEST, OF_EACH = 240_000, 30_000, 30_000, 20
POWER, LEAN, LEVEL = 1.25, 1.15, 0.9
GAMMA = 10.0
"""γ of the ω-weighted column."""
AMONG_GENERA, WITHIN_GENERA, HARD, HARDER, HALF_KNOWN = 0.85, 0.5, 0.2, 1.7, 60
ROWS: tuple[tuple[str, Kind, Scope, float, float], ...] = (
    ("softmax", "softmax", "marginal", 0.0, 1.0),
    ("PAS", "pas", "marginal", 0.0, 1.0),
    ("WPAS, γ = 10", "wpas", "marginal", 0.0, 10.0),
    ("WPAS, γ = 100", "wpas", "marginal", 0.0, 100.0),
    ("class-wise", "softmax", "class_wise", 0.0, 1.0),
    ("interpolated, τ = 0.9", "softmax", "interpolated", 0.9, 1.0),
    ("interpolated, τ = 0.99", "softmax", "interpolated", 0.99, 1.0),
)
"""Name, score, scope, τ and γ."""
AS_LARGE = "softmax, as large as PAS"
PUBLISHED = {
    "softmax": ".525 / 1.57",
    "PAS": ".763 / 2.60",
    "class-wise": ".976 / 780",
    "interpolated, τ = 0.9": ".671 / 2.24",
}
"""Macro-coverage and mean set size at α = 0.1 on Pl@ntNet-300K [Ding, Fermanian, Salmon]."""


@dataclass(frozen=True)
class Photos:
    """Posteriors and labels of calibration, test and balanced test photos, and the training frequencies."""

    calibration: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
    test: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
    balanced: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]
    prevalence: npt.NDArray[np.float64]


def simulate(seed: int) -> Photos:
    """Draw a flora, its photos, and what an imperfect classifier makes of them."""
    rng = np.random.default_rng(seed)
    frequency = rng.permutation(1 / np.arange(1, SPECIES + 1) ** POWER)
    frequency /= frequency.sum()
    genus = rng.integers(0, GENERA, SPECIES)
    centre_of_genus = AMONG_GENERA * rng.normal(size=(GENERA, DIMENSION))
    centre = centre_of_genus[genus] + WITHIN_GENERA * rng.normal(size=(SPECIES, DIMENSION))
    # One photo of each species at least, as in the published data.
    trained = np.concatenate([np.arange(SPECIES), rng.choice(SPECIES, TRAINING - SPECIES, p=frequency)])
    n = np.bincount(trained, minlength=SPECIES)[:, None]
    known = n / (n + HALF_KNOWN)  # how far the classifier has moved from the genus to the species
    error = known * rng.normal(size=centre.shape) / np.sqrt(n)
    learned = centre_of_genus[genus] + known * (centre - centre_of_genus[genus]) + error
    prevalence = training_frequencies(trained, SPECIES)
    parts = []
    drawn = [rng.choice(SPECIES, count, p=frequency) for count in (CALIBRATION, TEST)]
    for labels in (*drawn, np.repeat(np.arange(SPECIES), OF_EACH)):
        posteriors = np.empty((len(labels), SPECIES), dtype=np.float32)
        for start in range(0, len(labels), 2000):
            part = slice(start, start + 2000)
            spread = np.where(rng.random(len(labels[part])) < HARD, HARDER, 1.0)[:, None]
            x = centre[labels[part]] + spread * rng.normal(size=(len(spread), DIMENSION))
            logits = LEAN * np.log(prevalence) + x @ learned.T - (learned**2).sum(axis=1) / 2
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            posteriors[part] = shares / shares.sum(axis=1, keepdims=True)
        parts.append((posteriors, labels))
    return Photos(parts[0], parts[1], parts[2], prevalence)


def _weights(at_risk: npt.NDArray[np.bool_], gamma: float) -> npt.NDArray[np.float64]:
    raw = np.where(at_risk, gamma, 1.0)
    return np.asarray(raw / raw.sum())


def _figures(natural: Coverage, balanced: Coverage, at_risk: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    listed, others = balanced.by_class[at_risk].mean(), balanced.by_class[~at_risk].mean()
    of_classes = (balanced.macro, balanced.weighted_macro, float(listed), float(others))
    return natural.marginal, *of_classes, natural.mean_size, natural.empty


def main(destination: Path | None, seeds: int = 5) -> None:
    """Simulate, calibrate and score, and print or write the table."""
    found: dict[str, list[tuple[float, ...]]] = {
        name: [] for name in (ROWS[0][0], AS_LARGE, *(row[0] for row in ROWS[1:]))
    }
    accuracy, balanced, seconds = [], [], []
    for seed in range(seeds):
        photos = simulate(seed)
        rng = np.random.default_rng([seed, 1])
        # At risk are mostly rare species: 50 of the rarer half.
        rare = np.argsort(photos.prevalence)[: SPECIES // 2]
        at_risk = np.isin(np.arange(SPECIES), rng.choice(rare, 50, replace=False))
        omega = _weights(at_risk, GAMMA)
        accuracy.append(float((photos.test[0].argmax(axis=1) == photos.test[1]).mean()))
        balanced.append(float((photos.balanced[0].argmax(axis=1) == photos.balanced[1]).mean()))
        for name, kind, scope, tau, gamma in ROWS:
            started = time.perf_counter()
            score = make_score(kind, SPECIES, photos.prevalence, _weights(at_risk, gamma))
            rule = fit_rule(score, *photos.calibration, LEVEL, scope=scope, tau=tau)
            told = evaluate_sets(rule, *photos.test)
            seconds.append(time.perf_counter() - started)
            found[name].append(_figures(told, evaluate_sets(rule, *photos.balanced, omega), at_risk))
            if name == "PAS":  # a softmax threshold that gives calibration photos sets as large as these
                size = evaluate_sets(rule, *photos.calibration).mean_size
                rank = round(size * len(photos.calibration[1]))
                threshold = 1.0 - float(-np.partition(-photos.calibration[0].ravel(), rank - 1)[rank - 1])
                larger = SetRule(make_score("softmax", SPECIES), LEVEL, np.full(SPECIES, threshold))
                told = evaluate_sets(larger, *photos.test)
                found[AS_LARGE].append(_figures(told, evaluate_sets(larger, *photos.balanced, omega), at_risk))
    lines = [
        f"{SPECIES:,} species, {TRAINING:,} training, {CALIBRATION:,} calibration and {TEST:,} test photos, level "
        f"{LEVEL}, {seeds} simulated floras (mean; in brackets the standard deviation over floras); the classifier "
        f"names {np.mean(accuracy):.3f} of the test photos right, {np.mean(balanced):.3f} averaged over species. "
        f"ω: γ = {GAMMA:g} for 50 species at risk among the rarer half.",
        "",
        "| sets | marginal | macro | ω-weighted macro | macro, at risk | macro, others | mean size | empty | "
        "published on Pl@ntNet-300K: macro / size |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, results in found.items():
        cells = [f"{x:.3f} ({y:.3f})" for x, y in zip(np.mean(results, 0), np.std(results, 0, ddof=1), strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} | {PUBLISHED.get(name, '–')} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    posteriors = 4 * (CALIBRATION + TEST + OF_EACH * SPECIES) * SPECIES / 1024**3
    lines += ["", f"One rule, calibrated and scored: {np.mean(seconds):.1f} s; peak memory {peak:.2f} GiB, of which "]
    lines[-1] += f"the posteriors are {posteriors:.2f}."
    text = "\n".join(lines) + "\n"
    if destination is None:
        print(text)
    else:
        destination.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
