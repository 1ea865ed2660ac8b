"""What every flow begins with: sources fetched, records cleaned, photos and places turned into what a model reads."""

from __future__ import annotations

from dataclasses import dataclass

from data_catalog import NamesGate
from plant_traits.kept_model import KeptModel
from plant_traits.stages.shards import ShardSet
from plant_traits.steps import Artifact
from tasks.context import RunContext
from tasks.kept_model import choose_model, keep_trained
from tasks.model import encode_photos, sample_at_records
from tasks.names import AcceptedNames, choose_names_model, gate_names, train_names_model, vote_on_names
from tasks.observations import clean_observations, cut_shards, read_trait_tables, summarise_traits
from tasks.sources import acquire, fetch_photos, match_names, simulate_world
from tasks.training import clean, gather_training_table, show_model, train_heads


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
    """What a model reads of a run's records, by shard."""

    shards: ShardSet
    points: Artifact
    features: Artifact
    names: AcceptedNames


@dataclass(frozen=True)
class TrainingInputs:
    """What a model is trained on."""

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


def gather_model_inputs(run: RunContext, records: Records, names_gate: NamesGate = "on") -> ModelInputs:
    """Turn photos and places into features, and judge the observations' names by the photos and by votes."""
    shards = cut_shards(run, records.world, records.inputs, records.observations, records.photos)
    points = sample_at_records(run, records.world, records.inputs, shards.shards)
    features = encode_photos(run, shards.shards)
    return ModelInputs(shards, points, features, accept_names(run, records, shards, features, names_gate))


def accept_names(
    run: RunContext, records: Records, shards: ShardSet, features: Artifact, names_gate: NamesGate
) -> AcceptedNames:
    """Return the live rows under the names to map and train with; as stated where there is no names model."""
    kept = choose_names_model(run, names_gate)
    if kept is None and not (names_gate == "on" and run.spec.profile.names.train):
        return AcceptedNames(shards.live)
    votes = vote_on_names(run, records.world, records.observations, records.names)
    return gate_names(run, shards, features, kept or train_names_model(run, shards, features, votes), votes)


def gather_training_inputs(run: RunContext, records: Records, read: ModelInputs) -> TrainingInputs:
    """Turn labelled features into a training table, and find the labels that do not fit."""
    table = gather_training_table(
        run, records.world, records.inputs, read.shards, read.names.live, read.features, read.points, records.taxa
    )
    return TrainingInputs(table, clean(run, table))


def train_and_keep(run: RunContext, records: Records, read: ModelInputs) -> KeptModel:
    """Train a model on the records, and keep it for the runs that follow."""
    learned = gather_training_inputs(run, records, read)
    model = train_heads(run, records.world, learned.table, learned.cleaning)
    page = show_model(run, model, learned.cleaning)
    return keep_trained(run, records.world, model, page, learned.table, learned.cleaning)


def obtain_model(run: RunContext, records: Records, read: ModelInputs, model: str) -> KeptModel:
    """Return the model that is kept or given, else train one; see ``tasks.kept_model.choose_model``."""
    return choose_model(run, records.world, model) or train_and_keep(run, records, read)
