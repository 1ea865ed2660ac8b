"""The acquisition alone: everything that a refresh fetches, without a map."""

from __future__ import annotations

from prefect import flow

from flows.preparation import gather_records
from tasks.context import RunWords, open_run


@flow(name="acquire", flow_run_name="{profile}", validate_parameters=True)
def acquire(
    profile: str = "demo",
    month: str | None = None,
    region: str | None = None,
    workspace: str = "workspace",
    scratch: str | None = None,
    data: str | None = None,
    catalog: list[str] | None = None,
    faults: float | None = None,
) -> str:
    """Fetch tables, rasters and photos of one month and region into the mirror; a refresh then finds them there.

    Args:
        profile: run profile of the catalogue.
        month: YYYY-MM; of a scheduled run the month before its scheduled start, else the profile's.
        region: a region of the catalogue, or west,south,east,north.
        workspace: folder or fsspec URL that holds everything the run keeps.
        scratch: local folder for work in progress; inside a local workspace by default.
        data: the mirror; of a virtual world it lies in the workspace.
        catalog: folders whose entries are laid over the built-in catalogue.
        faults: share of requests that the stand-in services of a virtual world spoil.

    Returns:
        The mirror's folder.
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
    )
    with open_run(words) as run:
        return str(run.data_root(gather_records(run).world))
