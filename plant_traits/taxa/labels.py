"""Weak labels: what a plant's species, genus or family says of its traits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from data_catalog import Trait
from plant_traits.errors import TableError
from plant_traits.model.labels import NO_RECORDS, LabelRecords

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


def records_for(frame: pd.DataFrame, species_records: pd.DataFrame, traits: Sequence[Trait]) -> LabelRecords:
    """Look up the records of each row's species, from which its labels may be drawn.

    A row has records exactly where ``labels_for`` takes its label from the species. Where that falls back to genus or
    family the row has none: a genus is summarised over its species' medians, each counting once, and records drawn from
    all of its species would be those of its best measured ones.

    Args:
        frame: a table with ``species``, such as observations.
        species_records: the table of ``records_of_species``, columns ``SPECIES_RECORD``, in any order.
        traits: traits to look up.

    Returns:
        The records, rows as in the frame, columns as the traits.

    Raises:
        TableError: a record names no taxon.
        ModelError: a value is not finite.
    """
    ids = [trait.id for trait in traits]
    own = species_records[species_records["trait"].isin(ids)]
    if own["taxon"].isna().any():
        raise TableError(
            f"species records: expected a taxon for every value, found {int(own['taxon'].isna().sum())} of {len(own)} "
            "without; summarise the trait tables again"
        )
    taxon, taxa = pd.factorize(own["taxon"], sort=True)
    group = own["trait"].map({trait: column for column, trait in enumerate(ids)}).to_numpy("int64") * len(taxa) + taxon
    order = np.lexsort((own["value"].to_numpy(), group))
    present, first = np.unique(group[order], return_index=True)
    number = np.full((len(ids), len(taxa)), NO_RECORDS, dtype=np.int32)
    number.reshape(-1)[present] = np.arange(len(present), dtype=np.int32)
    row = pd.Index(taxa).get_indexer(frame["species"])
    position = np.full((len(frame), len(ids)), NO_RECORDS, dtype=np.int32)
    position[row >= 0] = number[:, row[row >= 0]].T
    return LabelRecords(
        values=own["value"].to_numpy(dtype=np.float64)[order],
        offsets=np.append(first, len(own)).astype(np.int64),
        groups=tuple((ids[at // len(taxa)], str(taxa[at % len(taxa)])) for at in present.tolist()),
        position=position,
    )
