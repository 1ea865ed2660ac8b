"""Read a TRY release: the long text table that TRY sends on request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_catalog import Trait
from plant_traits.errors import MissingInputError, TableError
from plant_traits.sources.trait_records import Sieve, TraitRecords, finish, to_canonical

_COLUMNS = [
    "SpeciesName",
    "AccSpeciesName",
    "ObservationID",
    "ObsDataID",
    "TraitID",
    "DataID",
    "DataName",
    "OrigValueStr",
    "ValueKindName",
    "StdValue",
    "UnitName",
    "OrigObsDataID",
    "ErrorRisk",
]
_NUMBERS = ["ObservationID", "ObsDataID", "TraitID", "DataID", "StdValue", "OrigObsDataID", "ErrorRisk"]
_LATITUDE, _LONGITUDE, _EXPERIMENT, _MATURITY = 59, 60, 327, 413
_GROWTH_FORM_TRAIT = 42
_WORST_ERROR_RISK = 4
_CHUNK_ROWS = 200_000

_EXTREME_KIND = r"^(?:min|max|low|high|upper)"
_EXTREME_DATA = r"\((?:min|max)[a-z]*\)\s*$"
_JUVENILE = r"juvenil|seedling|sapling|immature|cotyledon"
_CULTURE = r"chamber|green\s*house|glass\s*house|experiment|laborator|controlled|hydropon|phytotron|\bpots?\b|nursery"
# Words of a growth form as TRY's contributors write it; a null is decided too: neither tree, shrub nor herb.
_GROWTH_FORMS: tuple[tuple[str, str | None], ...] = (
    (r"liana|vine|climb|epiphyt|parasit|fern|moss|lichen|succulent", None),
    (r"shrub/tree|tree/shrub|shrub\s*(?:or|and|,|\|)\s*tree|tree\s*(?:or|and|,|\|)\s*shrub", None),
    (r"shrub|bush", "shrub"),
    (r"tree|palm", "tree"),
    (r"herb|forb|gras|sedge|rush|gramin|geophyt|annual|bienn", "herb"),
    (r"^t$", "tree"),
    (r"^s$", "shrub"),
    (r"^[hg]$", "herb"),
)


def read_try_release(path: Path, source: str, traits: Sequence[Trait]) -> TraitRecords:
    """Read the values of the given traits from a TRY release, with the places and growth forms that it knows.

    Left out, in this order: duplicates (OrigObsDataID > 0), rows that are covariates or of other traits, ErrorRisk > 4
    (missing is kept), minima and maxima, juveniles, plants of experiments, and what ``to_canonical`` drops. Values are
    StdValue in UnitName. Covariates join on ObservationID: latitude (DataID 59), longitude (60), exposition (327),
    maturity (413); a species' growth form is the majority of its TraitID 42 rows. Read in chunks.

    Args:
        path: the release, tab-separated, latin-1, never quoted.
        source: source id of the catalogue.
        traits: traits wanted; their ``try_ids`` say which TRY traits they are.

    Returns:
        The records; ``read`` counts all rows of the file.

    Raises:
        MissingInputError: the file is not there.
        TableError: a column is missing, or the file is not such a table.
    """
    if not path.is_file():
        raise MissingInputError(f"TRY release {path} is not there: TRY sends it on request, https://www.try-db.org")
    trait_of = {float(try_id): trait.id for trait in traits for try_id in trait.try_ids}
    covariates: list[pd.DataFrame] = []
    values: list[pd.DataFrame] = []
    rejected: dict[str, int] = {}
    read = 0
    try:
        with pd.read_csv(
            path, sep="\t", encoding="latin-1", quoting=3, dtype="str", index_col=False, chunksize=_CHUNK_ROWS,
            usecols=lambda name: name in _COLUMNS, on_bad_lines="error",
        ) as chunks:  # fmt: skip
            for chunk in chunks:
                _require_columns(path, chunk)
                read += len(chunk)
                kept, aside = _sort_rows(chunk, trait_of, rejected)
                values.append(kept)
                covariates.append(aside)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TableError(f"{path.name}: not a TRY release, a tab-separated table of 27 columns ({error})") from error
    aside = pd.concat(covariates, ignore_index=True)
    sieve = Sieve(pd.concat(values, ignore_index=True))
    sieve.rejected.update(rejected)
    sieve.drop(sieve.rows["ErrorRisk"] > _WORST_ERROR_RISK, "error_risk")
    extreme = sieve.rows["ValueKindName"].str.contains(_EXTREME_KIND, case=False, na=False)
    extreme |= sieve.rows["DataName"].str.contains(_EXTREME_DATA, case=False, na=False)
    sieve.drop(extreme, "minimum_or_maximum")
    sieve.drop(sieve.rows["ObservationID"].isin(_observations_where(aside, _MATURITY, _JUVENILE)), "juvenile")
    sieve.drop(sieve.rows["ObservationID"].isin(_observations_where(aside, _EXPERIMENT, _CULTURE)), "experiment")
    names = sieve.rows["AccSpeciesName"].fillna(sieve.rows["SpeciesName"])
    sieve.rows = sieve.rows.assign(
        id=sieve.rows["ObsDataID"].astype("int64"),
        name=names,
        value=sieve.rows["StdValue"],
        unit=sieve.rows["UnitName"],
        growth_form=names.map(_growth_forms(aside)).astype("str"),
        latitude=sieve.rows["ObservationID"].map(_first_value(aside, _LATITUDE)),
        longitude=sieve.rows["ObservationID"].map(_first_value(aside, _LONGITUDE)),
    )
    to_canonical(sieve, {trait.id: trait for trait in traits})
    return finish(sieve, source, read)


def _require_columns(path: Path, chunk: pd.DataFrame) -> None:
    missing = [name for name in _COLUMNS if name not in chunk.columns]
    if missing:
        raise TableError(
            f"{path.name}: columns {missing} of a TRY release are missing; found {list(chunk.columns)}. "
            "Use the text file as TRY sent it"
        )


def _sort_rows(
    chunk: pd.DataFrame, trait_of: dict[float, str], rejected: dict[str, int]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a chunk into the rows of wanted traits and the covariates and growth forms to join later."""
    for name in _NUMBERS:
        chunk[name] = pd.to_numeric(chunk[name], errors="coerce")
    sieve = Sieve(chunk)
    sieve.drop(chunk["OrigObsDataID"] > 0, "duplicate")
    rows = sieve.rows.assign(trait=sieve.rows["TraitID"].map(trait_of).astype("str"))
    covariate = rows["DataID"].isin([_LATITUDE, _LONGITUDE, _EXPERIMENT, _MATURITY]) & rows["TraitID"].isna()
    aside = rows[covariate | (rows["TraitID"] == _GROWTH_FORM_TRAIT)]
    sieve.rows = rows
    sieve.drop(rows["trait"].isna() & rows["TraitID"].isna(), "covariate")
    sieve.drop(sieve.rows["trait"].isna(), "other_trait")
    sieve.drop(sieve.rows["ObsDataID"].isna(), "no_identifier")
    for reason, n in sieve.rejected.items():
        rejected[reason] = rejected.get(reason, 0) + n
    return sieve.rows, aside


def _observations_where(aside: pd.DataFrame, data_id: int, words: str) -> pd.Series:
    own = aside[(aside["DataID"] == data_id) & aside["TraitID"].isna()]
    return own.loc[own["OrigValueStr"].str.contains(words, case=False, na=False), "ObservationID"]


def _first_value(aside: pd.DataFrame, data_id: int) -> pd.Series:
    own = aside[(aside["DataID"] == data_id) & aside["TraitID"].isna() & aside["StdValue"].notna()]
    return own.drop_duplicates("ObservationID").set_index("ObservationID")["StdValue"]


def _growth_forms(aside: pd.DataFrame) -> dict[str, str]:
    """Return the majority growth form by species name; ties go to the first in alphabetical order."""
    rows = aside[aside["TraitID"] == _GROWTH_FORM_TRAIT]
    forms = rows["OrigValueStr"].map({text: _form(text) for text in rows["OrigValueStr"].dropna().unique()})
    votes = pd.DataFrame({"name": rows["AccSpeciesName"].fillna(rows["SpeciesName"]), "form": forms}).dropna()
    counts = votes.groupby(["name", "form"]).size().rename("n").reset_index()
    first = counts.sort_values(["name", "n", "form"], ascending=[True, False, True]).drop_duplicates("name")
    return dict(zip(first["name"], first["form"], strict=True))


def _form(text: str) -> str | None:
    lowered = text.strip().lower()
    return next((form for words, form in _GROWTH_FORMS if re.search(words, lowered)), None)
