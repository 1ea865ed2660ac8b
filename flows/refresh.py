"""The refresh: from sources to a release, one stage a line."""

from __future__ import annotations

from prefect import flow

from flows.preparation import gather_model_inputs, gather_records
from tasks.context import RunWords, open_run
from tasks.maps import cite, compare, estimate, lay_out_maps, merge, reduce_moments, release, show_photos
from tasks.model import bring_to_grid, predict_land_cells, predict_records
from tasks.training import show_model, train_heads


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
        records = gather_records(run)
        world, inputs = records.world, records.inputs
        covariates = bring_to_grid(run, world, inputs)
        read = gather_model_inputs(run, records)
        model = train_heads(run, world, read.table, read.cleaning)
        predictions = predict_records(run, read.shards, read.features, read.points, model)
        land = predict_land_cells(run, world, covariates, model)
        shard_moments = reduce_moments(run, read.shards, predictions)
        moments = merge(run, shard_moments)
        estimates = estimate(run, moments)
        maps = lay_out_maps(run, inputs, estimates, land, model)
        comparison = compare(run, world, inputs, maps, estimates, land, records.observations, records.taxa)
        used = cite(run, world, maps, read.shards, predictions)
        sheet = show_photos(run, read.shards, predictions, read.points, read.features, model)
        page = show_model(run, model, read.cleaning)
        return release(
            run,
            {
                "inputs": inputs,
                "trait records": records.trait_records,
                "names": records.names,
                "species traits": records.taxa,
                "observations": records.observations,
                "photos": records.photos,
                "covariates": covariates,
                "shards": read.shards,
                "point covariates": read.points,
                "photo features": read.features,
                "training table": read.table,
                "cleaning rounds": read.cleaning,
                "model": model,
                "predictions": predictions,
                "land cells": land,
                "moments of shards": shard_moments,
                "moments": moments,
                "estimates": estimates,
                "maps": maps,
                "comparison": comparison,
                "records used": used,
                "page of photos": sheet,
                "model page": page,
            },
        )
