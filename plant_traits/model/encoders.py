"""Photo encoders: frozen networks that turn a photo into a vector of features, each with its identity and licence."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from plant_traits.errors import ModelError
from plant_traits.model.dinov2 import PooledDinov2, load_dinov2, load_dinov2_small
from plant_traits.model.efficientnet import DIMENSION, folded, load_efficientnet_lite0
from plant_traits.model.preprocessing import EFFICIENTNET_LITE, IMAGENET, Preprocessing

Precision = Literal["float32", "bfloat16"]
ENCODERS = ("efficientnet-lite0", "dinov2-small", "dinov2")
_CODE_VERSION = 1  # raise when the same weights and settings come to give other features


class Encoder(Protocol):
    """What turns photos into features.

    Attributes:
        name: how the catalogue calls it.
        dimension: length of a photo's feature vector.
        identity: hash of the weights, the preprocessing and every setting that changes the features.
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

    def encode(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """Return the features of RGB images, (n, dimension) float32."""
        ...


@dataclass(frozen=True)
class TorchEncoder:
    """An encoder whose network runs in PyTorch; see ``Encoder`` for the first four attributes.

    Attributes:
        network: maps (n, 3, crop, crop) float32 to (n, dimension).
        preprocessing: from a photo to the network's input.
        batch: photos per forward pass; small passes stay in a processor's cache and are the faster for it.
        device: where the network lies, ``cpu`` or ``cuda``.
        precision: arithmetic of the forward pass.
    """

    name: str
    dimension: int
    identity: str
    licence: str
    network: nn.Module = field(repr=False)
    preprocessing: Preprocessing
    batch: int
    device: str
    precision: Precision

    def encode(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """Return the features of RGB images, (n, dimension) float32; which photos share a call does not matter."""
        features = np.empty((len(images), self.dimension), dtype=np.float32)
        for start in range(0, len(images), self.batch):
            pixels = np.stack([self.preprocessing.apply(image) for image in images[start : start + self.batch]])
            features[start : start + self.batch] = self._forward(torch.from_numpy(pixels)).cpu().numpy()
        return features

    def _forward(self, pixels: Tensor) -> Tensor:
        pixels = pixels.to(self.device).contiguous(memory_format=torch.channels_last)
        reduced = self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device, dtype=torch.bfloat16, enabled=reduced):
            output: Tensor = self.network(pixels)
            return output.float()


def load_encoder(
    name: str,
    location: str | None = None,
    *,
    device: str = "cpu",
    precision: Precision = "float32",
    local_files_only: bool = True,
) -> Encoder:
    """Load a frozen photo encoder.

    ``efficientnet-lite0`` gives 1,280 pooled features and needs no download; ``dinov2-small`` gives 768 (class token
    and mean patch token of a ViT-S/14, 384 each); ``dinov2`` gives twice the width of the model at ``location``.

    Args:
        name: one of ``ENCODERS``.
        location: for ``dinov2`` only, a local folder or a hub id such as ``facebook/dinov2-with-registers-base``.
        device: ``cpu`` or ``cuda``.
        precision: ``bfloat16`` is faster on recent hardware and is part of the encoder's identity.
        local_files_only: never download; a hub id must then be in the local cache.

    Raises:
        ModelError: the name is unknown, weights are missing or damaged, or the device is not there.
    """
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ModelError(f"encoder {name!r}: expected the device cpu, or cuda where there is one, found {device!r}")
    if name not in ENCODERS:
        raise ModelError(f"unknown encoder {name!r}; expected one of {', '.join(ENCODERS)}")
    if (name == "dinov2") != (location is not None):
        raise ModelError(
            f"encoder {name!r}: expected a location for dinov2 and for no other encoder, found {location!r}; "
            "set model.encoder_location in the profile"
        )
    network: nn.Module
    if name == "efficientnet-lite0":
        loaded = load_efficientnet_lite0()
        identity = _identity(loaded, EFFICIENTNET_LITE, precision)
        network, dimension, batch = folded(loaded), DIMENSION, 8
        preprocessing, licence = EFFICIENTNET_LITE, "Apache-2.0"
    else:
        dino: PooledDinov2 = load_dinov2_small() if location is None else load_dinov2(location, local_files_only)
        identity = _identity(dino, IMAGENET, precision)
        network, dimension, batch, licence = dino, dino.dimension, 16, dino.licence
        preprocessing = IMAGENET
    network = network.eval().requires_grad_(False).to(device)
    if device == "cuda":
        batch = 256
    return TorchEncoder(name, dimension, identity, licence, network, preprocessing, batch, device, precision)


def _identity(network: nn.Module, preprocessing: Preprocessing, precision: Precision) -> str:
    digest = hashlib.sha256(f"{_CODE_VERSION} {type(network).__name__} {preprocessing!r} {precision}".encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]
