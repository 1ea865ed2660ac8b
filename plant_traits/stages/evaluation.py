"""Stage: one variant of the model, trained and scored on the held-out splits to tell what its parts are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from data_catalog import ModelSettings, Trait
from plant_traits.errors import InputError
from plant_traits.model.ensemble import Fitting
from plant_traits.model.score_table import score_table
from plant_traits.model.training import localised, split_records, train
from plant_traits.model.variants import variant
from plant_traits.stages.cleaning_rounds import read_dropped
from plant_traits.stages.plant_scores import read_true_values, score_plants
from plant_traits.stages.training import said
from plant_traits.stages.training_table import THREADS, TrainingTable, read_training_table
from plant_traits.steps import Summary

SCORES = "scores.csv"


def evaluate_variant(
    destination: Path,
    *,
    name: str,
    encoder: str | None,
    table: Path,
    cleaning: Path | None,
    traits: Sequence[Trait],
    settings: ModelSettings,
    encoder_identity: str,
    device: str,
    truth: Path | None = None,
    resume: Path | None = None,
    progress: Callable[[int, int, str], None],
) -> Summary:
    """Train a variant and write ``scores.csv``, columns of ``plant_traits.model.score_table``.

    Args:
        destination: an empty folder.
        name: of the variant, see ``plant_traits.model.variants``.
        encoder: photo encoder, said of the variant in the table where it is not the profile's.
        table: output of ``build_training_table``.
        cleaning: output of ``clean_labels``, or None.
        traits: the model's outputs, in order.
        settings: of the whole model, which the variant changes.
        encoder_identity: identity of the encoder that made the features.
        device: ``cpu`` or ``cuda``.
        truth: the true values of photographed plants, known in a virtual world alone.
        resume: local folder for the states that a killed training resumes from.
        progress: called with (epochs done, epochs planned, how it goes).

    Returns:
        Counts of records and scores.

    Raises:
        InputError: the variant needs true values, and there are none.
        ModelError: there is no such variant, or too little to train it on.
    """
    chosen = variant(name)
    settings = chosen.applied(settings)
    read = read_training_table(table, traits, labels=settings.labels)
    if chosen.true_values:
        read = _with_true_values(read, traits, truth)
    dropped = read_dropped(cleaning, len(read.rows)) if cleaning is not None and chosen.cleaned else None
    how = Fitting(traits, settings, encoder_identity, device, THREADS, resume)
    # Labels are those of the whole model: what withholds inputs from a network does not withhold them from its labels.
    training, _ = localised(read.training, split_records(read.training, how) == "fitting", how)
    how = replace(how, settings=settings.model_copy(update={"local_labels": False}))
    training = chosen.inputs(training)
    has_image, has_place = training.present()
    keep = np.asarray(has_image | has_place)
    rows, training = read.rows.loc[keep].reset_index(drop=True), training.rows(keep)
    dropped = None if dropped is None else dropped[keep]
    tasks = [[trait] for trait in traits] if chosen.single_task else [list(traits)]
    title = name if encoder is None else f"{name}, {encoder}"
    tables = []
    for number, part in enumerate(tasks):

        def shown(finished: int, total: int, scores: dict[str, float], number: int = number) -> None:
            progress(number * total + finished, len(tasks) * total, said(scores))

        columns = [traits.index(trait) for trait in part]
        own = training.columns(columns)
        labelled = np.asarray(~np.isnan(own.centres()).all(axis=1))
        trained = train(
            own.rows(labelled),
            replace(how, traits=part),
            dropped=None if dropped is None else dropped[labelled],
            progress=shown,
        )
        scores = score_plants(trained, rows.loc[labelled], truth)
        tables.append(score_table(title, trained.model.metrics | scores))
    found = pd.concat(tables, ignore_index=True)
    found.to_csv(destination / SCORES, index=False)
    return {"in": {"training rows": len(rows)}, "out": {f"scores of {title}": len(found)}}


def gather_scores(destination: Path, *, variants: Sequence[Path]) -> Summary:
    """Put the scores of all variants into one ``scores.csv``."""
    found = pd.concat([pd.read_csv(folder / SCORES) for folder in variants], ignore_index=True)
    found.to_csv(destination / SCORES, index=False)
    return {"in": {"variants": len(variants)}, "out": {"scores": len(found)}}


def _with_true_values(read: TrainingTable, traits: Sequence[Trait], truth: Path | None) -> TrainingTable:
    """Give photographed plants their true values as measurements; other records keep what they have."""
    if truth is None:
        raise InputError("a variant trained on true values needs them: only the profile of a virtual world has any")
    known = read_true_values(truth, traits).reindex(read.rows["photo_id"].astype(object))
    values = known[[f"true_{trait.id}" for trait in traits]].to_numpy(dtype=np.float64)
    measured = np.where(np.isnan(values), read.training.measured, values)
    return replace(read, training=replace(read.training, measured=measured))
