"""Average a raster of CHELSA's size to 1 degree and read it at points; compare with GDAL and with plain float64 sums.

Makes a DEFLATE-compressed, tiled uint16 GeoTIFF of 43,200 x 20,880 pixels (30 arc-seconds, 84 N to 90 S, shifted by a
sixtieth of a pixel as CHELSA's are, sea missing), times our area-weighted mean (NumPy, and Dask on two threads) against
``gdalwarp -r average`` on the same file, each in a process of its own whose peak memory is printed, and checks:

- our means against sums written out in float64 with areas from the ellipsoid's closed form, to 1e-6;
- our means with degrees in place of areas against gdalwarp's, which weighs so, to 1e-6, in cells within the raster;
- what weighing by area changes.

Then samples points with a search of two pixels at coasts, and builds a Zarr store at 0.1 degrees.

    python benchmarks/regrid.py /tmp [rows of pixels, 20880 by default] [points, 5000000 by default]
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject
from rasterio.windows import Window

from data_catalog import RasterLayer, Source
from plant_traits.covariates import weights
from plant_traits.covariates.cube import LayerFolder
from plant_traits.covariates.layers import open_raster
from plant_traits.covariates.regrid import area_weighted_mean
from plant_traits.covariates.regrid_dask import area_weighted_mean_dask
from plant_traits.covariates.sampling import sample_points
from plant_traits.covariates.store import build_covariate_store, known_cells
from plant_traits.grid import Grid

COLUMNS = 43_200
NODATA = 65_535
SIZE = 1 / 120
WEST, NORTH = -180 - SIZE / 60, 84 - SIZE / 60
BAND = 512
GRID = "1deg"
FloatArray = npt.NDArray[np.float64]


def make_raster(path: Path, rows: int) -> None:
    """Write smooth fields with a little noise on continents of sines, the rest missing."""
    rng = np.random.default_rng(1)
    x = np.linspace(0, 2 * np.pi, COLUMNS, endpoint=False, dtype=np.float32)
    profile: dict[str, Any] = {"driver": "GTiff", "height": rows, "width": COLUMNS, "count": 1, "dtype": "uint16"}
    profile |= {"crs": "EPSG:4326", "transform": from_origin(WEST, NORTH, SIZE, SIZE), "nodata": NODATA}
    profile |= {"tiled": True, "blockxsize": BAND, "blockysize": BAND, "compress": "deflate", "num_threads": 2}
    with rasterio.open(path, "w", **profile) as dataset:
        for row in range(0, rows, BAND):
            y = np.linspace(row, row + BAND, BAND, endpoint=False, dtype=np.float32)[:, None] / 6646
            height = np.sin(2 * x + y) * np.cos(3 * y) + 0.4 * np.sin(7 * x - 5 * y) + 0.1 * np.sin(90 * x + 70 * y)
            noise = rng.integers(0, 12, (BAND, COLUMNS), dtype=np.uint16)
            stored = (2900 - 60 * np.abs(y - 3) - 120 * height).astype(np.uint16) + noise
            stored[height < 0.25] = NODATA
            dataset.write(stored[: min(BAND, rows - row)], 1, window=Window(0, row, COLUMNS, min(BAND, rows - row)))


def numpy_mean(path: Path) -> FloatArray:
    """Average with the reference."""
    with open_raster(path, name="x") as raster:
        return area_weighted_mean(raster, Grid.parse(GRID)).mean


def dask_mean(path: Path) -> FloatArray:
    """Average with Dask on two threads."""
    return area_weighted_mean_dask(partial(open_raster, path, name="x"), Grid.parse(GRID), workers=2).mean


def planar_mean(path: Path) -> FloatArray:
    """Average with degrees of latitude in place of areas."""
    weights.authalic_sine = lambda latitude: latitude / 90.0
    return dask_mean(path)


def gdal_mean(path: Path, *options: str) -> FloatArray:
    """Average with gdalwarp, or with the same code through rasterio where the program is not installed."""
    grid = Grid.parse(GRID)
    out = path.with_name("gdal.tif")
    out.unlink(missing_ok=True)
    if shutil.which("gdalwarp"):
        size = [str(n) for n in grid.shape[::-1]]
        command = ["gdalwarp", "-q", "-r", "average", "-te", "-180", "-90", "180", "90", "-ts", *size]
        command += ["-ot", "Float64", "-dstnodata", "nan", "-wm", "512", *options, str(path), str(out)]
        subprocess.run(command, check=True)  # noqa: S603
        with rasterio.open(out) as dataset:
            return np.asarray(dataset.read(1))
    found = np.full(grid.shape, np.nan)
    with rasterio.open(path) as source:
        band = rasterio.band(source, 1)
        place = {"dst_transform": from_origin(-180, 90, 1, 1), "dst_crs": "EPSG:4326", "dst_nodata": np.nan}
        threads = 2 if options else 1
        reproject(band, found, **place, resampling=Resampling.average, warp_mem_limit=512, num_threads=threads)
    return found


def plain_mean(path: Path) -> FloatArray:
    """Average with overlaps written out cell by cell in float64: no sparse matrix, no sums of whole numbers."""
    grid = Grid.parse(GRID)
    f = 1 / 298.257223563
    e = np.sqrt(f * (2 - f))

    def band(latitude: FloatArray) -> FloatArray:
        s = np.sin(np.deg2rad(latitude))
        return (1 - e**2) * (s / (1 - e**2 * s**2) + np.log((1 + e * s) / (1 - e * s)) / (2 * e)) / 2

    mean = np.full(grid.shape, np.nan)
    with rasterio.open(path) as dataset:
        north = NORTH - SIZE * np.arange(dataset.height + 1)
        west = WEST + SIZE * np.arange(COLUMNS + 1)
        for i in range(grid.n_lat):
            top, bottom = 90.0 - i, 89.0 - i
            high, low = np.minimum(north[:-1], top), np.maximum(north[1:], bottom)
            rows = np.flatnonzero(high > low)
            if rows.size == 0:
                continue
            stored = dataset.read(1, window=Window(0, rows[0], COLUMNS, rows.size))
            area = (band(high) - band(low))[rows][:, None]
            for j in range(grid.n_lon):
                left, right = j - 180.0, j - 179.0
                share = np.zeros(COLUMNS)
                for turn in (0, 360):
                    share += np.maximum(np.minimum(west[1:] + turn, right) - np.maximum(west[:-1] + turn, left), 0)
                columns = np.flatnonzero(share > 0)
                part = stored[:, columns].astype(np.float64)
                weight = np.where(part == NODATA, 0.0, area * share[columns])
                if weight.sum() > 0:
                    mean[i, j] = (weight * part).sum() / weight.sum()
    return mean


def sample(path: Path, points: str) -> FloatArray:
    """Read random points, even over longitude and latitude, searching two pixels around missing ones."""
    rng = np.random.default_rng(2)
    latitude, longitude = rng.uniform(-90, 84, int(points)), rng.uniform(-180, 180, int(points))
    with open_raster(path, name="x") as raster:
        return np.asarray(sample_points(raster, latitude, longitude, search_pixels=2), dtype=np.float64)


def store(path: Path, grid: str) -> FloatArray:
    """Build a store of one covariate; return the share of its cells that have a value."""
    layer = RasterLayer(id="x", name="x", unit="1", file=path.name, nodata=NODATA, valid_range=(0, 65_000))
    source = Source(id="x", title="x", kind="raster", licence="none", citation="none", layers=(layer,))
    target = path.with_name("covariates.zarr")
    build_covariate_store(target, [LayerFolder(source, path.parent, ("x",))], Grid.parse(grid))
    return np.array([float(known.mean()) for _, known in known_cells(target, ["x"])])


def measured(path: Path, what: str, *more: str) -> FloatArray:
    """Run one of the functions in a process of its own; print its time and peak memory, return its result."""
    command = [sys.executable, __file__, "--one", what, str(path), *more]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    report = json.loads(done.stdout.splitlines()[-1])
    print(f"{' '.join([what, *more]):42s} {report['seconds']:7.1f} s   peak {report['peak_mib']:6.0f} MiB", flush=True)
    return np.asarray(np.load(path.with_name("result.npy")))


def one(what: str, path: Path, *more: str) -> None:
    """Run one function, save its result, and print what it took as JSON."""
    functions: dict[str, Callable[..., FloatArray]] = {
        "numpy": numpy_mean,
        "dask": dask_mean,
        "planar": planar_mean,
        "plain": plain_mean,
        "gdal": gdal_mean,
        "store": store,
        "sample": sample,
    }
    start = time.perf_counter()
    result = functions[what](path, *more)
    seconds = time.perf_counter() - start
    kib = max(resource.getrusage(x).ru_maxrss for x in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    np.save(path.with_name("result.npy"), result)
    print(json.dumps({"seconds": seconds, "peak_mib": kib / 1024}))


def compare(name: str, ours: FloatArray, theirs: FloatArray, tolerance: float | None) -> None:
    """Print the greatest difference, and stop where it exceeds the tolerance."""
    known = np.isfinite(ours) & np.isfinite(theirs)
    differing = int((np.isfinite(ours) != np.isfinite(theirs)).sum())
    greatest = float(np.abs(ours - theirs)[known].max() / np.abs(theirs)[known].max())
    print(
        f"{name}: greatest difference {greatest:.2e} of the greatest value, {differing} cells in one only", flush=True
    )
    if tolerance is not None:
        assert greatest <= tolerance, f"{name}: {greatest} exceeds {tolerance}"


def main(folder: str, rows: str = "20880", points: str = "5000000") -> None:
    """Run everything once."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / "chelsa.tif"
        start = time.perf_counter()
        make_raster(path, int(rows))
        seconds, mib = time.perf_counter() - start, path.stat().st_size / 1024**2
        print(f"{COLUMNS} x {rows} pixels, {mib:.0f} MiB, made in {seconds:.0f} s")
        print("GDAL through", shutil.which("gdalwarp") or f"rasterio, {rasterio.__gdal_version__}", flush=True)
        theirs = measured(path, "gdal")
        measured(path, "gdal", "-multi", "-wo", "NUM_THREADS=2", "-oo", "NUM_THREADS=2")
        ours = measured(path, "numpy")
        chunked = measured(path, "dask")
        print("dask equals numpy to the last bit:", np.array_equal(ours, chunked, equal_nan=True))
        compare("areas, against plain sums", ours, measured(path, "plain"), 1e-6)
        # gdalwarp is not exact in cells that reach beyond the raster.
        grid = Grid.parse(GRID)
        whole = (grid.lat < NORTH - 0.5) & (grid.lat > NORTH - SIZE * int(rows) + 0.5)
        compare("degrees, against gdalwarp, in whole cells", measured(path, "planar")[whole], theirs[whole], 1e-6)
        compare("what areas change, in whole cells", ours[whole], theirs[whole], None)
        sampled = measured(path, "sample", points)
        print(f"points with a value: {np.isfinite(sampled).mean():.3f}")
        measured(path, "store", "0.1deg")


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        one(sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
    else:
        main(*sys.argv[1:])
