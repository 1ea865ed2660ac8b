"""Calibrate a model on held-out records and score it there, for each combination of modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data_catalog import Trait
from plant_traits.model.calibration import (
    EVERYTHING,
    LEVELS,
    MINIMUM_RECORDS,
    Calibration,
    fit_calibration,
    group_names,
    uncalibrated,
)
from plant_traits.model.held_out import HeldOut
from plant_traits.model.prediction import Prediction, predict
from plant_traits.model.scoring import (
    accuracy,
    coverage,
    gaussian_crps,
    gaussian_nll,
    pit_counts,
    within_group_correlation,
)
from plant_traits.model.trained_model import MODALITIES, TrainedModel
from plant_traits.model.training_set import TrainingSet

FloatArray = npt.NDArray[np.float64]

FOLDS = 5
"""Parts the held-out blocks are divided into, so that each is scored with the calibration of the others."""


@dataclass(frozen=True)
class CrossCalibration:
    """For each held-out record, the calibration of blocks other than its own part.

    Attributes:
        factor: (m, n, t) variance factors, NaN where all records lie in one block.
        quantile: (m, n, t, levels) conformal quantiles.
    """

    factor: FloatArray
    quantile: FloatArray


def hold_out(
    model: TrainedModel,
    testing: TrainingSet,
    rows: npt.NDArray[np.int64],
    drawn: FloatArray,
    *,
    block_degrees: float,
) -> HeldOut:
    """Predict held-out records from each combination of modalities, without calibration.

    Args:
        model: its present calibration is ignored.
        testing: the n held-out records.
        rows: (n,) their positions in the whole training set.
        drawn: (n, t) measurement or one draw of the weak label.
        block_degrees: side of the spatial blocks that were held out.
    """
    ids = [trait.id for trait in model.traits]
    raw = replace(model, calibration=uncalibrated(ids, len(MODALITIES)))
    parts = [_predict_with(raw, modalities, testing) for modalities in MODALITIES]
    place = np.floor(np.stack([testing.latitude, testing.longitude], axis=1) / block_degrees)
    _, block = np.unique(place, axis=0, return_inverse=True)
    return HeldOut(
        rows=rows,
        block=block.reshape(-1).astype(np.int64),
        groups=tuple(group_names(testing.growth_form, testing.biome)),
        present=np.stack([part.modalities == name for part, name in zip(parts, MODALITIES, strict=True)]),
        mean=np.stack([part.mean.astype(float) for part in parts]),
        variance=np.stack([part.variance_aleatoric.astype(float) + part.variance_epistemic for part in parts]),
        centre=testing.centres(),
        drawn=drawn,
        measured=testing.measured,
    )


def calibrate(held: HeldOut, traits: Sequence[Trait]) -> Calibration:
    """Fit variance factors and conformal quantiles on all held-out records, by modalities and growth form.

    Raises:
        ModelError: a prediction is not finite.
    """
    ids = [trait.id for trait in traits]
    return fit_calibration(held.mean, held.variance, held.drawn, held.present, held.groups, ids)


def cross_calibrate(held: HeldOut, traits: Sequence[Trait]) -> CrossCalibration:
    """Calibrate each part of the held-out blocks on the other parts, so that scores after calibration are honest.

    Blocks stay whole; the largest are dealt first, each to the part with the fewest records.

    Raises:
        ModelError: a prediction is not finite.
    """
    factor = np.full(held.mean.shape, np.nan)
    quantile = np.full((*held.mean.shape, len(LEVELS)), np.nan)
    fold = _folds(held.block)
    ids = [trait.id for trait in traits]
    for part in range(FOLDS):
        scored, fitted = fold == part, fold != part
        if not scored.any() or not fitted.any():
            continue
        calibration = fit_calibration(
            held.mean[:, fitted],
            held.variance[:, fitted],
            held.drawn[fitted],
            held.present[:, fitted],
            [group for group, keep in zip(held.groups, fitted, strict=True) if keep],
            ids,
        )
        at = calibration.rows([group for group, keep in zip(held.groups, scored, strict=True) if keep])
        factor[:, scored] = calibration.variance_factor[:, at]
        quantile[:, scored] = calibration.quantile[:, at]
    return CrossCalibration(factor, quantile)


def calibrations(
    held: Mapping[str, HeldOut], calibration: Calibration, traits: Sequence[Trait]
) -> dict[str, CrossCalibration]:
    """Give the records of each split a calibration that has not seen them.

    Args:
        held: of each scored split; the ``regions`` are what the calibration was fitted on.
        calibration: of the model, which the other splits had no part in.
        traits: in the order of the columns.
    """
    found = {}
    for name, part in held.items():
        if name == "regions":
            found[name] = cross_calibrate(part, traits)
        else:
            at = calibration.rows(part.groups)
            found[name] = CrossCalibration(calibration.variance_factor[:, at], calibration.quantile[:, at])
    return found


def evaluate(
    held: HeldOut, crossed: CrossCalibration, traits: Sequence[Trait], species: Sequence[str | None] | None = None
) -> dict[str, dict[str, dict[str, Any]]]:
    """Score held-out predictions in working space, per modalities and trait, and by growth form.

    Correlation and errors compare with ``held.centre``; likelihood, CRPS, PIT and coverage with ``held.drawn``. What is
    stated after calibration uses the calibration of other blocks than the record's own.

    Args:
        held: the predictions and what they are compared with.
        crossed: of the same records, from ``cross_calibrate`` or ``calibrations``.
        traits: in the order of the columns.
        species: (n,) of the records, where ``held.centre`` are values of single plants: adds within_species.

    Returns:
        modalities -> trait id -> n, pearson_r, r2, rmse, nmae, gaussian_nll and crps (of the calibrated total variance)
        with their values as_predicted, coverage, pit (counts), by_growth_form (the same of each growth form; only n
        below ``MINIMUM_RECORDS``), and of all records and of each growth form by_biome (n and coverage) where biomes
        are known. Traits with fewer records are left out.
    """
    scores: dict[str, dict[str, dict[str, Any]]] = {}
    parts = [group.partition("/") for group in held.groups]
    forms, biomes = (np.array([part[at] for part in parts], dtype=object) for at in (0, 2))
    for kind, modalities in enumerate(MODALITIES):
        for column, trait in enumerate(traits):
            known = held.present[kind] & ~np.isnan(held.centre[:, column]) & ~np.isnan(held.drawn[:, column])
            if known.sum() < MINIMUM_RECORDS:
                continue
            found = _score(held, crossed, kind, column, known)
            found |= _by_biome(held, crossed, kind, column, known, biomes)
            found["by_growth_form"] = {
                "unknown" if form == EVERYTHING else form: _score(held, crossed, kind, column, known & (forms == form))
                | _by_biome(held, crossed, kind, column, known & (forms == form), biomes)
                for form in sorted(set(forms[known]))
            }
            if species is not None:
                chosen = [name for name, keep in zip(species, known, strict=True) if keep]
                truth, mean = held.centre[known, column], held.mean[kind, known, column]
                found["within_species"] = within_group_correlation(truth, mean, chosen)
            scores.setdefault(modalities, {})[trait.id] = found
    return scores


def within_species(
    held: HeldOut, traits: Sequence[Trait], species: Sequence[str | None]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Tell how well measured plants are ordered within their species, per modalities and trait.

    Args:
        held: only its measured values take part.
        traits: in the order of the columns.
        species: (n,) of the records.

    Returns:
        modalities -> trait id -> pearson_r, n and groups (species), where at least ``MINIMUM_RECORDS`` plants share
        their species with another.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for kind, modalities in enumerate(MODALITIES):
        for column, trait in enumerate(traits):
            scored = within_group_correlation(held.measured[:, column], held.mean[kind, :, column], species)
            if scored["n"] >= MINIMUM_RECORDS:
                found.setdefault(modalities, {})[trait.id] = scored
    return found


def _score(
    held: HeldOut, crossed: CrossCalibration, kind: int, column: int, chosen: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    if chosen.sum() < MINIMUM_RECORDS:
        return {"n": int(chosen.sum())}
    mean, variance = held.mean[kind, chosen, column], held.variance[kind, chosen, column]
    drawn, factor = held.drawn[chosen, column], crossed.factor[kind, chosen, column]
    calibrated = variance * factor
    known = bool(np.isfinite(factor).all())
    return {
        **accuracy(held.centre[chosen, column], mean),
        "gaussian_nll": float(gaussian_nll(drawn, mean, calibrated).mean()) if known else None,
        "gaussian_nll_as_predicted": float(gaussian_nll(drawn, mean, variance).mean()),
        "crps": float(gaussian_crps(drawn, mean, calibrated).mean()) if known else None,
        "crps_as_predicted": float(gaussian_crps(drawn, mean, variance).mean()),
        "coverage": coverage(drawn, mean, variance, factor, crossed.quantile[kind, chosen, column], LEVELS),
        "pit": {
            "as_predicted": pit_counts(drawn, mean, variance),
            "calibrated": pit_counts(drawn, mean, calibrated) if known else None,
        },
    }


def _by_biome(
    held: HeldOut,
    crossed: CrossCalibration,
    kind: int,
    column: int,
    chosen: npt.NDArray[np.bool_],
    biomes: npt.NDArray[np.object_],
) -> dict[str, dict[str, Any]]:
    """Return by_biome, n and where there are enough the coverage of each; nothing where no biome is known."""
    if set(biomes[chosen]) <= {""}:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for name in sorted(set(biomes[chosen])):
        score = _score(held, crossed, kind, column, chosen & (biomes == name))
        found[name or "unknown"] = {"n": score["n"]}
        if "coverage" in score:
            found[name or "unknown"]["coverage"] = {key: score["coverage"][key] for key in ("level", "conformal")}
    return {"by_biome": found}


def _folds(block: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Deal blocks to parts of about equal size, (n,) part of each record."""
    sizes = np.bincount(block) if len(block) else np.zeros(0, dtype=np.int64)
    part, load = np.zeros(len(sizes), dtype=np.int64), np.zeros(FOLDS)
    for number in np.argsort(-sizes, kind="stable"):
        part[number] = int(np.argmin(load))
        load[part[number]] += sizes[number]
    return part[block]


def _predict_with(model: TrainedModel, modalities: str, testing: TrainingSet) -> Prediction:
    """Predict from exactly these modalities; records that lack one of them get NaN."""
    use_image, use_place = "image" in modalities, "geospatial" in modalities
    places = testing.covariates if use_place else np.full_like(testing.covariates, np.nan)
    prediction = predict(model, testing.image_features if use_image else None, places)
    complete = (prediction.modalities == modalities)[:, None]
    return replace(
        prediction,
        mean=np.where(complete, prediction.mean, np.nan),
        variance_aleatoric=np.where(complete, prediction.variance_aleatoric, np.nan),
        variance_epistemic=np.where(complete, prediction.variance_epistemic, np.nan),
    )
