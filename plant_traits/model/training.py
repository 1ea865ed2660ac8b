"""Train the ensemble of trait networks on frozen photo features, covariates, measurements and weak labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from data_catalog import ModelSettings, Trait
from plant_traits.errors import ModelError
from plant_traits.model.calibration import uncalibrated
from plant_traits.model.member import HELD_OUT_EPOCH, MemberData, Progress, row_weights, train_member
from plant_traits.model.network_presets import fit_scalings, network_config
from plant_traits.model.sampling import held_out_rows
from plant_traits.model.trained_model import MODALITIES, TrainedModel
from plant_traits.model.training_set import TrainingSet
from plant_traits.model.validation import calibrate, cross_calibrate, evaluate, hold_out

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def train(
    training: TrainingSet,
    traits: Sequence[Trait],
    settings: ModelSettings,
    *,
    encoder_identity: str,
    progress: Progress | None = None,
    device: str = "cpu",
    threads: int = 1,
) -> TrainedModel:
    """Train an ensemble and calibrate it on held-out spatial blocks.

    Every member sees the same features from its own initialisation, order and dropout; it keeps the epoch with the
    lowest negative log-likelihood on half of the held-out blocks. The other half, which neither training nor stopping
    has seen, gives scores, variance factors and intervals. With ``settings.refit`` the members are then trained afresh
    on all records, the held-out ones included, for as many epochs: scores and calibration stay those of the first
    round, so they describe networks trained on fewer records. On a processor the same input gives the same weights to
    the bit for a fixed number of threads.

    Args:
        training: the records; those without any input or any label are left out and counted in the metrics.
        traits: what to predict, in the order of the label columns.
        settings: shape and course of the training.
        encoder_identity: of the encoder that made ``image_features``.
        progress: called after each epoch with (epochs done, epochs planned, losses).
        device: ``cpu`` or ``cuda``.
        threads: processor threads; results may differ in the last bits between numbers of threads.

    Raises:
        ModelError: the arrays do not fit together, too few records are usable, or a trait has no label at all.
    """
    training.check(traits)
    has_image, has_place = training.present()
    labelled = ~np.isnan(training.centres()).all(axis=1)
    usable = (has_image | has_place) & labelled
    counts = {
        "records": len(usable),
        "records_without_label": int((~labelled).sum()),
        "records_without_input": int((labelled & ~(has_image | has_place)).sum()),
    }
    chosen = training.rows(usable)
    held = held_out_rows(
        chosen.latitude,
        chosen.longitude,
        block_degrees=settings.validation_block_degrees,
        share=settings.validation_share,
        seed=settings.seed,
    )
    if (~held).sum() < 2:
        raise ModelError(
            f"training: expected at least 2 usable records outside the held-out blocks, found {int((~held).sum())} of "
            f"{counts}; check that species have traits and that places have covariates"
        )
    halves = _halves(held, chosen, settings)
    stopping, testing = (chosen.rows(part) for part in halves)
    fitting = chosen.rows(~held)
    known = np.asarray(~np.isnan(fitting.centres()).all(axis=0))
    if not known.all():
        unknown = [trait.id for trait, is_known in zip(traits, known, strict=True) if not is_known]
        raise ModelError(
            f"training: no usable record outside the held-out blocks has a label of {unknown}; add a source of that "
            "trait, or leave it out of the profile's traits"
        )
    with _deterministic(threads, device):
        model, epochs = _fit(fitting, stopping, traits, settings, encoder_identity, progress, device, None)
        drawn = testing.labels(settings.seed, HELD_OUT_EPOCH)
        positions = np.flatnonzero(usable)[halves[1]]
        held_out = hold_out(model, testing, positions, drawn, block_degrees=settings.validation_block_degrees)
        calibration = calibrate(held_out, traits)
        scores = evaluate(held_out, cross_calibrate(held_out, traits), traits)
        if settings.refit and held.any():
            model, _ = _fit(chosen, stopping, traits, settings, encoder_identity, progress, device, epochs)
    counts |= {
        "records_fitted": int((~held).sum()),
        "records_stopping": len(stopping.latitude),
        "records_scored": len(testing.latitude),
    }
    metrics = {"counts": counts, "best_epochs": epochs, "held_out": scores}
    return replace(model, calibration=calibration, metrics=metrics, held_out=held_out)


def _halves(held: BoolArray, chosen: TrainingSet, settings: ModelSettings) -> tuple[BoolArray, BoolArray]:
    """Divide the held-out blocks into those that stop the training and those that score and calibrate it.

    Where all held-out records lie in the blocks of one half, both halves are all of them.
    """
    half = held & held_out_rows(
        chosen.latitude,
        chosen.longitude,
        block_degrees=settings.validation_block_degrees,
        share=0.5,
        seed=settings.seed + 1_000_003,
    )
    rest = held & ~half
    return (half, rest) if half.any() and rest.any() else (held, held)


def _fit(
    fitting: TrainingSet,
    stopping: TrainingSet,
    traits: Sequence[Trait],
    settings: ModelSettings,
    encoder_identity: str,
    progress: Progress | None,
    device: str,
    epochs: list[int] | None,
) -> tuple[TrainedModel, list[int]]:
    """Fit scalings and members; stop by the held-out rows, or after a given number of epochs per member."""
    weight = row_weights(fitting, settings)
    features = fitting.features()
    config = network_config(settings, features.shape[1], fitting.covariates.shape[1], len(traits))
    image_scaling, place_scaling, target = fit_scalings(
        config, features, fitting.covariates, fitting.covariate_names, fitting.centres(), weight
    )
    data = MemberData.build(fitting, image_scaling, place_scaling, target, weight, device)
    checks = MemberData.build(stopping, image_scaling, place_scaling, target, row_weights(stopping, settings), device)
    laplace = torch.tensor([trait.likelihood == "laplace" for trait in traits], device=device)
    members = [
        train_member(member, config, data, checks, laplace, settings, progress, epochs[member] if epochs else None)
        for member in range(settings.ensemble)
    ]
    model = TrainedModel(
        traits=tuple(traits),
        covariate_names=fitting.covariate_names,
        encoder_identity=encoder_identity,
        config=config,
        networks=tuple(network for network, _ in members),
        image_standardisation=image_scaling,
        covariate_standardisation=place_scaling,
        target_centre=target.centre,
        target_scale=target.scale,
        calibration=uncalibrated([trait.id for trait in traits], len(MODALITIES)),
        metrics={},
        settings=settings,
    )
    return model, [best for _, best in members]


@contextmanager
def _deterministic(threads: int, device: str) -> Iterator[None]:
    """Fix threads and algorithms for the duration, and leave the global random state as it was."""
    before, enabled = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count())) if device == "cuda" else []):
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=device == "cuda")
        try:
            yield
        finally:
            torch.set_num_threads(before)
            torch.use_deterministic_algorithms(enabled)
