"""Tasks: what is known of taxa, clean observations, and shards of them."""

from __future__ import annotations

import hashlib
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from plant_traits.code_version import code_version
from plant_traits.runs import previous_observations
from plant_traits.stages import shards
from plant_traits.stages.observations import ObservationLimits, build_observations
from plant_traits.stages.taxa import summarise_taxa
from plant_traits.steps import Artifact
from tasks.context import RunContext, showing_stage
from tasks.sources import read_inputs


@task(name="summarise traits", cache_policy=NO_CACHE)
def summarise_traits(run: RunContext, world: Artifact | None, inputs: Artifact) -> Artifact:
    """Summarise each trait within species, genera and families."""
    listed = read_inputs(run, inputs)
    return run.step(
        "species traits",
        "taxa",
        partial(summarise_taxa, root=run.data_root(world), inputs=listed, traits=run.spec.traits),
        parameters={"traits": run.spec.trait_parameters},
        inputs={"traits": listed.digest("traits")},
    )


@task(name="clean observations", cache_policy=NO_CACHE)
def clean_observations(run: RunContext, world: Artifact | None, inputs: Artifact, taxa: Artifact) -> Artifact:
    """Read, clean and key all occurrences, and enter them in the ledger."""
    listed = read_inputs(run, inputs)
    before = previous_observations(run.workspace, run.spec)
    profile = run.spec.profile
    limits = ObservationLimits(profile.photos_per_observer_day, profile.largest_drop, profile.may_shrink)
    digests = {"occurrences": listed.digest("occurrences", "reference"), "taxa": taxa.digest}
    return run.step(
        "observations",
        "observations",
        partial(
            build_observations,
            root=run.data_root(world),
            inputs=listed,
            taxa=run.store.fetch(taxa),
            month=run.spec.month,
            region=run.spec.region,
            salt=run.observer_salt,
            previous_ledger=None if before is None else run.store.fetch(before) / "ledger.parquet",
            limits=limits,
        ),
        parameters={
            "month": str(run.spec.month),
            "region": list(run.spec.region.bbox),
            "limits": [limits.photos_per_observer_day, limits.largest_drop, sorted(limits.may_shrink)],
            "salt": hashlib.sha256(run.observer_salt.encode()).hexdigest()[:16],
        },
        inputs=digests if before is None else {**digests, "before": before.digest},
    )


@task(name="cut shards", cache_policy=NO_CACHE)
def cut_shards(
    run: RunContext, world: Artifact | None, inputs: Artifact, observations: Artifact, photos: Artifact | None
) -> Artifact:
    """Cut observations and their photos into shards; photos that are fetched must have been fetched before."""
    with showing_stage("shards") as stage:
        stage.artifact = shards.cut_shards(
            run.store,
            root=run.data_root(world),
            inputs=read_inputs(run, inputs),
            observations=run.store.fetch(observations),
            size=run.spec.profile.shard_size,
            code=code_version(shards.__name__),
            progress=stage.progress,
        )
    return stage.artifact
