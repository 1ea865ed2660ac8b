"""Climplicit: a network that learnt the monthly climate of every place, and what it knows of one [arXiv 2504.05089]."""

from __future__ import annotations

import math
import re

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from plant_traits.errors import ModelError
from plant_traits.model.hub import WEIGHTS, advice, hub_file, licence_at, load_strictly

MONTHS = (3, 6, 9, 12)
"""A place's features are those of these four months, beside each other."""

_INPUTS = 4  # longitude, latitude, sine and cosine of the month
_FIRST_FREQUENCY = 30.0
_PREFIX = "location_encoder."
_UNUSED = "chelsa_regressor."  # back from the features to the climate; a predictor has no use for it


class _Layer(nn.Module):
    """Weights and bias of one layer. Attribute names as published."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class Climplicit(nn.Module):
    """A sinusoidal network with residual connections between the arguments of its sines.

    With z the place and month: g₀ = W₀z + b₀ and x₀ = sin(30 sinh 2g₀); then gᵢ = ½(Wᵢxᵢ₋₁ + bᵢ + gᵢ₋₁) and
    xᵢ = sin gᵢ; the output is linear in the last x. Published: 16 layers of 512, 256 outputs, so 1,024 features.

    Attributes:
        dimension: four times the outputs.
    """

    def __init__(self, layers: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(_INPUTS if i == 0 else hidden, hidden) for i in range(layers))
        self.last_layer = _Layer(hidden, outputs)
        self.dimension = len(MONTHS) * outputs

    def coordinates(self, latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Scale degrees to [-1, 1], (n, 2) float32: longitude, latitude."""
        longitude, latitude = np.asarray(longitude, dtype=np.float64), np.asarray(latitude, dtype=np.float64)
        return np.column_stack([longitude / 180, latitude / 90]).astype(np.float32)

    def forward(self, coordinates: Tensor) -> Tensor:
        """Return (n, dimension) features of scaled coordinates (n, 2)."""
        return torch.cat([self._of_month(coordinates, month) for month in MONTHS], dim=1)

    def _of_month(self, coordinates: Tensor, month: int) -> Tensor:
        angle = 2 * math.pi * month / 12
        season = coordinates.new_tensor([math.sin(angle), math.cos(angle)]).expand(len(coordinates), 2)
        x, argument = torch.cat([coordinates, season], dim=1), None
        for layer in self.layers:
            if argument is None:
                argument = layer(x)
                x = torch.sin(_FIRST_FREQUENCY * torch.sinh(2 * argument))
            else:
                argument = (layer(x) + argument) / 2
                x = torch.sin(argument)
        features: Tensor = self.last_layer(x)
        return features


def load_climplicit(location: str, local_files_only: bool = True) -> tuple[Climplicit, str]:
    """Load Climplicit from a local folder or a hub id; safetensors only.

    Args:
        location: such as ``Jobedo/climplicit``, or a folder with ``model.safetensors`` of the same layout.
        local_files_only: never download; a hub id must then be in the local cache.

    Returns:
        The network, of whatever size the weights are, and the licence beside them.

    Raises:
        ModelError: the file is not there, damaged, or not Climplicit's.
    """
    path = hub_file("climplicit", location, WEIGHTS, local_files_only)
    try:
        found = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(
            f"location encoder climplicit: {path} cannot be read: {str(error)[:200]}; {advice(location)}"
        ) from error
    state = {name.removeprefix(_PREFIX): tensor for name, tensor in found.items() if not name.startswith(_UNUSED)}
    layers = sum(re.fullmatch(r"layers\.\d+\.weight", name) is not None for name in state)
    last = state.get("last_layer.weight")
    if layers == 0 or last is None or last.ndim != 2:
        raise ModelError(
            f"location encoder climplicit: expected {_PREFIX}layers.*.weight and {_PREFIX}last_layer.weight in "
            f"{path}, found {sorted(found)[:5]}; {advice(location)}"
        )
    network = Climplicit(layers, hidden=last.shape[1], outputs=last.shape[0])
    load_strictly("location encoder climplicit", network, state, str(path))
    return network.eval(), licence_at(location)
