"""What it costs to bring predictions to cells: sums per cell, moments, their merge and the estimates, and the memory.

First, arrays of one trait: the mean per cell with pandas, with np.floor and with the published code's own arithmetic,
which misplaces points at 0.1 degrees; this project's sums per cell; and the moments by cell, species and observer. Then
whole runs of generated shards of 4,096 photos with four traits each: reduced one by one, merged and estimated, each
size in a process of its own, so that its peak memory is its own. Photos cluster as they do: few cells, species and
observers have most, an observer stays near home, and takes several photos of a plant.

    python benchmarks/aggregate.py --points 10_000_000 --predictions 10_000_000,100_000_000
    python benchmarks/aggregate.py --points 1_000_000 --predictions 200_000,1_000_000   # a minute
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from maps.moments.cell_sums import cells_of, sum_by_cell
from maps.moments.key_sums import KeySums, sum_photos
from maps.moments.reduction import reduce_predictions
from maps.stages.cells import MOMENTS_FILE, estimate_cells, merge_moments
from plant_traits.grid import Grid
from plant_traits.schemas import MOMENTS, write_table

GRID = Grid.parse("1deg")
TRAITS = ("height", "leaf_area", "leaf_n", "sla")
SHARD_PHOTOS = 4096
PHOTOS_OF_A_PLANT = 1.8
PHOTOS_OF_AN_OBSERVER = 50
SPECIES = 20_000
SPECIES_OF_A_CELL = 400
TILES = 150
CELLS_OF_A_TILE = 100

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Photos:
    """Generated photos: where, of what, by whom."""

    latitude: npt.NDArray[np.float64]
    longitude: npt.NDArray[np.float64]
    species: Ints
    observer: Ints


class World:
    """Tiles, cells, species and observers with the skewed shares they have in citizen science."""

    def __init__(self, photos: int) -> None:
        """Lay out a world for about that many photos."""
        rng = np.random.default_rng(1)
        number = rng.choice(18 * 36, TILES, replace=False)
        self.south, self.west = 80 - 10 * (number // 36), 10 * (number % 36) - 180
        share = rng.lognormal(0, 1.5, TILES)
        ends = np.round(np.cumsum(share) / share.sum() * photos / SHARD_PHOTOS).astype(int)
        self.shards = np.diff(ends, prepend=0)
        self.density = rng.lognormal(0, 1.5, (TILES, CELLS_OF_A_TILE))
        self.observers = np.maximum(self.shards * SHARD_PHOTOS // PHOTOS_OF_AN_OBSERVER, 1)
        self.first_observer = np.cumsum(self.observers) - self.observers

    def photos(self, tile: int, number: int, n: int) -> Photos:
        """Draw n photos of a tile."""
        homes = np.random.default_rng((2, tile))
        cell_share = np.cumsum(self.density[tile]) / self.density[tile].sum()
        home = np.searchsorted(cell_share, homes.random(self.observers[tile]))
        rng = np.random.default_rng((3, tile, number))
        plants = max(int(n / PHOTOS_OF_A_PLANT), 1)
        observer = _zipf(rng, plants, int(self.observers[tile]), 0.6)
        away = np.searchsorted(cell_share, rng.random(plants))
        cell = np.where(rng.random(plants) < 0.1, away, home[observer])
        rank = _zipf(rng, plants, SPECIES_OF_A_CELL, 1.0)
        species = ((tile * CELLS_OF_A_TILE + cell) * 7919 + rank * 104_729) % SPECIES
        plant = rng.integers(0, plants, n)
        row, column = np.divmod(cell[plant], 10)
        return Photos(
            self.south[tile] + row + rng.random(n),
            self.west[tile] + column + rng.random(n),
            species[plant],
            self.first_observer[tile] + observer[plant],
        )


def _zipf(rng: np.random.Generator, n: int, size: int, exponent: float) -> Ints:
    share = np.cumsum(np.arange(1, size + 1) ** -exponent)
    return np.searchsorted(share / share[-1], rng.random(n)).astype(np.int64)


def predictions_of(rng: np.random.Generator, n: int) -> tuple[npt.NDArray[np.float32], ...]:
    """Draw means and both parts of the variance."""
    parts = rng.normal(1, 1, n), rng.gamma(2, 0.2, n) + 0.01, rng.gamma(2, 0.05, n)
    return tuple(part.astype(np.float32) for part in parts)


def shards(world: World) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield the observations and predictions of one shard after the other."""
    species_names = pa.array([f"Genus{k // 12:04d} species{k:05d}" for k in range(SPECIES)])
    n = SHARD_PHOTOS
    for tile in range(TILES):
        observer_names = pa.array([f"{k * 0x9E3779B97F4A7C15 % 2**64:016x}" for k in range(world.observers[tile])])
        for number in range(world.shards[tile]):
            photos = world.photos(tile, number, n)
            ids = [f"gbif:x:{tile}-{number}-{k}" for k in range(n)]
            observations = pa.table(
                {
                    "observation_id": ids,
                    "species": species_names.take(pa.array(photos.species)),
                    "observer": observer_names.take(pa.array(photos.observer - world.first_observer[tile])),
                    "latitude": photos.latitude,
                    "longitude": photos.longitude,
                }
            ).to_pandas()
            mean, aleatoric, epistemic = predictions_of(np.random.default_rng((4, tile, number)), n * len(TRAITS))
            predictions = pd.DataFrame(
                {
                    "observation_id": pd.Series(ids * len(TRAITS), dtype="str"),
                    "photo_id": pd.Series(ids * len(TRAITS), dtype="str"),
                    "trait": pd.Series(np.repeat(TRAITS, n), dtype="str"),
                    "mean": mean,
                    "variance_aleatoric": aleatoric,
                    "variance_epistemic": epistemic,
                    "model_id": "m",
                    "modalities": "image+geospatial",
                    "status": "ok",
                }
            )
            yield observations, predictions


def compare_arrays(points: int, repeats: int) -> list[str]:
    """Time the published mean, sums per cell and moments on the same arrays, taking turns; return table rows."""
    world = World(points)
    sizes = world.shards * points // world.shards.sum() + 1
    drawn = [world.photos(tile, 0, int(size)) for tile, size in enumerate(sizes)]
    order = np.random.default_rng(5).permutation(sum(len(x.latitude) for x in drawn))[:points]
    lat, lon, species, observer = (
        np.concatenate([getattr(x, name) for x in drawn])[order]
        for name in ("latitude", "longitude", "species", "observer")
    )
    species, observer = species.astype(np.int32), observer.astype(np.int32)
    mean, aleatoric, epistemic = predictions_of(np.random.default_rng(6), points)
    value = mean.astype(np.float64)
    frame = pd.DataFrame({"lat": lat, "lon": lon, "value": value})

    def published() -> pd.DataFrame:
        return frame.assign(lat=np.floor(frame["lat"]), lon=np.floor(frame["lon"])).groupby(["lat", "lon"]).mean()

    def divided() -> pd.DataFrame:
        lower = {"lat": (frame["lat"] + 90) // 1 * 1, "lon": (frame["lon"] + 180) // 1 * 1}
        return frame.assign(**lower).groupby(["lat", "lon"]).mean()

    def sums() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        return sum_by_cell(lat, lon, value, GRID)

    def moments() -> list[KeySums]:
        keys, sizes = (cells_of(lat, lon, GRID), species, observer), (GRID.size, SPECIES, int(observer.max()) + 1)
        return list(sum_photos(keys, sizes, mean, aleatoric, epistemic, workers=2))

    groups = sum(len(part.n) for part in moments())
    check = published()["value"].to_numpy()
    count, total = sums()
    south_first = np.flip((total / np.maximum(count, 1)).reshape(GRID.shape), axis=0).ravel()
    occupied = np.flip(count.reshape(GRID.shape), axis=0).ravel() > 0
    if not np.allclose(south_first[occupied], check, rtol=1e-9, atol=1e-12):
        raise SystemExit("the sums per cell disagree with pandas")
    functions: dict[str, Callable[[], object]] = {
        "pandas, floor and groupby mean": published,
        "pandas, (lat + 90) // res * res and groupby mean": divided,
        "sums per cell": sums,
        f"moments of {groups:,} groups": moments,
    }
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - started)
    best = {name: min(seconds) for name, seconds in times.items()}
    floor, division = list(best.values())[:2]
    return [
        f"| {name} | {points:,} | {seconds:.3f} | {floor / seconds:.2f} x | {division / seconds:.2f} x |"
        for name, seconds in best.items()
    ]


def whole_run(predictions: int, folder: Path, estimators: list[str]) -> str:
    """Reduce, merge and estimate generated shards; return a table row."""
    world = World(predictions // len(TRAITS))
    reduce_seconds, made = 0.0, 0
    folders = []
    for k, (observations, predicted) in enumerate(shards(world)):
        started = time.perf_counter()
        shard = folder / f"{k:06d}"
        shard.mkdir()
        write_table(reduce_predictions(predicted, observations, GRID), shard / MOMENTS_FILE, MOMENTS)
        reduce_seconds += time.perf_counter() - started
        made += len(predicted)
        folders.append(shard)
    generated = _peak()
    (folder / "moments").mkdir()
    started = time.perf_counter()
    merged = merge_moments(folder / "moments", shards=folders)
    merge_seconds = time.perf_counter() - started
    after_merge = _peak()
    (folder / "cells").mkdir()
    started = time.perf_counter()
    cells = estimate_cells(folder / "cells", moments=folder / "moments", estimators=estimators)
    estimate_seconds = time.perf_counter() - started
    size = (folder / "moments" / MOMENTS_FILE).stat().st_size
    return (
        f"| {made:,} | {len(folders):,} | {merged['in']['rows of moments']:,} | {merged['out']['rows of moments']:,} | "
        f"{cells['out']['cells with a photo']:,} | {size / 2**20:,.0f} | {reduce_seconds:.0f} | {merge_seconds:.0f} | "
        f"{estimate_seconds:.0f} | {generated:,.0f} | {after_merge:,.0f} | {_peak():,.0f} |"
    )


def _peak() -> float:
    """Return the most memory this process has held, MiB; unlike ru_maxrss it does not count its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000_000, help="points of one trait; 0: leave out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--predictions", default="10_000_000,100_000_000", help="sizes of whole runs, or nothing")
    parser.add_argument("--estimators", default="mean,random_effects", help="that whole runs estimate with")
    parser.add_argument("--folder", type=Path, default=None, help="where whole runs write; else a temporary folder")
    chosen = parser.parse_args()
    if chosen.points:
        print("| one trait, arrays | points | best s | floor's time over it | //'s time over it |\n|" + "---|" * 5)
        print("\n".join(compare_arrays(chosen.points, chosen.repeats)), flush=True)
    sizes = [int(size) for size in chosen.predictions.split(",") if size]
    if not sizes:
        return
    print(
        "\n| predictions | shards | rows of moments | merged | cells | MiB | reduce s | merge s | estimate s "
        "| peak MiB, reduced | merged | estimated |\n|" + "---|" * 12
    )
    for size in sizes:
        with (
            tempfile.TemporaryDirectory(dir=chosen.folder) as folder,
            ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        ):
            print(pool.submit(whole_run, size, Path(folder), chosen.estimators.split(",")).result(), flush=True)


if __name__ == "__main__":
    main()
