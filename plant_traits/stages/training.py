"""Stage: the heads trained on the training table, with their scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_catalog import ModelSettings, Trait
from plant_traits.model.checkpoint import save_model
from plant_traits.model.ensemble import Fitting
from plant_traits.model.held_out_places import held_out_places, write_held_out_places
from plant_traits.model.training import train
from plant_traits.model.training_places import places_of, write_training_places
from plant_traits.stages.cleaning_rounds import FIRST, REFIT, read_dropped
from plant_traits.stages.plant_scores import score_plants
from plant_traits.stages.training_table import THREADS, read_training_table
from plant_traits.steps import Summary

CURVES, SPLITS = "curves.csv", "splits.parquet"


def train_model(
    destination: Path,
    *,
    table: Path,
    cleaning: Path | None,
    traits: Sequence[Trait],
    settings: ModelSettings,
    encoder_identity: str,
    device: str,
    licences: Mapping[str, Mapping[str, str]] | None = None,
    truth: Path | None = None,
    resume: Path | None = None,
    progress: Callable[[int, int, str], None],
) -> Summary:
    """Train the heads and write the model's folder.

    Writes what ``plant_traits.model.checkpoint`` keeps, ``training_places.safetensors``, the places it was fitted to,
    ``held_out_places.parquet``, what it said of held-out regions from their places alone, ``curves.csv``, the course of
    the training, and ``splits.parquet``, the split of every record.

    Args:
        destination: an empty folder.
        table: output of ``build_training_table``.
        cleaning: output of ``clean_labels``, whose dropped records are never fitted; None fits all.
        traits: the model's outputs, in order.
        settings: encoder, network and training.
        encoder_identity: identity of the encoder that made the features.
        device: ``cpu`` or ``cuda``.
        licences: of what the model is made of, by kind and name, for its card.
        truth: the true values of photographed plants, known in a virtual world alone, see ``score_plants``. They score
            held-out predictions once the model is finished, and bear on nothing else.
        resume: local folder for the states that a killed training resumes from.
        progress: called with (epochs done, epochs planned, how it goes).

    Returns:
        Counts of records by split, and the held-out metrics.

    Raises:
        ModelError: there are too few records, or labels, to train on.
        TableError: the table or the true values cannot be read.
    """
    read = read_training_table(table, traits, labels=settings.labels)
    first, again = (None if cleaning is None else read_dropped(cleaning, len(read.rows), fit) for fit in (FIRST, REFIT))
    how = Fitting(traits, settings, encoder_identity, device, THREADS, resume)
    trained = train(
        read.training,
        how,
        dropped=first,
        dropped_at_refit=again,
        progress=lambda done, total, scores: progress(done, total, said(scores)),
    )
    scores = score_plants(trained, read.rows, truth)
    made_of = {"training_table": _digests(table), "licences": {k: dict(v) for k, v in (licences or {}).items()}}
    model = replace(trained.model, metrics=trained.model.metrics | scores | {"made_of": made_of})
    save_model(model, destination)
    fitted = _fitted(trained.split, first, again, settings)
    places = places_of(read.training, fitted, settings.validation_block_degrees)
    write_training_places(places, destination, model.model_id)
    told = held_out_places(trained.held_out.get("regions"), read.training, [trait.id for trait in traits])
    write_held_out_places(told, destination, model.model_id)
    trained.curves.to_csv(destination / CURVES, index=False)
    read.rows[["observation_id", "photo_id"]].assign(split=trained.split).to_parquet(destination / SPLITS)
    counts = model.metrics["counts"]
    return {
        "in": {"training rows": counts["records"]},
        "out": {"rows fitted": counts["records_fitted"]},
        "lost": {"row dropped by cleaning rounds": counts["records_dropped"]} if counts["records_dropped"] else {},
        "metrics": model.metrics,
        "model_id": model.model_id,
    }


def _fitted(
    split: npt.NDArray[np.str_],
    dropped: npt.NDArray[np.bool_] | None,
    dropped_at_refit: npt.NDArray[np.bool_] | None,
    settings: ModelSettings,
) -> npt.NDArray[np.bool_]:
    """Tell which records the members were fitted to last."""
    chosen = np.ones(len(split), dtype=bool) if settings.refit else np.asarray(split == "fitting")
    left_out = dropped_at_refit if settings.refit else dropped
    return chosen if left_out is None else chosen & ~left_out


def _digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file of a folder."""
    found = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def said(scores: Mapping[str, float]) -> str:
    """Say in a line how the training goes: the losses, and r on the stopping records by trait."""
    losses = f"loss {scores['loss']:.3f}, held out {scores['held_out_loss']:.3f}"
    traits = [f"{name.removeprefix('r_')} {value:.2f}" for name, value in scores.items() if name.startswith("r_")]
    return f"{losses}; r {', '.join(traits)}"
