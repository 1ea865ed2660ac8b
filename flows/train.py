"""The training alone: from sources to a model with its card, learning curves and held-out scores."""

from __future__ import annotations

from prefect import flow

from flows.preparation import gather_model_inputs, gather_records, train_and_keep
from plant_traits.runs import point_at
from tasks.context import RunWords, open_run


@flow(name="train", flow_run_name="{profile}", validate_parameters=True)
def train(
    profile: str = "demo",
    month: str | None = None,
    region: str | None = None,
    workspace: str = "workspace",
    scratch: str | None = None,
    data: str | None = None,
    catalog: list[str] | None = None,
    faults: float | None = None,
    dask_address: str | None = None,
) -> str:
    """Train the model of a profile; the refreshes that follow map with it.

    Args:
        profile: run profile of the catalogue.
        month: YYYY-MM; of a scheduled run the month before its scheduled start, else the profile's.
        region: a region of the catalogue, or west,south,east,north.
        workspace: folder or fsspec URL that holds everything the run keeps.
        scratch: local folder for work in progress; inside a local workspace by default.
        data: folder of real files, or the mirror that fetched files go to.
        catalog: folders whose entries are laid over the built-in catalogue.
        faults: share of requests that the stand-in services of a virtual world spoil.
        dask_address: an existing Dask scheduler; a local cluster by default.

    Returns:
        Address of the model's folder.
    """
    words = RunWords(
        profile=profile,
        month=month,
        region=region,
        workspace=workspace,
        scratch=scratch,
        data=data,
        catalog=tuple(catalog or ()),
        faults=faults,
        dask_address=dask_address,
    )
    with open_run(words) as run:
        records = gather_records(run)
        kept = train_and_keep(run, records, gather_model_inputs(run, records))
        return point_at(run.workspace, "models", run.spec.name, kept.page)
