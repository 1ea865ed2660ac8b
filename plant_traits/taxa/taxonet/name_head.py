"""The trainable head of a model of names: features of a photo to an embedding, and its cosines with species."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from plant_traits.taxa.taxonet.feature_space import FeatureSpace

_WHOLE = 8
"""Products over other lengths than multiples of it have last bits that depend on a photo's place in a block."""


@dataclass(frozen=True)
class HeadShape:
    """Shape of a trainable head.

    Attributes:
        features: length of a photo's features.
        hidden: width of the hidden layer; 0 for a single linear map.
        embedding: length of an embedding.
        classes: species.
        dropout: share of inputs and of hidden units that are dropped in training.
        axes: main axes that standardised features are first brought to, which are not trained; 0 for none.
    """

    features: int
    hidden: int
    embedding: int
    classes: int
    dropout: float = 0.0
    axes: int = 0


class NameHead(nn.Module):
    """Standardise features, project them, and compare them with a vector per species."""

    mean: Tensor
    deviation: Tensor
    axes: Tensor | None

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("mean", torch.zeros(shape.features))
        self.register_buffer("deviation", torch.ones(shape.features))
        self.register_buffer("axes", torch.zeros(shape.features, shape.axes) if shape.axes else None)
        width = shape.axes or shape.features
        layers: list[nn.Module] = [nn.Dropout(shape.dropout)]
        if shape.hidden:
            layers += [nn.Linear(width, shape.hidden), nn.GELU(), nn.Dropout(shape.dropout)]
        self.projection = nn.Sequential(*layers, nn.Linear(shape.hidden or width, shape.embedding))
        self.vectors = nn.Parameter(functional.normalize(torch.randn(shape.classes, shape.embedding), dim=1))

    def standardise(self, features: Tensor) -> None:
        """Take mean and deviation from training features, (n, d); what does not vary is left as it is."""
        self.mean.copy_(features.mean(dim=0))
        deviation = features.std(dim=0, correction=0)
        self.deviation.copy_(torch.where(deviation > 0, deviation, torch.ones_like(deviation)))

    def embed(self, features: Tensor) -> Tensor:
        """Return embeddings before they are normalised, (n, e)."""
        standard = (features - self.mean) / self.deviation
        embedded: Tensor = self.projection(standard if self.axes is None else standard @ self.axes)
        return embedded

    def compare(self, embeddings: Tensor) -> Tensor:
        """Return the cosines between embeddings and species, (n, k)."""
        return functional.normalize(embeddings, dim=1) @ functional.normalize(self.vectors, dim=1).T

    def forward(self, features: Tensor) -> Tensor:
        """Return the cosines between photos and species, (n, k)."""
        return self.compare(self.embed(features))


def head_of_space(space: FeatureSpace, dropout: float = 0.0) -> NameHead:
    """Make a head that starts where two Gaussians would end: with a feature space's contrasts and species' centres.

    Embeddings are positions along the contrasts, in which photos scatter about their species alike, and the species'
    vectors point to their centres, drawn towards the mean where photos are few. Started at random, a head learns the
    photos of rare species by heart, and what tells further ones from others is not found; from here it is kept.

    Args:
        space: of the training photos.
        dropout: share of the positions along the main axes that is dropped in training.
    """
    features, axes = space.axes.shape
    kinds = space.spread.size
    more, beyond = -axes % _WHOLE, -kinds % _WHOLE  # numbers that are 0 and stay so, having no gradient
    shape = HeadShape(features, 0, kinds + beyond, len(space.centres), dropout, axes + more)
    head = NameHead(shape)
    contrast, centres = torch.from_numpy(space.contrast.T.copy()), torch.from_numpy(space.centres)
    # Lengths of embeddings do not count; weights are made as large as random ones, which learning rates are meant for.
    like_random = 1 / np.sqrt(3 * axes * float((contrast**2).mean()))
    placed = {
        "mean": torch.from_numpy(space.mean),
        "deviation": torch.from_numpy(space.deviation),
        "axes": functional.pad(torch.from_numpy(space.axes), (0, more)),
        "projection.1.weight": functional.pad(contrast * like_random, (0, more, 0, beyond)),
        "projection.1.bias": torch.zeros(shape.embedding),
        "vectors": functional.pad(functional.normalize(centres, dim=1), (0, beyond)),
    }
    head.load_state_dict({**head.state_dict(), **placed})
    return head
