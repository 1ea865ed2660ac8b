"""By how much the geospatial prediction of cells errs in regions that its model did not see, without plots.

What was held out are single plants, or the labels of their species, beside the prediction from their place alone. A
cell's residual is the mean over its species. It holds the scatter of the few species that happen to be recorded, which
is no error of the prediction, and it does not hold what labels and prediction both miss of the cell's community: the
one makes the error too large, the other too small. The first is left in, so that intervals err on the wide side.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from plant_traits.grid import Grid
from plant_traits.needed_columns import need_columns

NEEDED = ("latitude", "longitude", "species", "trait", "n", "label", "prediction")
RESIDUAL_COLUMNS = ("cell", "trait", "residual")


def cell_residuals(places: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Average held-out residuals by cell, each species of a cell counting the same.

    Args:
        places: of ``plant_traits.model.held_out_places``: latitude, longitude (degrees, EPSG:4326), species (null: one
            of its own), trait, n records, and the means of their labels and of the predictions from the place alone,
            working space.
        grid: the cells.

    Returns:
        ``RESIDUAL_COLUMNS``, one row per cell and trait: the mean of label - prediction.

    Raises:
        TableError: a column is missing.
        GridError: a coordinate is missing or out of range.
    """
    need_columns(places, "held-out places", NEEDED)
    rows = pd.DataFrame(
        {
            "cell": grid.cell_of(places["latitude"].to_numpy(np.float64), places["longitude"].to_numpy(np.float64)),
            "trait": places["trait"].to_numpy(),
            "species": pd.factorize(places["species"])[0],
            "n": places["n"].to_numpy(np.float64),
            "residual": (places["label"] - places["prediction"]).to_numpy(np.float64),
        }
    )
    rows = rows[np.isfinite(rows["residual"])].sort_values(["cell", "trait", "species", "residual"], ignore_index=True)
    by_species = rows.assign(sum=rows["n"] * rows["residual"]).groupby(["cell", "trait", "species"], sort=True)
    sums = by_species[["sum", "n"]].sum().reset_index()
    sums["residual"] = sums["sum"] / sums["n"]
    found: pd.DataFrame = sums.groupby(["cell", "trait"], sort=True)["residual"].mean().reset_index()
    return found[list(RESIDUAL_COLUMNS)]
