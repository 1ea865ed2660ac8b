"""Train one network in several processes, each on its share of every batch, to the result of a single process.

All processes draw the same batches, labels and hidden inputs from the same seed. Each computes the gradient of its
rows' share of the batch's mean loss, and the shares are summed: up to the order of sums, that is the gradient of the
whole batch. With one process nothing is exchanged. Dropout within the network is drawn by each process for its own
rows, so with it the result is another draw of the same training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, distributed, nn

from plant_traits.errors import ModelError

N = TypeVar("N", bound=nn.Module)


@contextmanager
def process_group(
    rank: int, world_size: int, address: str, backend: Literal["gloo", "nccl"] = "gloo"
) -> Iterator[Processes]:
    """Join the processes of a training for the duration; every one of them has to.

    Args:
        rank: number of this process, from 0.
        world_size: number of processes.
        address: where they meet, ``tcp://host:port`` of rank 0, or ``file:///path`` of a file that does not exist yet.
        backend: ``gloo`` between processors, ``nccl`` between GPUs, one to a process.

    Raises:
        ModelError: the rank is not one of the processes'.
    """
    if not 0 <= rank < world_size:
        raise ModelError(
            f"distributed training: expected a rank from 0 to {world_size - 1}, found {rank}; number the processes"
        )
    distributed.init_process_group(backend, init_method=address, rank=rank, world_size=world_size)
    try:
        yield running_processes()
    finally:
        distributed.destroy_process_group()


def running_processes() -> Processes:
    """Return this process and how many train with it: one, unless it joined a process group."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return Processes(0, 1)
    return Processes(distributed.get_rank(), distributed.get_world_size())


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: its number; the process of rank 0 reports and keeps files.
        count: how many there are.
    """

    rank: int
    count: int

    def share(self, n: int) -> slice:
        """Return this process's part of n rows; the parts of all are every row once."""
        return slice(self.rank * n // self.count, (self.rank + 1) * n // self.count)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of the processes' values, the same in each."""
        if self.count == 1:
            return value
        value = value.detach().clone()
        distributed.all_reduce(value)
        return value

    def sum_gradients(self, network: nn.Module) -> None:
        """Replace each gradient by the sum of the processes' gradients, in one exchange."""
        if self.count == 1:
            return
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        summed = self.total(torch.cat([gradient.flatten() for gradient in gradients]))
        for parameter, part in zip(parameters, torch.split(summed, [p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def of_first(self, value: Tensor) -> Tensor:
        """Return rank 0's value, of the same shape and type everywhere, to all."""
        if self.count > 1:
            value = value.detach().clone()
            distributed.broadcast(value, src=0)
        return value

    def bytes_of_first(self, data: bytes, device: torch.device) -> bytes:
        """Return rank 0's bytes to all; what the others give is ignored."""
        if self.count == 1:
            return data
        length = int(self.of_first(torch.tensor(len(data), device=device)))
        content = np.frombuffer(data, dtype=np.uint8).copy() if self.rank == 0 else np.zeros(length, dtype=np.uint8)
        return self.of_first(torch.from_numpy(content).to(device)).cpu().numpy().tobytes()

    def joined(self, network: N) -> N:
        """Return the network with rank 0's weights, and with batch statistics, where it has any, of all processes.

        Raises:
            ModelError: it has batch statistics and is not on a GPU, where alone they can be shared.
        """
        if self.count == 1:
            return network
        for tensor in network.state_dict().values():
            tensor.copy_(self.of_first(tensor))
        if any(isinstance(module, nn.BatchNorm1d) for module in network.modules()):
            device = next(network.parameters()).device.type
            if device != "cuda":
                raise ModelError(
                    f"distributed training: expected a GPU for a network with batch normalisation, found {device}; "
                    "train it in one process"
                )
            return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call, no-any-return]
        return network

    @contextmanager
    def own_randomness(self, seed: int, step: int, device: torch.device) -> Iterator[None]:
        """Draw from a stream of this process alone for the duration, and leave the common one as it was."""
        if self.count == 1:
            yield
            return
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            state = np.random.SeedSequence([seed, step, self.rank]).generate_state(1, np.uint64)[0]
            torch.manual_seed(int(state) >> 1)
            yield
