"""Tasks: what is known of taxa, clean observations, and shards of them."""

from __future__ import annotations

import hashlib
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from plant_traits.code_version import code_version
from plant_traits.runs import previous_observations, previous_run
from plant_traits.stages import shards
from plant_traits.stages.observations import ObservationLimits, build_observations
from plant_traits.stages.shards import ShardSet
from plant_traits.stages.taxa import gather_trait_records, summarise_taxa
from plant_traits.steps import Artifact
from tasks.context import RunContext
from tasks.showing import showing_stage
from tasks.sources import read_inputs

# Under which names a run notes its shards for the next one to find.
SHARDS, LIVE_SHARDS, SHARD_PLAN = "shards", "live shards", "rows of shards"


@task(name="read trait tables", cache_policy=NO_CACHE)
def read_trait_tables(run: RunContext, world: Artifact | None, inputs: Artifact) -> Artifact:
    """Read every trait table."""
    listed = read_inputs(run, inputs)
    return run.step(
        "trait records",
        "trait-records",
        partial(gather_trait_records, root=run.data_root(world), inputs=listed, traits=run.spec.traits),
        parameters={"traits": run.spec.trait_parameters},
        inputs={"traits": listed.digest("traits")},
    )


@task(name="summarise traits", cache_policy=NO_CACHE)
def summarise_traits(run: RunContext, records: Artifact, names: Artifact | None) -> Artifact:
    """Summarise each trait within species, genera and families."""
    return run.step(
        "species traits",
        "taxa",
        partial(
            summarise_taxa,
            records=run.store.fetch(records),
            names=None if names is None else run.store.fetch(names),
            traits=run.spec.traits,
        ),
        parameters={"traits": run.spec.trait_parameters},
        inputs=_digests(records=records, names=names),
    )


@task(name="clean observations", cache_policy=NO_CACHE)
def clean_observations(
    run: RunContext, world: Artifact | None, inputs: Artifact, taxa: Artifact, names: Artifact | None
) -> Artifact:
    """Read, clean and key all occurrences, and enter them in the ledger."""
    listed = read_inputs(run, inputs)
    before = previous_observations(run.workspace, run.spec)
    profile = run.spec.profile
    limits = ObservationLimits(profile.photos_per_observer_day, profile.largest_drop, profile.may_shrink)
    accepted = run.spec.sources_with_accepted_names
    return run.step(
        "observations",
        "observations",
        partial(
            build_observations,
            root=run.data_root(world),
            inputs=listed,
            taxa=run.store.fetch(taxa),
            month=run.spec.month,
            region=run.spec.area,
            salt=run.observer_salt,
            previous_ledger=None if before is None else run.store.fetch(before) / "ledger.parquet",
            names=None if names is None else run.store.fetch(names),
            accepted=accepted,
            limits=limits,
        ),
        parameters={
            "month": str(run.spec.month),
            "region": run.spec.area_key,
            "limits": [limits.photos_per_observer_day, limits.largest_drop, sorted(limits.may_shrink)],
            "accepted": list(accepted),
            "salt": hashlib.sha256(run.observer_salt.encode()).hexdigest()[:16],
        },
        inputs={
            "occurrences": listed.digest("occurrences", "reference"),
            **_digests(taxa=taxa, names=names, before=before),
        },
    )


@task(name="cut shards", cache_policy=NO_CACHE)
def cut_shards(
    run: RunContext, world: Artifact | None, inputs: Artifact, observations: Artifact, photos: Artifact | None
) -> ShardSet:
    """Keep the shards of the run before and cut the rest; photos that are fetched must have been fetched before."""
    with showing_stage("shards") as stage:
        made = shards.cut_shards(
            run.store,
            root=run.data_root(world),
            inputs=read_inputs(run, inputs),
            observations=observations,
            size=run.spec.profile.shard_size,
            code=code_version(shards.__name__),
            previous=_previous_shards(run),
            progress=stage.progress,
        )
        stage.artifact = made.shards
    return made


def _previous_shards(run: RunContext) -> ShardSet | None:
    before = previous_run(run.workspace, run.spec)
    if before is None:
        return None
    found = [before.artifact(run.store, name) for name in (SHARDS, LIVE_SHARDS, SHARD_PLAN)]
    parts = [artifact for artifact in found if artifact is not None]
    return ShardSet(*parts) if len(parts) == len(found) else None


def _digests(**artifacts: Artifact | None) -> dict[str, str]:
    return {name: artifact.digest for name, artifact in artifacts.items() if artifact is not None}
