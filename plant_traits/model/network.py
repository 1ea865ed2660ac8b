"""The trait network: a photo's features and a place's covariates, any of them missing, to a location and a scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Preset = Literal["default", "planttraitnet-published"]


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of a network.

    Attributes:
        image_dimension: length of a photo's feature vector; 0 for a network without photos.
        covariates: number of covariates of a place; 0 for a network without them.
        traits: number of traits.
        hidden: width of each branch and of the residual blocks.
        blocks: number of residual blocks.
        dropout: share of hidden units dropped in training.
        preset: ``default`` for a ``TraitNetwork``, or the published network.
    """

    image_dimension: int
    covariates: int
    traits: int
    hidden: int
    blocks: int
    dropout: float
    preset: Preset = "default"


class _ResidualBlock(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]


class TraitNetwork(nn.Module):
    """Predict a location and a log-scale per trait from whichever of {image, geospatial} is present.

    Each modality has a branch to ``hidden`` channels and a learned embedding that stands in where it is missing.
    Covariates enter with a mask of the missing ones. The branches are concatenated, normalised and passed through
    residual blocks. There is no batch normalisation, so a prediction does not depend on its batch.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden
        self.image_branch = nn.Linear(max(config.image_dimension, 1), hidden)
        self.image_missing = nn.Parameter(torch.zeros(hidden))
        self.geospatial_branch = nn.Sequential(
            nn.Linear(max(2 * config.covariates, 1), hidden), nn.GELU(), nn.Linear(hidden, hidden)
        )
        self.geospatial_missing = nn.Parameter(torch.zeros(hidden))
        self.dropout = nn.Dropout(config.dropout)
        self.fusion = nn.Sequential(nn.LayerNorm(2 * hidden), nn.Linear(2 * hidden, hidden), nn.GELU())
        self.blocks = nn.Sequential(*(_ResidualBlock(hidden, config.dropout) for _ in range(config.blocks)))
        self.norm = nn.LayerNorm(hidden)
        self.location = nn.Linear(hidden, config.traits)
        self.log_scale = nn.Linear(hidden, config.traits)
        nn.init.zeros_(self.log_scale.weight)

    def forward(
        self, image: Tensor, covariates: Tensor, has_image: Tensor, has_geospatial: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return locations and log-scales, each (n, traits).

        Args:
            image: standardised features (n, image_dimension); rows without a photo may hold anything finite.
            covariates: standardised covariates (n, covariates), NaN where one is missing.
            has_image: (n,) boolean, whether the photo is to be used.
            has_geospatial: (n,) boolean, whether the covariates are to be used.
        """
        n = len(has_image)
        if self.config.image_dimension == 0:
            image = image.new_zeros(n, 1)
        missing = torch.isnan(covariates)
        place = torch.cat([torch.where(missing, torch.zeros_like(covariates), covariates), missing.float()], dim=1)
        if self.config.covariates == 0:
            place = image.new_zeros(n, 1)
        seen = torch.where(has_image[:, None], self.image_branch(self.dropout(image)), self.image_missing)
        located = torch.where(has_geospatial[:, None], self.geospatial_branch(place), self.geospatial_missing)
        x = self.norm(self.blocks(self.fusion(self.dropout(torch.cat([seen, located], dim=1)))))
        return self.location(x), self.log_scale(x)
