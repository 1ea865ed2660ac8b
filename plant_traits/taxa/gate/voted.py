"""What votes say beside the stated names: joined to observations, and as labels that names are learned from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from plant_traits.taxa.names import genus

SEVERAL_VOTES = 2


def join_votes(observations: pd.DataFrame, voted: pd.DataFrame | None) -> pd.DataFrame:
    """Add vote_name, vote_valid (false without votes), vote_confidence and n_votes to observations.

    Args:
        observations: a column observation_id.
        voted: columns ``VOTED_NAME``; None where there are no votes.
    """
    told = pd.DataFrame(index=observations.index)
    if voted is None:
        told["vote_name"] = pd.Series(pd.NA, index=observations.index, dtype="str")
        told["vote_valid"] = False
        told["vote_confidence"] = np.nan
        told["n_votes"] = 0
        return observations.join(told)
    found = voted.drop_duplicates("observation_id").set_index("observation_id").reindex(observations["observation_id"])
    found.index = observations.index
    told["vote_name"] = found["name"].astype("str").where(found["name"].notna())
    told["vote_valid"] = (found["valid"] == True).to_numpy(dtype=bool)  # noqa: E712 - null is neither
    told["vote_confidence"] = found["confidence"].to_numpy(dtype=np.float64)
    told["n_votes"] = found["n_votes"].fillna(0).to_numpy(dtype=np.int64)
    return observations.join(told)


def with_votes(rows: pd.DataFrame, voted: pd.DataFrame | None) -> pd.DataFrame:
    """Return rows under the names that names are learned from: voted ones where valid, else stated ones.

    Where several votes are not valid and lead to another name than the stated one, or to none, the species is null.

    Args:
        rows: columns observation_id, species, genus, family and growth_form.
        voted: columns ``VOTED_NAME``; None leaves the rows as they are.
    """
    if voted is None:
        return rows
    told = join_votes(rows[["observation_id"]], voted)
    of_species = told["vote_name"].str.contains(" ", regex=False, na=False)
    valid = told["vote_valid"] & of_species
    otherwise = told["vote_name"].isna() | (told["vote_name"] != rows["species"])
    open_ones = ~valid & otherwise & (told["n_votes"] >= SEVERAL_VOTES)
    other = valid & (told["vote_name"] != rows["species"])
    out = rows.copy()
    out.loc[other, "species"] = told["vote_name"][other]
    out.loc[other, "genus"] = genus(told["vote_name"][other])
    out.loc[other, ["family", "growth_form"]] = None
    out.loc[open_ones, "species"] = None
    return out
