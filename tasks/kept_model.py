"""Tasks: the model that a run maps with: kept by earlier runs, given by the operator, or one that is trained."""

from __future__ import annotations

import hashlib
import logging
import shutil
import uuid
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from plant_traits.covariates.cube import list_covariates
from plant_traits.kept_model import KeptModel, find_kept, keep_model
from plant_traits.kept_pointer import differences
from plant_traits.stages.covariates import describe_layers
from plant_traits.stages.given_model import fetch_model, take_model
from plant_traits.steps import Artifact
from tasks.context import RunContext
from tasks.model import rasters_of
from tasks.showing import showing_stage
from tasks.training import show_model

KEPT, NEW = "kept", "new"

logger = logging.getLogger("plant_traits.run")


@task(name="choose model", cache_policy=NO_CACHE)
def choose_model(run: RunContext, world: Artifact | None, model: str) -> KeptModel | None:
    """Return the model to map with, or None where one is to be trained.

    Args:
        run: the run.
        world: its virtual world.
        model: ``kept`` for the model of the run's lineage as long as its settings, traits, encoders and covariates are
            those of the run; ``new`` for none; else the folder or address of a model.
    """
    if model == NEW:
        return None
    if model != KEPT:
        return _given(run, world, model)
    kept = find_kept(run.workspace, run.spec.lineage)
    if kept is None:
        return None
    other = differences(kept, _wanted(run, world))
    if other:
        logger.warning("the kept model has other %s: a new one is trained", " and ".join(other))
        return None
    for title, artifact in (*kept.made_of.items(), ("trained heads", kept.model), ("model page", kept.page)):
        with showing_stage(title) as stage:
            stage.artifact = artifact
    return kept


@task(name="keep model", cache_policy=NO_CACHE)
def keep_trained(
    run: RunContext, world: Artifact | None, model: Artifact, page: Artifact, table: Artifact, cleaning: Artifact | None
) -> KeptModel:
    """Keep a trained model for the runs that follow."""
    made_of = {"training table": table, **({} if cleaning is None else {"cleaning rounds": cleaning})}
    kept = KeptModel(model, page, made_of, run.spec.name, str(run.spec.month), _wanted(run, world))
    keep_model(run.workspace, run.spec.lineage, kept)
    return kept


@task(name="tell of model", cache_policy=NO_CACHE)
def tell_of(run: RunContext, kept: KeptModel) -> Artifact:
    """Note which model a run maps with, for its report."""
    members = {"model": kept.model, "page": kept.page, **kept.made_of}
    with showing_stage("model") as stage:
        stage.artifact = run.store.collect("kept-model", members, {"told": kept.told})
    return stage.artifact


def _given(run: RunContext, world: Artifact | None, address: str) -> KeptModel:
    settings = run.spec.profile.model
    encoder = run.photo_encoder.identity
    names = run.place_features.names_behind(tuple(x.name for x in list_covariates(rasters_of(run, world))))
    aside = run.workspace.scratch / f"given-model-{uuid.uuid4().hex[:8]}"
    try:
        aside.mkdir(parents=True)
        digest = fetch_model(address, aside)
        model = run.step(
            "trained heads",
            "given-model",
            partial(
                take_model,
                given=aside,
                traits=run.spec.traits,
                encoder_identity=encoder,
                location_encoder=settings.location_encoder,
                covariate_names=names,
            ),
            parameters={
                "traits": run.spec.trait_parameters,
                "encoder_identity": encoder,
                "location_encoder": settings.location_encoder,
                "covariate_names": list(names),
            },
            inputs={"files": digest},
        )
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    name = address.rstrip("/").rpartition("/")[2]
    kept = KeptModel(model, show_model(run, model, None), {}, name, None, _wanted(run, world))
    keep_model(run.workspace, run.spec.lineage, kept)
    return kept


def _wanted(run: RunContext, world: Artifact | None) -> dict[str, Any]:
    """Return what a model must have in common with a run, as JSON by name."""
    settings = run.spec.profile.model
    start = settings.network_start
    return {
        "settings": settings.model_dump(mode="json"),
        "traits": run.spec.trait_parameters,
        "photo encoder": run.photo_encoder.identity,
        "location encoder": run.place_features.identity,
        "covariates": describe_layers(rasters_of(run, world)),
        "network start": None if start is None else hashlib.sha256(Path(start).read_bytes()).hexdigest(),
    }
