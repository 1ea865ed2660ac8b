"""Tasks: the training table, its cleaning rounds, the heads trained on it, and what each of their parts is worth."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from maps.stages.ablation_table import write_ablation_table
from maps.stages.model_page import write_model_page
from plant_traits.stages.cleaning_rounds import clean_labels
from plant_traits.stages.covariates import describe_layers
from plant_traits.stages.evaluation import evaluate_variant, gather_scores
from plant_traits.stages.shards import ShardSet
from plant_traits.stages.training import train_model
from plant_traits.stages.training_rows import ShardFolders
from plant_traits.stages.training_table import build_training_table
from plant_traits.steps import Artifact, Summary
from plant_traits.workspace import RESUME
from tasks.context import RunContext
from tasks.model import rasters_of
from tasks.sources import read_inputs


@task(name="gather training table", cache_policy=NO_CACHE)
def gather_training_table(
    run: RunContext,
    world: Artifact | None,
    inputs: Artifact,
    shards: ShardSet,
    live: Artifact,
    features: Artifact,
    points: Artifact,
    taxa: Artifact,
) -> Artifact:
    """Put labelled photos of live rows, under the names accepted for them, and measurements side by side."""
    rasters = rasters_of(run, world)
    settings = run.spec.profile.model
    parts = [run.store.members(x) for x in (shards.shards, features, points, live)]
    folders = [ShardFolders(*(run.store.fetch(part[name]) for part in parts)) for name in parts[0]]
    return run.step(
        "training table",
        "training-table",
        partial(
            build_training_table,
            shards=folders,
            taxa=run.store.fetch(taxa),
            rasters=rasters,
            traits=run.spec.traits,
            settings=settings,
        ),
        parameters={
            "settings": settings.model_dump(
                mode="json", include={"train_on_records", "location_encoder", "location_encoder_location"}
            ),
            "traits": run.spec.trait_parameters,
            "layers": describe_layers(rasters),
        },
        inputs={
            "shards": shards.shards.digest,
            "live": live.digest,
            "features": features.digest,
            "points": points.digest,
            "taxa": taxa.digest,
            "rasters": read_inputs(run, inputs).digest("rasters"),
        },
    )


@task(name="clean labels", cache_policy=NO_CACHE)
def clean(run: RunContext, table: Artifact) -> Artifact | None:
    """Find the photos whose labels do not fit them; None where the profile asks for no cleaning rounds."""
    if run.spec.profile.model.cleaning == "none":
        return None
    return _trained(
        run,
        "cleaning rounds",
        "cleaning-rounds",
        partial(clean_labels, **_fitting(run), table=run.store.fetch(table)),
        parameters=_parameters(run),
        inputs={"table": table.digest, **_network_start(run)},
    )


@task(name="train heads", cache_policy=NO_CACHE)
def train_heads(run: RunContext, world: Artifact | None, table: Artifact, cleaning: Artifact | None) -> Artifact:
    """Train the heads on features, covariates and labels."""
    truth = _true_values(run, world)
    licences = _licences(run)
    return _trained(
        run,
        "trained heads",
        "model",
        partial(
            train_model,
            **_fitting(run),
            licences=licences,
            table=run.store.fetch(table),
            cleaning=None if cleaning is None else run.store.fetch(cleaning),
            truth=truth,
        ),
        parameters={**_parameters(run), "licences": licences},
        inputs=_digests(run, table, cleaning, truth),
    )


@task(name="show model", cache_policy=NO_CACHE)
def show_model(run: RunContext, model: Artifact, cleaning: Artifact | None) -> Artifact:
    """Gather weights, card, learning curves and scores in one folder with a page."""
    licences = _licences(run)["encoders"]
    return run.step(
        "model page",
        "model-page",
        partial(
            write_model_page,
            model=run.store.fetch(model),
            cleaning=None if cleaning is None else run.store.fetch(cleaning),
            name=run.spec.name,
            licences=licences,
        ),
        parameters={"name": run.spec.name, "licences": licences},
        inputs={"model": model.digest, "cleaning": "" if cleaning is None else cleaning.digest},
    )


@task(name="evaluate variants", cache_policy=NO_CACHE)
def evaluate(
    run: RunContext,
    world: Artifact | None,
    table: Artifact,
    cleaning: Artifact | None,
    variants: Sequence[str],
    encoder: str | None = None,
) -> list[Artifact]:
    """Train and score variants of the model, one after the other.

    Args:
        run: the run.
        world: its virtual world.
        table: the training table.
        cleaning: what the cleaning rounds dropped.
        variants: names, see ``plant_traits.model.variants``.
        encoder: said of the variants' names where it is not the profile's.
    """
    truth = _true_values(run, world)
    made = []
    for name in variants:
        title = f"variant {name}" if encoder is None else f"variant {name}, {encoder}"
        artifact = _trained(
            run,
            title,
            "variant",
            partial(
                evaluate_variant,
                **_fitting(run),
                name=name,
                encoder=encoder,
                table=run.store.fetch(table),
                cleaning=None if cleaning is None else run.store.fetch(cleaning),
                truth=truth,
            ),
            parameters={**_parameters(run), "name": name, "encoder": encoder},
            inputs=_digests(run, table, cleaning, truth),
        )
        made.append(artifact)
    return made


@task(name="compare variants", cache_policy=NO_CACHE)
def compare_variants(run: RunContext, variants: Sequence[Artifact]) -> Artifact:
    """Gather the variants' scores and their page in one folder."""
    digests = {f"variant {number}": artifact.digest for number, artifact in enumerate(variants)}
    scores = run.step(
        "scores of variants",
        "variant-scores",
        partial(gather_scores, variants=[run.store.fetch(artifact) for artifact in variants]),
        inputs=digests,
    )
    return run.step(
        "evaluation page",
        "evaluation",
        partial(write_ablation_table, scores=run.store.fetch(scores), name=run.spec.name, traits=run.spec.traits),
        parameters={"name": run.spec.name, "traits": run.spec.trait_parameters},
        inputs={"scores": scores.digest},
    )


def with_encoder(run: RunContext, encoder: str) -> RunContext:
    """Return the same run with another photo encoder."""
    model = run.spec.profile.model.model_copy(update={"encoder": encoder})
    return replace(run, spec=replace(run.spec, profile=run.spec.profile.model_copy(update={"model": model})))


def _trained(
    run: RunContext,
    title: str,
    step: str,
    call: partial[Summary],
    *,
    parameters: dict[str, Any],
    inputs: dict[str, str],
) -> Artifact:
    """Run a step that trains, and forget what a killed one would have resumed from."""
    artifact = run.step(title, step, call, parameters=parameters, inputs=inputs, with_progress=True)
    shutil.rmtree(run.workspace.scratch / RESUME, ignore_errors=True)
    return artifact


def _licences(run: RunContext) -> dict[str, dict[str, str]]:
    """Return the licences of the encoder's weights and of the sources that the run reads."""
    encoder = run.photo_encoder
    sources = {str(source["id"]): str(source["licence"]) for source in run.spec.cited}
    return {"encoders": {encoder.name: encoder.licence}, "sources": sources}


def _fitting(run: RunContext) -> dict[str, Any]:
    return {
        "traits": run.spec.traits,
        "settings": run.spec.profile.model,
        "encoder_identity": run.photo_encoder.identity,
        "device": run.device,
        "resume": run.workspace.scratch / RESUME,
    }


def _parameters(run: RunContext) -> dict[str, Any]:
    return {
        "settings": run.spec.profile.model.model_dump(mode="json"),
        "device": run.device,
        "traits": run.spec.trait_parameters,
    }


def _digests(run: RunContext, table: Artifact, cleaning: Artifact | None, truth: Path | None) -> dict[str, str]:
    cleaned = {} if cleaning is None else {"cleaning": cleaning.digest}
    return {"table": table.digest, **cleaned, **_file_digests(truth=truth), **_network_start(run)}


def _network_start(run: RunContext) -> dict[str, str]:
    return _file_digests(network_start=run.spec.profile.model.network_start)


def _true_values(run: RunContext, world: Artifact | None) -> Path | None:
    """Return the table of photographed plants' true values, which virtual worlds alone have."""
    truth = run.spec.inputs.truth
    path = None if truth is None else run.data_root(world) / truth.path / "records.parquet"
    return path if path is not None and path.is_file() else None


def _file_digests(**paths: Path | str | None) -> dict[str, str]:
    return {name: hashlib.sha256(Path(x).read_bytes()).hexdigest() for name, x in paths.items() if x is not None}
