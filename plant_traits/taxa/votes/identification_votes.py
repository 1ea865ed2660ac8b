"""Votes from iNaturalist's identifications."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from plant_traits.errors import TableError
from plant_traits.taxa.accepted_names import species_of
from plant_traits.taxa.votes.vote_table import VoteTable

SPECIES_OR_FINER = ("species", "hybrid", "subspecies", "variety", "form", "infrahybrid")
"""iNaturalist's ranks of names that name a species."""

_COLUMNS = ("occurrence_id", "identification_id", "user_id", "taxon_name", "rank", "current", "own_observation")
_OF_ALL_RANKS = ("disagreement", "previous_taxon_name")


def identification_votes(
    identifications: pd.DataFrame,
    ranks: Literal["species", "all"] = "species",
    answers: pd.DataFrame | None = None,
    ai: pd.DataFrame | None = None,
) -> tuple[VoteTable, dict[str, int]]:
    """Turn the table of identifications that the iNaturalist source writes into votes.

    One that was withdrawn, or that its user replaced, is not current and does not count; of several current ones of a
    user on an observation the latest does. The observation's author is who identified an observation of his own.

    Args:
        identifications: columns ``IDENTIFICATION`` of ``plant_traits.sources.inaturalist.observations``; those of text
            may be categories, and those of disagreement are for ``all`` ranks only.
        ranks: ``species`` for rules that choose among species: finer names count for their species and coarser ones are
            left out; ``all`` for the community's rule, names as they stand.
        answers: a taxonomy's answers, see ``accepted_names``, under whose names species are counted; null leaves them
            as iNaturalist has them. Not for ``all``.
        ai: a model's votes, see ``VoteTable.of``.

    Returns:
        The votes, and the number of identifications left out, by reason; those without a user, or whose name is no
        binomial where species are asked for, are counted in the vote table's losses.

    Raises:
        TableError: a column is missing.
    """
    needed = _COLUMNS if ranks == "species" else (*_COLUMNS, *_OF_ALL_RANKS)
    missing = [name for name in needed if name not in identifications.columns]
    if missing:
        raise TableError(f"identifications: columns {missing} are missing; found {list(identifications.columns)}")
    current = identifications["current"].astype("boolean").fillna(value=False).astype(bool)
    unnamed = current & identifications["taxon_name"].isna()
    rows = identifications[current & ~unnamed]
    left_out = {"withdrawn": int((~current).sum()), "unnamed": int(unnamed.sum())}
    taxon = rows["taxon_name"]
    if ranks == "species":
        of_species = rows["rank"].isin(SPECIES_OR_FINER)
        left_out["above_species"] = int((~of_species).sum())
        rows = rows[of_species]
        taxon = _species(taxon[of_species], answers)
    frame = pd.DataFrame(
        {
            "observation_id": rows["occurrence_id"],
            "user": rows["user_id"],
            "taxon": taxon,
            "author": rows["own_observation"].astype("boolean").fillna(value=False).astype(bool),
            "sequence": rows["identification_id"],
        }
    )
    if ranks == "all":
        frame["disagreement"] = rows["disagreement"]
        frame["disagrees_with"] = rows["previous_taxon_name"].where(rows["disagreement"].eq(True))
    return VoteTable.of(frame, ai), left_out


def _species(names: pd.Series, answers: pd.DataFrame | None) -> pd.Series:
    """Return the species of names, as categories, null where a name names none."""
    code, distinct = pd.factorize(names)
    given = pd.Series(distinct, dtype="str")
    place, categories = pd.factorize(species_of(given, answers))
    codes = np.append(place, -1)[code]
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(categories, dtype="str")), index=names.index)
