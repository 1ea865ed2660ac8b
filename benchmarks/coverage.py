"""How often the estimators' 95 % intervals cover the truth, and how far they are off, in cells of known mean.

Each repeat is a cell with 25 species of Zipf's frequencies (standard deviation 0.35 among their means) and 15 observers
(0.15), both drawn photo by photo, the observers with Zipf's frequencies too, and photos with log-normal variances
of median 0.09. Two truths are compared: the mean over possible species and observers, which ``mixed_equal`` estimates,
and the community mean, in which each of the 25 species counts by its frequency and which ``mixed`` predicts. With
a second number, that share of the photos shows a species that the observer chose once for the cell.

    python benchmarks/coverage.py 1500
    python benchmarks/coverage.py 1500 0.6
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from maps.estimators.estimate import ESTIMATORS
from maps.moments.addition import merge
from plant_traits.schemas import MOMENTS

SPECIES, OBSERVERS = 25, 15
SPECIES_SD, OBSERVER_SD = 0.35, 0.15


def draw(rng: np.random.Generator, cells: int, n: int, own_choice: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Return moments of cells with n photos each whose model mean is 0, and the cells' community means."""
    share = _zipf(SPECIES)
    species = rng.choice(SPECIES, (cells, n), p=share)
    observer = rng.choice(OBSERVERS, (cells, n), p=_zipf(OBSERVERS))
    if own_choice:
        chosen = np.take_along_axis(rng.choice(SPECIES, (cells, OBSERVERS), p=share), observer, 1)
        species = np.where(rng.uniform(size=(cells, n)) < own_choice, chosen, species)
    of_species = rng.normal(0, SPECIES_SD, (cells, SPECIES))
    v = 0.09 * np.exp(rng.normal(0, 1, (cells, n)))
    y = np.take_along_axis(of_species, species, 1) + rng.normal(0, np.sqrt(v))
    y += np.take_along_axis(rng.normal(0, OBSERVER_SD, (cells, OBSERVERS)), observer, 1)
    w = 1 / v
    columns = {"cell": np.repeat(np.arange(cells), n).reshape(cells, n), "sum_w": w, "sum_wy": w * y}
    columns |= {"sum_wy2": w * y * y, "sum_y": y, "sum_y2": y * y, "sum_v": v, "sum_w2": w * w, "sum_aleatoric": v / 2}
    frame = pd.DataFrame({name: values.ravel() for name, values in columns.items()})
    frame["species"], frame["observer"] = species.ravel().astype(str), observer.ravel().astype(str)
    frame = frame.assign(trait="height", evidence="photo", n=1)
    return merge([frame[MOMENTS.names]]), of_species @ share


def _zipf(n: int) -> np.ndarray:
    frequency = 1 / np.arange(1, n + 1)
    return frequency / frequency.sum()


def main() -> None:
    """Read the number of repeats and the share of own choices from the command line and print the table."""
    repeats, own_choice = int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    print(f"{'photos':>6} {'estimator':<17} {'model mean':>18} {'community mean':>18}   (coverage, RMSE)")
    for n in (60, 15, 4):
        moments, community = draw(np.random.default_rng(n), repeats, n, own_choice)
        for name, estimator in ESTIMATORS.items():
            found = estimator(moments)
            cells = []
            for truth in (np.zeros(repeats), community):
                covered = (found["interval_lower"] < truth) & (truth < found["interval_upper"])
                error = ((found["location"] - truth) ** 2).mean() ** 0.5
                cells.append(f"{covered.mean():>9.1%} {error:>8.4f}")
            print(f"{n:>6} {name:<17} {cells[0]} {cells[1]}")


if __name__ == "__main__":
    main()
