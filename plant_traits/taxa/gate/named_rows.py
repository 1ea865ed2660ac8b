"""The live rows of a shard under the names that the gate accepted, without what it set aside."""

from __future__ import annotations

import pandas as pd

from plant_traits.errors import TableError
from plant_traits.taxa.gate.rule import SET_ASIDE
from plant_traits.taxa.names import genus

UNNAMED = " sp."
"""Behind a genus or growth form: a plant of it whose species is not known. It is one species to those who count."""


def name_rows(rows: pd.DataFrame, decisions: pd.DataFrame, taxonomy: pd.DataFrame) -> pd.DataFrame:
    """Replace the names of rows by those that were accepted, and leave out rows that were set aside.

    A row accepted at genus keeps genus, family and growth form, one accepted at growth form keeps that alone; their
    species is ``<Genus> sp.`` or ``<growth form> sp.``. A row accepted under another species takes that species' taxa,
    as far as they are known. Other rows stay as they are, to the bit.

    Args:
        rows: columns ``SHARD_ROW``.
        decisions: columns ``NAME_DECISION``, a row per observation.
        taxonomy: columns species, genus, family and growth_form.

    Returns:
        Columns ``SHARD_ROW``, in the order given.

    Raises:
        TableError: an observation has no decision.
    """
    known = decisions.drop_duplicates("observation_id").set_index("observation_id")
    decided = known.reindex(rows["observation_id"])
    if decided["rank"].isna().any():
        missing = rows["observation_id"][decided["rank"].isna().to_numpy()].iloc[0]
        raise TableError(f"gate of names: expected a decision on every observation, found none on {missing!r}")
    decided.index = rows.index
    rank, name = decided["rank"], decided["name"]
    out = rows.copy()
    coarse = rank.isin(["genus", "growth_form"])
    renamed = (rank == "species") & (name != rows["species"]) & name.notna()
    out.loc[coarse, "species"] = name[coarse] + UNNAMED
    out.loc[coarse, "taxon_key"] = None
    out.loc[rank == "growth_form", ["genus", "family"]] = None
    if renamed.any():
        _rename(out, name[renamed], taxonomy)
    return out[rank != SET_ASIDE].reset_index(drop=True)


def _rename(rows: pd.DataFrame, name: pd.Series, taxonomy: pd.DataFrame) -> None:
    """Write another species and its taxa into the rows of an index, in place."""
    taxa = taxonomy.drop_duplicates("species").set_index("species").reindex(name)
    taxa.index = name.index
    of_name = genus(name)
    same_genus = of_name == rows.loc[name.index, "genus"]
    family = taxa["family"].fillna(rows.loc[name.index, "family"].where(same_genus))
    rows.loc[name.index, "species"] = name
    rows.loc[name.index, "genus"] = of_name
    rows.loc[name.index, "family"] = family
    form = taxa["growth_form"].fillna(rows.loc[name.index, "growth_form"].where(same_genus))
    rows.loc[name.index, "growth_form"] = form
    rows.loc[name.index, "taxon_key"] = None
