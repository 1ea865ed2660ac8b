"""What the cells of a trait and biome are told by all of them: variances of species and observers, and diversity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from maps.estimators.cell_moments import CellMoments
from maps.estimators.crossed_effects import BoolArray, CellBlock, cell_blocks
from maps.estimators.drawn_cells import CellDraw, DrawnCells
from maps.estimators.mixed import CellComponents
from maps.estimators.photo_weights import PhotoVariances
from maps.estimators.species_shares import SpeciesPairs
from maps.estimators.variance_components import VarianceComponents, estimate_components
from plant_traits.errors import TableError
from plant_traits.grid import FloatArray, IntArray
from plant_traits.needed_columns import need_columns
from plant_traits.schemas import COMPONENTS, read_table

MINIMUM_CELLS = 10
"""Cells of two species or more, and of two observers or more, that a biome needs for components of its own."""

COMPONENTS_FILE = "components.parquet"

_SEVERAL = 2

Biomes = Mapping[int, str] | pd.Series
"""Biome by cell; a series has the cells as its index."""


def pool_components(
    parts: Iterable[CellMoments], trait: str, evidence: str, biome: Biomes | None = None
) -> pd.DataFrame:
    """Estimate the components of every biome of one trait.

    The variances of species and observers are estimated by REML over the cells of a biome
    (``maps.estimators.variance_components``); a biome of fewer than ``MINIMUM_CELLS`` informative cells takes the
    components of all cells together. Where no cell at all has two species, nothing says how species differ, and the
    mean variance of a photo stands in; where none has two observers, theirs is 0. Concentration and clumping are those
    of ``maps.estimators.species_shares``, noise and slope those of ``maps.estimators.photo_weights``; the variances are
    those under this noise.

    Args:
        parts: the cells of the trait, in as many parts as one likes. The variances are estimated from those that
            ``maps.estimators.drawn_cells`` draws: from all of them up to 262,144 rows of a biome, and from about as
            many of a larger one. All else is a sum over all cells.
        trait: their trait.
        evidence: their kind of evidence.
        biome: biome by cell; cells without one take the components of all.

    Returns:
        A frame of ``schemas.COMPONENTS``: a row for each biome that stands on its own and, where some cell takes it,
        one with a null biome for all cells together. Empty where there is no cell.
    """
    cells = _PooledCells.of(parts, biome)
    if len(cells.cell) == 0:
        return no_components()
    code, labels = pd.factorize(_biome_of(cells.cell, biome), sort=True)
    several = cells.several
    together = len(labels)
    own = np.stack([np.bincount(code[several[:, k] & (code >= 0)], minlength=together) for k in (0, 1)], axis=-1)
    enough = (own >= MINIMUM_CELLS).all(axis=1)
    group = np.where(np.append(enough, False)[code], code, together)
    informative = np.concatenate([own, several.sum(axis=0)[None]])
    all_cells = np.zeros_like(group)
    noise, slope = cells.variances.noise(group, together + 1), cells.variances.slope(group, together + 1)
    noise[-1:], slope[-1:] = cells.variances.noise(all_cells, 1), cells.variances.slope(all_cells, 1)
    taken = np.bincount(group, minlength=together + 1)
    found = _variances(cells, group, noise, taken > 0)
    concentration, clumping = cells.pairs.pooled(group, together + 1)
    concentration[-1:], clumping[-1:] = cells.pairs.pooled(all_cells, 1)
    errors = np.sqrt(np.diagonal(found.covariance, axis1=1, axis2=2))
    columns = {
        "evidence": evidence,
        "trait": trait,
        "biome": [*labels, None],
        "species_variance": found.variance[:, 0],
        "observer_variance": found.variance[:, 1],
        "species_variance_error": errors[:, 0],
        "observer_variance_error": errors[:, 1],
        "covariance": found.covariance[:, 0, 1],
        "concentration": concentration,
        "clumping": clumping,
        "noise": noise,
        "variance_slope": slope,
        "cells": taken,
        "cells_of_species": informative[:, 0],
        "cells_of_observers": informative[:, 1],
        "converged": found.converged,
    }
    table = pd.DataFrame(columns, columns=COMPONENTS.names)
    return table[taken > 0].reset_index(drop=True)


def no_components() -> pd.DataFrame:
    """Return an empty frame of ``schemas.COMPONENTS``."""
    empty: pd.DataFrame = COMPONENTS.empty_table().to_pandas()
    return empty


def components_of_cells(
    components: pd.DataFrame, trait: str, cell: IntArray, biome: Biomes | None = None
) -> CellComponents:
    """Return what each cell takes: the components of its biome, or of all cells where the biome has none of its own.

    Args:
        components: ``schemas.COMPONENTS`` of one kind of evidence.
        trait: the trait.
        cell: (cells,) numbers of cells.
        biome: as it was for ``pool_components``.

    Raises:
        TableError: a column is missing, or some cell finds no components.
    """
    need_columns(components, "components", COMPONENTS.names)
    rows = components[components["trait"] == trait].reset_index(drop=True)
    shared = rows.index[rows["biome"].isna()]
    known = rows["biome"].dropna()
    if known.duplicated().any() or len(shared) > 1:
        raise TableError(f"components: {trait} occurs twice for a biome; expected those of one kind of evidence")
    at = pd.Series(known.index, index=known.to_numpy(dtype=object), dtype=np.float64).reindex(_biome_of(cell, biome))
    place = at.fillna(float(shared[0]) if len(shared) else np.nan).to_numpy()
    lost = np.isnan(place)
    if lost.any():
        raise TableError(
            f"components: {int(lost.sum())} cells of {trait} find none, first cell {int(cell[lost][0])}; expected "
            "those of their biome or of all cells: estimate the components from the moments of these cells"
        )
    of_cell = rows.iloc[place.astype(np.int64)]
    values = {name: of_cell[name].to_numpy(dtype=np.float64) for name in COMPONENTS.names[3:12]}
    a, b = values["species_variance_error"], values["observer_variance_error"]
    both = values["covariance"]
    return CellComponents(
        np.stack([values["species_variance"], values["observer_variance"]], axis=-1),
        np.stack([a**2, both, both, b**2], axis=-1).reshape(-1, 2, 2),
        values["concentration"],
        values["clumping"],
        values["noise"],
        values["variance_slope"],
    )


def read_components(folder: Path) -> pd.DataFrame:
    """Read the components that ``maps.stages.cells.estimate_cells`` wrote, ``schemas.COMPONENTS``.

    Raises:
        TableError: there is no such file, or it is damaged.
    """
    return read_table(folder / COMPONENTS_FILE, COMPONENTS)


@dataclass(frozen=True)
class _PooledCells:
    """What REML needs of the cells drawn, and the pooled diversity of all cells of a trait."""

    cell: IntArray
    several: BoolArray
    drawn: DrawnCells
    pairs: SpeciesPairs
    variances: PhotoVariances
    photo_variance: float

    @classmethod
    def of(cls, parts: Iterable[CellMoments], biome: Biomes | None) -> _PooledCells:
        draw = CellDraw()
        by_cell = _by_cell(biome)
        label = pd.Index(by_cell.dropna().unique(), dtype=object)
        cell, several = [np.empty(0, dtype=np.int64)], [np.empty((0, 2), dtype=bool)]
        photos, v = [np.empty(0)], [np.empty(0)]
        pairs: dict[str, list[FloatArray]] = {field.name: [np.empty(0)] for field in fields(SpeciesPairs)}
        variances = []
        for part in parts:
            number = label.get_indexer(pd.Index(_biome_of(part.cell, by_cell), dtype=object))
            draw.add(part, np.where(number < 0, len(label), number))
            cell.append(part.cell)
            groups = (part.species_of_row, part.observer_of_row)
            counts = [np.bincount(part.cell_of(group), minlength=part.size) for group in groups]
            several.append(np.stack(counts, axis=-1) >= _SEVERAL)
            variances.append(PhotoVariances.of(part))
            of_part = SpeciesPairs.of(part)
            for name, found in pairs.items():
                found.append(getattr(of_part, name))
            photos.append(part.n)
            v.append(part.total("sum_v"))
            del part  # or it would be held while the next one is read
        of_cells = SpeciesPairs(**{name: np.concatenate(found) for name, found in pairs.items()})
        n = np.concatenate(photos)
        photo_variance = float(np.concatenate(v).sum() / n.sum()) if len(n) else np.nan
        joined = PhotoVariances.joined(variances)
        return cls(np.concatenate(cell), np.concatenate(several), draw.drawn(), of_cells, joined, photo_variance)


def _by_cell(biome: Biomes | None) -> pd.Series:
    return biome if isinstance(biome, pd.Series) else pd.Series(dict(biome or {}), dtype=object)


def _biome_of(cell: IntArray, biome: Biomes | None) -> pd.Series:
    return _by_cell(biome).reindex(cell).astype(object)


def _variances(cells: _PooledCells, group: IntArray, noise: FloatArray, taken: BoolArray) -> VarianceComponents:
    """Estimate the groups that stand on their own, and all cells together where some cell needs it.

    Args:
        cells: all cells and those drawn.
        group: (cells,) group of each; the last is that of all cells together.
        noise: (groups,) of the photos' variances.
        taken: (groups,) whether some cell takes the group's components.
    """
    drawn, together = cells.drawn, len(noise) - 1
    group, several = group[drawn.place], cells.several[drawn.place]
    weight = drawn.weight / noise[group][drawn.of_row]
    blocks = list(cell_blocks(weight, drawn.species, drawn.observer, drawn.of_row))
    own = np.stack([np.bincount(group[several[:, k]], minlength=together + 1) for k in (0, 1)], axis=-1)
    own[together] = several[drawn.in_common].sum(axis=0)
    start = _start(blocks, drawn.y, group, own, cells.photo_variance)
    apart = estimate_components(blocks, drawn.y, np.where(group < together, group, -1), start, own > 0)
    apart.variance[~taken], apart.covariance[~taken] = np.nan, np.nan
    if taken[together]:
        common = np.where(drawn.in_common, 0, -1)
        pooled = estimate_components(blocks, drawn.y, common, start[-1:], own[-1:] > 0)
        for name in VarianceComponents.__dataclass_fields__:
            getattr(apart, name)[together] = getattr(pooled, name)[0]
    return apart


def _start(
    blocks: Sequence[CellBlock], y: FloatArray, group: IntArray, informative: IntArray, photo_variance: float
) -> FloatArray:
    """Guess the variances of each group from the scatter of rows within cells, in excess of their own variance."""
    together = len(informative) - 1
    total = np.zeros((len(informative), 4))  # squares, degrees of freedom, variance of the rows, rows
    for block in blocks:
        own = y[block.rows]
        n = np.bincount(block.cell_of_row)
        residual = own - (block.by_cell(own) / n)[block.cell_of_row]
        of_cell = np.stack([block.by_cell(residual**2), n - 1.0, block.by_cell(1 / block.weight), n], axis=-1)
        np.add.at(total, group[block.cells], of_cell)
        total[together] += of_cell[group[block.cells] < together].sum(axis=0)
    scatter = total[:, 0] / np.maximum(total[:, 1], 1.0)
    excess = np.maximum(scatter - total[:, 2] / np.maximum(total[:, 3], 1.0), 0.1 * scatter)
    guess = excess[:, None] * np.array([0.75, 0.25])
    return np.where(informative > 0, guess, np.array([photo_variance, 0.0]))
