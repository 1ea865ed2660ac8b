"""Weak labels: what a plant's species, genus or family says of its traits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from data_catalog import Trait

_STATISTICS = {"median": "median", "sd": "sd", "low": "q05", "high": "q95"}


def labels_for(frame: pd.DataFrame, species_traits: pd.DataFrame, traits: Sequence[Trait]) -> pd.DataFrame:
    """Look up each row's trait distributions, from its species, else its genus, else its family.

    Args:
        frame: a table with ``species``, ``genus`` and ``family``, such as observations.
        species_traits: the table of ``summarise``, columns ``SPECIES_TRAIT``.
        traits: traits to look up.

    Returns:
        Index as in the frame; for each trait ``<trait>_median``, ``_sd``, ``_low`` (5 % quantile) and ``_high`` (95 %),
        working space, NaN where nothing is known, and ``<trait>_rank``: species, genus, family or null.
    """
    columns: dict[str, pd.Series] = {}
    for trait in traits:
        own = species_traits[species_traits["trait"] == trait.id]
        values = {name: pd.Series(np.nan, index=frame.index) for name in _STATISTICS}
        rank_used = pd.Series(pd.NA, index=frame.index, dtype="str")
        for rank in ("species", "genus", "family"):
            of_rank = own[own["rank"] == rank].set_index("taxon")
            open_rows = rank_used.isna() & frame[rank].isin(of_rank.index[of_rank["median"].notna()])
            for name, statistic in _STATISTICS.items():
                values[name] = values[name].where(~open_rows, frame[rank].map(of_rank[statistic]).astype("float64"))
            rank_used = rank_used.mask(open_rows, rank)
        for name, column in values.items():
            columns[f"{trait.id}_{name}"] = column
        columns[f"{trait.id}_rank"] = rank_used
    return pd.DataFrame(columns, index=frame.index)
