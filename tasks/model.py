"""Tasks: covariates, photo features, the trained heads and their predictions."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from plant_traits.code_version import code_version
from plant_traits.covariates.cube import LayerFolder
from plant_traits.inference.cluster import ShardJob
from plant_traits.model.encoders import load_encoder
from plant_traits.stages import photos, places
from plant_traits.stages.covariates import describe_layers, grid_covariates, layer_folders
from plant_traits.stages.prediction import predict_land, predict_shard
from plant_traits.stages.training import ShardFolders, train_model
from plant_traits.steps import Artifact
from tasks.context import RunContext
from tasks.sources import read_inputs

BATCH = 4096


@task(name="grid covariates", cache_policy=NO_CACHE)
def bring_to_grid(run: RunContext, world: Artifact | None, inputs: Artifact) -> Artifact:
    """Bring climate and soil to the grid by area-weighted mean."""
    rasters = _rasters(run, world)
    return run.step(
        "covariates on the grid",
        "covariates",
        partial(grid_covariates, rasters=rasters, grid=run.spec.grid, region=run.spec.region),
        parameters={
            "layers": describe_layers(rasters),
            "grid": run.spec.grid.text,
            "region": list(run.spec.region.bbox),
        },
        inputs={"rasters": read_inputs(run, inputs).digest("rasters")},
    )


@task(name="sample covariates", cache_policy=NO_CACHE)
def sample_at_records(run: RunContext, world: Artifact | None, inputs: Artifact, shards: Artifact) -> Artifact:
    """Read climate and soil, and what a location encoder says, at every record, a shard at a time."""
    rasters = _rasters(run, world)
    settings = run.spec.profile.model
    parameters = {
        "rasters": describe_layers(rasters),
        "inputs": read_inputs(run, inputs).digest("rasters"),
        "location_encoder": settings.location_encoder,
        "identity": places.place_features(settings.location_encoder, settings.location_encoder_location).identity,
    }
    jobs = {
        name: ShardJob(
            step="point-covariates",
            function=places.sample_places,
            code=code_version(places.__name__),
            inputs={"shard": shard},
            parameters=parameters,
            settings={
                "folders": [str(x.folder) for x in rasters],
                "location": settings.location_encoder_location,
            },
        )
        for name, shard in run.store.members(shards).items()
    }
    return run.jobs("covariates at the records", "points", jobs)


@task(name="encode photos", cache_policy=NO_CACHE)
def encode_photos(run: RunContext, shards: Artifact) -> Artifact:
    """Turn photos into features with the frozen encoder, a shard at a time."""
    settings = run.spec.profile.model
    encoder = load_encoder(settings.encoder, settings.encoder_location)
    jobs = {
        name: ShardJob(
            step="shard-features",
            function=photos.encode_shard,
            code=code_version(photos.__name__),
            inputs={"shard": shard},
            parameters={
                "encoder": settings.encoder,
                "location": settings.encoder_location,
                "identity": encoder.identity,
            },
            settings={"device": run.device},
        )
        for name, shard in run.store.members(shards).items()
    }
    return run.jobs("photo features", "features", jobs, accelerated=True)


@task(name="train heads", cache_policy=NO_CACHE)
def train_heads(
    run: RunContext,
    world: Artifact | None,
    inputs: Artifact,
    shards: Artifact,
    features: Artifact,
    points: Artifact,
    taxa: Artifact,
) -> Artifact:
    """Train the heads on features, covariates and labels."""
    rasters, truth = _rasters(run, world), _true_values(run, world)
    settings = run.spec.profile.model
    identity = load_encoder(settings.encoder, settings.encoder_location).identity
    parts = [run.store.members(x) for x in (shards, features, points)]
    folders = [ShardFolders(*(run.store.fetch(part[name]) for part in parts)) for name in parts[0]]
    return run.step(
        "trained heads",
        "model",
        partial(
            train_model,
            shards=folders,
            taxa=run.store.fetch(taxa),
            rasters=rasters,
            traits=run.spec.traits,
            settings=settings,
            encoder_identity=identity,
            device=run.device,
            truth=truth,
        ),
        parameters={
            "settings": settings.model_dump(mode="json"),
            "device": run.device,
            "traits": run.spec.trait_parameters,
            "layers": describe_layers(rasters),
        },
        inputs={
            "shards": shards.digest,
            "features": features.digest,
            "points": points.digest,
            "taxa": taxa.digest,
            "rasters": read_inputs(run, inputs).digest("rasters"),
            **_file_digests(truth=truth, network_start=settings.network_start),
        },
        with_progress=True,
    )


@task(name="predict records", cache_policy=NO_CACHE)
def predict_records(
    run: RunContext, shards: Artifact, features: Artifact, points: Artifact, model: Artifact
) -> Artifact:
    """Predict the traits of every record, a shard at a time."""
    of_features, of_points = run.store.members(features), run.store.members(points)
    jobs = {
        name: ShardJob(
            step="shard-predictions",
            function=predict_shard,
            code=code_version(predict_shard.__module__),
            inputs={"shard": shard, "features": of_features[name], "points": of_points[name], "model": model},
            settings={"batch_size": BATCH, "device": run.device},
        )
        for name, shard in run.store.members(shards).items()
    }
    return run.jobs("predictions", "predictions", jobs, accelerated=True)


@task(name="predict land", cache_policy=NO_CACHE)
def predict_land_cells(run: RunContext, world: Artifact | None, covariates: Artifact, model: Artifact) -> Artifact:
    """Predict every land cell from its climate and soil."""
    rasters = _rasters(run, world)
    return run.step(
        "predictions for land cells",
        "land",
        partial(
            predict_land,
            covariates=run.store.fetch(covariates),
            rasters=rasters,
            model=run.store.fetch(model),
            batch_size=BATCH,
            device=run.device,
        ),
        parameters={"layers": describe_layers(rasters)},
        inputs={"covariates": covariates.digest, "model": model.digest},
    )


def _true_values(run: RunContext, world: Artifact | None) -> Path | None:
    """Return the table of photographed plants' true values, which virtual worlds alone have."""
    truth = run.spec.inputs.truth
    path = None if truth is None else run.data_root(world) / truth.path / "records.parquet"
    return path if path is not None and path.is_file() else None


def _rasters(run: RunContext, world: Artifact | None) -> tuple[LayerFolder, ...]:
    placed = run.spec.profile.model_copy(update={"inputs": run.spec.inputs})
    return layer_folders(placed, run.spec.catalog, run.data_root(world))


def _file_digests(**paths: Path | str | None) -> dict[str, str]:
    return {name: hashlib.sha256(Path(x).read_bytes()).hexdigest() for name, x in paths.items() if x is not None}
