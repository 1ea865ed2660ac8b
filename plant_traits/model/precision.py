"""In which floating-point precision a network computes; its outputs, and all that follows them, are float32."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["auto", "float32", "bfloat16"]


def resolve_precision(wanted: Precision, device: str | torch.device) -> torch.dtype:
    """Return the type that matrix products are computed in; ``auto`` is bfloat16 on a GPU that has it, else float32."""
    if wanted == "auto":
        on_gpu = torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if on_gpu else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[wanted]


def apply_network(
    network: nn.Module, inputs: tuple[Tensor, Tensor, Tensor, Tensor], precision: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Apply a trait network in a precision.

    Weights stay float32: with bfloat16, matrix products are autocast and the rest is not. bfloat16 has the range of
    float32, so gradients need no scaling.

    Args:
        network: a trait network, in whichever mode it is.
        inputs: image, covariates, has_image and has_geospatial, on the network's device.
        precision: float32, or bfloat16.

    Returns:
        Locations and log-scales, each (n, traits) float32.
    """
    with torch.autocast(inputs[0].device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        location, log_scale = network(*inputs)
    return location.float(), log_scale.float()
