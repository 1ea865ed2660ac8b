"""Choose what a training step learns from: now and then more photos of rare species, and the hardest of them all.

A batch of B photos is enlarged with b photos of tail species with a small probability; then the B photos with the
smallest embedding norms stay, a small norm being the sign of a photo that the network has not made out yet [TaxoNet].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.recall import TAIL_BELOW

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TailSampling:
    """How often and with how many tail photos batches are enlarged.

    Attributes:
        batch: B.
        extra: b.
        probability: that a batch is enlarged.
        below: species with fewer training photos are of the tail.
        evenly: whether each species of the tail is drawn as often as the others, rather than each photo.
    """

    batch: int = 32
    extra: int = 8
    probability: float = 0.1
    below: int = TAIL_BELOW
    evenly: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1 or self.extra < 0 or self.below < 0 or not 0 <= self.probability <= 1:
            raise ModelError(
                f"tail sampling: expected a batch of 1 or more, no negative numbers and a probability, found {self}"
            )

    def batches(self, labels: IntArray, counts: IntArray, rng: np.random.Generator) -> list[IntArray]:
        """Return one epoch's batches of photo positions: all photos in random order, some batches with tail photos.

        Args:
            labels: (n,) classes of the photos.
            counts: (k,) training photos of each class; where none is of the tail, no batch is enlarged.
            rng: decides everything; it draws the same for each epoch whatever is enlarged.
        """
        order = rng.permutation(len(labels))
        parts = [order[start : start + self.batch] for start in range(0, len(labels), self.batch)]
        chance = rng.random(len(parts))
        tail = np.flatnonzero(counts[labels] < self.below)
        if not tail.size:
            return parts
        weight = 1 / counts[labels[tail]] if self.evenly else np.ones(tail.size)
        reached = np.cumsum(weight) / weight.sum()
        drawn = np.searchsorted(reached, rng.random((len(parts), self.extra)), side="right")
        more = tail[np.minimum(drawn, tail.size - 1)]
        return [
            np.concatenate([part, more[number]]) if chance[number] < self.probability else part
            for number, part in enumerate(parts)
        ]


def lowest_norms(embeddings: Tensor, keep: int) -> Tensor:
    """Return the positions of the embeddings with the smallest Euclidean norms, in their order, at most ``keep``.

    Args:
        embeddings: (n, e), before they are normalised.
        keep: how many stay; of equal norms the first.
    """
    if len(embeddings) <= keep:
        return torch.arange(len(embeddings), device=embeddings.device)
    norms = torch.linalg.vector_norm(embeddings.detach(), dim=1)
    return torch.argsort(norms, stable=True)[:keep].sort().values
