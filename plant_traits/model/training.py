"""Train the ensemble of trait networks on frozen photo features, covariates, measurements and weak labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data_catalog import ModelSettings, Trait
from plant_traits.errors import ModelError
from plant_traits.model.calibration import uncalibrated
from plant_traits.model.losses import masked_nll
from plant_traits.model.network import NetworkConfig, TraitNetwork
from plant_traits.model.sampling import held_out_rows, sampling_weights
from plant_traits.model.standardisation import Standardisation, fit_standardisation
from plant_traits.model.trained_model import MODALITIES, TrainedModel
from plant_traits.model.training_set import TrainingSet
from plant_traits.model.validation import calibrate, cross_calibrate, evaluate, hold_out

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Progress = Callable[[int, int, dict[str, float]], None]

_HELD_OUT_EPOCH = 2**31  # labels of the held-out rows are drawn once, from a stream no training epoch uses


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
        drawn = testing.labels(settings.seed, _HELD_OUT_EPOCH)
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
    weight = _weights(fitting, settings)
    image_scaling = fit_standardisation(fitting.features())
    place_scaling = fit_standardisation(fitting.covariates)
    target = fit_standardisation(fitting.centres(), weight)
    config = NetworkConfig(
        image_dimension=fitting.features().shape[1],
        covariates=fitting.covariates.shape[1],
        traits=len(traits),
        hidden=settings.hidden,
        blocks=settings.blocks,
        dropout=settings.dropout,
    )
    data = _Data.build(fitting, image_scaling, place_scaling, target, weight, device)
    checks = _Data.build(stopping, image_scaling, place_scaling, target, _weights(stopping, settings), device)
    laplace = torch.tensor([trait.likelihood == "laplace" for trait in traits], device=device)
    members = [
        _train_member(member, config, data, checks, laplace, settings, progress, epochs[member] if epochs else None)
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


@dataclass(frozen=True)
class _Data:
    """A training set on the device, standardised."""

    source: TrainingSet
    target: Standardisation
    image: Tensor
    place: Tensor
    has_image: Tensor
    has_place: Tensor
    weight: FloatArray

    @classmethod
    def build(
        cls,
        source: TrainingSet,
        image: Standardisation,
        place: Standardisation,
        target: Standardisation,
        weight: FloatArray,
        device: str,
    ) -> _Data:
        has_image, has_place = source.present()
        return cls(
            source,
            target,
            torch.from_numpy(np.nan_to_num(image.apply(source.features()), nan=0.0)).to(device),
            torch.from_numpy(place.apply(source.covariates)).to(device),
            torch.from_numpy(has_image).to(device),
            torch.from_numpy(has_place).to(device),
            weight,
        )

    def targets(self, seed: int, epoch: int) -> Tensor:
        labels = (self.source.labels(seed, epoch) - self.target.centre) / self.target.scale
        return torch.from_numpy(labels.astype(np.float32)).to(self.image.device)


def _train_member(
    member: int,
    config: NetworkConfig,
    data: _Data,
    checks: _Data,
    laplace: Tensor,
    settings: ModelSettings,
    progress: Progress | None,
    fixed_epochs: int | None,
) -> tuple[TraitNetwork, int]:
    device = data.image.device
    seed = settings.seed * 1000 + member
    torch.manual_seed(seed)
    network = TraitNetwork(config).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    steps = max(len(data.weight) // settings.batch_size, 1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps * settings.epochs)
    order = np.random.default_rng([seed, 1])
    best_loss, best_epoch, best = np.inf, 0, deepcopy(network.state_dict())
    for epoch in range(settings.epochs):
        network.train()
        targets = data.targets(seed, epoch)
        picks = order.choice(len(data.weight), size=steps * min(settings.batch_size, len(data.weight)), p=data.weight)
        total = 0.0
        for rows in torch.from_numpy(picks).to(device).chunk(steps):
            seen, located = _drop_modalities(data.has_image[rows], data.has_place[rows], settings.modality_dropout)
            place = _perturbed(data.place[rows], settings)
            location, log_scale = network(data.image[rows], place, seen, located)
            loss = masked_nll(targets[rows], location, log_scale, laplace)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        held = _held_out_loss(network, checks, laplace, settings.seed)
        if held < best_loss or not len(checks.weight) or fixed_epochs is not None:
            best_loss, best_epoch, best = held, epoch + 1, deepcopy(network.state_dict())
        if progress is not None:
            done = (member + settings.ensemble * (fixed_epochs is not None)) * settings.epochs + epoch + 1
            planned = settings.ensemble * settings.epochs * (2 if settings.refit else 1)
            progress(done, planned, {"loss": total / steps, "held_out_loss": held})
        if epoch + 1 - best_epoch >= settings.patience or epoch + 1 == fixed_epochs:
            break
    network.load_state_dict(best)
    return network.cpu().eval().requires_grad_(False), best_epoch


def _drop_modalities(has_image: Tensor, has_place: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Hide the photo or the place of a share of the records that have both, each half of the time."""
    chance = torch.rand(len(has_image), device=has_image.device)
    both = has_image & has_place
    return has_image & ~(both & (chance < share / 2)), has_place & ~(both & (chance > 1 - share / 2))


def _perturbed(place: Tensor, settings: ModelSettings) -> Tensor:
    """Blur standardised covariates and hide some: places are few, and their exact values identify them."""
    if settings.covariate_noise > 0:
        place = place + settings.covariate_noise * torch.randn_like(place)
    if settings.covariate_dropout > 0:
        place = torch.where(torch.rand_like(place) < settings.covariate_dropout, torch.nan, place)
    return place


def _held_out_loss(network: TraitNetwork, checks: _Data, laplace: Tensor, seed: int) -> float:
    """Average the held-out loss of all inputs together and, where photos are involved, of the places alone."""
    if not len(checks.weight):
        return float("nan")
    network.eval()
    targets = checks.targets(seed, _HELD_OUT_EPOCH)
    views = [(checks.has_image, checks.has_place)]
    if bool((checks.has_image & checks.has_place).any()):
        views.append((checks.has_image & ~checks.has_place, checks.has_place))
    losses = []
    with torch.inference_mode():
        for seen, located in views:
            location, log_scale = network(checks.image, checks.place, seen, located)
            losses.append(float(masked_nll(targets, location, log_scale, laplace)))
    return float(np.mean(losses))


def _weights(training: TrainingSet, settings: ModelSettings) -> FloatArray:
    return sampling_weights(
        training.latitude,
        training.longitude,
        training.growth_form,
        growth_form_balance=settings.growth_form_balance,
        place_balance=settings.place_balance,
    )


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
