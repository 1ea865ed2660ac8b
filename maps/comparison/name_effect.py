"""What another set of names does to the cells: the same photos and predictions, under two namings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from data_catalog import Trait
from maps.comparison.metrics import score
from maps.comparison.scores import map_layer
from plant_traits.grid import Grid

EFFECT_COLUMNS = (
    "trait",
    "cells",
    "cells_lost",
    "cells_gained",
    "rms_difference",
    "median_standard_error",
    "share_beyond_error",
)
ERROR_COLUMNS = ("reference", "trait", "n", "rmse_stated", "rmse_accepted")


@dataclass(frozen=True)
class NamesTold:
    """What a run can tell of the gate of names.

    Attributes:
        counts: of ``plant_traits.stages.name_gate.gather_decisions``: by rank and reason n observations, photos and
            renamed observations.
        effect: ``EFFECT_COLUMNS``.
        errors: ``ERROR_COLUMNS``.
    """

    counts: pd.DataFrame
    effect: pd.DataFrame
    errors: pd.DataFrame


def effect_of_names(accepted: pd.DataFrame, stated: pd.DataFrame, traits: Sequence[Trait]) -> pd.DataFrame:
    """Say by how much cells differ between two namings of their photos.

    Args:
        accepted: estimates of one estimator under the names that are used, ``schemas.ESTIMATE``.
        stated: estimates of the same estimator under the other names.
        traits: what to tell of.

    Returns:
        ``EFFECT_COLUMNS``, a row per trait: cells that both estimate, that ``stated`` alone and that ``accepted`` alone
        estimates; over the first the root mean square of the difference, the median standard error of ``accepted``
        (both working space) and the share of cells whose difference is larger than that cell's standard error. NaN
        where no cell is in both.
    """
    both = accepted.merge(stated, on=["cell", "trait"], how="outer", suffixes=("", "_stated"), indicator="where")
    rows = []
    for trait in traits:
        mine = both[both["trait"] == trait.id]
        side = mine["where"].value_counts()
        shared = mine[mine["where"] == "both"]
        difference = (shared["location"] - shared["location_stated"]).to_numpy(dtype=np.float64)
        error = shared["standard_error"].to_numpy(dtype=np.float64)
        known = len(shared) > 0
        rows.append(
            (
                trait.id,
                len(shared),
                int(side.get("right_only", 0)),
                int(side.get("left_only", 0)),
                float(np.sqrt(np.mean(difference**2))) if known else np.nan,
                float(np.nanmedian(error)) if np.isfinite(error).any() else np.nan,
                float(np.mean(np.abs(difference) > error)) if known else np.nan,
            )
        )
    return pd.DataFrame(rows, columns=list(EFFECT_COLUMNS))


def errors_of_namings(
    accepted: pd.DataFrame,
    stated: pd.DataFrame,
    references: Mapping[str, xr.Dataset],
    traits: Sequence[Trait],
    grid: Grid,
) -> pd.DataFrame:
    """Score the cells of two namings against references, on the cells that both estimate.

    Args:
        accepted: estimates under the names that are used, ``schemas.ESTIMATE``.
        stated: estimates under the other names.
        references: name to a dataset with ``location`` (trait, lat, lon) on ``grid``, working space.
        traits: what to tell of.
        grid: the cells; they are weighted by area.

    Returns:
        ``ERROR_COLUMNS``, a row per reference and trait: cells, and the root mean square error of either, working
        space; no row where fewer than two cells meet.

    Raises:
        GridError: a reference is not on the grid.
    """
    both = accepted.merge(stated, on=["cell", "trait"], suffixes=("", "_stated"))
    rows = []
    for name, reference in references.items():
        for trait in traits:
            mine = both[both["trait"] == trait.id]
            cell = mine["cell"].to_numpy(dtype=np.int64)
            truth = map_layer(reference, trait, grid, name)[cell]
            met = np.isfinite(truth)
            if met.sum() < 2:
                continue
            weight = grid.row_area_m2[cell[met] // grid.n_lon]
            errors = [
                score(truth[met], mine[column].to_numpy(dtype=np.float64)[met], weight).rmse
                for column in ("location_stated", "location")
            ]
            rows.append((name, trait.id, int(met.sum()), *errors))
    return pd.DataFrame(rows, columns=list(ERROR_COLUMNS))
