"""Tasks: the virtual world where a profile asks for one, what a run fetches, and the list of its inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from plant_traits.code_version import code_version
from plant_traits.collected import record_collected
from plant_traits.sources.acquire import Acquired
from plant_traits.sources.inputs import InputSet, fingerprint, listing
from plant_traits.sources.protocol import NAMES, OBSERVATIONS, VOTED
from plant_traits.sources.web.client import Web
from plant_traits.stages import acquisition, names
from plant_traits.stages.photo_list import list_photos, state_of_lists
from plant_traits.stages.world import simulate
from plant_traits.steps import Artifact
from tasks.context import RunContext
from tasks.services import asking
from tasks.showing import Progress, showing_stage


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
    """Fetch what the profile fetches, then list and hash every input."""
    root = run.data_root(world)
    with showing_stage("inputs") as stage:
        if world is not None:
            acquisition.bring(root, run.store.fetch(world), run.spec.inputs.brought)
        today = datetime.now(UTC).date() if world is None else None
        acquisition.check_acquisitions(run.spec, root, today)
        _fetch(run, world, acquisition.acquisitions(run.spec), {}, stage.progress)
        record_collected(run.workspace, run.spec.lineage, run.spec.month, run.spec.collected)
        listed = listing(run.spec.inputs, run.spec.profile.traits, run.spec.catalog, root)
        stage.artifact = run.store.run(
            "inputs",
            partial(fingerprint, listed=listed, root=root),
            code=code_version(fingerprint.__module__),
            parameters={"files": listed},
        )
    return stage.artifact


@task(name="match names", cache_policy=NO_CACHE)
def match_names(run: RunContext, world: Artifact | None, inputs: Artifact, records: Artifact) -> Artifact | None:
    """Ask for the accepted names of trait tables and occurrences; a profile without a taxonomy asks nobody."""
    items = acquisition.acquisitions(run.spec, NAMES)
    if not items:
        return None
    listed = read_inputs(run, inputs)
    accepted = run.spec.sources_with_accepted_names
    root = run.data_root(world)
    asked = run.step(
        "names to match",
        "names-to-match",
        partial(names.collect_names, root=root, inputs=listed, records=run.store.fetch(records), accepted=accepted),
        parameters={"accepted": list(accepted)},
        inputs={"occurrences": listed.digest("occurrences"), "records": records.digest},
    )
    table = run.store.fetch(asked) / names.NAMES
    with showing_stage("names") as stage:
        _fetch(run, world, items, {NAMES: table}, stage.progress)
        answers = root / items[0].item.into / names.NAMES
        stage.artifact = run.store.run(
            "names",
            partial(names.keep_answers, answers=answers),
            code=code_version(names.__name__),
            inputs={"answers": hashlib.sha256(answers.read_bytes()).hexdigest()},
        )
    return stage.artifact


@task(name="fetch photos", cache_policy=NO_CACHE)
def fetch_photos(run: RunContext, world: Artifact | None, observations: Artifact) -> Artifact | None:
    """Fetch the photos of the observations that the store does not have; a profile of photo files has none to fetch."""
    items = acquisition.acquisitions(run.spec, OBSERVATIONS)
    if not items:
        return None
    root = run.data_root(world)
    table = run.store.fetch(observations) / "observations.parquet"
    stores = [root / wanted.item.into for wanted in items]
    with showing_stage("photos") as stage:
        _fetch(run, world, items, {OBSERVATIONS: table}, stage.progress)
        stage.artifact = run.store.run(
            "photos",
            partial(list_photos, stores=stores),
            code=code_version(list_photos.__module__),
            inputs={"photos": state_of_lists(stores)},
        )
    return stage.artifact


def fetch_identifications(run: RunContext, world: Artifact | None, observations: Artifact) -> list[Path]:
    """Fetch what people say the observations are, and return the folders it lies in; none where nobody is asked."""
    items = acquisition.acquisitions(run.spec, VOTED)
    table = run.store.fetch(observations) / "observations.parquet"
    _fetch(run, world, items, {VOTED: table}, lambda finished, total, words="": None)
    return [run.data_root(world) / wanted.item.into for wanted in items]


def read_inputs(run: RunContext, inputs: Artifact) -> InputSet:
    """Return the list that ``acquire`` made."""
    return InputSet.read(run.store.fetch(inputs) / "inputs.json")


def _fetch(
    run: RunContext,
    world: Artifact | None,
    items: Sequence[acquisition.Wanted],
    tables: Mapping[str, Path],
    progress: Progress,
) -> None:
    if not items:
        return
    with asking(run, world) as web:
        done = acquisition.acquire(run.spec, run.data_root(world), web, items=items, tables=tables, progress=progress)
        _tell(done, web)


def _tell(done: Sequence[Acquired], web: Web) -> None:
    """Show what was asked as a Prefect artifact. It differs from run to run, and so is no part of any output."""
    if TaskRunContext.get() is None:
        return
    rows = [
        {
            "source": x.source,
            "state": "there already" if x.reused else "fetched",
            "files": len(x.files),
            "bytes": sum(x.files.values()),
            "rows": x.counts.get("rows"),
            "lost": sum(x.lost.values()),
        }
        for x in done
    ]
    asked = f"{web.tally.requests} requests, {web.tally.retries} repeated, {web.tally.bytes} bytes"
    create_table_artifact(rows, key="acquisition", description=asked)
