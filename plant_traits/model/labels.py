"""Weak labels: each epoch, a fresh draw per photo from the distribution of the trait within its species."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from plant_traits.errors import ModelError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

NO_RECORDS = -1
"""Position of a row whose species has no records of the trait."""

_RECORDS_STREAM = 1  # keeps the choice of records apart from the two-sided draws of the same seed and epoch


@dataclass(frozen=True)
class LabelRecords:
    """The measured values of species, and which of them each row of a training set may take for its label.

    Values are kept once for each species and trait, however many rows show the species.

    Attributes:
        values: (m,) working space, the records of the first group, then of the second, and so on.
        offsets: (g + 1,) where each group starts in ``values``, and the end.
        groups: trait and taxon of each of the g groups.
        position: (n, t) group of each row and trait, ``NO_RECORDS`` where there is none.

    Raises:
        ModelError: a value is not finite, a group is empty, or the arrays do not fit each other.
    """

    values: FloatArray
    offsets: npt.NDArray[np.int64]
    groups: tuple[tuple[str, str], ...]
    position: npt.NDArray[np.integer]

    def __post_init__(self) -> None:
        size, count = np.diff(self.offsets), len(self.groups)
        bounds = (self.offsets[0], self.offsets[-1]) if len(self.offsets) else None
        if bounds != (0, len(self.values)) or len(size) != count or self.position.ndim != 2:
            raise ModelError(
                f"label records: expected {count + 1} offsets from 0 to {len(self.values)} and positions by row and "
                f"trait, found {len(self.offsets)} offsets with ends {bounds} and positions of shape "
                f"{self.position.shape}; build them with records_for"
            )
        if (size < 1).any():
            trait, taxon = self.groups[int(np.argmax(size < 1))]
            raise ModelError(
                f"label records: expected at least one value of {trait} of {taxon}, found none; leave the taxon out, "
                f"or correct the offsets"
            )
        finite = np.isfinite(self.values)
        if not finite.all():
            first = int(np.argmin(finite))
            trait, taxon = self.groups[int(np.searchsorted(self.offsets, first, side="right")) - 1]
            raise ModelError(
                f"label records: expected finite values in working space, found {self.values[first]} for {trait} of "
                f"{taxon} and {int((~finite).sum())} such values in all; drop them from the trait records"
            )
        if self.position.size and (self.position.min() < NO_RECORDS or self.position.max() >= count):
            raise ModelError(
                f"label records: expected positions from {NO_RECORDS} to {count - 1}, found {self.position.min()} to "
                f"{self.position.max()}; build them with records_for"
            )

    def draw(self, seed: int, epoch: int) -> FloatArray:
        """Pick one record per row and trait, each record of the species equally likely.

        Draws depend on nothing but ``seed`` and ``epoch``. A single record is picked every time.

        Returns:
            Values (n, t), working space, NaN where the species has no records.
        """
        share = np.random.default_rng([seed, epoch, _RECORDS_STREAM]).random(self.position.shape)
        known = self.position != NO_RECORDS
        group = self.position[known]
        start = self.offsets[group]
        size = self.offsets[group + 1] - start
        drawn = np.full(self.position.shape, np.nan)
        drawn[known] = self.values[start + (share[known] * size).astype(np.int64)]
        return drawn

    def rows(self, chosen: BoolArray) -> LabelRecords:
        """Return the records for the chosen rows; the values are shared, not copied."""
        return replace(self, position=self.position[chosen])

    def columns(self, traits: Sequence[int]) -> LabelRecords:
        """Return the records for some traits, by position; the values are shared, not copied."""
        return replace(self, position=self.position[:, list(traits)])


def draw_labels(
    median: FloatArray,
    sd: FloatArray,
    low: FloatArray,
    high: FloatArray,
    measured: FloatArray,
    *,
    seed: int,
    epoch: int,
    records: LabelRecords | None = None,
) -> FloatArray:
    """Draw one label per photo and trait: from its species' records where given, else from a two-sided normal.

    The normal is truncated to its species' bounds. The side is drawn first, each with probability one half, then the
    distance from the median: a half-normal truncated at that side's bound. So the median of the draws is the species
    median however lopsided the bounds are, where a plain truncated normal would drift towards the wider side. Draws
    depend on nothing but ``seed`` and ``epoch``. Where a bound is missing or on the wrong side of the median, that side
    is unbounded or shrinks to it.

    Args:
        median: species medians, (n, traits), working space, NaN where the species has none.
        sd: standard deviations within the species, same shape; NaN counts as zero.
        low: lower bounds, NaN where there is none.
        high: upper bounds, NaN where there is none.
        measured: values measured on the plant itself, NaN where not; a measurement is its own label.
        seed: of the training run.
        epoch: every epoch draws afresh.
        records: the species' own records; where a row has them and a median, one of them is its label.

    Returns:
        Labels (n, traits), working space, NaN where the trait is neither measured nor known for the species.
    """
    generator = np.random.default_rng([seed, epoch])
    upwards = generator.random(median.shape) < 0.5
    uniform = generator.random(median.shape)
    spread = np.where(sd > 0, sd, 0.0)
    room = np.maximum(np.where(upwards, high - median, median - low), 0.0)
    room = np.where(np.isnan(room), np.inf, room)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = ndtr(np.where(spread > 0, room / spread, 0.0))  # probability below the bound
    distance = spread * ndtri(np.clip(0.5 + uniform * (reach - 0.5), 0.5, 1 - 1e-12))
    drawn = median + np.where(upwards, distance, -distance)
    if records is not None:
        picked = records.draw(seed, epoch)
        drawn = np.where(np.isnan(picked) | np.isnan(median), drawn, picked)
    return np.where(np.isnan(measured), drawn, measured)


def check_labels(
    traits: Sequence[str],
    *,
    measured: FloatArray,
    median: FloatArray,
    sd: FloatArray,
    low: FloatArray,
    high: FloatArray,
    records: LabelRecords | None = None,
) -> None:
    """Check that labels can be drawn from these distributions; NaN says that a value is unknown and is no fault.

    Args:
        traits: ids of the columns, in order.
        measured: as in ``draw_labels``, (n, traits), and likewise the others.
        median: medians.
        sd: standard deviations.
        low: lower bounds; minus infinity is none.
        high: upper bounds; infinity is none.
        records: the species' own records.

    Raises:
        ModelError: a measurement, median or standard deviation is infinite, a standard deviation negative, a lower
            bound above its upper one, or the records are not of these rows and traits.
    """
    faults = {
        "finite measurements": np.isinf(measured),
        "finite medians": np.isinf(median),
        "finite standard deviations of zero or more": np.isinf(sd) | (sd < 0),
        "lower bounds no higher than upper ones": (low > high) | (low == np.inf) | (high == -np.inf),
    }
    for expected, wrong in faults.items():
        if wrong.any():
            row, column = (int(index[0]) for index in np.nonzero(wrong))
            found = {"measured": measured, "median": median, "sd": sd, "low": low, "high": high}
            values = ", ".join(f"{name} {array[row, column]:g}" for name, array in found.items())
            raise ModelError(
                f"labels of {traits[column]}: expected {expected} in working space, found {values} in row {row} and "
                f"{int(wrong.sum())} such labels of all traits; correct the trait records or drop these rows"
            )
    if records is not None and records.position.shape != median.shape:
        raise ModelError(
            f"labels: expected label records of shape {median.shape}, found {records.position.shape}; align them by "
            "row and trait"
        )
