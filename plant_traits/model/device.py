"""Which device a network runs on."""

from __future__ import annotations

from typing import Literal

import torch

from plant_traits.errors import ModelError


def resolve_device(wanted: Literal["auto", "cpu", "cuda"], local_rank: int | None = None) -> str:
    """Return ``cpu``, ``cuda`` or, for one of several processes of a machine, ``cuda:`` and its number there.

    Args:
        wanted: ``auto`` takes a GPU where torch sees one.
        local_rank: number of the process among those of its machine, each of which has a GPU to itself.

    Raises:
        ModelError: CUDA is asked for and torch sees no GPU, or fewer than there are processes.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ModelError("the profile asks for device 'cuda', but torch sees no GPU here; use 'auto' or 'cpu'")
    if wanted == "cpu" or not available:
        return "cpu"
    if local_rank is None:
        return "cuda"
    if local_rank >= torch.cuda.device_count():
        raise ModelError(
            f"process {local_rank} of this machine: expected a GPU for each process, found {torch.cuda.device_count()} "
            "GPUs; start as many processes as there are GPUs, or use device 'cpu'"
        )
    return f"cuda:{local_rank}"
