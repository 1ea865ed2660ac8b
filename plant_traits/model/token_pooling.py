"""Pool a vision transformer's patch tokens into few, as PlantTraitNet does, and lay them out as one vector."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

IMAGE_TOKENS = 32
"""Pooled tokens of a photo's DINOv2 encoding [PlantTraitNet, arXiv 2511.06943]."""

DEPTH_TOKENS = 64
"""Pooled tokens of a photo's Depth-Anything encoding [PlantTraitNet]."""


def pooled_tokens(tokens: Tensor, count: int) -> Tensor:
    """Average neighbouring patch tokens to ``count`` of them and flatten.

    Args:
        tokens: (n, patches, width) patch tokens in raster order, without class and register tokens.
        count: tokens to keep; token k is the mean of patches floor(k·patches/count) to ceil((k+1)·patches/count).

    Returns:
        (n, width · count); the value of channel c in pooled token k stands at c · count + k, as the published linear
        layers expect it.
    """
    return functional.adaptive_avg_pool1d(tokens.transpose(1, 2), count).flatten(1)
