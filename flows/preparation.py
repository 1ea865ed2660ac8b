"""What every flow begins with: sources fetched, records cleaned, photos and places turned into what a model reads."""

from __future__ import annotations

from dataclasses import dataclass

from plant_traits.steps import Artifact
from tasks.context import RunContext
from tasks.model import encode_photos, sample_at_records
from tasks.observations import clean_observations, cut_shards, read_trait_tables, summarise_traits
from tasks.sources import acquire, fetch_photos, match_names, simulate_world
from tasks.training import clean, gather_training_table


@dataclass(frozen=True)
class Records:
    """The records of a run, its photos fetched."""

    world: Artifact | None
    inputs: Artifact
    trait_records: Artifact
    names: Artifact | None
    taxa: Artifact
    observations: Artifact
    photos: Artifact | None


@dataclass(frozen=True)
class ModelInputs:
    """What a model reads of a run's records, cut into shards, and what it is trained on."""

    shards: Artifact
    points: Artifact
    features: Artifact
    table: Artifact
    cleaning: Artifact | None


def gather_records(run: RunContext) -> Records:
    """Fetch, read and clean everything that a run needs of its sources."""
    world = simulate_world(run)
    inputs = acquire(run, world)
    trait_records = read_trait_tables(run, world, inputs)
    names = match_names(run, world, inputs, trait_records)
    taxa = summarise_traits(run, trait_records, names)
    observations = clean_observations(run, world, inputs, taxa, names)
    photos = fetch_photos(run, world, observations)
    return Records(world, inputs, trait_records, names, taxa, observations, photos)


def gather_model_inputs(run: RunContext, records: Records) -> ModelInputs:
    """Turn photos and places into features, and labelled ones into a training table."""
    shards = cut_shards(run, records.world, records.inputs, records.observations, records.photos)
    points = sample_at_records(run, records.world, records.inputs, shards)
    features = encode_photos(run, shards)
    table = gather_training_table(run, records.world, records.inputs, shards, features, points, records.taxa)
    return ModelInputs(shards, points, features, table, clean(run, table))
