"""Train a model: fit it to some records, calibrate and score it on others, then fit it again to all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import ModelError
from plant_traits.model.ensemble import Fitting, fit_ensemble
from plant_traits.model.held_out import HeldOut
from plant_traits.model.member import HELD_OUT_EPOCH, Progress
from plant_traits.model.place_response import PlaceResponse, fit_place_response, localise
from plant_traits.model.splits import SCORED, assign_splits, check_splits
from plant_traits.model.trained_model import TrainedModel
from plant_traits.model.training_set import TrainingSet
from plant_traits.model.validation import calibrate, calibrations, evaluate, hold_out

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Training:
    """What a training run left.

    Attributes:
        model: trained, calibrated and with its scores.
        split: (n,) the split of each record, see ``plant_traits.model.splits``.
        held_out: predictions of the first round for the records of each scored split that has any.
        curves: the course of the training, see ``plant_traits.model.curves``.
    """

    model: TrainedModel
    split: npt.NDArray[np.str_]
    held_out: dict[str, HeldOut]
    curves: pd.DataFrame


def train(
    training: TrainingSet,
    how: Fitting,
    *,
    dropped: BoolArray | None = None,
    dropped_at_refit: BoolArray | None = None,
    progress: Progress | None = None,
) -> Training:
    """Train an ensemble, calibrate it on held-out regions and score it on held-out regions, species and photos.

    The splits are those of ``assign_splits``: the stopping blocks stop the training, and what neither training nor
    stopping has seen gives scores, variance factors and intervals. With ``settings.refit`` the members are then
    trained afresh on all records, the held-out ones included, for as many epochs: scores and calibration stay those of
    the first round, so they describe networks trained on fewer records.

    Args:
        training: the records; each needs an input and a label.
        how: what to fit and where.
        dropped: (n,) records that are not fitted, see ``plant_traits.model.cleaning_rounds``; held out, they are scored
            all the same.
        dropped_at_refit: (n,) records that the refit leaves out.
        progress: called after each epoch with (epochs done, epochs planned, losses and scores).

    Raises:
        ModelError: the arrays do not fit together, a record has no input or no label, too few records can be fitted,
            or a trait has no label at all.
    """
    split = split_records(training, how)
    settings = how.settings
    training, response = localised(training, split == "fitting", how)
    kept, kept_at_refit = (np.ones(len(split), bool) if x is None else ~x for x in (dropped, dropped_at_refit))
    fitted, stopping = training.rows((split == "fitting") & kept), training.rows(split == "stopping")
    _check_labels(fitted, how)
    first = fit_ensemble(how, fitted, stopping, progress=progress)
    curves = first.curves
    held: dict[str, HeldOut] = {
        name: _hold_out(first.model, training, split == name, how) for name in SCORED if (split == name).any()
    }
    calibration = calibrate(held["regions"], how.traits) if "regions" in held else first.model.calibration
    model = first.model
    if settings.refit:
        everything, _ = localised(training, np.ones(len(split), dtype=bool), how)
        again = fit_ensemble(how, everything.rows(kept_at_refit), stopping, progress=progress, epochs=first.best_epochs)
        model = again.model
        curves = pd.concat([curves, again.curves], ignore_index=True)
    metrics: dict[str, Any] = {
        "counts": {f"records_{name}": n for name, n in sorted(Counter(split.tolist()).items())}
        | {"records": len(split), "records_dropped": int((~kept).sum()), "records_fitted": len(fitted.latitude)},
        "best_epochs": first.best_epochs,
    }
    if response is not None:
        ids = [trait.id for trait in how.traits]
        metrics["place_response"] = {
            trait: {"measurements": int(n), "variance_explained": None if np.isnan(skill) else round(float(skill), 4)}
            for trait, n, skill in zip(ids, response.n, response.skill, strict=True)
        }
    model = replace(model, calibration=calibration, metrics=metrics)
    metrics |= score_splits(held, model)
    return Training(model, split, held, curves)


def split_records(training: TrainingSet, how: Fitting) -> npt.NDArray[np.str_]:
    """Deal the records of a training set to splits, (n,).

    Raises:
        ModelError: the arrays do not fit together, or a record has no input or no label.
    """
    training.check(how.traits)
    has_image, has_place = training.present()
    labelled = ~np.isnan(training.centres()).all(axis=1)
    useless = ~(labelled & (has_image | has_place))
    if useless.any():
        raise ModelError(
            f"training: expected a label and a photo or covariates in every record, found {int((~labelled).sum())} "
            f"records without a label and {int((~(has_image | has_place)).sum())} without either input; leave them out"
        )
    split = assign_splits(training.latitude, training.longitude, training.species, training.occasion, how.settings)
    check_splits(split, training.occasion)
    return split


def localised(training: TrainingSet, fitted: BoolArray, how: Fitting) -> tuple[TrainingSet, PlaceResponse | None]:
    """Let weak labels know their place, by a response learned from fitted records, where the settings ask for it."""
    if not how.settings.local_labels:
        return training, None
    response = fit_place_response(training, fitted, how.settings.validation_block_degrees)
    return localise(training, response), response


def score_splits(held: dict[str, HeldOut], model: TrainedModel) -> dict[str, Any]:
    """Score held-out predictions, each split with a calibration that has not seen its records.

    Returns:
        held_out, of the regions, and splits -> species and photos -> the same, as ``validation.evaluate`` returns it.
    """
    crossed = calibrations(held, model.calibration, model.traits)
    scores = {name: evaluate(part, crossed[name], model.traits) for name, part in held.items()}
    return {"held_out": scores.pop("regions", {}), "splits": scores}


def _hold_out(model: TrainedModel, training: TrainingSet, chosen: BoolArray, how: Fitting) -> HeldOut:
    testing = training.rows(chosen)
    drawn = testing.labels(how.settings.seed, HELD_OUT_EPOCH)
    degrees = how.settings.validation_block_degrees
    return hold_out(model, testing, np.flatnonzero(chosen), drawn, block_degrees=degrees)


def _check_labels(fitted: TrainingSet, how: Fitting) -> None:
    if len(fitted.latitude) < 2:
        raise ModelError(
            f"training: expected at least 2 records to fit, found {len(fitted.latitude)}; check that species have "
            "traits and that places have covariates, or hold out less"
        )
    known = np.asarray(~np.isnan(fitted.centres()).all(axis=0))
    if not known.all():
        unknown = [trait.id for trait, is_known in zip(how.traits, known, strict=True) if not is_known]
        raise ModelError(
            f"training: no record to fit has a label of {unknown}; add a source of that trait, or leave it out of the "
            "profile's traits"
        )
