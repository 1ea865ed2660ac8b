"""GeoCLIP's location encoder: random Fourier features of a place at three scales, each through its own network."""

from __future__ import annotations

import importlib.util
import math
import pickle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyproj
import torch
from torch import Tensor, nn

from plant_traits.errors import ModelError
from plant_traits.model.hub import load_strictly

PACKAGE = "geoclip"
WEIGHTS = "model/weights/location_encoder_weights.pth"
LICENCE = "MIT (the package geoclip, whose weights they are)"
DIMENSION = 512
SCALES = 3

_FREQUENCIES = 256
_HIDDEN = 1024
_PROJECTION = pyproj.Proj("+proj=eqearth +R=1")
_SPREAD = 66.50336 / 180  # from the Equal Earth projection of the unit sphere to the units it was trained in


class _Fourier(nn.Module):
    """Cosines and sines of 2πBx for fixed random frequencies B, whose spread sets the scale."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.zeros(_FREQUENCIES, 2))

    def forward(self, x: Tensor) -> Tensor:
        angle = 2 * math.pi * (x @ self.b.T)
        return torch.cat([torch.cos(angle), torch.sin(angle)], dim=1)


class _Scale(nn.Module):
    """The network of one scale. Attribute names as published."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Fourier()]
        for width in (2 * _FREQUENCIES, _HIDDEN, _HIDDEN):
            layers += [nn.Linear(width, _HIDDEN), nn.ReLU()]
        self.capsule = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(_HIDDEN, DIMENSION))

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.head(self.capsule(x))
        return features


class GeoClip(nn.Module):
    """The location encoder of GeoCLIP [Vivanco Cepeda et al. 2023]: the sum of its scales' features of a place."""

    dimension = DIMENSION

    def __init__(self) -> None:
        super().__init__()
        for scale in range(SCALES):
            self.add_module(f"LocEnc{scale}", _Scale())

    def coordinates(self, latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Project degrees by Equal Earth to the plane that the Fourier features see, (n, 2) float32."""
        x, y = _PROJECTION(np.asarray(longitude, dtype=np.float64), np.asarray(latitude, dtype=np.float64))
        return (np.column_stack([x, y]) * _SPREAD).astype(np.float32)

    def forward(self, coordinates: Tensor) -> Tensor:
        """Return (n, 512) features of projected coordinates (n, 2)."""
        return torch.stack([scale(coordinates) for scale in self.children()]).sum(dim=0)


def load_geoclip() -> GeoClip:
    """Load the published weights inside the package geoclip, without importing it.

    Raises:
        ModelError: the package is missing, or its file is not what it was.
    """
    spec = importlib.util.find_spec(PACKAGE)
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / WEIGHTS
    if path is None or not path.is_file():
        raise ModelError(
            "location encoder geoclip: expected its weights in the package geoclip, which is not installed; "
            "run `pip install --no-deps geoclip`"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"location encoder geoclip: {path} cannot be read: {str(error)[:200]}; reinstall geoclip"
        ) from error
    network = GeoClip()
    load_strictly("location encoder geoclip", network, state, str(path))
    return network.eval()
