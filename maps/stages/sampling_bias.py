"""Stage: how far the mean of a cell's photos is to be expected to be off, told from cells with vegetation plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from maps.sampling.bias import expected_bias_of_cells
from maps.stages.cells import read_estimates
from maps.stages.small_area import plots_of_run
from plant_traits.covariates.cell_biomes import cell_biomes
from plant_traits.covariates.cube import LayerFolder
from plant_traits.run_spec import RunSpec
from plant_traits.schemas import EXPECTED_BIAS, read_table, write_table
from plant_traits.steps import Summary

BIAS_FILE = "expected_bias.parquet"


def expect_bias(
    destination: Path,
    *,
    spec: RunSpec,
    root: Path,
    estimates: Path,
    covariates: Path,
    rasters: Sequence[LayerFolder],
) -> Summary:
    """State the expected bias of the published estimator in every cell with photos; write ``expected_bias.parquet``.

    What it is, and what not, is said in ``maps.sampling.bias``. Without plots, or with too few cells that have some, it
    is unknown everywhere.

    Args:
        destination: an empty folder.
        spec: the run.
        root: the run's data folder.
        estimates: output of ``estimate_cells``.
        covariates: output of ``grid_covariates``.
        rasters: the raster sources it was made of.

    Returns:
        Counts of cells and plots in, and of cells out by trait; plots lost, by reason.

    Raises:
        InputError: the plots of the profile cannot be read.
    """
    published = spec.profile.published_estimator
    direct = read_estimates(estimates, "photo", [published])[published]
    plots, lost = plots_of_run(spec, root)
    if plots is None:
        bias = direct[["cell", "trait"]].assign(bias_ratio=float("nan"), expected_bias=float("nan"))
    else:
        bias = expected_bias_of_cells(direct, plots, cell_biomes(covariates, rasters), spec.grid)
    write_table(bias, destination / BIAS_FILE, EXPECTED_BIAS)
    known = bias[bias["expected_bias"].notna()]
    return {
        "in": {
            "cells with a photo": int(direct["cell"].nunique()),
            "plots times traits": 0 if plots is None else len(plots),
        },
        "out": {
            f"cells of known bias, {trait}": int(n) for trait, n in known.groupby("trait")["cell"].nunique().items()
        },
        "lost": {f"plot {reason}": n for reason, n in lost.items()},
    }


def read_expected_bias(folder: Path) -> pd.DataFrame:
    """Return the table of ``expect_bias``, ``schemas.EXPECTED_BIAS``, NaN where unknown."""
    return read_table(folder / BIAS_FILE, EXPECTED_BIAS)
