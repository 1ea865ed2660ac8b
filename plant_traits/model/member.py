"""Train one member of the ensemble: epochs of fresh weak labels, hidden modalities, and a stop on held-out rows."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data_catalog import ModelSettings
from plant_traits.model.losses import masked_nll
from plant_traits.model.network import NetworkConfig
from plant_traits.model.network_presets import Network, build_network
from plant_traits.model.sampling import sampling_weights
from plant_traits.model.standardisation import Standardisation
from plant_traits.model.training_set import TrainingSet

FloatArray = npt.NDArray[np.float64]
Progress = Callable[[int, int, dict[str, float]], None]

HELD_OUT_EPOCH = 2**31  # labels of the held-out rows are drawn once, from a stream no training epoch uses


@dataclass(frozen=True)
class MemberData:
    """A training set on the device, scaled as the network expects it."""

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
    ) -> MemberData:
        """Scale a training set and put it on the device."""
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
        """Draw the labels of an epoch, (n, traits), scaled; NaN where a trait has none."""
        labels = (self.source.labels(seed, epoch) - self.target.centre) / self.target.scale
        return torch.from_numpy(labels.astype(np.float32)).to(self.image.device)


def train_member(
    member: int,
    config: NetworkConfig,
    data: MemberData,
    checks: MemberData,
    laplace: Tensor,
    settings: ModelSettings,
    progress: Progress | None,
    fixed_epochs: int | None,
) -> tuple[Network, int]:
    """Train one network and keep its best epoch by the held-out rows, or that of a given number.

    Args:
        member: number of the member; it decides the seed.
        config: shape of the network.
        data: the rows to fit.
        checks: held-out rows that stop the training; may be empty.
        laplace: (traits,) whether a trait's likelihood is Laplace's.
        settings: course of the training.
        progress: called after each epoch with (epochs done, epochs planned, losses).
        fixed_epochs: number of epochs to train, whatever the held-out rows say.

    Returns:
        The network, on the processor and frozen, and its epoch.
    """
    device = data.image.device
    seed = settings.seed * 1000 + member
    torch.manual_seed(seed)
    start = None if settings.network_start is None else Path(settings.network_start)
    network = build_network(config, start).to(device)
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


def _held_out_loss(network: Network, checks: MemberData, laplace: Tensor, seed: int) -> float:
    """Average the held-out loss of all inputs together and, where photos are involved, of the places alone."""
    if not len(checks.weight):
        return float("nan")
    network.eval()
    targets = checks.targets(seed, HELD_OUT_EPOCH)
    views = [(checks.has_image, checks.has_place)]
    if bool((checks.has_image & checks.has_place).any()):
        views.append((checks.has_image & ~checks.has_place, checks.has_place))
    losses = []
    with torch.inference_mode():
        for seen, located in views:
            location, log_scale = network(checks.image, checks.place, seen, located)
            losses.append(float(masked_nll(targets, location, log_scale, laplace)))
    return float(np.mean(losses))


def row_weights(training: TrainingSet, settings: ModelSettings) -> FloatArray:
    """Return how often each row is drawn, balanced as the settings say."""
    return sampling_weights(
        training.latitude,
        training.longitude,
        training.growth_form,
        growth_form_balance=settings.growth_form_balance,
        place_balance=settings.place_balance,
    )
