"""The area of applicability: how unlike the training data a place is, and from where on that is too much.

Meyer & Pebesma (2021, Methods Ecol. Evol. 12, 1620-1633). Covariates are standardised as the model standardises them,
but not held within their range in training, and weighted by their importance to the model. A place's dissimilarity
index is its distance to the nearest training point over the mean distance of the training points. A model's error is
estimated in blocks left out, so it speaks of places as unlike the training data as a training point is unlike the
nearest one of all other folds. The upper whisker of those dissimilarities is the limit of what it speaks of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from maps.applicability.masked_distance import mean_pairwise_distance, nearest_distance
from plant_traits.grid import FloatArray, IntArray

MOST_PAIRED = 4000
"""Training points whose pairwise distances are averaged; of more a sample is taken, good to about 1 %."""

_WHISKER = 1.5


@dataclass(frozen=True)
class ApplicabilityArea:
    """The training points of a trait in the space of weighted covariates, and how far their predictions reach.

    Attributes:
        points: (n, c) standardised covariates of the training points, NaN where missing.
        weight: (c,) importance of the covariates.
        mean_distance: mean distance of the training points; NaN where they do not differ.
        threshold: largest dissimilarity index inside the area; NaN where there is only one fold to tell it from.
    """

    points: FloatArray
    weight: FloatArray
    mean_distance: float
    threshold: float

    def dissimilarity(self, places: FloatArray) -> FloatArray:
        """Return the dissimilarity index of places.

        Args:
            places: (m, c) standardised covariates, NaN where missing. A distance is that of the covariates known at
                both ends, scaled up for the others; see ``maps.applicability.masked_distance``.

        Returns:
            (m,) at least 0; NaN where covariates of less than half of the squared weights are known.
        """
        distance = nearest_distance(places, self.points, self.weight)
        return np.where(np.isfinite(distance), distance / self.mean_distance, np.nan)

    def outside(self, dissimilarity: FloatArray) -> npt.NDArray[np.bool_]:
        """Tell which places lie outside; those of unknown dissimilarity do, since nothing shows that they do not."""
        return ~(dissimilarity <= self.threshold)


def area_of_applicability(
    points: FloatArray, fold: IntArray, weight: FloatArray, *, seed: int = 0, most_paired: int = MOST_PAIRED
) -> ApplicabilityArea:
    """Find how unlike its training data a place may be before predictions there are untested.

    The threshold is the upper whisker (third quartile + 1.5 interquartile ranges, at most the largest) of the training
    points' own dissimilarity, where the nearest point is sought among all other folds. Points of one fold that agree in
    every covariate count once: a well-photographed place is one place.

    Args:
        points: (n, c) standardised covariates of the training points, NaN where missing.
        fold: (n,) the spatial fold of each.
        weight: (c,) importance of the covariates, not all 0.
        seed: of the sample whose pairwise distances are averaged.
        most_paired: its size.

    Returns:
        The area. Points that all lie in one fold, or do not differ, leave the threshold unknown: every place is outside
        then, since no error was ever measured away from the training data.

    Raises:
        TableError: the arrays do not fit together.
    """
    distinct = ~pd.DataFrame(points).assign(fold=fold).duplicated().to_numpy()
    points, fold = points[distinct], fold[distinct]
    sample = np.random.default_rng(seed).permutation(len(points))[:most_paired]
    spread = mean_pairwise_distance(points[sample], weight)
    mean_distance = spread if spread > 0 else np.nan
    distance = np.empty(len(points))
    for name in np.unique(fold):
        own = fold == name
        distance[own] = nearest_distance(points[own], points[~own], weight)
    index = distance[np.isfinite(distance)] / mean_distance
    threshold = np.nan
    if len(index):
        lower, upper = np.percentile(index, [25, 75])
        threshold = min(float(upper + _WHISKER * (upper - lower)), float(index.max()))
    return ApplicabilityArea(points, np.asarray(weight), float(mean_distance), float(threshold))
