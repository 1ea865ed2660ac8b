"""Variance factors and split-conformal quantiles by modalities, group and trait, fitted on held-out records.

A group is a path: ``all``, a growth form (``tree``), a growth form within a biome (``tree/arid``), or all growth forms
of a biome (``all/arid``), by which land cells and plants of unknown growth form are calibrated. What a group is too
small to tell, it takes from its parent, the path without its last part. The quantiles are those of |y - μ| / σ with the
calibrated σ, so that μ ± qσ holds a fresh record's value with the stated probability, as far as fresh records resemble
the held-out ones: nothing is promised for species or regions unlike them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import ModelError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEVELS = (0.5, 0.8, 0.9, 0.95)
"""Probabilities that intervals are calibrated for."""

EVERYTHING = "all"
"""The group of all records, parent of every growth form and, by ``all/<biome>``, of every biome."""

MINIMUM_RECORDS = 10
"""With fewer held-out observations of a trait its variance factor stays 1 and no score is given."""


@dataclass(frozen=True)
class Calibration:
    """What multiplies variances, and how many standard deviations an interval reaches, for m kinds of prediction.

    Attributes:
        traits: ids of the t traits.
        groups: the g groups; the first is ``all``, and a group's parent is among them.
        levels: the l probabilities of ``quantile``.
        n: (m, g, t) held-out observations of each group, its subgroups included.
        variance_factor: (m, g, t) so that E[(y - μ)² / σ²] = 1 once σ² is multiplied by it.
        quantile: (m, g, t, l) in units of the calibrated σ, infinite where too few records tell it.
    """

    traits: tuple[str, ...]
    groups: tuple[str, ...]
    levels: tuple[float, ...]
    n: IntArray
    variance_factor: FloatArray
    quantile: FloatArray

    def rows(self, groups: Sequence[str]) -> IntArray:
        """Return the position of each group, or of its nearest ancestor that was calibrated, (n,)."""
        codes, names = pd.factorize(np.asarray(groups, dtype=object))
        known = {group: index for index, group in enumerate(self.groups)}
        at = [next(known[x] for x in _ancestry(str(name)) if x in known) for name in names]
        return np.asarray(at, dtype=np.int64)[codes] if len(names) else np.zeros(len(codes), dtype=np.int64)

    def level(self, level: float) -> int:
        """Return the position of a level.

        Raises:
            ModelError: the model is not calibrated for it.
        """
        if level not in self.levels:
            raise ModelError(
                f"interval: expected one of the calibrated levels {self.levels}, found {level}; ask for one of them"
            )
        return self.levels.index(level)

    def check(self, traits: Sequence[str], kinds: int) -> None:
        """Check that the calibration belongs to these traits, in this order, and holds usable numbers.

        Raises:
            ModelError: it does not.
        """
        if self.traits != tuple(traits):
            raise ModelError(
                f"calibration: expected the traits {tuple(traits)} in this order, found {self.traits}; "
                "use the calibration that was stored with the model"
            )
        parents = {x for group in self.groups for x in _ancestry(group)}
        if not self.groups or self.groups[0] != EVERYTHING or parents != set(self.groups):
            raise ModelError(
                f"calibration: expected groups that begin with {EVERYTHING!r} and hold every parent, found "
                f"{self.groups}; train the model again"
            )
        shape = (kinds, len(self.groups), len(self.traits))
        expected = {"n": shape, "variance_factor": shape, "quantile": (*shape, len(self.levels))}
        for name, wanted in expected.items():
            if getattr(self, name).shape != wanted:
                raise ModelError(
                    f"calibration: expected {name} of shape {wanted}, found {getattr(self, name).shape}; "
                    "train the model again"
                )
        positive = np.isfinite(self.variance_factor) & (self.variance_factor > 0)
        if not positive.all() or np.isnan(self.quantile).any() or (self.quantile < 0).any() or (self.n < 0).any():
            raise ModelError(
                f"calibration: expected positive variance factors, and quantiles and counts of at least 0; found "
                f"{int((~positive).sum())} factors and {int((~(self.quantile >= 0)).sum())} quantiles that are not; "
                "train the model again"
            )


def group_names(growth_form: Sequence[str | None], biome: Sequence[str | None] | None = None) -> list[str]:
    """Return each record's group: its growth form, or ``all`` where unknown, within its biome where that is known.

    Args:
        growth_form: (n,) None or NaN where unknown.
        biome: (n,) of the same records, likewise.
    """
    forms = [form if isinstance(form, str) and form else EVERYTHING for form in growth_form]
    places = [None] * len(forms) if biome is None else [x if isinstance(x, str) and x else None for x in biome]
    return [form if place is None else f"{form}/{place}" for form, place in zip(forms, places, strict=True)]


def smallest_group(level: float) -> int:
    """Return the least number of records with a finite quantile: ⌈1/α⌉ - 1, with α = 1 - level taken exactly."""
    return math.ceil(1 / (1 - Fraction(repr(level)))) - 1


def conformal_quantile(scores: npt.ArrayLike, level: float) -> float:
    """Return the ⌈(n + 1) · level⌉-th smallest score, infinity where that exceeds n.

    The rank is computed from the level as it is written, so that (n + 1) · level never misses a whole number by the
    rounding of a float [split-conformal prediction; Lei et al. 2018].

    Raises:
        ModelError: a score is not a number.
    """
    found = np.asarray(scores, dtype=np.float64).ravel()
    if np.isnan(found).any():
        raise ModelError(
            f"calibration: expected scores that are numbers, found {int(np.isnan(found).sum())} NaN among "
            f"{found.size}; leave out records without a label or a prediction"
        )
    rank = math.ceil((found.size + 1) * Fraction(repr(level)))
    return math.inf if rank > found.size else float(np.partition(found, rank - 1)[rank - 1])


def uncalibrated(traits: Sequence[str], kinds: int) -> Calibration:
    """Return a calibration that changes no variance and bounds no interval."""
    shape = (kinds, 1, len(traits))
    unbounded = np.full((*shape, len(LEVELS)), np.inf)
    return Calibration(tuple(traits), (EVERYTHING,), LEVELS, np.zeros(shape, np.int64), np.ones(shape), unbounded)


def fit_calibration(
    mean: FloatArray,
    variance: FloatArray,
    observed: FloatArray,
    present: npt.NDArray[np.bool_],
    groups: Sequence[str],
    traits: Sequence[str],
    levels: Sequence[float] = LEVELS,
) -> Calibration:
    """Fit variance factors and conformal quantiles for m kinds of prediction of n held-out records.

    A group has its own quantile from ⌈1/α⌉ - 1 observations on, and its own factor from as many as the highest level
    needs; otherwise its parent's. For all records together the factor is 1 below ``MINIMUM_RECORDS``.

    Args:
        mean: (m, n, t) predicted, working space.
        variance: (m, n, t) predicted total variance before calibration.
        observed: (n, t) what they are compared with, NaN where there is nothing.
        present: (m, n) whether a record has what that kind of prediction needs; others are left out.
        groups: (n,) group of each record.
        traits: the t trait ids.
        levels: of the intervals.

    Raises:
        ModelError: a prediction to be compared is not a finite number with a positive variance.
    """
    usable = present[:, :, None] & ~np.isnan(observed)[None]
    broken = usable & ~(np.isfinite(mean) & np.isfinite(variance) & (variance > 0) & np.isfinite(observed)[None])
    if broken.any():
        names = [trait for column, trait in enumerate(traits) if broken[:, :, column].any()]
        raise ModelError(
            f"calibration: expected finite predictions, labels and positive variances of held-out records, found "
            f"{int(broken.sum())} others, of {names}; look for infinite inputs, or train with a lower learning rate"
        )
    codes, distinct = pd.factorize(np.asarray(groups, dtype=object))
    ordered = _all_groups(distinct)
    members = {group: np.array([group in _holding(x) for x in distinct], dtype=bool)[codes] for group in ordered}
    squared = np.where(usable, (observed[None] - mean) ** 2 / np.where(usable, variance, 1.0), np.nan)
    shape = (len(mean), len(ordered), len(traits))
    n, factor = np.zeros(shape, dtype=np.int64), np.ones(shape)
    parent = [0] + [ordered.index(_ancestry(group)[1]) for group in ordered[1:]]
    for index, group in enumerate(ordered):
        chosen = usable[:, members[group]]
        n[:, index] = chosen.sum(axis=1)
        average = np.nansum(squared[:, members[group]], axis=1) / np.maximum(n[:, index], 1)
        enough = MINIMUM_RECORDS if index == 0 else smallest_group(max(levels))
        inherited = factor[:, parent[index]]
        factor[:, index] = np.where((n[:, index] >= enough) & (average > 0), average, inherited)
    fitted = Calibration(tuple(traits), ordered, tuple(levels), n, factor, np.full((*shape, len(levels)), np.inf))
    for kind, index, trait in np.ndindex(*shape):
        found = squared[kind, members[ordered[index]], trait]
        # One factor for all of them, as in use, so that the rank of a score does not depend on the factor.
        found = np.sqrt(found[~np.isnan(found)] / factor[kind, index, trait])
        for at, level in enumerate(levels):
            own = index == 0 or found.size >= smallest_group(level)
            fitted.quantile[kind, index, trait, at] = (
                conformal_quantile(found, level) if own else fitted.quantile[kind, parent[index], trait, at]
            )
    return fitted


def _ancestry(group: str) -> tuple[str, ...]:
    """Return a group, its parent and so on up to ``all``."""
    parts = group.split("/")
    path = ("/".join(parts[:depth]) for depth in range(len(parts), 0, -1))
    return (*(step for step in path if step != EVERYTHING), EVERYTHING)


def _holding(group: str) -> tuple[str, ...]:
    """Return every group that a record of this group counts in: its ancestors, and all growth forms of its biome."""
    return (*_ancestry(group), "/".join([EVERYTHING, *group.split("/")[1:]]))


def _all_groups(names: Iterable[str]) -> tuple[str, ...]:
    """Return the groups that records of these groups count in, parents before children."""
    found = {holding for name in names for holding in _holding(name)} - {EVERYTHING}
    return (EVERYTHING, *sorted(found, key=lambda group: (group.count("/"), group)))
