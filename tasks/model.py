"""Tasks: covariates, photo features, and predictions from both."""

from __future__ import annotations

from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from plant_traits.code_version import code_version
from plant_traits.covariates.cube import LayerFolder
from plant_traits.inference.cluster import ShardJob
from plant_traits.inference.known_features import with_earlier_features
from plant_traits.stages import photos, places
from plant_traits.stages.covariates import describe_layers, grid_covariates, layer_folders
from plant_traits.stages.prediction import predict_land, predict_shard
from plant_traits.steps import Artifact
from tasks.context import RunContext
from tasks.sources import read_inputs

BATCH = 4096


@task(name="grid covariates", cache_policy=NO_CACHE)
def bring_to_grid(run: RunContext, world: Artifact | None, inputs: Artifact) -> Artifact:
    """Bring climate and soil to the grid by area-weighted mean."""
    rasters = rasters_of(run, world)
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
    rasters = rasters_of(run, world)
    settings = run.spec.profile.model
    parameters = {
        "rasters": describe_layers(rasters),
        "inputs": read_inputs(run, inputs).digest("rasters"),
        "location_encoder": settings.location_encoder,
        "identity": run.place_features.identity,
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
    """Turn photos into features with the frozen encoder, a shard at a time; none that an earlier run encoded."""
    settings = run.spec.profile.model
    identity = run.photo_encoder.identity
    jobs = {
        name: ShardJob(
            step="shard-features",
            function=photos.encode_shard,
            code=code_version(photos.__name__),
            inputs={"shard": shard},
            parameters={
                "encoder": settings.encoder,
                "location": settings.encoder_location,
                "identity": identity,
            },
            settings={"device": run.device},
        )
        for name, shard in run.store.members(shards).items()
    }
    told = with_earlier_features(run.store, jobs, identity)
    return run.jobs("photo features", "features", told, accelerated=True)


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
    rasters = rasters_of(run, world)
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
        parameters={"layers": describe_layers(rasters), "location encoder": run.place_features.identity},
        inputs={"covariates": covariates.digest, "model": model.digest},
    )


def rasters_of(run: RunContext, world: Artifact | None) -> tuple[LayerFolder, ...]:
    """Return the run's raster sources and where their files lie."""
    placed = run.spec.profile.model_copy(update={"inputs": run.spec.inputs})
    return layer_folders(placed, run.spec.catalog, run.data_root(world))
