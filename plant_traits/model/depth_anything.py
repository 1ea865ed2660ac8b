"""The Depth-Anything encoder: what a network that was taught to see depth knows of a photo."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from plant_traits.model.hub import licence_at, load_pretrained
from plant_traits.model.token_pooling import DEPTH_TOKENS, pooled_tokens

_FAMILIES = {"depth_anything": "DepthAnythingForDepthEstimation"}


class PooledDepthAnything(nn.Module):
    """The encoder of a Depth-Anything model, without its depth head: last intermediate layer, pooled to 64 tokens.

    Attributes:
        dimension: 64 times the width of the encoder: 49,152 for ViT-B, 24,576 for ViT-S.
        licence: terms of the weights. The published V2 small model is Apache-2.0, base and large are CC-BY-NC-4.0.
    """

    def __init__(self, backbone: nn.Module, width: int, licence: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.dimension = DEPTH_TOKENS * width
        self.licence = licence

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, dimension) features of images (n, 3, height, width), sides multiples of the patch."""
        tokens: Tensor = self.backbone(images).feature_maps[-1]
        return pooled_tokens(tokens[:, 1:], DEPTH_TOKENS)  # the first is the class token


def load_depth_anything(location: str, local_files_only: bool = True) -> PooledDepthAnything:
    """Load the encoder of a Depth-Anything model, version 1 or 2, from a local folder or a hub id; safetensors only.

    Args:
        location: such as ``depth-anything/Depth-Anything-V2-Base-hf``.
        local_files_only: never download; a hub id must then be in the local cache.

    Raises:
        ModelError: the model is not there, is of another family, or its weights are incomplete.
    """
    network, config = load_pretrained("depth-anything", location, _FAMILIES, local_files_only)
    backbone: Any = network.backbone
    backbone.config.reshape_hidden_states = False  # tokens, not maps
    return PooledDepthAnything(backbone, int(config.backbone_config.hidden_size), licence_at(location))
