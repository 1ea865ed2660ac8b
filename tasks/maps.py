"""Tasks: the map product, its comparison and the release."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd
from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from maps.stages import thumbnails
from maps.stages.citation import asked_for, count_records, lasting_facts
from maps.stages.comparison import compare_maps
from maps.stages.contact_sheet import SheetFolders, write_photos_page
from maps.stages.name_effect import GateOutputs, tell_names
from maps.stages.products import build_maps
from maps.stages.release import REPORT, SUMMARY, StageOutput, write_release
from maps.stages.thumbnails import read_thumbnails, write_thumbnails
from maps.stages.versions import keep_version
from plant_traits.code_version import code_version
from plant_traits.runs import point_at, record_run
from plant_traits.stages.acquisition import manifests
from plant_traits.steps import Artifact
from tasks.context import RunContext
from tasks.names import DECISIONS
from tasks.showing import showing_stage
from tasks.sources import read_inputs

# Everything that took part in the maps, for their provenance.
RUN_CODE = "flows.refresh"
NAMES = "effect of names"


@task(name="build maps", cache_policy=NO_CACHE)
def lay_out_maps(
    run: RunContext,
    inputs: Artifact,
    cells: Artifact,
    estimates: Artifact,
    applicability: Artifact,
    effort: Artifact,
    bias: Artifact,
    model: Artifact,
) -> Artifact:
    """Write the map product as Zarr and GeoTIFFs."""
    provenance = {
        "configuration": json.dumps(run.spec.parameters, sort_keys=True),
        "inputs": inputs.digest,
        "code_version": code_version(RUN_CODE),
        "model_id": str(model.summary["model_id"]),
        "license": "see the sources in the report",
    }
    parts = {"cells": cells, "estimates": estimates, "applicability": applicability, "effort": effort, "bias": bias}
    return run.step(
        "maps",
        "maps",
        partial(
            build_maps,
            spec=run.spec,
            provenance=provenance,
            **{name: run.store.fetch(artifact) for name, artifact in parts.items()},
        ),
        parameters={"run": run.spec.parameters, "provenance": provenance},
        inputs={name: artifact.digest for name, artifact in parts.items()},
    )


@task(name="compare maps", cache_policy=NO_CACHE)
def compare(
    run: RunContext,
    world: Artifact | None,
    inputs: Artifact,
    maps: Artifact,
    cells: Artifact,
    estimates: Artifact,
    weighted: Artifact,
    land: Artifact,
    observations: Artifact,
    taxa: Artifact,
) -> Artifact:
    """Score the maps against plots, known truth and each other."""
    parts = {
        "maps": maps,
        "cells": cells,
        "estimates": estimates,
        "weighted": weighted,
        "land": land,
        "observations": observations,
        "taxa": taxa,
    }
    listed = read_inputs(run, inputs)
    return run.step(
        "comparison",
        "comparison",
        partial(
            compare_maps,
            spec=run.spec,
            root=run.data_root(world),
            **{name: run.store.fetch(artifact) for name, artifact in parts.items()},
        ),
        parameters={"run": run.spec.parameters},
        inputs={
            "references": listed.digest("plots", "products", "truth"),
            **{name: artifact.digest for name, artifact in parts.items()},
        },
    )


@task(name="tell names", cache_policy=NO_CACHE)
def tell_of_names(
    run: RunContext, decisions: Artifact, accepted: Artifact, stated: Artifact, comparison: Artifact
) -> Artifact:
    """Count the gate's decisions, and meet the cells under accepted names with those under stated ones."""
    parts = {"decisions": decisions, "accepted": accepted, "stated": stated, "comparison": comparison}
    return run.step(
        "effect of names",
        "name-effect",
        partial(tell_names, spec=run.spec, **{name: run.store.fetch(artifact) for name, artifact in parts.items()}),
        parameters={"run": run.spec.parameters},
        inputs={name: artifact.digest for name, artifact in parts.items()},
    )


@task(name="count records", cache_policy=NO_CACHE)
def cite(
    run: RunContext,
    world: Artifact | None,
    maps: Artifact,
    live: Artifact,
    predictions: Artifact,
    votes: Artifact | None = None,
) -> Artifact:
    """Count the records that entered the maps, by data set, and write their citation."""
    acquired = manifests(run.spec, run.data_root(world), voted=votes is not None)
    held = {name: run.store.fetch(member) for name, member in run.store.members(live).items()}
    predicted = {name: run.store.fetch(member) for name, member in run.store.members(predictions).items()}
    return run.step(
        "records used",
        "citation",
        partial(
            count_records,
            spec=run.spec,
            maps=run.store.fetch(maps),
            shards=held,
            predictions=predicted,
            acquired=acquired,
        ),
        parameters={
            "run": run.spec.parameters,
            "acquired": [[x.source, asked_for(x), lasting_facts(x)] for x in acquired],
        },
        inputs={"maps": maps.digest, "live": live.digest, "predictions": predictions.digest},
    )


@task(name="show photos", cache_policy=NO_CACHE)
def show_photos(
    run: RunContext,
    shards: Artifact,
    live: Artifact,
    predictions: Artifact,
    points: Artifact,
    features: Artifact,
    model: Artifact,
) -> Artifact:
    """Lay out the photos of live rows with what was predicted from each."""
    parts = [run.store.members(x) for x in (shards, predictions, points, features, live)]
    names = list(parts[0])
    folders = [SheetFolders(*(run.store.fetch(part[name]) for part in parts)) for name in names]
    title = f"{run.spec.profile.title}: photos"
    simulated, unlicensed = run.spec.profile.inputs.world is not None, run.spec.profile.show_unlicensed_photos
    return run.step(
        "page of photos",
        "photos-page",
        partial(
            write_photos_page,
            shards=folders,
            model=run.store.fetch(model),
            title=title,
            simulated=simulated,
            show_unlicensed=unlicensed,
            drawn=lambda number, photos: _drawn(run, parts[0][names[number]], photos),
        ),
        parameters={"title": title, "simulated": simulated, "show_unlicensed": unlicensed},
        inputs={
            "shards": shards.digest,
            "live": live.digest,
            "predictions": predictions.digest,
            "points": points.digest,
            "features": features.digest,
            "model": model.digest,
        },
    )


def _drawn(run: RunContext, shard: Artifact, photos: Sequence[str]) -> pd.DataFrame:
    """Return thumbnails of a shard's photos: a step of its own, since few shards or choices differ between months."""
    made = run.store.run(
        "thumbnails",
        partial(write_thumbnails, shard=run.store.fetch(shard), photos=photos),
        code=code_version(thumbnails.__name__),
        parameters={"photos": list(photos)},
        inputs={"shard": shard.digest},
    )
    return read_thumbnails(run.store.fetch(made))


@task(name="release", cache_policy=NO_CACHE)
def release(run: RunContext, finished: Mapping[str, Artifact | None]) -> str:
    """Gather maps, scores, report and checksums, keep the version, point the release at it and return its address."""
    stages = {name: artifact for name, artifact in finished.items() if artifact is not None}
    outputs = [StageOutput(name, artifact) for name, artifact in stages.items()]
    code = code_version(RUN_CODE)
    made = run.step(
        "release",
        "release",
        partial(
            write_release,
            spec=run.spec,
            inputs=read_inputs(run, stages["inputs"]),
            maps=run.store.fetch(stages["maps"]),
            cells=run.store.fetch(stages["cells"]),
            comparison=run.store.fetch(stages["comparison"]),
            citation=run.store.fetch(stages["records used"]),
            photos=run.store.fetch(stages["page of photos"]),
            model=run.store.fetch(stages["model page"]),
            stages=outputs,
            training=stages["model"].summary["metrics"],
            code=code,
            names=GateOutputs(run.store.fetch(stages[DECISIONS]), run.store.fetch(stages[NAMES]))
            if NAMES in stages
            else None,
        ),
        parameters={
            "run": run.spec.parameters,
            "sources": run.spec.cited,
            "code": code,
            "summaries": {name: artifact.summary for name, artifact in stages.items()},
        },
        inputs={name: artifact.digest for name, artifact in stages.items()},
    )
    record_run(run.workspace, run.spec, {**stages, "release": made})
    # Asked of every run: one that was killed after its release is followed by one that commits it.
    with showing_stage("version") as stage:
        stage.artifact = keep_version(
            run.workspace,
            run.spec,
            release=run.store.fetch(made),
            key=made.key,
            model_id=str(stages["model"].summary["model_id"]),
        )
    address = point_at(run.workspace, "releases", run.spec.name, made)
    if TaskRunContext.get() is not None:
        summary = (run.store.fetch(made) / SUMMARY).read_text(encoding="utf-8")
        create_markdown_artifact(key="refresh-summary", markdown=summary, description=run.spec.name)
        create_link_artifact(key="refresh-report", link=f"file://{address}/{REPORT}", description=run.spec.name)
    return address
