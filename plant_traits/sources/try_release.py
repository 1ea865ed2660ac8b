"""Read the trait values of a TRY release of any size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import polars as pl

from data_catalog import Trait
from plant_traits.errors import TableError
from plant_traits.sources.trait_records import Sieve, TraitRecords, finish, to_canonical
from plant_traits.sources.try_covariates import observation_covariates
from plant_traits.sources.try_table import TryTable, open_try_table

_COLUMNS = (
    *("SpeciesName", "AccSpeciesName", "ObservationID", "ObsDataID", "TraitID", "DataName", "OrigValueStr"),
    *("ValueKindName", "StdValue", "UnitName", "OrigObsDataID", "ErrorRisk"),
)
_GROWTH_FORM_TRAIT = 42
_WORST_ERROR_RISK = 4
_EXTREME_KIND = r"(?i)^(?:min|max|low|high|upper)"
_EXTREME_DATA = r"(?i)\((?:min|max)[a-z]*\)\s*$"
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

    Left out, in this order: lines without the header's number of fields, duplicates (OrigObsDataID > 0), rows that are
    covariates or of other traits, ErrorRisk > 4 (missing is kept), minima and maxima, juveniles, plants of experiments,
    and what ``to_canonical`` drops. Values are StdValue in UnitName. Covariates are those of
    ``observation_covariates``; a species' growth form is the majority of its TraitID 42 rows. The file is read twice,
    in blocks: memory grows with the records kept, not with its rows.

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
    table = open_try_table(path)
    values = _read_values(table, traits)
    covariates = observation_covariates(table, values.rows["observation"])
    rows = values.rows.join(covariates, on="observation", how="left", maintain_order="left").drop("observation")
    sieve = Sieve(_pandas(rows))
    sieve.rejected.update(values.rejected)
    sieve.drop(sieve.rows["juvenile"], "juvenile")
    sieve.drop(sieve.rows["experiment"], "experiment")
    forms = _growth_forms(values.votes)
    sieve.rows = sieve.rows.assign(growth_form=sieve.rows["name"].map(forms).astype("str"))
    to_canonical(sieve, {trait.id: trait for trait in traits})
    return finish(sieve, source, values.read)


@dataclass(frozen=True)
class _Values:
    rows: pl.DataFrame  # observation, id, trait, name, value, unit
    votes: pl.DataFrame  # name, text, n: growth forms as written
    rejected: Counter[str]
    read: int


def _read_values(table: TryTable, traits: Sequence[Trait]) -> _Values:
    """Read the rows of wanted traits, names as categories so that they cost little."""
    trait_of = {float(try_id): trait.id for trait in traits for try_id in trait.try_ids}
    # Views of text would keep the whole block that they look into.
    names = pl.Categorical(pl.Categories.random())

    def of_block(given: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, int]]:
        rows = given.with_columns(
            name=pl.coalesce("AccSpeciesName", "SpeciesName").cast(names),
            trait=pl.col("TraitID").replace_strict(trait_of, default=None, return_dtype=pl.String),
        )
        duplicate = pl.col("OrigObsDataID") > 0
        judged = rows.with_columns(reason=_reason(duplicate))
        form = ~duplicate.fill_null(False) & (pl.col("TraitID") == _GROWTH_FORM_TRAIT)
        votes = rows.filter(form & pl.col("OrigValueStr").is_not_null()).group_by("name", text="OrigValueStr").len("n")
        lost = judged["reason"].drop_nulls().value_counts()
        kept = judged.filter(pl.col("reason").is_null()).select(
            observation="ObservationID",
            id=pl.col("ObsDataID").cast(pl.Int64),
            trait=pl.col("trait").cast(names),
            name="name",
            value="StdValue",
            unit=pl.col("UnitName").cast(names),
        )
        return kept, votes.with_columns(pl.col("text").cast(names)), dict(lost.iter_rows())

    kept, votes, rejected, read = [], [], Counter[str](), 0
    for (rows, of_forms, lost), lines, bad in table.results(_COLUMNS, of_block):
        kept.append(rows)
        votes.append(of_forms)
        rejected.update(lost)
        rejected["malformed_row"] += bad
        read += lines
    if not read or rejected["malformed_row"] == read:
        raise TableError(
            f"{table.path.name}: no line has the {len(table.header)} fields of the header, so it is not a TRY release "
            "as TRY sends it; use the original text file"
        )
    counted = pl.concat(votes).group_by("name", "text").agg(pl.col("n").sum())
    return _Values(pl.concat(kept), counted, +rejected, read)


def _reason(duplicate: pl.Expr) -> pl.Expr:
    extreme = pl.col("ValueKindName").str.contains(_EXTREME_KIND).fill_null(False)
    extreme |= pl.col("DataName").str.contains(_EXTREME_DATA).fill_null(False)
    return (
        pl.when(duplicate)
        .then(pl.lit("duplicate"))
        .when(pl.col("trait").is_null() & pl.col("TraitID").is_null())
        .then(pl.lit("covariate"))
        .when(pl.col("trait").is_null())
        .then(pl.lit("other_trait"))
        .when(pl.col("ObsDataID").is_null())
        .then(pl.lit("no_identifier"))
        .when(pl.col("ErrorRisk") > _WORST_ERROR_RISK)
        .then(pl.lit("error_risk"))
        .when(extreme)
        .then(pl.lit("minimum_or_maximum"))
    )


def _pandas(rows: pl.DataFrame) -> pd.DataFrame:
    texts = {name: rows[name].cast(pl.String).to_pandas().astype("str") for name in ("trait", "name", "unit")}
    return rows.drop("trait", "name", "unit").to_pandas().assign(**texts)


def _growth_forms(votes: pl.DataFrame) -> dict[str, str]:
    """Return the majority growth form by species name; ties go to the first in alphabetical order."""
    texts = votes["text"].cast(pl.String)
    forms = pl.Series("form", [_form(text) for text in texts], dtype=pl.String)
    counts = votes.select(pl.col("name").cast(pl.String), "n").with_columns(forms).drop_nulls()
    ordered = (
        counts.group_by("name", "form")
        .agg(pl.col("n").sum())
        .sort("name", "n", "form", descending=[False, True, False])
    )
    first = ordered.unique("name", keep="first", maintain_order=True)
    return dict(zip(first["name"], first["form"], strict=True))


def _form(text: str) -> str | None:
    lowered = text.strip().lower()
    return next((form for words, form in _GROWTH_FORMS if re.search(words, lowered)), None)
