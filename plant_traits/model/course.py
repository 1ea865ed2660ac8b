"""A member in training: all that changes from epoch to epoch, how it is kept, and how it is taken up again."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from data_catalog import ModelSettings
from plant_traits.model.curves import EpochScores
from plant_traits.model.network_presets import Network
from plant_traits.model.resume import MemberState


@dataclass
class Course:
    """Where the training of a member is.

    Attributes:
        network: as the last step left it.
        optimiser: with its moments.
        schedule: of the learning rate.
        order: draws the rows of each epoch.
        best: weights of the best epoch.
        best_epoch: its number, from 1; 0 before any.
        best_loss: its held-out loss.
        history: what each epoch came to.
    """

    network: Network
    optimiser: torch.optim.AdamW
    schedule: CosineAnnealingLR
    order: np.random.Generator
    best: dict[str, Tensor]
    best_epoch: int = 0
    best_loss: float = np.inf
    history: list[EpochScores] = field(default_factory=list)

    @classmethod
    def start(cls, network: Network, settings: ModelSettings, steps: int, seed: int) -> Course:
        """Return the course of a network before its first step, of so many steps an epoch."""
        optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = CosineAnnealingLR(optimiser, steps * settings.epochs)
        order = np.random.default_rng([seed, 0, 2])  # a stream that no epoch draws its labels from
        return cls(network, optimiser, schedule, order, deepcopy(network.state_dict()))

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.optimiser.param_groups[0]["lr"])

    def keep_best(self, held_out_loss: float) -> None:
        """Note the network as the best so far, after the epoch that the history will end with next."""
        self.best_loss, self.best_epoch = held_out_loss, len(self.history) + 1
        self.best = deepcopy(self.network.state_dict())

    def state(self, finished: bool) -> MemberState:
        """Return all that is needed to go on, or, where training has finished, to have the result."""
        tensors = {f"best.{name}": tensor for name, tensor in self.best.items()}
        values = {
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "history": [asdict(scores) for scores in self.history],
        }
        if not finished:
            if self.best_epoch != len(self.history):  # else they are the same
                tensors |= {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
            for name, parameter in self.network.named_parameters():
                tensors |= {f"optimiser.{name}.{key}": part for key, part in self.optimiser.state[parameter].items()}
            tensors["random"] = torch.get_rng_state()
            if self.device.type == "cuda":
                tensors["random_cuda"] = torch.cuda.get_rng_state(self.device)
            values |= {
                "schedule": self.schedule.state_dict(),
                "learning_rate": self.learning_rate,
                "order": self.order.bit_generator.state,
            }
        return MemberState(finished, {name: tensor.detach().cpu() for name, tensor in tensors.items()}, values)

    def take_up(self, state: MemberState) -> None:
        """Go on from what ``state`` returned, the random generators of the process included."""
        values, device = state.values, self.device
        self.best = {name: tensor.to(device) for name, tensor in _below("best.", state).items()}
        self.best_epoch, self.best_loss = values["best_epoch"], values["best_loss"]
        self.history = [EpochScores(**scores) for scores in values["history"]]
        if state.finished:
            return
        self.network.load_state_dict(_below("network.", state) or self.best)
        for name, parameter in self.network.named_parameters():
            self.optimiser.state[parameter] = {
                # The count of steps stays where the optimiser keeps it, on the processor.
                key: part.clone() if key == "step" else part.to(device, copy=True)
                for key, part in _below(f"optimiser.{name}.", state).items()
            }
        self.schedule.load_state_dict(values["schedule"])
        for group in self.optimiser.param_groups:
            group["lr"] = values["learning_rate"]
        self.order.bit_generator.state = values["order"]
        torch.set_rng_state(state.tensors["random"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(state.tensors["random_cuda"], device)


def _below(prefix: str, state: MemberState) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in state.tensors.items() if name.startswith(prefix)}
