"""Run the epochs of a training of names: batches, selection, loss, a step; stop on the macro recall of other photos.

It does not matter here whether a network reads cached features or pixels, nor on which device it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from plant_traits.errors import ModelError
from plant_traits.model.resume import MemberState, find_state, keep_state
from plant_traits.taxa.taxonet.losses import CosineLoss, DualMargin, LossName, make_loss
from plant_traits.taxa.taxonet.named_tensors import under
from plant_traits.taxa.taxonet.priors import IntArray, class_counts
from plant_traits.taxa.taxonet.recall import evaluate_names
from plant_traits.taxa.taxonet.selection import TailSampling, lowest_norms

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called after each epoch with (epochs done, epochs planned, loss and recall)."""

_FASTER_GAMMA = 10
_STATE = "names"


@dataclass(frozen=True)
class NameFitting:
    """How a network that names species is trained.

    Attributes:
        loss: which loss.
        loss_settings: further arguments of the loss.
        hidden: width of the head's hidden layer; 0 for a linear projection.
        embedding: length of an embedding.
        dropout: share dropped in training.
        learning_rate: of AdamW at the start; it falls to zero along a cosine.
        weight_decay: of the projection and the species' vectors.
        epochs: at most.
        patience: epochs without a better macro recall of the validation photos, after which training stops.
        sampling: batch size, and how batches are enlarged with tail photos; ``extra=0`` for plain batches.
        norm_guided: whether an enlarged batch keeps the photos with the smallest norms; otherwise it keeps all.
        seed: of everything random.
    """

    loss: LossName = "dual_margin"
    loss_settings: Mapping[str, float] = field(default_factory=dict)
    hidden: int = 512
    embedding: int = 256
    dropout: float = 0.2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    epochs: int = 40
    patience: int = 8
    sampling: TailSampling = field(default_factory=TailSampling)
    norm_guided: bool = True
    seed: int = 0


class NameNetwork(Protocol):
    """What a network that names species does."""

    def embed(self, inputs: Tensor) -> Tensor:
        """Return embeddings before they are normalised, (n, e)."""
        ...

    def compare(self, embeddings: Tensor) -> Tensor:
        """Return the cosines between embeddings and species, (n, k)."""
        ...


Fetch = Callable[[IntArray, npt.NDArray[np.bool_], np.random.Generator], Tensor]
"""Return the inputs of photos at these positions, of which some are extra photos of tail species, as the epoch's
generator would have them altered."""


@dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes:
        table: one row per epoch: epoch, loss, macro_recall, and zeta (NaN but for the dual margin).
        best_epoch: from 1; the network is left with its weights.
        shift: (k,) what the loss took from the cosines of each class then.
        scale: s.
    """

    table: pd.DataFrame
    best_epoch: int
    shift: npt.NDArray[np.float64]
    scale: float


def checked_classes(labels: npt.ArrayLike, validation: npt.ArrayLike, classes: int) -> tuple[IntArray, IntArray]:
    """Return the photos of each class in training, (k,), and the validation photos' classes.

    Raises:
        ModelError: a label is no class, a class has no training photo, or there is no validation photo.
    """
    counts = class_counts(labels, classes)
    truth = np.asarray(validation)
    if not truth.size:
        raise ModelError("training names: expected validation photos to stop on, found none; hold some out")
    class_counts(np.concatenate([truth, np.arange(classes)]), classes)
    return counts, truth


def checked_device(device: str) -> str:
    """Return the device as it was given.

    Raises:
        ModelError: it is neither the CPU nor a GPU that torch sees.
    """
    if device != "cpu" and not (device.split(":", maxsplit=1)[0] == "cuda" and torch.cuda.is_available()):
        raise ModelError(
            f"training names: expected the device cpu, or cuda where torch sees a GPU, found {device!r}; use cpu"
        )
    return device


def run_epochs(
    network: nn.Module,
    fetch: Fetch,
    labels: IntArray,
    counts: IntArray,
    recall: Callable[[], float],
    how: NameFitting,
    *,
    fingerprint: str = "",
    resume: Path | None = None,
    progress: Progress | None = None,
) -> Course:
    """Train a network, and leave it with the weights of its best epoch.

    Args:
        network: a ``NameNetwork``, on its device, in any mode.
        fetch: what the network reads of the training photos, on any device.
        labels: (n,) their classes.
        counts: (k,) training photos of each class.
        recall: scores the network as it is, in evaluation mode, on photos it is not trained on.
        how: settings; ``hidden``, ``embedding`` and ``dropout`` are the network's own.
        fingerprint: of all that bears on the training, for ``resume``.
        resume: folder in which the state is kept after each epoch; a training that was killed goes on from there to the
            same result.
        progress: see ``Progress``.

    Raises:
        ModelError: no epoch is asked for.
    """
    if how.epochs < 1:
        raise ModelError(f"training names: expected an epoch or more, found {how.epochs}")
    run = _Run(network, make_loss(how.loss, counts, how.loss_settings), labels, counts, how)
    kept = None if resume is None else find_state(resume, _STATE, fingerprint)
    if kept is not None:
        run.restore(kept)
    while not run.finished:
        run.epoch(fetch, recall)
        if resume is not None:
            keep_state(resume, _STATE, fingerprint, run.state())
        if progress is not None:
            progress(len(run.rows), how.epochs, run.rows[-1])
    network.load_state_dict(run.best)
    network.eval()
    return Course(pd.DataFrame(run.rows), run.best_epoch, run.shift, run.loss.scale)


class _Run:
    """All that changes from epoch to epoch."""

    def __init__(
        self, network: nn.Module, loss: CosineLoss, labels: IntArray, counts: IntArray, how: NameFitting
    ) -> None:
        self.network, self.how, self.labels = network, how, labels
        self.device = next(network.parameters()).device
        self.loss = loss.to(self.device)
        self.rng = np.random.default_rng(how.seed)
        self.counts = counts
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        # γ is one number on the scale of a logarithm; at the network's pace it would hardly move before training stops.
        groups: list[dict[str, Any]] = [{"params": trained, "weight_decay": how.weight_decay}]
        if own := [parameter for parameter in loss.parameters() if parameter.requires_grad]:
            groups.append({"params": own, "weight_decay": 0.0, "lr": _FASTER_GAMMA * how.learning_rate})
        self.optimiser = torch.optim.AdamW(groups, lr=how.learning_rate)
        steps = how.epochs * -(-len(labels) // how.sampling.batch)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, steps)
        self.rows: list[dict[str, float]] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch, self.best_recall = 0, -np.inf
        self.shift = np.zeros(len(counts))

    @property
    def finished(self) -> bool:
        done = len(self.rows)
        return done == self.how.epochs or (done > 0 and done - self.best_epoch >= self.how.patience)

    def epoch(self, fetch: Fetch, recall: Callable[[], float]) -> None:
        """Train for one epoch, and keep the weights where they are the best."""
        self.network.train()
        total, size = 0.0, self.how.sampling.batch
        batches = self.how.sampling.batches(self.labels, self.counts, self.rng)
        for number, batch in enumerate(batches):
            own = min(size, len(self.labels) - number * size)
            inputs = fetch(batch, np.arange(len(batch)) >= own, self.rng).to(self.device)
            total += self._step(inputs, torch.from_numpy(self.labels[batch]).to(self.device))
        self.network.eval()
        with torch.no_grad():
            shift = self.loss.shifts().detach().cpu().numpy().astype(np.float64).copy()
        score = recall()
        zeta = float(self.loss.zeta().detach()) if isinstance(self.loss, DualMargin) else float("nan")
        self.rows.append(
            {"epoch": len(self.rows) + 1, "loss": total / len(batches), "macro_recall": score, "zeta": zeta}
        )
        if score > self.best_recall:
            self.best = {name: x.detach().clone() for name, x in self.network.state_dict().items()}
            self.best_epoch, self.best_recall, self.shift = len(self.rows), score, shift

    def _step(self, inputs: Tensor, labels: Tensor) -> float:
        network: Any = self.network
        embeddings = network.embed(inputs)
        if self.how.norm_guided and len(labels) > self.how.sampling.batch:
            kept = lowest_norms(embeddings, self.how.sampling.batch)
            embeddings, labels = embeddings[kept], labels[kept]
        value = self.loss(network.compare(embeddings), labels)
        self.optimiser.zero_grad()
        value.backward()
        self.optimiser.step()
        self.schedule.step()
        if isinstance(self.loss, DualMargin):
            self.loss.keep_in_range()
        return float(value.detach())

    def state(self) -> MemberState:
        """Return everything as tensors and plain values."""
        tensors = {f"network.{name}": x for name, x in self.network.state_dict().items()}
        tensors |= {f"best.{name}": x for name, x in self.best.items()}
        tensors |= {f"loss.{name}": x for name, x in self.loss.state_dict().items()}
        optimiser = self.optimiser.state_dict()
        tensors |= {f"optimiser.{k}.{name}": x for k, own in optimiser["state"].items() for name, x in own.items()}
        tensors |= {"generator": torch.get_rng_state(), "shift": torch.from_numpy(self.shift)}
        if self.device.type == "cuda":
            tensors["cuda generator"] = torch.cuda.get_rng_state(self.device)
        values = {
            "rows": self.rows,
            "best_epoch": self.best_epoch,
            "best_recall": self.best_recall,
            "rng": self.rng.bit_generator.state,
            "groups": optimiser["param_groups"],
            "schedule": self.schedule.state_dict(),
        }
        return MemberState(self.finished, {name: x.detach().cpu() for name, x in tensors.items()}, values)

    def restore(self, kept: MemberState) -> None:
        """Take a state up again."""
        tensors, values = kept.tensors, kept.values

        self.network.load_state_dict(under("network.", tensors))
        self.loss.load_state_dict(under("loss.", tensors))
        self.best = under("best.", tensors)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, x in under("optimiser.", tensors).items():
            number, _, of = name.partition(".")
            moments.setdefault(int(number), {})[of] = x
        self.optimiser.load_state_dict({"state": moments, "param_groups": values["groups"]})
        self.schedule.load_state_dict(dict(values["schedule"]))
        self.rows = [dict(row) for row in values["rows"]]
        self.best_epoch, self.best_recall = int(values["best_epoch"]), float(values["best_recall"])
        self.shift = tensors["shift"].numpy().astype(np.float64)
        self.rng.bit_generator.state = values["rng"]
        torch.set_rng_state(tensors["generator"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["cuda generator"], self.device)


def macro_recall(cosines: npt.NDArray[np.floating], labels: IntArray, counts: IntArray) -> float:
    """Return the macro recall of the nearest species."""
    return evaluate_names(cosines.argmax(axis=1), labels, counts).macro
