"""Where photos lie among the features of training photos: whether they show a plant, and one of a known species.

Two Gaussian models of the frozen features, fitted without any training. One is of all photos along their main axes,
with what is left beside the axes: a photo without a plant lies far out. The other has a common scatter of photos about
their species and one of the species about their mean: for each species it gives how much likelier a photo is as one
more photo of it than as one of a species never seen, rare species being known less exactly [probabilistic linear
discriminant analysis, Ioffe 2006].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch

from plant_traits.errors import ModelError
from plant_traits.model.blocks import by_blocks
from plant_traits.model.deterministic import deterministic
from plant_traits.taxa.taxonet.priors import FloatArray, class_counts

LARGEST = 192
"""Axes at most."""
_RIDGE = 1e-3
_LEAST = 1e-6
_LEAST_BESIDE = 1e-3  # of a feature's variance, so that rounding alone takes no photo far out


@dataclass(frozen=True)
class FeatureSpace:
    """The features of training photos, summarised.

    Attributes:
        mean: (d,) of the features.
        deviation: (d,) of the features.
        axes: (d, q) main axes of the standardised features, each divided by its standard deviation.
        beside: mean squared length of what lies beside the axes.
        contrast: (q, r) from positions along the axes to those in which photos scatter about their species with
            variance 1 and species about their mean with ``spread``.
        spread: (r,) variance of species.
        centres: (k, r) of the species, drawn towards the mean the more, the fewer their photos.
        doubt: (k, r) variance of a further photo about its species' centre: 1, and what is not known of the centre.
    """

    mean: FloatArray
    deviation: FloatArray
    axes: FloatArray
    beside: float
    contrast: FloatArray
    spread: FloatArray
    centres: FloatArray
    doubt: FloatArray

    def plant_scores(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return how near photos lie to all training photos, (n,): 0 at their centre, on average -2 for them.

        With axes for all that varies, nothing lies beside them, and the average is -1.
        """
        # The axes are scaled, so their part of the length is found from unscaled ones.
        scale = np.linalg.norm(self.axes, axis=0)

        def nearness(block: FloatArray) -> FloatArray:
            wide, along = self._along(block)
            left = np.maximum((wide**2).sum(axis=1) - ((along / scale) ** 2).sum(axis=1), 0.0)
            return np.asarray(-(along**2).mean(axis=1) - left / self.beside)

        return by_blocks(nearness, features, np.empty(len(features)))

    def species_scores(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return ln of how much likelier each photo is of each species than of one never seen, (n, k)."""
        return by_blocks(self._likelier(), features, np.empty((len(features), len(self.centres))))

    def open_set_scores(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return the largest of the species' scores, (n,)."""
        likelier = self._likelier()
        return by_blocks(lambda block: likelier(block).max(axis=1), features, np.empty(len(features)))

    def _likelier(self) -> Callable[[FloatArray], FloatArray]:
        certainty = 1 / self.doubt
        constant = -0.5 * (np.log(self.doubt) + self.centres**2 * certainty).sum(axis=1)
        unseen = 1 + self.spread

        def scores(block: FloatArray) -> FloatArray:
            x = self._along(block)[1] @ self.contrast
            likely = constant - 0.5 * (x**2) @ certainty.T + x @ (self.centres * certainty).T
            beyond = -0.5 * (np.log(unseen).sum() + (x**2 / unseen).sum(axis=1))
            return np.asarray(likely - beyond[:, None])

        return scores

    def _along(self, features: npt.NDArray[np.floating]) -> tuple[FloatArray, FloatArray]:
        wide = (np.asarray(features, dtype=np.float64) - self.mean) / self.deviation
        return wide, wide @ self.axes


def fit_feature_space(
    features: npt.NDArray[np.floating], labels: npt.ArrayLike, classes: int, largest: int = LARGEST
) -> FeatureSpace:
    """Summarise the features of training photos.

    Args:
        features: (n, d), finite.
        labels: (n,) classes; each needs a photo.
        classes: k, two or more.
        largest: axes at most; there are no more than a third of the photos.

    Raises:
        ModelError: the arrays do not fit together, a feature is not finite, a class has no photo, or there are too few
            photos: six, and more than classes.
    """
    which = np.asarray(labels)
    if features.ndim != 2 or len(features) != which.size or not np.isfinite(features).all():
        raise ModelError(
            f"feature space: expected finite features (n, d) and a label for each, found {features.shape} and "
            f"{which.shape}; leave out photos without features"
        )
    counts = class_counts(which, classes)
    if classes < 2 or len(features) < max(6, classes + 1):
        raise ModelError(
            f"feature space: expected two species or more and more photos than species, at least six, found "
            f"{len(features)} photos of {classes} species; add photos"
        )
    wide = np.asarray(features, dtype=np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    wide = (wide - mean) / deviation
    axes, along = _main_axes(wide, min(largest, features.shape[1], len(features) // 3))
    scale = np.linalg.norm(axes, axis=0)
    left = float(np.maximum((wide**2).sum(axis=1) - ((along / scale) ** 2).sum(axis=1), 0).mean())
    contrast, spread = _contrasts(along, which, counts)
    means = _class_means(along @ contrast, which, counts)
    n = counts[:, None].astype(np.float64)
    drawn, doubt = n * spread / (n * spread + 1), 1 + spread / (n * spread + 1)
    beside = max(left, _LEAST_BESIDE * features.shape[1])
    return FeatureSpace(mean, deviation, axes, beside, contrast, spread, drawn * means, doubt)


def _main_axes(wide: FloatArray, axes: int) -> tuple[FloatArray, FloatArray]:
    """Return the main axes of standardised features, scaled so that positions along them have variance 1, and those."""
    with deterministic(1, "cpu"):
        torch.manual_seed(0)
        _, length, found = torch.pca_lowrank(torch.from_numpy(wide), q=axes, center=False, niter=4)
    deviation = length.numpy() / np.sqrt(len(wide))
    some = deviation > _LEAST * max(float(deviation.max()), 1.0)
    scaled = found.numpy()[:, some] / deviation[some]
    return scaled, wide @ scaled


def _contrasts(
    along: FloatArray, labels: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """Return the axes in which photos scatter about their species with variance 1, and the species' variances."""
    means = _class_means(along, labels, counts)
    residual = along - means[labels]
    within = residual.T @ residual / (len(along) - len(counts))
    q = within.shape[0]
    within += _RIDGE * np.trace(within) / q * np.eye(q) + _LEAST * np.eye(q)
    weight = counts / counts.sum()
    between = (means * weight[:, None]).T @ means
    # Means of few photos scatter by the photos' own scatter as well.
    between -= within * float((weight / counts).sum())
    variance, axes = scipy.linalg.eigh(between, within)
    some = variance > _LEAST
    if not some.any():
        some = variance == variance.max()
    return axes[:, some], np.maximum(variance[some], _LEAST)


def _class_means(x: FloatArray, labels: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> FloatArray:
    total = np.zeros((len(counts), x.shape[1]))
    np.add.at(total, labels, x)
    return total / counts[:, None]


def space_tensors(space: FeatureSpace) -> dict[str, torch.Tensor]:
    """Return what a space is made of, by name."""
    return {x.name: torch.tensor(getattr(space, x.name), dtype=torch.float64).contiguous() for x in fields(space)}


def space_of_tensors(tensors: dict[str, torch.Tensor]) -> FeatureSpace:
    """Make the space of ``space_tensors``.

    Raises:
        KeyError: a part is missing.
    """
    parts = {x.name: tensors[x.name].numpy() for x in fields(FeatureSpace)}
    beside = float(parts.pop("beside"))
    return FeatureSpace(beside=beside, **parts)
