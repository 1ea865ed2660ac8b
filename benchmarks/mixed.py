"""What generalised least squares with species and observer effects costs, and statsmodels' MixedLM cell by cell.

Cells, species and observers are clustered as in citizen science: the numbers of photos are log-normal over cells,
species and observers are drawn with Zipf's frequencies from pools that grow with a cell's photos. First the
pooled fit of every cell, from moments to community means, in a process that does nothing else; its peak memory is that
of the whole process, moments included. Then the stage that does it from file to file, in another process. Then MixedLM,
which knows no variances of single photos, on a sample of cells one by one, with its total for all cells extrapolated
from the sample's time per cell; and the same cells, each with variances of its own, by this project's REML. Ratios are
those of processor time.

    python benchmarks/mixed.py 20000 3000000 200
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

from maps.estimators.cell_moments import CellMoments
from maps.estimators.crossed_effects import cell_blocks
from maps.estimators.estimate import mixed
from maps.estimators.pooled_components import pool_components, read_components
from maps.estimators.variance_components import estimate_components
from maps.moments.merging import merge_files
from maps.stages.cells import MOMENTS_FILE, estimate_cells
from plant_traits.schemas import MOMENTS, read_table, write_table

SPECIES_SD, OBSERVER_SD = 0.35, 0.15
WIDEST = 2000  # rows of a cell that MixedLM is tried on


def draw(n_cells: int, n_rows: int, seed: int = 0) -> pd.DataFrame:
    """Return about that many rows of moments of one trait."""
    rng = np.random.default_rng(seed)
    size = rng.lognormal(0.0, 1.2, n_cells)
    photos = np.maximum(np.round(size / size.sum() * n_rows * 1.22), 1).astype(np.int64)
    cell = np.repeat(np.arange(n_cells), photos)
    species = _zipf(rng, np.ceil(3.0 * photos**0.55)[cell])
    observer = _zipf(rng, np.ceil(2.0 * photos**0.7)[cell])
    v = rng.uniform(0.02, 0.3, len(cell))
    y = _effect(rng, cell, species, SPECIES_SD) + _effect(rng, cell, observer, OBSERVER_SD)
    y += rng.normal(0.0, np.sqrt(v))
    w = 1.0 / v
    terms = {"n": 1, "sum_w": w, "sum_wy": w * y, "sum_wy2": w * y * y, "sum_y": y, "sum_y2": y * y}
    terms |= {"sum_v": v, "sum_w2": w * w, "sum_aleatoric": 0.5 * v}
    frame = pd.DataFrame({"cell": cell, "species": species, "observer": observer} | terms)
    moments = frame.groupby(["cell", "species", "observer"], as_index=False).sum()
    for name in ("species", "observer"):
        labels = pd.array([f"{name} {k}" for k in range(int(moments[name].max()) + 1)], dtype="str")
        moments[name] = labels.take(moments[name].to_numpy())
    moments["trait"], moments["evidence"] = "height", "photo"
    return moments[MOMENTS.names]


def _zipf(rng: np.random.Generator, pool: np.ndarray) -> np.ndarray:
    """Draw ranks below each pool's size with frequencies near 1 / rank."""
    return np.minimum(np.exp(rng.uniform(0.0, np.log(pool + 1.0))), pool).astype(np.int64) - 1


def _effect(rng: np.random.Generator, cell: np.ndarray, group: np.ndarray, sd: float) -> np.ndarray:
    code, _ = pd.factorize(cell * (int(group.max()) + 1) + group)
    return rng.normal(0.0, sd, int(code.max()) + 1)[code]


def pooled(path: Path, result: multiprocessing.Queue) -> None:
    """Fit all cells; put the seconds of CPU and the text of what was found into the queue."""
    moments = read_table(path, MOMENTS)
    before = _peak()
    started, busy = time.perf_counter(), time.process_time()
    cells = CellMoments.of(moments)
    components = pool_components([cells], "height", "photo")
    mixed(cells, components=components)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    row = components.iloc[0]
    found = {name: row[f"{name}_variance"] ** 0.5 for name in ("species", "observer")}
    text = (
        f"{moments['cell'].nunique()} cells, {len(moments)} rows, {int(moments['n'].sum())} photos: {seconds:.1f} s "
        f"({busy:.1f} s of CPU), "
        f"peak {_peak():.2f} GiB ({before:.2f} reached on reading the moments); species sd {found['species']:.4f} "
        f"(true {SPECIES_SD}), observer sd {found['observer']:.4f} (true {OBSERVER_SD})"
    )
    result.put((busy, text))


def by_block(path: Path, result: multiprocessing.Queue) -> None:
    """Do the same as the stage does, from file to file; put the text of what it took into the queue."""
    with tempfile.TemporaryDirectory() as folder:
        started, busy = time.perf_counter(), time.process_time()
        estimate_cells(Path(folder), moments=path.parent, estimators=["mixed"])
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        row = read_components(Path(folder)).iloc[0]
    text = (
        f"the stage, from file to file, a block of cells at a time: {seconds:.1f} s ({busy:.1f} s of CPU), peak "
        f"{_peak():.2f} GiB; species sd {row['species_variance'] ** 0.5:.4f}, concentration "
        f"{row['concentration']:.4f}, clumping {row['clumping']:.4f}"
    )
    result.put(text)


def _peak() -> float:
    """Return the most memory this process has held, GiB; unlike ru_maxrss it does not count its parent's."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024**2


def one_by_one(path: Path, sample: int, seconds: float) -> None:
    """Fit a sample of cells by MixedLM, and by our REML without pooling."""
    moments = read_table(path, MOMENTS)
    rows = moments.groupby("cell").size()
    fit = rows[(rows >= 5) & (rows <= WIDEST)]
    chosen = fit.sample(sample, random_state=1).index
    taken, failed = [], 0
    for cell in chosen:
        own = moments[moments["cell"] == cell]
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                MixedLM(
                    (own["sum_wy"] / own["sum_w"]).to_numpy(),
                    np.ones((len(own), 1)),
                    groups=np.zeros(len(own)),
                    exog_vc=_design(own),
                ).fit(reml=True)
            except np.linalg.LinAlgError:
                failed += 1
        taken.append(time.process_time() - started)
    total = float(np.mean(taken)) * len(rows)
    print(
        f"MixedLM, {sample} cells of {fit[chosen].mean():.0f} rows on average (all cells: {rows.mean():.0f}; none "
        f"above {WIDEST}): {np.mean(taken):.2f} s of CPU a cell, {failed} failed; {total:.0f} s for all, extrapolated: "
        f"{total / seconds:.0f} times the pooled fit of all cells"
    )
    own = moments[moments["cell"].isin(chosen)]
    cell = np.unique(own["cell"], return_inverse=True)[1]
    species, observer = (own.groupby(["cell", name]).ngroup().to_numpy() for name in ("species", "observer"))
    weight = own["sum_w"].to_numpy()
    started = time.process_time()
    blocks = list(cell_blocks(weight, species, observer, cell))
    estimate_components(
        blocks,
        own["sum_wy"].to_numpy() / weight,
        np.arange(sample),
        np.full((sample, 2), 0.05),
        np.ones((sample, 2), dtype=bool),
    )
    ours = time.process_time() - started
    print(
        f"the same {sample} cells, unpooled, by this project's REML: {ours:.2f} s, {sum(taken) / ours:.0f} times faster"
    )


def _design(own: pd.DataFrame) -> VCSpec:
    indicators = [pd.get_dummies(own[name]).to_numpy(dtype=np.float64) for name in ("species", "observer")]
    names = [[[str(k) for k in range(x.shape[1])]] for x in indicators]
    return VCSpec(["species", "observer"], names, [[x] for x in indicators])


def main() -> None:
    """Read the numbers of cells, rows and sampled cells from the command line."""
    n_cells, n_rows, sample = (int(x) for x in sys.argv[1:4])
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MOMENTS_FILE
        write_table(draw(n_cells, n_rows), Path(folder) / "drawn.parquet", MOMENTS)
        merge_files([Path(folder) / "drawn.parquet"], path)  # as the stage before leaves them
        result = context.Queue()
        process = context.Process(target=pooled, args=(path, result))
        process.start()
        seconds, text = result.get()
        process.join()
        print(text, flush=True)
        process = context.Process(target=by_block, args=(path, result))
        process.start()
        print(result.get(), flush=True)
        process.join()
        one_by_one(path, sample, seconds)


if __name__ == "__main__":
    main()
