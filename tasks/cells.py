"""Tasks: predictions to moments, and moments to what is known of every cell."""

from __future__ import annotations

from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from maps.stages.applicability import assess_applicability
from maps.stages.cells import estimate_cells, merge_moments, reduce_shard
from maps.stages.effort import reduce_shard_to_subcells, weigh_by_effort
from maps.stages.sampling_bias import expect_bias
from maps.stages.small_area import fill_map
from plant_traits.code_version import code_version
from plant_traits.inference.cluster import ShardJob
from plant_traits.stages.covariates import describe_layers
from plant_traits.steps import Artifact
from tasks.context import RunContext
from tasks.model import rasters_of
from tasks.sources import read_inputs


@task(name="reduce moments", cache_policy=NO_CACHE)
def reduce_moments(run: RunContext, shards: Artifact, predictions: Artifact, names: str = "") -> Artifact:
    """Reduce the predictions to moments, a shard at a time; ``names`` tells readers which names they are under."""
    predicted = run.store.members(predictions)
    jobs = {
        name: ShardJob(
            step="shard-moments",
            function=reduce_shard,
            code=code_version(reduce_shard.__module__),
            inputs={"shard": shard, "predictions": predicted[name]},
            parameters={"grid": run.spec.grid.text},
        )
        for name, shard in run.store.members(shards).items()
    }
    return run.jobs(f"moments of shards{names}", "moments-of-shards", jobs)


@task(name="merge moments", cache_policy=NO_CACHE)
def merge(run: RunContext, moments: Artifact, names: str = "") -> Artifact:
    """Merge the moments of all shards."""
    folders = [run.store.fetch(member) for member in run.store.members(moments).values()]
    merging = partial(merge_moments, shards=folders)
    return run.step(f"moments{names}", "moments", merging, inputs={"moments": moments.digest})


@task(name="estimate cells", cache_policy=NO_CACHE)
def estimate(
    run: RunContext, world: Artifact | None, moments: Artifact, covariates: Artifact, names: str = ""
) -> Artifact:
    """Estimate every cell with every estimator of the profile, its biome that of its mean climate."""
    estimators = list(run.spec.profile.estimators)
    rasters = rasters_of(run, world)
    return run.step(
        f"cell estimates{names}",
        "estimates",
        partial(
            estimate_cells,
            moments=run.store.fetch(moments),
            estimators=estimators,
            biomes=run.store.fetch(covariates),
            rasters=rasters,
        ),
        parameters={"estimators": estimators, "layers": describe_layers(rasters)},
        inputs={"moments": moments.digest, "covariates": covariates.digest},
        with_progress=True,
    )


@task(name="fill cells", cache_policy=NO_CACHE)
def fill_cells(
    run: RunContext,
    world: Artifact | None,
    inputs: Artifact,
    estimates: Artifact,
    land: Artifact,
    covariates: Artifact,
    model: Artifact,
) -> Artifact:
    """Combine photos with climate and soil in every land cell, and calibrate the cells on plots."""
    rasters = rasters_of(run, world)
    parts = {"estimates": estimates, "land": land, "covariates": covariates, "model": model}
    return run.step(
        "cells from photos and place",
        "cells",
        partial(
            fill_map,
            spec=run.spec,
            root=run.data_root(world),
            rasters=rasters,
            **{name: run.store.fetch(artifact) for name, artifact in parts.items()},
        ),
        parameters={"run": run.spec.parameters, "layers": describe_layers(rasters)},
        inputs={
            "plots": read_inputs(run, inputs).digest("plots", "products"),
            **{name: artifact.digest for name, artifact in parts.items()},
        },
    )


@task(name="expect bias", cache_policy=NO_CACHE)
def expect(
    run: RunContext, world: Artifact | None, inputs: Artifact, estimates: Artifact, covariates: Artifact
) -> Artifact:
    """State by how much the mean of a cell's photos is to be expected to be off, from cells with plots."""
    rasters = rasters_of(run, world)
    return run.step(
        "expected bias",
        "expected-bias",
        partial(
            expect_bias,
            spec=run.spec,
            root=run.data_root(world),
            estimates=run.store.fetch(estimates),
            covariates=run.store.fetch(covariates),
            rasters=rasters,
        ),
        parameters={"run": run.spec.parameters, "layers": describe_layers(rasters)},
        inputs={
            "plots": read_inputs(run, inputs).digest("plots", "products"),
            "estimates": estimates.digest,
            "covariates": covariates.digest,
        },
    )


@task(name="assess applicability", cache_policy=NO_CACHE)
def assess(run: RunContext, world: Artifact | None, covariates: Artifact, model: Artifact) -> Artifact:
    """Say where climate and soil are unlike any that the model was trained on."""
    rasters = rasters_of(run, world)
    return run.step(
        "area of applicability",
        "applicability",
        partial(
            assess_applicability,
            covariates=run.store.fetch(covariates),
            rasters=rasters,
            model=run.store.fetch(model),
            device=run.device,
        ),
        parameters={"layers": describe_layers(rasters), "location encoder": run.place_features.identity},
        inputs={"covariates": covariates.digest, "model": model.digest},
    )


@task(name="reduce to sub-cells", cache_policy=NO_CACHE)
def reduce_to_subcells(run: RunContext, shards: Artifact, predictions: Artifact) -> Artifact:
    """Reduce the predictions to sums by sub-cell, a shard at a time."""
    predicted = run.store.members(predictions)
    jobs = {
        name: ShardJob(
            step="shard-subcells",
            function=reduce_shard_to_subcells,
            code=code_version(reduce_shard_to_subcells.__module__),
            inputs={"shard": shard, "predictions": predicted[name]},
            parameters={"grid": run.spec.grid.text},
        )
        for name, shard in run.store.members(shards).items()
    }
    return run.jobs("sums of sub-cells", "subcells", jobs)


@task(name="weigh by effort", cache_policy=NO_CACHE)
def weigh(run: RunContext, sums: Artifact, observations: Artifact) -> Artifact:
    """Count the effort of every cell, and estimate cells with photos weighed by the effort around them."""
    grid = run.spec.grid.text
    return run.step(
        "cells weighed by effort",
        "effort-weighted",
        partial(
            weigh_by_effort,
            subcells=[run.store.fetch(member) for member in run.store.members(sums).values()],
            observations=run.store.fetch(observations),
            grid=grid,
        ),
        parameters={"grid": grid},
        inputs={"sums": sums.digest, "observations": observations.digest},
    )
