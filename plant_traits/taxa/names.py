"""Plant names in one canonical form: the binomial, without authors, ranks below species or hybrid marks."""

from __future__ import annotations

import pandas as pd

_NOT_EPITHETS = frozenset(
    [
        "sp",
        "spp",
        "ssp",
        "subsp",
        "var",
        "cf",
        "aff",
        "agg",
        "sect",
        "subg",
        "subgen",
        "ser",
        "indet",
        "nov",
        "hybrid",
        "x",
        "ex",
        "et",
    ]
)
_LETTERS = "A-Za-zÀ-ÖØ-öø-ÿ"
# genus, an infrageneric name in brackets, a hybrid mark, the epithet, and the rest
_BINOMIAL = (
    rf"^(?:[×xX+]\s+|[×+])?(?P<genus>[{_LETTERS}][{_LETTERS}-]+)(?:\s+\([A-Z][{_LETTERS}-]+\)(?=\s+[a-zß-ÿ]))?"
    rf"\s+(?P<hybrid>[xX×]\s+|×)?(?P<epithet>[{_LETTERS}][{_LETTERS}-]+)(?P<rest>.*)$"
)


def canonical_binomial(names: pd.Series) -> pd.Series:
    """Bring names to ``Genus epithet``.

    Authors, subspecies and varieties are cut; hybrid marks of named hybrids are removed (``Quercus ×rosacea`` is
    ``Quercus rosacea``); underscores count as spaces. A name that names no single species is null: a genus alone,
    ``sp.``, ``cf.`` and ``aff.``, and hybrid formulas such as ``Quercus robur × petraea``.

    Args:
        names: scientific names as sources write them.

    Returns:
        Canonical binomials, null where there is none, index as given.
    """
    unique = pd.Series(names.dropna().unique(), dtype="str")
    parts = _tidy(unique).str.extract(_BINOMIAL)
    shouted = parts["genus"].str.isupper() & parts["epithet"].str.isupper()
    epithet = parts["epithet"].where(~shouted.fillna(False), parts["epithet"].str.lower())
    lower = epithet.str.match(r"^[a-zß-ÿ]", na=False)
    known = lower & ~epithet.isin(_NOT_EPITHETS)
    formula = parts["hybrid"].isna() & parts["rest"].str.contains(r"\s(?:[xX×]\s|×)", na=False)
    binomial = (parts["genus"].str.capitalize() + " " + epithet.str.lower()).where(known & ~formula)
    return _look_up(names, unique, binomial)


def genus(names: pd.Series) -> pd.Series:
    """Return the genus of each name, capitalised, null where the name does not start with one; index as given."""
    unique = pd.Series(names.dropna().unique(), dtype="str")
    first = _tidy(unique).str.extract(rf"^(?:[×xX+]\s+|[×+])?([{_LETTERS}][{_LETTERS}-]+)(?=\s|$)", expand=False)
    return _look_up(names, unique, first.str.capitalize())


def _tidy(names: pd.Series) -> pd.Series:
    return names.str.replace("_", " ").str.replace(r"\s+", " ", regex=True).str.strip()


def _look_up(names: pd.Series, unique: pd.Series, canonical: pd.Series) -> pd.Series:
    found = names.map(dict(zip(unique, canonical, strict=True)))
    return found.astype("str").where(found.notna())
