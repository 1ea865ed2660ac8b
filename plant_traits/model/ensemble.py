"""Fit an ensemble of trait networks to records: scalings, members, and a stop by records that are not fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from data_catalog import ModelSettings, Trait
from plant_traits.model.calibration import uncalibrated
from plant_traits.model.curves import gather_curves
from plant_traits.model.deterministic import deterministic
from plant_traits.model.member import MemberData, Progress, row_weights, train_member
from plant_traits.model.network_presets import fit_scalings, network_config
from plant_traits.model.trained_model import MODALITIES, TrainedModel
from plant_traits.model.training_set import TrainingSet


@dataclass(frozen=True)
class Fitting:
    """How and where an ensemble is fitted, the same for every ensemble of a run.

    Attributes:
        traits: what to predict, in the order of the label columns.
        settings: shape and course of the training.
        encoder_identity: of the encoder that made the image features.
        device: ``cpu`` or ``cuda``.
        threads: processor threads; results may differ in the last bits between numbers of threads.
        resume: local folder for the states that a killed training resumes from; None keeps none.
    """

    traits: Sequence[Trait]
    settings: ModelSettings
    encoder_identity: str
    device: str = "cpu"
    threads: int = 1
    resume: Path | None = None


@dataclass(frozen=True)
class FittedEnsemble:
    """An ensemble as it was fitted.

    Attributes:
        model: uncalibrated and without metrics.
        best_epochs: the epoch that each member kept.
        curves: the course of the training, see ``plant_traits.model.curves``.
    """

    model: TrainedModel
    best_epochs: list[int]
    curves: pd.DataFrame


def fit_ensemble(
    how: Fitting,
    fitted: TrainingSet,
    stopping: TrainingSet,
    *,
    progress: Progress | None = None,
    epochs: Sequence[int] | None = None,
) -> FittedEnsemble:
    """Fit scalings and members to records.

    Every member sees the same features from its own initialisation, order and dropout, and keeps the epoch with the
    lowest negative log-likelihood on the stopping records. On a processor the same input gives the same weights to the
    bit for a fixed number of threads.

    Args:
        how: what to fit and where.
        fitted: the records to fit.
        stopping: the records that stop a member; without any, members are trained to the end.
        progress: called after each epoch with (epochs done, epochs planned, losses and scores).
        epochs: of each member, where the epochs are known already; nothing stops then.
    """
    settings = how.settings
    weight = row_weights(fitted, settings)
    features = fitted.features()
    config = network_config(settings, features.shape[1], fitted.covariates.shape[1], len(how.traits))
    image_scaling, place_scaling, target = fit_scalings(
        config, features, fitted.covariates, fitted.covariate_names, fitted.centres(), weight
    )
    scalings = (image_scaling, place_scaling, target)
    ids = [trait.id for trait in how.traits]
    laplace = torch.tensor([trait.likelihood == "laplace" for trait in how.traits], device=how.device)
    with deterministic(how.threads, how.device):
        data = MemberData.build(fitted, *scalings, weight, how.device)
        checks = MemberData.build(stopping, *scalings, row_weights(stopping, settings), how.device)
        members = [
            train_member(
                member,
                config,
                data,
                checks,
                laplace,
                settings,
                progress,
                None if epochs is None else epochs[member],
                resume=how.resume,
                traits=ids,
            )
            for member in range(settings.ensemble)
        ]
    model = TrainedModel(
        traits=tuple(how.traits),
        covariate_names=fitted.covariate_names,
        encoder_identity=how.encoder_identity,
        config=config,
        networks=tuple(member.network for member in members),
        image_standardisation=image_scaling,
        covariate_standardisation=place_scaling,
        target_centre=target.centre,
        target_scale=target.scale,
        calibration=uncalibrated(ids, len(MODALITIES)),
        metrics={},
        settings=settings,
    )
    curves = gather_curves([member.history for member in members])
    return FittedEnsemble(model, [member.best_epoch for member in members], curves)
