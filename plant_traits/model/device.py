"""Which device a network runs on."""

from __future__ import annotations

from typing import Literal

import torch

from plant_traits.errors import ModelError


def resolve_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """Return ``cpu`` or ``cuda``; ``auto`` takes a GPU where torch sees one.

    Raises:
        ModelError: CUDA is asked for and torch sees no GPU.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ModelError("the profile asks for device 'cuda', but torch sees no GPU here; use 'auto' or 'cpu'")
    return "cuda" if available and wanted != "cpu" else "cpu"
