"""The refresh: from sources to a release, one stage a line."""

from __future__ import annotations

from prefect import flow

from tasks.context import RunWords, open_run
from tasks.maps import cite, compare, estimate, lay_out_maps, merge, reduce_moments, release
from tasks.model import (
    bring_to_grid,
    encode_photos,
    predict_land_cells,
    predict_records,
    sample_at_records,
    train_heads,
)
from tasks.observations import clean_observations, cut_shards, read_trait_tables, summarise_traits
from tasks.sources import acquire, fetch_photos, match_names, simulate_world


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
        world = simulate_world(run)
        inputs = acquire(run, world)
        records = read_trait_tables(run, world, inputs)
        names = match_names(run, world, inputs, records)
        taxa = summarise_traits(run, records, names)
        observations = clean_observations(run, world, inputs, taxa, names)
        covariates = bring_to_grid(run, world, inputs)
        photos = fetch_photos(run, world, observations)
        shards = cut_shards(run, world, inputs, observations, photos)
        points = sample_at_records(run, world, inputs, shards)
        features = encode_photos(run, shards)
        model = train_heads(run, world, inputs, shards, features, points, taxa)
        predictions = predict_records(run, shards, features, points, model)
        land = predict_land_cells(run, world, covariates, model)
        shard_moments = reduce_moments(run, shards, predictions)
        moments = merge(run, shard_moments)
        estimates = estimate(run, moments)
        maps = lay_out_maps(run, inputs, estimates, land, model)
        comparison = compare(run, world, inputs, maps, estimates, land, observations, taxa)
        used = cite(run, world, maps, shards, predictions)
        return release(
            run,
            {
                "inputs": inputs,
                "trait records": records,
                "names": names,
                "species traits": taxa,
                "observations": observations,
                "photos": photos,
                "covariates": covariates,
                "shards": shards,
                "point covariates": points,
                "photo features": features,
                "model": model,
                "predictions": predictions,
                "land cells": land,
                "moments of shards": shard_moments,
                "moments": moments,
                "estimates": estimates,
                "maps": maps,
                "comparison": comparison,
                "records used": used,
            },
        )
