"""What a TRY release says of the plants that were measured: where they stood, how old they were, how they grew."""

from __future__ import annotations

import numpy as np
import polars as pl

from plant_traits.sources.try_table import TryTable

_LATITUDE, _LONGITUDE, _EXPERIMENT, _MATURITY = 59.0, 60.0, 327.0, 413.0
_JUVENILE = r"(?i)juvenil|seedling|sapling|immature|cotyledon"
_CULTURE = (
    r"(?i)chamber|green\s*house|glass\s*house|experiment|laborator|controlled|hydropon|phytotron|\bpots?\b|nursery"
)
_COLUMNS = ("ObservationID", "TraitID", "DataID", "OrigValueStr", "StdValue", "OrigObsDataID")
_MERGE_ROWS = 200_000


def observation_covariates(table: TryTable, observations: pl.Series | None = None) -> pl.DataFrame:
    """Gather the covariates of observations, wherever in the release they stand.

    Covariates are rows without a trait, joined on ObservationID: latitude (DataID 59), longitude (60), exposition
    (327), maturity (413). Of several values the first counts; duplicates (OrigObsDataID > 0) do not.

    Args:
        table: the release.
        observations: ids of the observations wanted; all where not given. Memory grows with them, not with the file.

    Returns:
        One row per observation that has any of these: ``observation``, ``latitude``, ``longitude`` (degrees, null
        where not given), ``juvenile`` and ``experiment`` (of a plant grown in culture).
    """
    wanted = None if observations is None else observations.drop_nulls().unique().sort().to_numpy()
    own = pl.col("TraitID").is_null() & ~(pl.col("OrigObsDataID") > 0).fill_null(False)
    own &= pl.col("DataID").is_in([_LATITUDE, _LONGITUDE, _EXPERIMENT, _MATURITY])
    own &= pl.col("ObservationID").is_not_null()

    def of_block(rows: pl.DataFrame) -> pl.DataFrame:
        covariates = rows.filter(own)
        if wanted is not None:
            # Looking up in order, no table of all observations is built for each block.
            asked = covariates["ObservationID"].to_numpy()
            place = np.searchsorted(wanted, asked)
            covariates = covariates.filter(np.append(wanted, np.nan)[place] == asked)
        kind, text = pl.col("DataID"), pl.col("OrigValueStr")
        return covariates.select(
            observation="ObservationID",
            latitude=pl.when(kind == _LATITUDE).then("StdValue"),
            longitude=pl.when(kind == _LONGITUDE).then("StdValue"),
            juvenile=(kind == _MATURITY) & text.str.contains(_JUVENILE).fill_null(False),
            experiment=(kind == _EXPERIMENT) & text.str.contains(_CULTURE).fill_null(False),
        )

    merged = of_block(pl.DataFrame(schema=dict.fromkeys(_COLUMNS, pl.Float64) | {"OrigValueStr": pl.String}))
    waiting: list[pl.DataFrame] = []
    for found, _, _ in table.results(_COLUMNS, of_block):
        waiting.append(found)
        if sum(frame.height for frame in waiting) > _MERGE_ROWS + merged.height:
            merged, waiting = _merged([merged, *waiting]), []
    return _merged([merged, *waiting])


def _merged(frames: list[pl.DataFrame]) -> pl.DataFrame:
    return (
        pl.concat(frames)
        .group_by("observation", maintain_order=True)
        .agg(pl.col("latitude", "longitude").drop_nulls().first(), pl.col("juvenile", "experiment").any())
    )
