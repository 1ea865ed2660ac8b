"""The network published as PlantTraitNet [arXiv 2511.06943], layer by layer, and a strict loader of its checkpoint.

Layer sizes, the order of the modalities and the names of the tensors are those of its public implementation
(GeoSense-Freiburg/PlantTraitNet at c6523d0), which has two things that the paper does not mention: a second linear
layer behind the projection to 1,024, and a softplus behind every location head, since its targets are scaled to be
positive. The published checkpoint itself was never seen here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from plant_traits.errors import ModelError
from plant_traits.model.hub import load_strictly
from plant_traits.model.losses import clamp_log_scale
from plant_traits.model.network import NetworkConfig
from plant_traits.model.token_pooling import DEPTH_TOKENS, IMAGE_TOKENS

ENCODER = "dinov2-tokens+depth-anything"
"""The photo encoders whose features it reads, of the same width: 768 for ViT-B, so 24,576 and 49,152 features."""

HIDDEN, BLOCKS, DROPOUT = 1024, 8, 0.2
IMAGE_WIDTH, DEPTH_WIDTH, PLACE_WIDTH = 768, 768, 256

_NAMES = {
    "image": "image_encoder.compress_dino_feat.2",
    "depth": "depth_encoder.compress_depth_enc.2",
    "place": "geo_encoder.Linear",
    "norm": "layernorm",
    "projection": "input_proj",
    "entry": "multimodal.input_projection",
    "blocks.{}.normalisation": "multimodal.blocks.{}.normalization",
    "blocks.{}.expand": "multimodal.blocks.{}.linear1",
    "blocks.{}.contract": "multimodal.blocks.{}.linear2",
    "locations.{}": "multimodal.mu_heads.{}.0",
    "log_scales.{}": "multimodal.logvar_linears.{}",
}
"""Every layer of ``PublishedNetwork`` and its published name; ``{}`` counts blocks or traits."""

_FROZEN = ("image_encoder.dinomodel.", "depth_encoder.depth_encoder.", "geo_encoder.model.")
"""The frozen encoders that a published checkpoint repeats; here they are encoders of their own."""


class PublishedNetwork(nn.Module):
    """PlantTraitNet behind its frozen encoders: three branches, a normalisation, residual blocks, two heads per trait.

    What it adds to the published one is that a record without a photo or a place predicts: its branch gives zeros, and
    modality dropout in training teaches the rest to do without.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        tokens = IMAGE_TOKENS + DEPTH_TOKENS
        if config.image_dimension == 0 or config.image_dimension % tokens or config.covariates == 0:
            raise ModelError(
                f"network planttraitnet-published: expected features of the encoders {ENCODER} with one width, so a "
                f"multiple of {tokens}, and of places, found {config.image_dimension} and {config.covariates}; set "
                "model.encoder and model.location_encoder in the profile"
            )
        self.config = config
        self.image_features = config.image_dimension // tokens * IMAGE_TOKENS
        hidden = config.hidden
        self.image = nn.Linear(self.image_features, IMAGE_WIDTH)
        self.depth = nn.Linear(config.image_dimension - self.image_features, DEPTH_WIDTH)
        self.place = nn.Linear(config.covariates, PLACE_WIDTH)
        width = IMAGE_WIDTH + DEPTH_WIDTH + PLACE_WIDTH
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.projection = nn.Linear(width, hidden)
        self.entry = nn.Linear(hidden, hidden)
        self.blocks = nn.ModuleList(_block(hidden, config.dropout) for _ in range(config.blocks))
        self.locations = nn.ModuleList(nn.Linear(hidden, 1) for _ in range(config.traits))
        self.log_scales = nn.ModuleList(nn.Linear(hidden, 1) for _ in range(config.traits))

    def forward(
        self, image: Tensor, covariates: Tensor, has_image: Tensor, has_geospatial: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return locations, which are positive, and log-scales within [-5, 5], each (n, traits).

        Args:
            image: features (n, image_dimension) of ``ENCODER``, as they are; rows without a photo may hold anything
                finite.
            covariates: features of places (n, covariates), NaN where one is missing.
            has_image: (n,) boolean, whether the photo is to be used.
            has_geospatial: (n,) boolean, whether the place is to be used.
        """
        seen, placed = has_image[:, None].to(image.dtype), has_geospatial[:, None].to(image.dtype)
        depth = self.depth(image[:, self.image_features :]) * seen
        place = self.place(torch.nan_to_num(covariates, nan=0.0)) * placed
        photo = self.image(image[:, : self.image_features]) * seen
        x = self.entry(self.projection(self.norm(torch.cat([depth, place, photo], dim=1))))  # in the published order
        for block in self.blocks:
            x = x + block(x)
        location = functional.softplus(torch.cat([head(x) for head in self.locations], dim=1))
        return location, clamp_log_scale(torch.cat([head(x) for head in self.log_scales], dim=1))


def _block(hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            normalisation=nn.BatchNorm1d(hidden),
            expand=nn.Linear(hidden, 2 * hidden),
            activation=nn.LeakyReLU(),
            dropout1=nn.Dropout(dropout),
            contract=nn.Linear(2 * hidden, hidden),
            dropout2=nn.Dropout(dropout),
        )
    )


def published_names(network: PublishedNetwork) -> dict[str, str]:
    """Return the published name of every tensor of a network."""
    names = {}
    for own in network.state_dict():
        layer, _, parameter = own.rpartition(".")
        numbers = [part for part in layer.split(".") if part.isdecimal()]
        pattern = ".".join("{}" if part.isdecimal() else part for part in layer.split("."))
        names[own] = f"{_NAMES[pattern].format(*numbers)}.{parameter}"
    return names


def load_published_checkpoint(network: PublishedNetwork, path: Path) -> PublishedNetwork:
    """Put a published checkpoint into a network; every tensor must find its place and every place its tensor.

    The published file is a pickle, which is never opened here. Convert it once where it can be trusted:
    ``safetensors.torch.save_file(torch.load(..., weights_only=False)["model"], "planttraitnet.safetensors")``. Its
    copies of the frozen encoders are left aside. That makes it a start for training and not a model to predict with:
    the public code builds its depth encoder without Depth-Anything's weights, so the copy in a checkpoint need not be
    the published encoder, and the scaling of its targets is kept in another pickle.

    Args:
        network: of the published sizes; its traits are height, leaf area, SLA and leaf nitrogen, in this order.
        path: the converted checkpoint.

    Raises:
        ModelError: the file is not there or damaged, or a tensor is missing, left over or of another shape.
    """
    try:
        found: Mapping[str, Tensor] = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(
            f"published checkpoint {path} cannot be read: {str(error)[:200]}; expected a safetensors file converted "
            "from the published one"
        ) from error
    heads = {name: tensor for name, tensor in found.items() if not name.startswith(_FROZEN)}
    load_strictly("published checkpoint", network, heads, str(path), published_names(network))
    return network
