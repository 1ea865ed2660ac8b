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
from plant_traits.stages.taxa import gather_trait_records, summarise_taxa
from plant_traits.steps import Artifact
from tasks.context import RunContext, showing_stage
from tasks.sources import read_inputs


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
            region=run.spec.region,
            salt=run.observer_salt,
            previous_ledger=None if before is None else run.store.fetch(before) / "ledger.parquet",
            names=None if names is None else run.store.fetch(names),
            accepted=accepted,
            limits=limits,
        ),
        parameters={
            "month": str(run.spec.month),
            "region": list(run.spec.region.bbox),
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


def _digests(**artifacts: Artifact | None) -> dict[str, str]:
    return {name: artifact.digest for name, artifact in artifacts.items() if artifact is not None}
