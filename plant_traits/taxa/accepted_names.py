"""Accepted names for the names that sources write, so that traits, plots and occurrences join."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from plant_traits.errors import TableError
from plant_traits.taxa.names import canonical_binomial, genus, matching_key

NOT_ASKED = "NOT_ASKED"
HOMONYMS = "HOMONYMS"
UNNAMED = "UNNAMED"
_NEEDED = ("name", "match_type", "accepted_species", "genus", "family", "homonyms")


@dataclass(frozen=True)
class AcceptedNames:
    """The accepted name of each name.

    Attributes:
        taxa: index as the names given; ``species`` (binomial in ASCII, null where the name stands for no single
            species), ``genus``, ``family`` (null where the taxonomy did not tell) and ``match_type``.
        counts: distinct names by match type: what the taxonomy answered, or ``NOT_ASKED``, ``HOMONYMS``, and
            ``UNNAMED`` for what names no single species. Only EXACT and VARIANT are accepted names; the others keep
            their own binomial.
    """

    taxa: pd.DataFrame
    counts: dict[str, int]


def names_to_ask(columns: Iterable[pd.Series]) -> pd.DataFrame:
    """Collect what a taxonomy is to be asked: one row ``name`` per species that is named, in any spelling, sorted."""
    keys = [pd.Series(matching_key(column).dropna().unique(), dtype="str") for column in columns]
    if not keys:
        return pd.DataFrame({"name": pd.Series([], dtype="str")})
    names = pd.concat(keys, ignore_index=True).drop_duplicates().sort_values(ignore_index=True)
    return names.rename("name").to_frame()


def accepted_names(names: pd.Series, answers: pd.DataFrame) -> AcceptedNames:
    """Name each name's accepted species; where the taxonomy knows none, the name's own canonical binomial.

    An answer is found by the name as it was asked, else by its matching key; a key whose answers contradict each other
    (homonyms of different authors) decides nothing.

    Args:
        names: scientific names as sources write them.
        answers: a taxonomy's answers, columns of ``plant_traits.sources.gbif.names.ACCEPTED_NAME``.

    Raises:
        TableError: ``answers`` lacks a column.
    """
    missing = [name for name in _NEEDED if name not in answers.columns]
    if missing:
        raise TableError(f"accepted names: columns {missing} are missing, found {list(answers.columns)}")
    unique = pd.Series(names.dropna().unique(), dtype="str")
    own = matching_key(unique)
    found = _found(unique, own, answers)
    homonyms = found["homonyms"].eq(True)
    species = matching_key(found["accepted_species"].where(~homonyms)).fillna(own)
    kind = found["match_type"].fillna(NOT_ASKED).mask(homonyms, HOMONYMS)
    kind = kind.mask(species.isna(), UNNAMED)
    of_species = genus(species)
    # The family of a higher rank counts only where it is that of the name's own genus.
    same = of_species.isna() | (of_species == matching_genus(found["genus"])) | found["accepted_species"].notna()
    taxa = pd.DataFrame(
        {
            "species": species,
            "genus": of_species.fillna(matching_genus(found["genus"])).fillna(genus(unique)),
            "family": found["family"].where(same & ~homonyms),
            "match_type": kind,
        }
    )
    positions = names.map(dict(zip(unique, range(len(unique)), strict=True)))
    spread = taxa.reindex(positions.astype("Int64").astype("float64"))
    spread.index = names.index
    return AcceptedNames(spread, {str(name): int(n) for name, n in kind.value_counts(sort=False).sort_index().items()})


def species_of(names: pd.Series, answers: pd.DataFrame | None) -> pd.Series:
    """Return the accepted species of each name, null where it names none; its canonical binomial without answers.

    Raises:
        TableError: ``answers`` lacks a column.
    """
    return canonical_binomial(names) if answers is None else accepted_names(names, answers).taxa["species"]


def matching_genus(names: pd.Series) -> pd.Series:
    """Return genera in ASCII, null where there is none, index as given."""
    # The key of a binomial with any epithet is the genus' key and that epithet.
    return genus(matching_key(genus(names) + " sine"))


def _found(unique: pd.Series, own: pd.Series, answers: pd.DataFrame) -> pd.DataFrame:
    """Return one answer per unique name, all null where there is none."""
    columns = [name for name in _NEEDED if name != "name"]
    asked = answers.drop_duplicates("name").set_index("name")[columns]
    by_name = asked.reindex(unique.str.strip())
    keyed = asked.assign(key=matching_key(pd.Series(asked.index, dtype="str")).to_numpy()).dropna(subset=["key"])
    contradicted = keyed.groupby("key")["accepted_species"].nunique(dropna=False) > 1
    keyed = keyed[~keyed["key"].isin(contradicted.index[contradicted])].drop_duplicates("key").set_index("key")
    by_key = keyed[columns].reindex(own)
    by_name.index = by_key.index = unique.index
    return by_name.where(by_name["match_type"].notna(), by_key)
