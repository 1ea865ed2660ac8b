"""The training of a names model alone: from sources, or a set of labelled images, to the model that gates names."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from data_catalog import ImageLayout
from flows.preparation import gather_records
from plant_traits.runs import point_at
from plant_traits.sources.labelled_images import check_choice
from tasks.context import RunWords, open_run
from tasks.model import encode_photos
from tasks.names import train_names_model, train_names_model_on_images, vote_on_names
from tasks.observations import cut_shards


@flow(name="train-names", flow_run_name="{profile}", validate_parameters=True)
def train_names(
    profile: str = "demo",
    month: str | None = None,
    region: str | None = None,
    workspace: str = "workspace",
    scratch: str | None = None,
    data: str | None = None,
    catalog: list[str] | None = None,
    faults: float | None = None,
    dask_address: str | None = None,
    images: str | None = None,
    layout: ImageLayout | None = None,
) -> str:
    """Train the names model of a lineage; the refreshes that follow judge names with it.

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
        images: folder of a set of labelled images to train on, in place of the run's own photos.
        layout: what that set is, plantnet300k or inaturalist2019.

    Returns:
        Address of the names model's folder.
    """
    check_choice(images, layout)
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
        if images is not None and layout is not None:
            kept = train_names_model_on_images(run, Path(images), layout, records.taxa)
        else:
            shards = cut_shards(run, records.world, records.inputs, records.observations, records.photos)
            features = encode_photos(run, shards.shards)
            votes = vote_on_names(run, records.world, records.observations, records.names)
            kept = train_names_model(run, shards, features, votes)
        return point_at(run.workspace, "names-models", run.spec.name, kept.model)
