"""Cells estimated a block at a time, with the same results as all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from maps.estimators.estimate import ESTIMATORS, PooledTau2, estimate
from maps.estimators.pooled_components import Biomes, no_components, pool_components
from maps.moments.cells import CellMoments, Heterogeneity
from plant_traits.errors import PlantTraitsError

Blocks = Callable[[], Iterable[pa.Table]]
"""Called anew for every pass; gives tables of ``schemas.MOMENTS`` with all rows of a cell in the same table."""

_NUMBERED = ("species", "observer")


@dataclass(frozen=True)
class Pooled:
    """What the cells take from all cells of one kind of evidence.

    Attributes:
        tau2: mean tau2 by trait.
        components: ``schemas.COMPONENTS``; empty where no mixed estimator is asked for.
    """

    tau2: PooledTau2
    components: pd.DataFrame


def pool_blocks(blocks: Blocks, estimators: Sequence[str], evidence: str, biome: Biomes | None = None) -> Pooled:
    """Gather what estimators take from all cells, over all blocks.

    Of one trait at a time, what REML needs of its rows is held, some ten numbers a row; of all else, a block.

    Args:
        blocks: the moments.
        estimators: some of ``maps.estimators.estimate.ESTIMATORS``.
        evidence: kind of evidence.
        biome: biome by cell.

    Raises:
        PlantTraitsError: there is no such estimator.
    """
    unknown = [name for name in estimators if name not in ESTIMATORS]
    if unknown:
        raise PlantTraitsError(f"unknown estimators {unknown}; choose among {', '.join(ESTIMATORS)}")
    found: dict[str, Heterogeneity] = {}
    for block in blocks():
        for trait, rows in _by_trait(block, evidence):
            found[trait] = found.get(trait, Heterogeneity()).plus(CellMoments.of(rows))
    tables = [no_components()]
    if any(ESTIMATORS[name].pools_components for name in estimators):
        tables += [pool_components(_parts(blocks, trait, evidence), trait, evidence, biome) for trait in sorted(found)]
    components = pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)
    return Pooled({trait: spread.mean() for trait, spread in found.items()}, components)


def estimate_blocks(
    blocks: Blocks, estimators: Sequence[str], evidence: str, pooled: Pooled, biome: Biomes | None = None
) -> Iterator[dict[str, pd.DataFrame]]:
    """Estimate the cells of one block of moments after the other.

    Args:
        blocks: the moments.
        estimators: some of ``maps.estimators.estimate.ESTIMATORS``.
        evidence: kind of evidence to estimate from.
        pooled: from ``pool_blocks``, for these estimators.
        biome: as it was there.

    Yields:
        For each block that holds such evidence, by estimator, a frame of ``schemas.ESTIMATE`` sorted by cell and trait.

    Raises:
        PlantTraitsError: there is no such estimator.
        TableError: a cell finds no components.
    """
    for block in blocks():
        of_trait = [CellMoments.of(rows) for _, rows in _by_trait(block, evidence)]
        if not of_trait:
            continue
        found = {}
        for name in estimators:
            parts = [
                estimate(cells, name, evidence, biome=biome, tau2=pooled.tau2, components=pooled.components)
                for cells in of_trait
            ]
            found[name] = pd.concat(parts).sort_values(["cell", "trait"], ignore_index=True)
        yield found


def _parts(blocks: Blocks, trait: str, evidence: str) -> Iterator[CellMoments]:
    for block in blocks():
        for _, rows in _by_trait(block, evidence, [trait]):
            yield CellMoments.of(rows)


def _by_trait(
    block: pa.Table, evidence: str, traits: Sequence[str] | None = None
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the moments of each trait, species and observers by number: an estimator need only tell them apart.

    Numbers follow the names, missing ones first, so that rows keep their order.
    """
    for trait in sorted(block["trait"].unique().to_pylist()) if traits is None else traits:
        rows = block.filter(pc.and_(pc.equal(block["trait"], trait), pc.equal(block["evidence"], evidence)))
        if len(rows) == 0:
            continue
        for name in _NUMBERED:
            rows = rows.set_column(rows.column_names.index(name), name, _numbers(rows[name]))
        yield trait, rows.to_pandas()


def _numbers(names: pa.ChunkedArray) -> pa.Array:
    encoded = names.combine_chunks().dictionary_encode()
    rank = np.empty(len(encoded.dictionary) + 1, dtype=np.int64)
    rank[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(encoded.dictionary))
    rank[-1] = -1
    return pa.array(rank[encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()])
