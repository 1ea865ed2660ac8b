"""The refresh: from sources to a release, one stage a line."""

from __future__ import annotations

from prefect import flow

from data_catalog import NamesGate
from flows.mapping import refresh_maps
from tasks.context import RunWords, open_run


@flow(name="refresh", flow_run_name="{profile}", validate_parameters=True)
def refresh(
    profile: str = "demo",
    month: str | None = None,
    region: str | None = None,
    grid: str | None = None,
    workspace: str = "workspace",
    scratch: str | None = None,
    data: str | None = None,
    catalog: list[str] | None = None,
    faults: float | None = None,
    dask_address: str | None = None,
    model: str = "kept",
    names_gate: NamesGate = "on",
) -> str:
    """Refresh the trait maps of one month and region.

    Args:
        profile: run profile of the catalogue.
        month: YYYY-MM; of a scheduled run the month before its scheduled start, else the profile's.
        region: a region of the catalogue, or west,south,east,north.
        grid: such as 1deg.
        workspace: folder or fsspec URL that holds everything the run keeps.
        scratch: local folder for work in progress; inside a local workspace by default.
        data: folder of real files, or the mirror that fetched files go to.
        catalog: folders whose entries are laid over the built-in catalogue.
        faults: share of requests that the stand-in services of a virtual world spoil.
        dask_address: an existing Dask scheduler; a local cluster by default.
        model: ``kept`` for the model that earlier runs of the lineage keep, trained where there is none that fits;
            ``new`` to train one on this run's records; or the folder or address of a model.
        names_gate: ``on`` to judge names by votes and photos where the lineage keeps a names model (see
            ``flows.train_names.train_names``); ``off`` to take them as stated.

    Returns:
        Address of the release.
    """
    words = RunWords(
        profile=profile,
        month=month,
        region=region,
        grid=grid,
        workspace=workspace,
        scratch=scratch,
        data=data,
        catalog=tuple(catalog or ()),
        faults=faults,
        dask_address=dask_address,
    )
    with open_run(words) as run:
        return refresh_maps(run, model, names_gate)
