"""The backfill: the records of a region for past months, collected into the same state and mapped with it."""

from __future__ import annotations

from prefect import flow

from data_catalog import NamesGate
from flows.mapping import refresh_maps
from tasks.context import RunWords, open_backfill


@flow(name="backfill", flow_run_name="{profile} {region}", validate_parameters=True)
def backfill(
    profile: str,
    region: str,
    months: list[str],
    mapped: str | None = None,
    grid: str | None = None,
    workspace: str = "workspace",
    scratch: str | None = None,
    data: str | None = None,
    catalog: list[str] | None = None,
    faults: float | None = None,
    dask_address: str | None = None,
    model: str = "kept",
    names_gate: NamesGate = "on",
) -> list[str]:
    """Collect a region for months, one after the other, and refresh the maps of each month's state.

    The region is fetched by tiles of a fixed lattice, each once, whichever regions ask for it. What was collected for a
    month before stays in its state, so that regions may come in any order and any number of times.

    Args:
        profile: run profile of the catalogue.
        region: what is collected: a region of the catalogue, west,south,east,north or a GeoJSON file.
        months: YYYY-MM, or ranges such as 2026-08..2026-10.
        mapped: the region of the maps, said as ``region``; the profile's by default.
        grid: such as 1deg.
        workspace: folder or fsspec URL that holds everything the run keeps.
        scratch: local folder for work in progress; inside a local workspace by default.
        data: folder of real files, or the mirror that fetched files go to.
        catalog: folders whose entries are laid over the built-in catalogue.
        faults: share of requests that the stand-in services of a virtual world spoil.
        dask_address: an existing Dask scheduler; a local cluster by default.
        model: kept, new, or the folder of a model; see ``flows.refresh.refresh``.
        names_gate: on or off, see there.

    Returns:
        Addresses of the releases, one a month.
    """
    words = RunWords(
        profile=profile,
        region=mapped,
        grid=grid,
        workspace=workspace,
        scratch=scratch,
        data=data,
        catalog=tuple(catalog or ()),
        faults=faults,
        dask_address=dask_address,
    )
    with open_backfill(words, region, months) as runs:
        return [refresh_maps(run, model, names_gate) for run in runs]
