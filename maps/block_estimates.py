"""Cells estimated a block at a time, with the same results as all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from maps.estimators import estimate
from maps.moments import SUMS
from plant_traits.grid import FloatArray

ESTIMATORS_BY_BLOCK = ("mean", "inverse_variance", "random_effects")
"""Estimators that need of all the other cells nothing but the mean tau2 of their trait."""

_STAND_IN = -1  # no cell has this number
_NUMBERED = ("species", "observer")


def estimate_blocks(
    blocks: Callable[[], Iterable[pa.Table]], estimators: Sequence[str], evidence: str
) -> Iterator[dict[str, pd.DataFrame]]:
    """Estimate the cells of one block of moments after the other.

    A cell of one species leans on the mean tau2 of its trait's other cells. That is gathered over all blocks first.
    Then the cells of one species of each block are estimated next to a cell made up of two species that differ by
    just that tau2, which stands for all the others; the cells of more species need no other.

    Args:
        blocks: called twice; gives tables of ``schemas.MOMENTS`` with all rows of a cell in the same table.
        estimators: some of ``ESTIMATORS_BY_BLOCK``.
        evidence: kind of evidence to estimate from.

    Yields:
        For each block that holds such evidence, by estimator, a frame of ``schemas.ESTIMATE`` sorted by cell and trait.

    Raises:
        PlantTraitsError: there is no such estimator.
    """
    pooled = Heterogeneity()
    for block in blocks():
        for rows in _by_trait(block, evidence):
            pooled.add(rows)
    stand_in = pooled.stand_in(evidence)
    for block in blocks():
        found = [_estimate(rows, stand_in, estimators) for rows in _by_trait(block, evidence)]
        if found:
            yield {
                name: pd.concat([part[name] for part in found]).sort_values(["cell", "trait"], ignore_index=True)
                for name in estimators
            }


def _by_trait(block: pa.Table, evidence: str) -> Iterator[pd.DataFrame]:
    """Yield the moments of each trait, species and observers by number: an estimator need only tell them apart."""
    for trait in block["trait"].unique().to_pylist():
        rows = block.filter(pc.and_(pc.equal(block["trait"], trait), pc.equal(block["evidence"], evidence)))
        if len(rows) == 0:
            continue
        for name in _NUMBERED:
            numbers = rows[name].combine_chunks().dictionary_encode().indices.fill_null(-1)
            rows = rows.set_column(rows.column_names.index(name), name, numbers)
        yield rows.to_pandas()


@dataclass(frozen=True)
class _Spread:
    tau2: float = 0.0
    cells: int = 0
    v: float = 0.0
    photos: int = 0


class Heterogeneity:
    """The mean tau2 of each trait over its cells of two species or more."""

    def __init__(self) -> None:
        """Start with no cell."""
        self._of_trait: dict[str, _Spread] = {}

    def add(self, moments: pd.DataFrame) -> None:
        """Take in whole cells, at least one, columns of ``schemas.MOMENTS``, one kind of evidence."""
        cells = estimate(moments, "inverse_variance", moments["evidence"].iloc[0])
        several = cells[cells["n_species"] > 1].groupby("trait")["tau2"].agg(["sum", "size"])
        photos = moments.groupby("trait")[["sum_v", "n"]].sum().join(several).fillna(0.0)
        for row in photos.itertuples():
            trait, v, n, tau2, size = row
            known = self._of_trait.get(trait, _Spread())
            self._of_trait[trait] = _Spread(
                known.tau2 + tau2, known.cells + int(size), known.v + v, known.photos + int(n)
            )

    def mean_tau2(self) -> dict[str, float]:
        """Return the mean by trait; where no cell has two species, the mean variance of the trait's photos."""
        return {
            trait: known.tau2 / known.cells if known.cells else known.v / known.photos
            for trait, known in self._of_trait.items()
        }

    def stand_in(self, evidence: str) -> pd.DataFrame:
        """Make up moments of one cell with two species whose Paule-Mandel tau2 is the mean, for every trait."""
        tau2 = self.mean_tau2()
        # Two estimates a and -a, each of variance v, have tau2 = 2 a^2 - v: that is v where a^2 = v.
        traits = np.repeat(np.array(list(tau2), dtype=object), 2)
        target = np.repeat(np.array(list(tau2.values()), dtype=np.float64), 2)
        v = np.where(target > 0, target, 1.0)
        y = np.sqrt(target) * np.tile([1.0, -1.0], len(tau2))
        numbers = np.tile(np.array([0, 1], dtype=np.int32), len(tau2))
        terms: dict[str, FloatArray] = {
            "sum_w": 1 / v,
            "sum_wy": y / v,
            "sum_wy2": y * y / v,
            "sum_y": y,
            "sum_y2": y * y,
            "sum_v": v,
            "sum_w2": 1 / (v * v),
            "sum_aleatoric": v,
        }
        keys = {
            "cell": _STAND_IN,
            "species": numbers,
            "observer": numbers,
            "trait": pd.array(traits, dtype="str"),
            "evidence": evidence,
            "n": 1,
        }
        return pd.DataFrame({**keys, **{name: terms[name] for name in SUMS}}, index=range(len(traits)))


def _estimate(rows: pd.DataFrame, stand_in: pd.DataFrame, estimators: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Estimate the cells of one trait and one kind of evidence."""
    trait, evidence = rows["trait"].iloc[0], rows["evidence"].iloc[0]
    n_species = rows.groupby("cell")["species"].nunique(dropna=False)
    alone = rows["cell"].isin(n_species.index[n_species == 1]).to_numpy()
    parts = [rows[~alone], pd.concat([rows[alone], stand_in[stand_in["trait"] == trait]], ignore_index=True)]
    found = {}
    for name in estimators:
        both = pd.concat([estimate(part, name, evidence) for part in parts if len(part)], ignore_index=True)
        found[name] = both[both["cell"] != _STAND_IN]
    return found
