"""Plant the errors that no download of GBIF has but other files do, and repetitions between sources."""

from __future__ import annotations

import numpy as np
import pandas as pd

from plant_traits.simulation.seeds import stream

ROW_SHARES = {
    "out_of_range": 0.003,
    "no_species": 0.003,
    "date_missing": 0.005,
    "repeated_record": 0.005,
    "repeated_photo": 0.01,
}
OTHER_SOURCE = "inaturalist"


def spoil_rows(seed: int, raw: pd.DataFrame, usable: pd.Series) -> pd.DataFrame:
    """Spoil a share of raw occurrences, each row in one way only.

    Args:
        seed: the world's.
        raw: columns ``RAW_OCCURRENCE``, default index.
        usable: rows that may be spoilt, true or false; those that repeat need a photo.

    Returns:
        The rows, repetitions appended, with the columns ``row``, the row of ``raw`` each comes from, and ``planted``.
    """
    rng = stream(seed, "dirt of rows")
    rows = raw.assign(row=np.arange(len(raw)), planted="none")
    order = rng.permutation(np.flatnonzero(usable))
    taken = 0
    chosen = {}
    for kind, share in ROW_SHARES.items():
        size = max(1, round(share * len(order)))
        chosen[kind] = np.sort(order[taken : taken + size])
        taken += size
    for kind in ("out_of_range", "no_species", "date_missing"):
        rows.loc[chosen[kind], "planted"] = kind
    half = chosen["out_of_range"].size // 2
    rows.loc[chosen["out_of_range"][:half], "latitude"] += 180.0
    rows.loc[chosen["out_of_range"][half:], "longitude"] -= 540.0
    genus = rows.loc[chosen["no_species"], "genus"]
    rows.loc[chosen["no_species"], ["species", "scientific_name"]] = np.column_stack([[None] * len(genus), genus])
    rows.loc[chosen["date_missing"], "observed_on"] = pd.NaT
    rows.loc[chosen["date_missing"], "year"] = np.nan
    again = rows.loc[chosen["repeated_record"]].assign(planted="repeated_record")
    elsewhere = rows.loc[chosen["repeated_photo"]].assign(planted="repeated_photo", source=OTHER_SOURCE)
    return pd.concat([rows, again, elsewhere], ignore_index=True)
