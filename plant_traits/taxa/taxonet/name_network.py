"""Networks that name species from pixels: a backbone, of which some or all layers learn, and the head of names.

The backbone is a small convolutional network, or an encoder of this package of which the last blocks learn and the
rest stays as it was. Its features go through the same head as frozen features do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from plant_traits.errors import ModelError, PhotoError
from plant_traits.model.dinov2 import PooledDinov2, load_dinov2_small
from plant_traits.model.efficientnet import EfficientNetLite0, load_efficientnet_lite0
from plant_traits.model.images import decode_photo
from plant_traits.model.preprocessing import EFFICIENTNET_LITE, IMAGENET, Preprocessing
from plant_traits.taxa.taxonet.epochs import NameFitting
from plant_traits.taxa.taxonet.name_head import HeadShape, NameHead

BackboneName = Literal["small", "efficientnet-lite0", "dinov2-small"]
_CHANNELS = (16, 32, 64, 128)
_STRIDE = 2 ** len(_CHANNELS)


@dataclass(frozen=True)
class BackboneFitting:
    """What is trained, and how.

    Attributes:
        backbone: ``small`` (four convolutions, from random weights), or an encoder with its published weights.
        side: of the square that photos are brought to, pixels; a multiple of 16 or, for ``dinov2-small``, of 14.
        blocks: how many of the encoder's last blocks learn; 0 for the head alone. ``small`` learns whole.
        how: loss, selection, optimiser, stopping and head.
        severity: of the alterations of tail photos (AugMix); all photos are cropped and mirrored.
    """

    backbone: BackboneName = "efficientnet-lite0"
    side: int = 224
    blocks: int = 2
    how: NameFitting = field(default_factory=lambda: NameFitting(hidden=0, learning_rate=3e-4, epochs=20))
    severity: float = 0.4

    def __post_init__(self) -> None:
        multiple = 14 if self.backbone == "dinov2-small" else _STRIDE
        if self.side < multiple or self.side % multiple or self.blocks < 0 or not 0 <= self.severity <= 1:
            raise ModelError(
                f"training a backbone: expected a side that is a multiple of {multiple}, no negative number of blocks "
                f"and a severity from 0 to 1, found {self.side}, {self.blocks} and {self.severity}"
            )


class SmallNetwork(nn.Module):
    """Four convolutions, each halving the photo's sides, and the mean and largest value of each of 128 maps."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *_CHANNELS), _CHANNELS, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1), nn.GroupNorm(8, outputs), nn.GELU()]
        self.layers = nn.Sequential(*layers)
        self.dimension = 2 * _CHANNELS[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, 256) features of images (n, 3, side, side)."""
        maps = self.layers(images)
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


class NameNetwork(nn.Module):
    """A backbone and a head.

    Attributes:
        backbone: images (n, 3, side, side) to features.
        head: features to cosines with species.
    """

    def __init__(self, backbone: nn.Module, head: NameHead) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def embed(self, images: Tensor) -> Tensor:
        """Return embeddings before they are normalised, (n, e)."""
        return self.head.embed(self.backbone(images))

    def compare(self, embeddings: Tensor) -> Tensor:
        """Return the cosines between embeddings and species, (n, k)."""
        return self.head.compare(embeddings)

    def train(self, mode: bool = True) -> NameNetwork:
        """Set the mode of the head and of the small backbone; normalisations of published weights stay as they are."""
        super().train(mode)
        if not isinstance(self.backbone, SmallNetwork):
            self.backbone.eval()
        return self


def make_network(settings: BackboneFitting, classes: int) -> NameNetwork:
    """Build the network, with published weights where the backbone is an encoder; torch's generator draws the rest.

    Raises:
        ModelError: the encoder's weights are missing or damaged.
    """
    backbone: nn.Module
    if settings.backbone == "small":
        small = SmallNetwork()
        backbone, dimension = small, small.dimension
    elif settings.backbone == "efficientnet-lite0":
        lite = load_efficientnet_lite0()
        _learn_last(lite, list(lite._blocks), [lite._conv_head, lite._bn1], settings.blocks)
        backbone, dimension = lite, lite._conv_head.out_channels
    else:
        vit = load_dinov2_small()
        _learn_last(vit, _layers(vit), [vit.backbone.layernorm], settings.blocks)  # type: ignore[list-item]
        backbone, dimension = vit, vit.dimension
    how = settings.how
    return NameNetwork(backbone, NameHead(HeadShape(dimension, how.hidden, how.embedding, classes, how.dropout)))


def _layers(vit: PooledDinov2) -> list[nn.Module]:
    (layers,) = (x for x in vit.backbone.modules() if isinstance(x, nn.ModuleList) and len(x) > 1)
    return list(layers)


def _learn_last(
    network: EfficientNetLite0 | PooledDinov2, blocks: list[nn.Module], end: list[nn.Module], many: int
) -> None:
    """Freeze all but the last blocks and what follows them; with none, all."""
    network.requires_grad_(False)
    for module in [*blocks[len(blocks) - min(many, len(blocks)) :], *end] if many else []:
        module.requires_grad_(True)


def preprocessing_of(settings: BackboneFitting) -> Preprocessing:
    """Return what is done to a square photo before the network sees it."""
    of = EFFICIENTNET_LITE if settings.backbone == "efficientnet-lite0" else IMAGENET
    return replace(of, resize=settings.side, crop=settings.side)


def squares(images: Sequence[bytes], side: int, first: int = 0) -> npt.NDArray[np.uint8]:
    """Return the centre squares of photos, (n, side, side, 3), from their bytes.

    Args:
        images: bytes of the n photos.
        side: of the squares, pixels.
        first: number of the first photo, for errors.

    Raises:
        ModelError: a photo cannot be read.
    """
    out = np.empty((len(images), side, side, 3), dtype=np.uint8)
    for number, data in enumerate(images):
        try:
            image = decode_photo(data)
        except PhotoError as error:
            raise ModelError(
                f"names from photos: photo {first + number} cannot be read ({error.reason}); leave out photos that "
                "cannot be"
            ) from error
        shorter = min(image.size)
        left, top = (image.width - shorter) / 2, (image.height - shorter) / 2
        box = (left, top, left + shorter, top + shorter)
        out[number] = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))
    return out
