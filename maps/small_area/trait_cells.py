"""The cells of one trait side by side: photos' estimate, geospatial prediction, plots, biome and spatial fold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import TableError
from plant_traits.grid import FloatArray, Grid, IntArray
from plant_traits.needed_columns import need_columns
from plant_traits.schemas import ESTIMATE, LAND_PREDICTION
from plant_traits.spatial_folds import block_of, spatial_folds

OF_DIRECT = ("location", "standard_error", "n_photos", "variance_among_plants")
OF_LAND = ("mean", "variance_aleatoric", "variance_epistemic")
OF_PLOTS = ("plot_mean", "n_plots", "scatter")


@dataclass(frozen=True)
class TraitCells:
    """Every cell of a trait that has a direct estimate or a land prediction, in the order of their numbers.

    Attributes:
        trait: its id.
        cell: (n,) numbers.
        columns: (n,) arrays by name: ``OF_DIRECT``, ``OF_LAND`` and ``OF_PLOTS``, NaN where a cell has none;
            ``n_photos`` and ``n_plots`` are 0 there.
        biome: (n,) names, None where unknown.
        group: (n,) position of the biome in ``labels``, from 1; 0 where unknown.
        labels: names of the biomes; the first, None, stands for all cells together.
        block: (n,) spatial block.
        fold: (n,) the fold that holds the block out.
    """

    trait: str
    cell: IntArray
    columns: Mapping[str, FloatArray]
    biome: npt.NDArray[np.object_]
    group: IntArray
    labels: tuple[str | None, ...]
    block: IntArray
    fold: IntArray

    def __getitem__(self, name: str) -> FloatArray:
        """Return a column."""
        return self.columns[name]

    @property
    def size(self) -> int:
        """How many cells there are."""
        return len(self.cell)

    @property
    def groups(self) -> int:
        """How many groups there are, that of all cells included."""
        return len(self.labels)

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Whether a cell has plots, (n,)."""
        return np.asarray(np.isfinite(self.columns["plot_mean"]))

    @property
    def stated(self) -> FloatArray:
        """The variance that the geospatial model states for a plant of the cell, (n,)."""
        return self.columns["variance_aleatoric"] + self.columns["variance_epistemic"]


def trait_cells(
    trait: str,
    direct: pd.DataFrame,
    land: pd.DataFrame,
    plots: pd.DataFrame | None,
    biome: Mapping[int, str] | pd.Series,
    grid: Grid,
    *,
    folds: int,
    block_degrees: float,
) -> TraitCells:
    """Lay everything known of a trait's cells side by side.

    An estimate without a finite location and standard error counts as none, a prediction without a finite mean
    likewise; a cell with neither is left out.

    Args:
        trait: its id; rows of others are not read.
        direct: ``schemas.ESTIMATE``, from photos.
        land: ``schemas.LAND_PREDICTION``.
        plots: of ``maps.small_area.plots.plots_by_cell``; plots in cells that are not mapped are not read.
        biome: name by cell.
        grid: the cells.
        folds: number of spatial folds.
        block_degrees: side of the blocks that are dealt out to folds.

    Raises:
        TableError: a column is missing, or a cell occurs twice.
        GridError: a cell is not of this grid.
    """
    parts = [_rows(trait, direct, OF_DIRECT, ESTIMATE.names, "direct estimates")]
    parts.append(_rows(trait, land, OF_LAND, LAND_PREDICTION.names, "land predictions"))
    has_direct = np.isfinite(parts[0]["location"]) & np.isfinite(parts[0]["standard_error"])
    parts = [parts[0][has_direct], parts[1][np.isfinite(parts[1]["mean"])]]
    if plots is not None:
        parts.append(_rows(trait, plots, OF_PLOTS, ["cell", "trait", *OF_PLOTS], "plots"))
    cell = np.union1d(parts[0].index.to_numpy(dtype=np.int64), parts[1].index.to_numpy(dtype=np.int64))
    frame = pd.concat([part.reindex(cell) for part in parts], axis=1).reindex(columns=[*OF_DIRECT, *OF_LAND, *OF_PLOTS])
    frame = frame.fillna({"n_photos": 0, "n_plots": 0})
    names = pd.Series(biome if isinstance(biome, pd.Series) else dict(biome), dtype=object).reindex(cell)
    names = names.where(names.notna(), None)
    code, labels = pd.factorize(names, sort=True)
    if len(cell) and not 0 <= cell[0] <= cell[-1] < grid.size:
        raise TableError(
            f"cells of {trait}: numbers run from {cell[0]} to {cell[-1]}, but the {grid} grid has {grid.size} cells; "
            "were they made on another grid?"
        )
    block = block_of(*grid.centre_of(cell), block_degrees)
    return TraitCells(
        trait,
        cell,
        {name: frame[name].to_numpy(dtype=np.float64) for name in (*OF_DIRECT, *OF_LAND, *OF_PLOTS)},
        names.to_numpy(dtype=object),
        code.astype(np.int64) + 1,
        (None, *(str(label) for label in labels)),
        block,
        spatial_folds(block, folds, np.isfinite(frame["plot_mean"].to_numpy(dtype=np.float64))),
    )


def _rows(trait: str, table: pd.DataFrame, columns: tuple[str, ...], needed: list[str], what: str) -> pd.DataFrame:
    need_columns(table, what, needed)
    own = table[table["trait"] == trait].set_index("cell")[list(columns)].astype(np.float64)
    if not own.index.is_unique:
        raise TableError(
            f"{what}: expected one row per cell of {trait}, found {len(own)} of {own.index.nunique()} cells"
        )
    return own
