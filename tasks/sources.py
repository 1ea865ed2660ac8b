"""Tasks: the virtual world where a profile asks for one, and the list of a run's inputs."""

from __future__ import annotations

from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from plant_traits.sources.inputs import InputSet, fingerprint, listing
from plant_traits.stages.world import simulate
from plant_traits.steps import Artifact
from tasks.context import RunContext


@task(name="simulate world", cache_policy=NO_CACHE)
def simulate_world(run: RunContext) -> Artifact | None:
    """Build the virtual world of the profile; a profile of real files has none."""
    settings = run.spec.profile.inputs.world
    if settings is None:
        return None
    workers = run.spec.profile.workers
    sources = {item.source: run.spec.catalog.source(item.source) for item in run.spec.profile.inputs.rasters}
    return run.step(
        "virtual world",
        "world",
        partial(simulate, settings=settings, traits=run.spec.traits, sources=sources, workers=workers),
        parameters={
            "world": settings.model_dump(mode="json"),
            "traits": run.spec.trait_parameters,
            "sources": {name: source.model_dump(mode="json") for name, source in sources.items()},
        },
        with_progress=True,
    )


@task(name="acquire", cache_policy=NO_CACHE)
def acquire(run: RunContext, world: Artifact | None) -> Artifact:
    """List and hash every input of the profile."""
    root = run.data_root(world)
    listed = listing(run.spec.profile, run.spec.catalog, root)
    return run.step("inputs", "inputs", partial(fingerprint, listed=listed, root=root), parameters={"files": listed})


def read_inputs(run: RunContext, inputs: Artifact) -> InputSet:
    """Return the list that ``acquire`` made."""
    return InputSet.read(run.store.fetch(inputs) / "inputs.json")
