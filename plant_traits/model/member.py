"""Train one member of the ensemble: epochs of fresh weak labels, hidden modalities, and a stop on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data_catalog import ModelSettings
from plant_traits.errors import ModelError
from plant_traits.model.course import Course
from plant_traits.model.curves import EpochScores, Round
from plant_traits.model.distributed import Processes, running_processes
from plant_traits.model.losses import masked_nll, masked_nll_total
from plant_traits.model.network import NetworkConfig
from plant_traits.model.network_presets import Network, build_network
from plant_traits.model.perturbation import drop_modalities, perturb_covariates
from plant_traits.model.precision import apply_network, resolve_precision
from plant_traits.model.resume import (
    MemberState,
    find_state,
    fingerprint,
    keep_state,
    pack_state,
    torch_description,
    unpack_state,
)
from plant_traits.model.sampling import sampling_weights
from plant_traits.model.scoring import pearson
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

    @cached_property
    def identity(self) -> str:
        """Hash of everything that a training reads of it."""
        labels = {
            field.name: getattr(self.source, field.name)
            for field in fields(self.source)
            if field.name not in {"image_features", "covariates"}  # read as scaled
        }
        return fingerprint(labels, self.target, self.image, self.place, self.has_image, self.has_place, self.weight)

    @cached_property
    def centres(self) -> FloatArray:
        """The measurement, else the species median, (n, traits) in working space; NaN where there is neither."""
        return self.source.centres()

    def targets(self, seed: int, epoch: int) -> Tensor:
        """Draw the labels of an epoch, (n, traits), scaled; NaN where a trait has none."""
        labels = (self.source.labels(seed, epoch) - self.target.centre) / self.target.scale
        return torch.from_numpy(labels.astype(np.float32)).to(self.image.device)


@dataclass(frozen=True)
class TrainedMember:
    """A member as its training left it.

    Attributes:
        network: with the weights of its best epoch, on the processor, frozen and in evaluation mode.
        best_epoch: number of that epoch, from 1.
        history: what each epoch came to.
    """

    network: Network
    best_epoch: int
    history: tuple[EpochScores, ...]


def train_member(
    member: int,
    config: NetworkConfig,
    data: MemberData,
    checks: MemberData,
    laplace: Tensor,
    settings: ModelSettings,
    progress: Progress | None,
    fixed_epochs: int | None,
    *,
    resume: Path | None = None,
    traits: Sequence[str],
) -> TrainedMember:
    """Train one network and keep its best epoch by the held-out rows, or that of a given number.

    With a folder to resume from, the state after every epoch is kept there. The same call then goes on from it to the
    same result to the bit, and a member that finished is not trained again. In a process group, each process works on
    its share of every batch and all return the same weights, see ``plant_traits.model.distributed``.

    Args:
        member: number of the member; it decides the seed.
        config: shape of the network.
        data: the rows to fit.
        checks: held-out rows that stop the training; may be empty.
        laplace: (traits,) whether a trait's likelihood is Laplace's.
        settings: course of the training.
        progress: called after each epoch, and once on resuming, with (epochs done, epochs planned, scores): ``loss``,
            ``held_out_loss``, and the correlation of each trait, ``r_<trait>``; in a process group by rank 0 only.
        fixed_epochs: number of epochs to train, whatever the held-out rows say.
        resume: local folder for states, which any number of trainings may share; None keeps none.
        traits: ids of the outputs, in order.

    Raises:
        ModelError: no epoch had a held-out loss that is a number, or the process group cannot train this network.
    """
    device, processes = data.image.device, running_processes()
    seed = settings.seed * 1000 + member
    torch.manual_seed(seed)
    start = None if settings.network_start is None else Path(settings.network_start)
    network = processes.joined(build_network(config, start).to(device))
    steps = max(len(data.weight) // settings.batch_size, 1)
    course = Course.start(network, settings, steps, seed)
    which: Round = "first" if fixed_epochs is None else "refit"
    name, key = f"member-{member}-{which}", ""
    finished = settings.epochs < 1
    if resume is not None:
        key = fingerprint(
            [asdict(config), settings.model_dump(mode="json"), member, fixed_epochs, list(traits), processes.count],
            torch_description(device),
            dict(network.state_dict()),
            [laplace.tolist(), data.identity, checks.identity],
        )
        key = processes.bytes_of_first(key.encode(), device).decode()
        state = _kept_state(resume, name, key, processes, device)
        if state is not None:
            course.take_up(state)
            finished = state.finished
            _report(course, settings, progress, processes)
    while not finished:
        rate = course.learning_rate
        loss = _train_epoch(course, data, laplace, settings, seed, steps, processes)
        held_out_loss, rmse, pearson_r = _held_out_scores(course.network, checks, laplace, settings, traits)
        # Processes on unlike machines may differ in the last bits, and must not differ in when they stop.
        held_out_loss = float(processes.of_first(torch.tensor(held_out_loss, dtype=torch.float64, device=device)))
        if held_out_loss < course.best_loss or not len(checks.weight) or fixed_epochs is not None:
            course.keep_best(held_out_loss)
        done = len(course.history) + 1
        course.history.append(EpochScores(member, which, done, rate, loss, held_out_loss, rmse, pearson_r))
        finished = done - course.best_epoch >= settings.patience or done in {fixed_epochs, settings.epochs}
        if resume is not None and processes.rank == 0:
            keep_state(resume, name, key, course.state(finished))
        _report(course, settings, progress, processes)
    if course.best_epoch == 0:
        raise ModelError(
            f"member {member}: expected a held-out loss that is a number after one of {settings.epochs} epochs, found "
            f"{[scores.held_out_loss for scores in course.history]}; lower model.learning_rate in the profile"
        )
    with torch.random.fork_rng(devices=[]):
        best = build_network(config)
    best.load_state_dict(course.best)
    return TrainedMember(best.eval().requires_grad_(False), course.best_epoch, tuple(course.history))


def _kept_state(resume: Path, name: str, key: str, processes: Processes, device: torch.device) -> MemberState | None:
    """Return the state that rank 0 finds, to all processes."""
    state = find_state(resume, name, key) if processes.rank == 0 else None
    if processes.count == 1:
        return state
    data = processes.bytes_of_first(b"" if state is None else pack_state(state, key), device)
    return unpack_state(data, key) if data else None


def _report(course: Course, settings: ModelSettings, progress: Progress | None, processes: Processes) -> None:
    """Tell how far the training is, and what its last epoch came to."""
    if progress is None or processes.rank > 0:
        return
    last = course.history[-1]
    done = (last.member + settings.ensemble * (last.round == "refit")) * settings.epochs + last.epoch
    planned = settings.ensemble * settings.epochs * (2 if settings.refit else 1)
    of_traits = {f"r_{trait}": r for trait, r in last.pearson_r.items()}
    progress(done, planned, {"loss": last.loss, "held_out_loss": last.held_out_loss} | of_traits)


def _train_epoch(
    course: Course,
    data: MemberData,
    laplace: Tensor,
    settings: ModelSettings,
    seed: int,
    steps: int,
    processes: Processes,
) -> float:
    """Take the steps of one epoch; return the mean loss of its batches."""
    network, epoch, device = course.network, len(course.history), data.image.device
    precision = resolve_precision(settings.precision, device)
    network.train()
    targets = data.targets(seed, epoch)
    size = min(settings.batch_size, len(data.weight))
    picks = course.order.choice(len(data.weight), size=steps * size, p=data.weight)
    total = torch.zeros((), dtype=torch.float64, device=device)
    for step, rows in enumerate(torch.from_numpy(picks).to(device).chunk(steps)):
        # What is hidden or blurred is drawn for the whole batch, alike in all processes; then each takes its rows.
        seen, located = drop_modalities(data.has_image[rows], data.has_place[rows], settings.modality_dropout)
        place = perturb_covariates(data.place[rows], settings.covariate_noise, settings.covariate_dropout)
        own = processes.share(len(rows))
        inputs = (data.image[rows[own]], place[own], seen[own], located[own])
        with processes.own_randomness(seed, epoch * steps + step, device):
            location, log_scale = apply_network(network, inputs, precision)
        likelihood, observed = masked_nll_total(targets[rows[own]], location, log_scale, laplace)
        loss = likelihood / processes.total(observed).clamp(min=1)
        course.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        processes.sum_gradients(network)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        course.optimiser.step()
        course.schedule.step()
        total += loss.detach()
    return float(processes.total(total)) / steps


def _held_out_scores(
    network: Network, checks: MemberData, laplace: Tensor, settings: ModelSettings, traits: Sequence[str]
) -> tuple[float, dict[str, float], dict[str, float]]:
    """Return the held-out loss, and by trait the error and the correlation of what all inputs predict.

    The loss averages that of all inputs together and, where photos are involved, that of the places alone.
    """
    nothing = dict.fromkeys(traits, float("nan"))
    if not len(checks.weight):
        return float("nan"), nothing, dict(nothing)
    network.eval()
    precision = resolve_precision(settings.precision, checks.image.device)
    targets = checks.targets(settings.seed, HELD_OUT_EPOCH)
    views = [(checks.has_image, checks.has_place)]
    if bool((checks.has_image & checks.has_place).any()):
        views.append((checks.has_image & ~checks.has_place, checks.has_place))
    losses, locations = [], []
    with torch.inference_mode():
        for seen, located in views:
            location, log_scale = apply_network(network, (checks.image, checks.place, seen, located), precision)
            losses.append(float(masked_nll(targets, location, log_scale, laplace)))
            locations.append(location)
    predicted = checks.target.invert(locations[0].double().cpu().numpy())
    rmse, pearson_r = dict(nothing), dict(nothing)
    for column, trait in enumerate(traits):
        known = ~np.isnan(checks.centres[:, column])
        if known.any():
            observed, mean = checks.centres[known, column], predicted[known, column]
            r = pearson(observed, mean)
            rmse[trait] = float(np.sqrt(((observed - mean) ** 2).mean()))
            pearson_r[trait] = float("nan") if r is None else r
    return float(np.mean(losses)), rmse, pearson_r


def row_weights(training: TrainingSet, settings: ModelSettings) -> FloatArray:
    """Return how often each row is drawn, balanced as the settings say."""
    return sampling_weights(
        training.latitude,
        training.longitude,
        training.growth_form,
        growth_form_balance=settings.growth_form_balance,
        place_balance=settings.place_balance,
    )
