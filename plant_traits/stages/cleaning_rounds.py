"""Stage: the cleaning rounds, which photos' labels do not fit them, found before the model is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from data_catalog import ModelSettings, Trait
from plant_traits.errors import TableError
from plant_traits.model.cleaning_rounds import FOLDS, CleaningRounds, clean
from plant_traits.model.ensemble import Fitting, fit_ensemble
from plant_traits.model.trained_model import TrainedModel
from plant_traits.model.training import localised, split_records
from plant_traits.model.training_set import TrainingSet
from plant_traits.stages.training_table import THREADS, read_training_table
from plant_traits.steps import Summary

DROPPED = "dropped.csv"
FIRST, REFIT = "first", "refit"
SAID = {FIRST: "first fit", REFIT: "refit"}

FITS = {"published": 2, "cross_fitted": FOLDS}
EPOCHS = 15
"""Epochs of the models that judge labels: a label of another species stands out long before a model is finished."""


def clean_labels(
    destination: Path,
    *,
    table: Path,
    traits: Sequence[Trait],
    settings: ModelSettings,
    encoder_identity: str,
    device: str,
    resume: Path | None = None,
    progress: Callable[[int, int], None],
) -> Summary:
    """Find the photos that training leaves out; write ``dropped.csv``.

    Once among the records to be fitted, by models that never see a held-out record, so that held-out scores stay
    honest; and, where the settings ask for a refit, once among all records.

    Columns are those of ``plant_traits.model.cleaning_rounds``, with ``fit`` (``first`` or ``refit``) before them,
    ``row`` the position in the training table, ``trait`` its id, and observation_id, photo_id and species behind.

    Args:
        destination: an empty folder.
        table: output of ``build_training_table``.
        traits: the model's outputs, in order.
        settings: of the model; its ``cleaning`` is the rule.
        encoder_identity: identity of the encoder that made the features.
        device: ``cpu`` or ``cuda``.
        resume: local folder for the states that a killed training resumes from.
        progress: called with (epochs done, epochs planned).

    Returns:
        Counts of photos dropped, by reason and fit; why a fit was not cleaned; and the estimated share of wrong labels.

    Raises:
        ModelError: there is nothing to clean, or too much would be dropped.
    """
    rule = settings.cleaning
    if rule == "none":
        raise ValueError("a run without cleaning rounds has no such stage")
    read = read_training_table(table, traits, labels=settings.labels)
    judge = settings.model_copy(update={"ensemble": 1, "epochs": EPOCHS, "refit": False})
    how = Fitting(traits, judge, encoder_identity, device, THREADS, resume)
    split = split_records(read.training, how)
    chosen = {FIRST: split == "fitting"}
    if settings.refit:
        chosen[REFIT] = np.ones(len(split), dtype=bool)
    planned = len(chosen) * FITS[rule] * EPOCHS
    finished = 0

    found: dict[str, pd.DataFrame] = {}
    lost: dict[str, int] = {}
    skipped: dict[str, str] = {}
    wrong: dict[str, float] = {}
    for name, rows in chosen.items():
        training, _ = localised(read.training, rows, how)
        # Among all records none is left to stop the judges: they are trained to the end.
        stopping = training.rows((split == "stopping") & ~rows)

        def fit(part: TrainingSet, stopping: TrainingSet = stopping) -> TrainedModel:
            nonlocal finished
            model = fit_ensemble(
                how, part, stopping, progress=lambda done, _total, _scores: progress(finished + done, planned)
            ).model
            finished += EPOCHS
            return model

        rounds = clean(training.rows(rows), fit, rule, seed=settings.seed, device=device)
        found[name] = _dropped(rounds, np.flatnonzero(rows), read.rows, traits)
        lost |= {f"{reason}, {SAID[name]}": n for reason, n in rounds.counts().items()}
        skipped |= {name: rounds.skipped} if rounds.skipped else {}
        wrong |= {name: rounds.wrong_share} if rounds.wrong_share is not None else {}
    dropped = pd.concat([frame.assign(fit=name) for name, frame in found.items()], ignore_index=True)
    columns = ["fit", *(column for column in dropped.columns if column != "fit")]
    dropped[columns].to_csv(destination / DROPPED, index=False)
    return {
        "in": {"training rows": len(split)},
        "out": {f"photos left out of the {SAID[name]}": len(frame) for name, frame in found.items()},
        "lost": lost,
        "not judged": skipped,
        "share of labels estimated to be wrong": wrong,
    }


def read_dropped(folder: Path, n: int, fit: str = FIRST) -> npt.NDArray[np.bool_]:
    """Return which of n training rows a fit leaves out.

    Raises:
        TableError: the file cannot be read or is of another training table.
    """
    path = folder / DROPPED
    try:
        table = pd.read_csv(path)
        rows = table.loc[table["fit"] == fit, "row"].to_numpy(dtype=np.int64)
    except (OSError, KeyError, ValueError) as error:
        raise TableError(f"{path} cannot be read: {error}; run the cleaning rounds again") from error
    if len(rows) and (rows.min() < 0 or rows.max() >= n):
        raise TableError(f"{path}: expected rows from 0 to {n - 1}, found {rows.max()}; run the cleaning rounds again")
    dropped: npt.NDArray[np.bool_] = np.zeros(n, dtype=bool)
    dropped[rows] = True
    return dropped


def _dropped(
    rounds: CleaningRounds, rows: npt.NDArray[np.int64], records: pd.DataFrame, traits: Sequence[Trait]
) -> pd.DataFrame:
    table = rounds.dropped.assign(row=rows[rounds.dropped["row"].to_numpy(dtype=np.int64)])
    table["trait"] = [traits[int(number)].id for number in table["trait"]]
    named = records.loc[table["row"], ["observation_id", "photo_id", "species"]].reset_index(drop=True)
    return pd.concat([table, named], axis=1)
