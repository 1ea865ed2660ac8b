"""Photo encoders: frozen networks that turn a photo into a vector of features, each with its identity and licence."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from plant_traits.errors import ModelError
from plant_traits.model.depth_anything import PooledDepthAnything, load_depth_anything
from plant_traits.model.dinov2 import PooledDinov2, TokenPooledDinov2, load_dinov2, load_dinov2_small
from plant_traits.model.efficientnet import DIMENSION, folded, load_efficientnet_lite0
from plant_traits.model.identity import JOIN, FrozenEncoder, weights_identity
from plant_traits.model.preprocessing import EFFICIENTNET_LITE, IMAGENET, Preprocessing

Precision = Literal["float32", "bfloat16"]
ENCODERS = ("efficientnet-lite0", "dinov2-small", "dinov2", "dinov2-tokens", "depth-anything")
FROM_A_HUB = ("dinov2", "dinov2-tokens", "depth-anything")
"""Encoders that need a location: a local folder or a hub id."""

_CODE_VERSION = 1  # raise when the same weights and settings come to give other features


class Encoder(FrozenEncoder, Protocol):
    """What turns photos into features.

    Attributes:
        preprocessing: what is done to a photo before each network sees it.
    """

    @property
    def preprocessing(self) -> tuple[Preprocessing, ...]: ...  # noqa: D102

    def encode(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """Return the features of RGB images, (n, dimension) float32."""
        ...


@dataclass(frozen=True)
class TorchEncoder:
    """An encoder whose network runs in PyTorch; see ``Encoder`` for the first five attributes.

    Attributes:
        network: maps (n, 3, crop, crop) float32 to (n, dimension).
        batch: photos per forward pass; small passes stay in a processor's cache and are the faster for it. Every pass
            has this size, filled up with grey: libraries choose their order of summation by it, so a photo's features
            would otherwise differ in the last bits with the number of photos it happens to be encoded with.
        device: where the network lies, ``cpu`` or ``cuda``.
        precision: arithmetic of the forward pass.
    """

    name: str
    dimension: int
    identity: str
    licence: str
    preprocessing: tuple[Preprocessing]
    network: nn.Module = field(repr=False)
    batch: int
    device: str
    precision: Precision

    def encode(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """Return the features of RGB images, (n, dimension) float32, the same bits whichever photos share a call."""
        features = np.empty((len(images), self.dimension), dtype=np.float32)
        crop = self.preprocessing[0].crop
        for start in range(0, len(images), self.batch):
            some = images[start : start + self.batch]
            pixels = np.zeros((self.batch, 3, crop, crop), dtype=np.float32)
            for place, image in enumerate(some):
                pixels[place] = self.preprocessing[0].apply(image)
            features[start : start + len(some)] = self._forward(torch.from_numpy(pixels)).cpu().numpy()[: len(some)]
        return features

    def _forward(self, pixels: Tensor) -> Tensor:
        pixels = pixels.to(self.device).contiguous(memory_format=torch.channels_last)
        reduced = self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device, dtype=torch.bfloat16, enabled=reduced):
            output: Tensor = self.network(pixels)
            return output.float()


@dataclass(frozen=True)
class SideBySide:
    """Several encoders as one: their features stand beside each other, in order; see ``Encoder``.

    Attributes:
        parts: two encoders or more.
    """

    parts: tuple[Encoder, ...]

    @property
    def name(self) -> str:
        """The parts' names, joined."""
        return JOIN.join(part.name for part in self.parts)

    @property
    def dimension(self) -> int:
        """The sum of the parts' dimensions."""
        return sum(part.dimension for part in self.parts)

    @property
    def identity(self) -> str:
        """A hash of the parts' identities in their order."""
        return hashlib.sha256(" ".join(part.identity for part in self.parts).encode()).hexdigest()[:32]

    @property
    def licence(self) -> str:
        """Every part's licence: all of them bind."""
        return "; ".join(f"{part.name}: {part.licence}" for part in self.parts)

    @property
    def preprocessing(self) -> tuple[Preprocessing, ...]:
        """The parts' preprocessings in their order."""
        return tuple(step for part in self.parts for step in part.preprocessing)

    def encode(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """Return the features of RGB images, (n, dimension) float32."""
        return np.concatenate([part.encode(images) for part in self.parts], axis=1)


def load_encoder(
    name: str,
    location: str | Mapping[str, str] | None = None,
    *,
    device: str = "cpu",
    precision: Precision = "float32",
    local_files_only: bool = True,
) -> Encoder:
    """Load a frozen photo encoder, or several side by side.

    ``efficientnet-lite0`` gives 1,280 pooled features and needs no download; ``dinov2-small`` gives 768 (class token
    and mean patch token of a ViT-S/14, 384 each); ``dinov2`` gives twice the width of the model at its location;
    ``dinov2-tokens`` 32 times (24,576 for ViT-B) and ``depth-anything`` 64 times the width (49,152 for ViT-B), as
    published for PlantTraitNet.

    Args:
        name: one of ``ENCODERS``, or several of them joined by ``+``.
        location: a local folder or a hub id such as ``facebook/dinov2-with-registers-base``, for the encoder that
            needs one; by encoder where several do.
        device: ``cpu`` or ``cuda``.
        precision: ``bfloat16`` is faster on recent hardware and is part of the encoder's identity.
        local_files_only: never download; a hub id must then be in the local cache.

    Raises:
        ModelError: the name is unknown, weights are missing or damaged, or the device is not there.
    """
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ModelError(f"encoder {name!r}: expected the device cpu, or cuda where there is one, found {device!r}")
    names = name.split(JOIN)
    unknown = [part for part in names if part not in ENCODERS]
    if unknown or len(set(names)) < len(names):
        raise ModelError(
            f"unknown encoder {name!r}; expected one of {', '.join(ENCODERS)}, or different ones joined by {JOIN!r}"
        )
    locations = _locations(name, [part for part in names if part in FROM_A_HUB], location)
    parts = [_load(part, locations.get(part), device, precision, local_files_only) for part in names]
    return parts[0] if len(parts) == 1 else SideBySide(tuple(parts))


def _locations(name: str, needed: list[str], location: str | Mapping[str, str] | None) -> dict[str, str]:
    if isinstance(location, str):
        found = dict.fromkeys(needed or [name], location) if len(needed) < 2 else {}
    else:
        found = dict(location or {})
    if set(found) != set(needed):
        raise ModelError(
            f"encoder {name!r}: expected a location for {needed or 'none of its parts'}, found {location!r}; set "
            "model.encoder_location in the profile, by encoder where several need one"
        )
    return found


def _load(name: str, location: str | None, device: str, precision: Precision, local_files_only: bool) -> TorchEncoder:
    network: nn.Module
    if name == "efficientnet-lite0":
        loaded = load_efficientnet_lite0()
        identity = _identity(loaded, EFFICIENTNET_LITE, precision)
        network, dimension = folded(loaded), DIMENSION
        preprocessing, licence = EFFICIENTNET_LITE, "Apache-2.0"
    else:
        vit = _vision_transformer(name, location, local_files_only)
        identity = _identity(vit, IMAGENET, precision)
        network, dimension, licence = vit, vit.dimension, vit.licence
        preprocessing = IMAGENET
    network = network.eval().requires_grad_(False).to(device)
    batch = 32 if device == "cuda" else 8
    return TorchEncoder(name, dimension, identity, licence, (preprocessing,), network, batch, device, precision)


def _vision_transformer(
    name: str, location: str | None, local_files_only: bool
) -> PooledDinov2 | TokenPooledDinov2 | PooledDepthAnything:
    if location is None:
        return load_dinov2_small()
    if name == "depth-anything":
        return load_depth_anything(location, local_files_only)
    dino = load_dinov2(location, local_files_only)
    return TokenPooledDinov2(dino) if name == "dinov2-tokens" else dino


def _identity(network: nn.Module, preprocessing: Preprocessing, precision: Precision) -> str:
    return weights_identity(network, f"{_CODE_VERSION} {type(network).__name__} {preprocessing!r} {precision}")
