"""Bring rasters to the grid with Dask: the same sums, some rows of cells in each task."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dask.base import compute
from dask.delayed import delayed

from plant_traits.covariates.raster import CheckedRaster
from plant_traits.covariates.regrid import GriddedMean, finish_rows, join_rows
from plant_traits.covariates.row_sums import Convert, RowSummer
from plant_traits.grid import Grid
from plant_traits.regions import Region

OpenRaster = Callable[[], CheckedRaster]


def means_by_rows(
    opened: OpenRaster,
    grid: Grid,
    *,
    convert: Convert | None = None,
    region: Region | None = None,
    subsample: int | None = None,
    workers: int = 2,
    scheduler: str | None = "threads",
) -> Iterator[tuple[slice, GriddedMean]]:
    """Average a raster to the grid by area, a chunk of grid rows a task, and yield the chunks from north to south.

    A task opens the raster for itself and reads the pixels of its rows; not more than ``workers`` chunks are in memory.
    The tasks run on threads (decoding and sums release the interpreter), or on a cluster that sees the file. The
    numbers are those of :func:`plant_traits.covariates.regrid.area_weighted_mean`, to the last bit.

    Args:
        opened: opens the raster; called once in every task.
        grid: target grid.
        convert: see ``area_weighted_mean``.
        region: see ``area_weighted_mean``.
        subsample: see ``area_weighted_mean``.
        workers: tasks at a time.
        scheduler: Dask's scheduler; None takes the cluster of an active client.

    Yields:
        Grid rows and their means.

    Raises:
        RasterError: see ``area_weighted_mean``; the share of values out of range is the caller's to check.
    """
    with opened() as raster:
        chunks = list(RowSummer(raster, grid, convert=convert, subsample=subsample).chunks(region))
    task = delayed(_mean_of_rows, pure=False)
    for start in range(0, len(chunks), workers):
        batch = chunks[start : start + workers]
        tasks = [task(opened, grid, rows, convert, subsample) for rows in batch]
        parts = compute(*tasks, scheduler=scheduler, num_workers=workers)  # type: ignore[no-untyped-call]
        yield from zip(batch, parts, strict=True)


def area_weighted_mean_dask(
    opened: OpenRaster,
    grid: Grid,
    *,
    convert: Convert | None = None,
    region: Region | None = None,
    subsample: int | None = None,
    workers: int = 2,
    scheduler: str | None = "threads",
) -> GriddedMean:
    """Average a raster to the grid with Dask; see :func:`means_by_rows`.

    Returns:
        The same as :func:`plant_traits.covariates.regrid.area_weighted_mean`.

    Raises:
        RasterError: see there.
    """
    parts = means_by_rows(
        opened,
        grid,
        convert=convert,
        region=region,
        subsample=subsample,
        workers=workers,
        scheduler=scheduler,
    )
    result = join_rows(parts, grid)
    with opened() as raster:
        raster.check_range(result.count)
    return result


def _mean_of_rows(
    opened: OpenRaster, grid: Grid, rows: slice, convert: Convert | None, subsample: int | None
) -> GriddedMean:
    with opened() as raster:
        return finish_rows(RowSummer(raster, grid, convert=convert, subsample=subsample).sum(rows), grid, rows)
