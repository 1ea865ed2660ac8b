"""Cells estimated a block at a time, with the same results as all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from maps.estimators.cell_moments import CellMoments, Heterogeneity
from maps.estimators.estimate import ESTIMATORS, PooledTau2, estimate
from maps.estimators.pooled_components import Biomes, no_components, pool_components
from plant_traits.errors import PlantTraitsError

Blocks = Callable[[], Iterable[pa.Table]]
"""Called anew for every pass; gives tables of ``schemas.MOMENTS``, all rows of a cell and trait in the same table."""


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

    What is held of one trait at a time is what ``pool_components`` holds; of all else, a block.

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
        _gather(found, block, evidence)
        del block  # or it would be held while the next one is read
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
        found = _estimates(block, estimators, evidence, pooled, biome)
        del block
        if found:
            yield found


def _gather(found: dict[str, Heterogeneity], block: pa.Table, evidence: str) -> None:
    for trait, cells in _by_trait(block, evidence):
        found[trait] = found.get(trait, Heterogeneity()).plus(cells)


def _estimates(
    block: pa.Table, estimators: Sequence[str], evidence: str, pooled: Pooled, biome: Biomes | None
) -> dict[str, pd.DataFrame]:
    """Estimate the cells of a block; empty where it has no such evidence."""
    found: dict[str, list[pd.DataFrame]] = {}
    for _, cells in _by_trait(block, evidence):
        for name in estimators:
            of_cells = estimate(cells, name, evidence, biome=biome, tau2=pooled.tau2, components=pooled.components)
            found.setdefault(name, []).append(of_cells)
    return {name: pd.concat(x).sort_values(["cell", "trait"], ignore_index=True) for name, x in found.items()}


def _parts(blocks: Blocks, trait: str, evidence: str) -> Iterator[CellMoments]:
    for block in blocks():
        for _, cells in _by_trait(block, evidence, [trait]):
            yield cells
            del cells
        del block


def _by_trait(block: pa.Table, evidence: str, traits: Sequence[str] | None = None) -> Iterator[tuple[str, CellMoments]]:
    """Yield the cells of each trait."""
    for trait in sorted(block["trait"].unique().to_pylist()) if traits is None else traits:
        wanted = pc.and_(pc.equal(block["trait"], trait), pc.equal(block["evidence"], evidence))
        # A crowded cell comes by itself, one trait at a time: no second copy of it.
        rows = block if pc.all(wanted).as_py() else block.filter(wanted)
        if len(rows):
            yield trait, CellMoments.of_trait(rows, trait)
