"""The growth form of species, and of genera whose species mostly share one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

_FILE = "growth_forms.parquet"


def growth_forms(records: pd.DataFrame) -> pd.Series:
    """Return the growth form of each species and genus that has one.

    A species takes the form that most of its records state, ties going to the first in alphabetical order. A genus
    takes the form of more than half of its species with a known form, each counting once, and none otherwise.

    Args:
        records: a table with ``species``, ``genus`` and ``growth_form`` (tree, shrub, herb or null).

    Returns:
        Growth forms indexed by taxon: species (two words) and genera (one word).
    """
    known = records.dropna(subset=["species", "growth_form"])
    counts = known.groupby(["species", "growth_form"]).size().rename("n").reset_index()
    first = counts.sort_values(["species", "n", "growth_form"], ascending=[True, False, True]).drop_duplicates(
        "species"
    )
    by_species = first.set_index("species")["growth_form"]
    genus = by_species.index.to_series().str.split(" ").str[0]
    shares = pd.DataFrame({"genus": genus, "form": by_species}).groupby("genus")["form"].value_counts(normalize=True)
    by_genus = shares[shares > 0.5].reset_index().set_index("genus")["form"]
    forms: pd.Series = pd.concat([by_species, by_genus]).rename_axis("taxon").rename("growth_form").sort_index()
    return forms


def growth_form_of(frame: pd.DataFrame, forms: pd.Series) -> pd.Series:
    """Look up the growth form of each row: what the row states, then its species' form, then its genus'.

    Args:
        frame: a table with ``species`` and ``genus``, and perhaps ``growth_form``.
        forms: growth forms by taxon, from ``growth_forms``.

    Returns:
        Growth forms, null where unknown, index as in the frame.
    """
    found = frame["species"].map(forms).fillna(frame["genus"].map(forms))
    if "growth_form" in frame:
        found = frame["growth_form"].fillna(found)
    return found.astype("str").where(found.notna())


def write_growth_forms(forms: pd.Series, folder: Path) -> None:
    """Write what ``growth_forms`` returned as ``growth_forms.parquet``, columns ``taxon`` and ``growth_form``."""
    forms.reset_index().to_parquet(folder / _FILE)


def read_growth_forms(folder: Path) -> pd.Series:
    """Read what ``write_growth_forms`` wrote."""
    forms: pd.Series = pd.read_parquet(folder / _FILE).set_index("taxon")["growth_form"]
    return forms
