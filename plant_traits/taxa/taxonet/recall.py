"""Recall averaged over species, so that rare ones count like common ones: all, by share of the tail, and by rank.

Head are the species with more than 100 training photos, tail those with fewer than 20, middle the rest; these are the
usual bounds of many, medium and few shots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.priors import FloatArray, IntArray

HEAD_ABOVE = 100
TAIL_BELOW = 20
PARTS = ("head", "middle", "tail")


@dataclass(frozen=True)
class Recall:
    """Recall over n photos.

    Attributes:
        macro: mean over the classes that have photos of the share named right.
        accuracy: share of photos named right.
        by_part: macro recall over the classes of each of ``PARTS``, NaN where there is none with photos.
        by_rank: for each coarser rank, macro recall over its taxa: the named species' taxon is the true one.
        by_class: (k,) recall, NaN for a class without photos.
    """

    macro: float
    accuracy: float
    by_part: dict[str, float]
    by_rank: dict[str, float]
    by_class: FloatArray


def parts_of_tail(
    counts: npt.ArrayLike, head_above: int = HEAD_ABOVE, tail_below: int = TAIL_BELOW
) -> npt.NDArray[np.str_]:
    """Return head, middle or tail for each class, (k,), from its training photos."""
    n = np.asarray(counts)
    return np.where(n > head_above, "head", np.where(n < tail_below, "tail", "middle"))


def evaluate_names(
    predicted: npt.ArrayLike,
    labels: npt.ArrayLike,
    counts: npt.ArrayLike,
    ranks: Mapping[str, IntArray] | None = None,
) -> Recall:
    """Score named classes.

    Args:
        predicted: (n,) named classes.
        labels: (n,) true classes.
        counts: (k,) training photos of each class.
        ranks: for each coarser rank the taxon of each class, (k,); negative where it is not known, such classes
            being left out at that rank.

    Raises:
        ModelError: there is no photo, or the arrays do not fit.
    """
    named, truth, n = np.asarray(predicted), np.asarray(labels), np.asarray(counts)
    if not truth.size or named.shape != truth.shape or truth.max() >= len(n) or truth.min() < 0:
        raise ModelError(
            f"recall of names: expected a named and a true class of 0 to {len(n) - 1} for each photo, found "
            f"{named.shape} and {truth.shape}"
        )
    by_class = _recall_by(named == truth, truth, len(n))
    part = parts_of_tail(n)
    by_part = {name: _mean(by_class[part == name]) for name in PARTS}
    by_rank = {}
    for rank, taxa in (ranks or {}).items():
        known = taxa[truth] >= 0
        right = taxa[named[known]] == taxa[truth[known]]
        by_rank[rank] = _mean(_recall_by(right, taxa[truth[known]], int(taxa.max()) + 1))
    return Recall(_mean(by_class), float((named == truth).mean()), by_part, by_rank, by_class)


def _recall_by(right: npt.NDArray[np.bool_], group: IntArray, groups: int) -> FloatArray:
    count = np.bincount(group, minlength=groups)
    hits = np.bincount(group, weights=right.astype(np.float64), minlength=groups)
    return np.asarray(np.divide(hits, count, out=np.full(groups, np.nan), where=count > 0), dtype=np.float64)


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
