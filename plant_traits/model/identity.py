"""What all frozen encoders say of themselves, and a hash that tells one network, with its settings, from another."""

from __future__ import annotations

import hashlib
from typing import Protocol

import torch
from torch import nn

JOIN = "+"
"""Encoders named with this between them stand side by side."""


class FrozenEncoder(Protocol):
    """What encoders of photos and of places have in common.

    Attributes:
        name: how the catalogue calls it.
        dimension: length of a feature vector.
        identity: hash of the weights and of every setting that changes the features.
        licence: under which terms the weights are used.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def dimension(self) -> int: ...  # noqa: D102
    @property
    def identity(self) -> str: ...  # noqa: D102
    @property
    def licence(self) -> str: ...  # noqa: D102


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
