"""The identity of frozen weights: a hash that tells one network, with its settings, from another."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_identity(network: nn.Module, settings: str) -> str:
    """Return 32 hexadecimal digits of the settings and of every tensor's name, shape, type and bytes.

    Args:
        network: on the CPU, its weights loaded.
        settings: whatever else changes the features, such as the kind of network and the preprocessing.
    """
    digest = hashlib.sha256(settings.encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]
