"""How probable it is that a photo carries another species' label, from what models expect of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression
from scipy.stats import chi2, norm

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PERMUTATIONS = 20
"""Times that every photo is given the label of another, to learn how far off wrong labels are."""

FAR = (0.5, 0.75, 0.9)
"""Quantiles of the surprise at wrong labels, beyond each of which the share of wrong labels is sought. Right labels lie
there too where predictions are poor, so the smallest finding is taken."""

FURTHEST = 1000.0
"""Sum of squares beyond which labels are equally far off: tail probabilities beyond it are too small for a float."""


def wrong_label_probability(
    label: FloatArray, mean: FloatArray, sd: FloatArray, species: IntArray, *, seed: int
) -> tuple[FloatArray, float]:
    """Tell how probable it is that a photo carries the label of another species.

    A photo's surprise is the sum of squares of (label - mean) / sd over its known traits, each trait's rescaled to the
    median of a normal's, as a chi-square's tail probability, so that photos with few known traits compare with others.
    What wrong labels look like is known without any example: labels dealt anew among the photos. With f the density of
    the photos' surprise and g that of labels dealt anew, the probability is share * g / f, where g / f rises with the
    surprise (isotonic regression), and share is the proportion of photos far off over that of labels dealt anew, at the
    bound (``FAR``) where it is smallest: few right labels are as far off as most wrong ones. Where hardly any label is
    wrong, hardly any probability is high, so the rule costs little there, which a fixed quantile would not. Where
    predictions hardly tell species apart the share comes out large, and probabilities mean nothing.

    Args:
        label: (n, t) labels, working space, NaN where unknown.
        mean: (n, t) predictions by models that have not seen the photo, NaN where there is none.
        sd: (n, t) their standard deviations.
        species: (n,) number of each photo's stated species, -1 where it has none: labels dealt anew are another's.
        seed: of the permutations.

    Returns:
        (n,) probabilities, 0 where no trait is known; and the share.
    """
    distance = (label - mean) / sd
    known_traits = ~np.isnan(distance).all(axis=0)
    spread = np.ones(label.shape[1])
    spread[known_traits] = np.nanmedian(np.abs(distance[:, known_traits]), axis=0) / norm.ppf(0.75)
    scale = np.where(spread > 0, spread, 1.0) * sd
    surprise = _surprise((label - mean) / scale)
    generator = np.random.default_rng([seed, 2])
    dealt = []
    for _ in range(PERMUTATIONS):
        donor = generator.permutation(len(label))
        foreign = (species[donor] != species) | (species < 0)
        dealt.append(_surprise(((label[donor] - mean) / scale)[foreign]))
    of_wrong = np.concatenate(dealt)
    of_wrong = of_wrong[np.isfinite(of_wrong)]
    known = np.isfinite(surprise)
    probability = np.zeros(len(label))
    if not len(of_wrong) or not known.any():
        return probability, 0.0
    far = np.quantile(of_wrong, FAR)
    beyond = [(surprise[known] >= bound).mean() / (of_wrong >= bound).mean() for bound in far]
    share = float(min(*beyond, 1.0))
    probability[known] = np.minimum(share * _density_ratio(surprise[known], of_wrong), 1.0)
    return probability, share


def _surprise(distance: FloatArray) -> FloatArray:
    """Return minus the log of the chi-square tail probability of (n, t) standardised distances; NaN without any."""
    known = (~np.isnan(distance)).sum(axis=1)
    tail = -chi2.logsf(np.minimum(np.nansum(distance**2, axis=1), FURTHEST), np.maximum(known, 1))
    return np.where(known > 0, tail, np.nan)


def _density_ratio(observed: FloatArray, of_wrong: FloatArray) -> FloatArray:
    """Return the density of ``of_wrong`` over that of ``observed`` at every observed value, rising."""
    values, inverse = np.unique(np.concatenate([observed, of_wrong]), return_inverse=True)
    at, at_wrong = inverse[: len(observed)], inverse[len(observed) :]
    right = np.bincount(at, minlength=len(values)) / len(observed)
    wrong = np.bincount(at_wrong, minlength=len(values)) / len(of_wrong)
    part = isotonic_regression(wrong / (right + wrong), weights=right + wrong).x[at]
    part = np.minimum(part, 1 - 1e-9)
    return np.asarray(part / (1 - part))
