"""Plant names in one canonical form: the binomial, without authors, ranks below species or hybrid marks.

One pattern over all distinct names decides nearly all of them. What it cannot decide alone goes to GBIF's name parser:
names in which it finds no binomial (a section between genus and epithet, markup), and names with a sign of doubt behind
the binomial (``?``, ``cf.``, digits, a second hybrid mark). The parser knows more and is slower: about 30,000 names a
second on one core, where the pattern takes 170,000.
"""

from __future__ import annotations

import re

import nameparser
import pandas as pd

_NOT_EPITHETS = frozenset(
    [
        "sp",
        "spp",
        "spec",
        "species",
        "ssp",
        "subsp",
        "var",
        "cf",
        "aff",
        "nr",
        "near",
        "group",
        "section",
        "cultivar",
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
_INFRAGENERIC = frozenset(["sect", "section", "subg", "subgen", "ser"])  # an epithet may follow
_LETTERS = "A-Za-zÀ-ÖØ-öø-ÿ"
# genus, an infrageneric name in brackets, a hybrid mark, the epithet, and the rest
_BINOMIAL = (
    rf"^(?:[×xX+]\s+|[×+])?(?P<genus>[{_LETTERS}][{_LETTERS}-]+)(?:\s+\([A-Z][{_LETTERS}-]+\)(?=\s+[a-zß-ÿ]))?"
    rf"\s+(?P<hybrid>[xX×]\s+|×)?(?P<epithet>[{_LETTERS}][{_LETTERS}-]+)(?P<rest>.*)$"
)


# What may stand behind a binomial and make it doubtful; a year after a comma is an author's.
_DOUBT = r"[?/+×☓✕]|\d|\b(?:cf|aff|nr|near|or|vel|vs)\b"
_LAST_WORD = r"(?:\b(?:cf|aff)\.?|\(?\?\)?)\s*$"  # doubt behind the authors, which the parser takes for one of them
_YEAR = r",?\s*[\[(]?\b1[78]\d\d\b[\])]?|,\s*\b(?:19|20)\d\d\b"
_PLAIN = re.compile(rf"[{_LETTERS}][{_LETTERS}-]+ [a-zß-ÿ][{_LETTERS}-]+")
_DOUBTFUL_PARTS = frozenset(["GENERIC", "SPECIFIC"])
_HARMLESS = frozenset(["xml tags removed"])
_TRANSCRIBED = str.maketrans({"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ß": "ss", "ð": "d"})


def canonical_binomial(names: pd.Series) -> pd.Series:
    """Bring names to ``Genus epithet``.

    Authors, subspecies, varieties, cultivars and sections are cut; hybrid marks of named hybrids are removed (``Quercus
    ×rosacea`` is ``Quercus rosacea``), and apostrophes within a word; underscores count as spaces. A name that names no
    single species is null: a genus alone, ``sp.``, what is marked as doubtful (``cf.``, ``aff.``, ``?``), and hybrid
    formulas such as ``Quercus robur × petraea``.

    Args:
        names: scientific names as sources write them.

    Returns:
        Canonical binomials, null where there is none, index as given.
    """
    unique = pd.Series(names.dropna().unique(), dtype="str")
    tidy = _tidy(unique)
    parts = tidy.str.extract(_BINOMIAL)
    shouted = parts["genus"].str.isupper() & parts["epithet"].str.isupper()
    epithet = parts["epithet"].where(~shouted.fillna(False), parts["epithet"].str.lower())
    lower = epithet.str.match(r"^[a-zß-ÿ]", na=False)
    known = lower & ~epithet.isin(_NOT_EPITHETS)
    formula = parts["hybrid"].isna() & parts["rest"].str.contains(r"\s(?:[xX×]\s|×)", na=False)
    binomial = (parts["genus"].str.capitalize() + " " + epithet.str.lower()).where(known & ~formula)
    rest = parts["rest"].str.replace(_YEAR, "", regex=True)
    doubtful = binomial.notna() & rest.str.contains(_DOUBT, case=False, regex=True, na=False)
    closed = formula | parts["epithet"].isin(_NOT_EPITHETS - _INFRAGENERIC)
    unread = binomial.isna() & ~closed & tidy.str.contains(" ", regex=False, na=False)
    binomial = binomial.mask(doubtful & rest.str.contains(_LAST_WORD, case=False, regex=True, na=False))
    asked = (doubtful & binomial.notna()) | unread
    if asked.any():
        binomial = binomial.mask(asked, _parsed(tidy[asked]))
    return _look_up(names, unique, binomial)


def matching_key(names: pd.Series) -> pd.Series:
    """Return canonical binomials in ASCII, by which names from different sources are joined; hyphens stay.

    Diacritics, which the code of nomenclature does not know, are dropped: ``Isoëtes`` and ``Isoetes`` are one.

    Args:
        names: scientific names as sources write them.

    Returns:
        Keys, null where a name names no single species, index as given.
    """
    binomial = canonical_binomial(names)
    unique = pd.Series(binomial.dropna().unique(), dtype="str")
    plain = unique.str.translate(_TRANSCRIBED).str.normalize("NFKD")
    return _look_up(binomial, unique, plain.str.encode("ascii", "ignore").str.decode("ascii"))


def genus(names: pd.Series) -> pd.Series:
    """Return the genus of each name, capitalised, null where the name does not start with one; index as given."""
    unique = pd.Series(names.dropna().unique(), dtype="str")
    first = _tidy(unique).str.extract(rf"^(?:[×xX+]\s+|[×+])?([{_LETTERS}][{_LETTERS}-]+)(?=\s|$)", expand=False)
    return _look_up(names, unique, first.str.capitalize())


def _tidy(names: pd.Series) -> pd.Series:
    plain = names.str.replace("_", " ").str.replace(r"\s+", " ", regex=True).str.strip()
    return plain.str.replace(rf"(?<=[{_LETTERS}])['’ʼ](?=[a-zß-ÿ])", "", regex=True)


def _parsed(names: pd.Series) -> pd.Series:
    """Return what the parser makes of names: the binomial, null unless it names one species without doubt."""
    found = [_species(name) for name in nameparser.parse_all(names.tolist())]
    return pd.Series(found, index=names.index, dtype="str")


def _species(found: nameparser.ParsedName | nameparser.Informal | None) -> str | None:
    if not isinstance(found, nameparser.ParsedName) or found.doubtful or not found.genus or not found.specific_epithet:
        return None
    if _DOUBTFUL_PARTS & set(found.epithet_qualifier or {}) or set(found.warnings) - _HARMLESS:
        return None
    binomial = f"{found.genus.capitalize()} {found.specific_epithet.lower()}"
    readable = _PLAIN.fullmatch(binomial) is not None and found.specific_epithet not in _NOT_EPITHETS
    return binomial if readable else None


def _look_up(names: pd.Series, unique: pd.Series, canonical: pd.Series) -> pd.Series:
    found = names.map(dict(zip(unique, canonical, strict=True)))
    return found.astype("str").where(found.notna())
