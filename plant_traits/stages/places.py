"""Stage: what a model reads of a place, covariates and the features of location encoders, at a shard's records."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from plant_traits.errors import ModelError
from plant_traits.model.location_encoders import PlaceFeatures, load_place_features
from plant_traits.schemas import SHARD_ROW, read_table
from plant_traits.stages.covariates import read_points, sample_shard, write_points
from plant_traits.steps import Summary


@lru_cache(maxsize=1)
def place_features(name: str, location: str | None, identity: str | None = None) -> PlaceFeatures:
    """Load location encoders once per process, checked to be those that a run was planned with.

    Args:
        name: the profile's ``model.location_encoder``.
        location: the profile's ``model.location_encoder_location``.
        identity: identity of the choice where the run was planned; not checked by default.

    Raises:
        ModelError: an encoder cannot be loaded, or is not the one the run was planned with.
    """
    torch.set_num_threads(1)  # one process per core; more threads would only compete
    places = load_place_features(name, location)
    if identity is not None and places.identity != identity:
        raise ModelError(
            f"location encoder {name!r} is {places.identity} here and {identity} where the run was planned: install "
            "the same weights on every worker"
        )
    return places


def sample_places(
    destination: Path,
    *,
    shard: Path,
    rasters: list[dict[str, Any]],
    inputs: str,
    folders: list[str],
    location_encoder: str,
    location: str | None,
    identity: str,
) -> Summary:
    """Read every covariate at the records of a shard and encode their places; write ``points.npz`` with the columns.

    Args:
        destination: an empty folder.
        shard: a shard's folder.
        rasters: what ``describe_layers`` returned.
        inputs: digest of the raster files; part of the step's key.
        folders: local folder of each raster source.
        location_encoder: what the model reads of a place, see ``load_place_features``; part of the step's key.
        location: hub id or local folder of a location encoder that needs one.
        identity: of the location encoders the run was planned with; part of the step's key.

    Returns:
        Counts of records, and of those that lie on no covariate.

    Raises:
        InputError: a raster is missing or contradicts the catalogue.
        ModelError: a location encoder cannot be loaded, or is not the one the run was planned with.
    """
    features = place_features(location_encoder, location, identity)
    summary = sample_shard(destination, shard=shard, rasters=rasters, inputs=inputs, folders=folders)
    if features.encoders:
        places = read_table(shard / "observations.parquet", SHARD_ROW, ["latitude", "longitude"])
        matrix, names = features.append(*read_points(destination), places["latitude"], places["longitude"])
        write_points(destination, matrix, names)
    return summary
