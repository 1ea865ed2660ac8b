"""Turn the Darwin Core terms of records and of their media into this project's columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from plant_traits.sources.delimited_text import ID
from plant_traits.sources.licences import stricter_of_two
from plant_traits.sources.photo_ids import photo_id_column
from plant_traits.sources.raw_occurrence import RAW_OCCURRENCE

# Columns of ours, each with the Darwin Core terms that may hold it, the best first; archives of different years differ.
_TERMS: dict[str, tuple[str, ...]] = {
    "dataset_key": ("datasetKey", "datasetID"),
    "occurrence_id": ("occurrenceID", ID),
    "scientific_name": ("scientificName",),
    "species": ("species",),
    "taxon_key": ("acceptedTaxonKey", "taxonKey", "speciesKey", "taxonID"),
    "genus": ("genus",),
    "family": ("family",),
    "latitude": ("decimalLatitude",),
    "longitude": ("decimalLongitude",),
    "coordinate_uncertainty_m": ("coordinateUncertaintyInMeters",),
    "year": ("year",),
    "recorded_by": ("recordedBy",),
    "basis_of_record": ("basisOfRecord",),
    "degree_of_establishment": ("degreeOfEstablishment", "establishmentMeans"),
    "licence": ("license",),
    "attribution": ("rightsHolder", "recordedBy"),
}
_NUMBERS = ("latitude", "longitude", "coordinate_uncertainty_m", "year")
OCCURRENCE_TERMS = tuple(
    dict.fromkeys([*(t for terms in _TERMS.values() for t in terms if t != ID), "eventDate", "month", "day"])
)
MEDIA_TERMS = ("type", "format", "identifier", "license", "rightsHolder", "creator")
_FEW = 256
_ISO_LENGTH = len("2026-10-31")
PHOTO_COLUMNS = (ID, "photo_url", "photo_id", "photo_licence", "photo_attribution")


def occurrence_columns(terms: pl.DataFrame) -> pl.DataFrame:
    """Return ``ID`` and the columns of ``RAW_OCCURRENCE`` that a record has of its own, one row per record.

    Numbers that cannot be read are null. The day is that of ``eventDate`` (the first of an interval), else that of
    year, month and day where all three are given.

    Args:
        terms: ``ID`` and ``OCCURRENCE_TERMS`` as text.
    """
    columns = {name: _first_given(terms, given) for name, given in _TERMS.items()}
    columns |= {name: _number(columns[name]) for name in _NUMBERS}
    columns["observed_on"] = _day(terms, columns["year"])
    if columns["year"].null_count():
        columns["year"] = _given(columns["year"], columns["observed_on"].dt.year().cast(pl.Float64))
    return pl.DataFrame({ID: terms[ID], **columns})


def photo_columns(terms: pl.DataFrame) -> tuple[pl.DataFrame, Counter[str]]:
    """Return ``PHOTO_COLUMNS`` of the media that are still images with an address, and the others counted by reason.

    Args:
        terms: ``ID`` and ``MEDIA_TERMS`` as text.
    """
    image = _images(terms)
    images = terms if image.all() else terms.filter(image)
    addressed = images["identifier"].is_not_null()
    chosen = images if addressed.all() else images.filter(addressed)
    rejected = Counter(
        media_not_an_image=terms.height - images.height, media_without_address=images.height - chosen.height
    )
    photos = {
        ID: chosen[ID],
        "photo_url": chosen["identifier"],
        "photo_id": photo_id_column(chosen["identifier"]),
        "photo_licence": chosen["license"],
        "photo_attribution": _first_given(chosen, ("rightsHolder", "creator")),
    }
    return pl.DataFrame(photos), +rejected


def raw_columns(joined: pl.DataFrame, source: str) -> pl.DataFrame:
    """Return the columns of ``RAW_OCCURRENCE`` from records joined with ``PHOTO_COLUMNS``."""
    ready = joined.with_columns(
        _stricter(joined["licence"], joined["photo_licence"]).alias("licence"),
        _given(joined["photo_attribution"], joined["attribution"]).alias("attribution"),
        pl.repeat(source, joined.height, dtype=pl.String, eager=True).alias("source"),
    )
    return ready.select(RAW_OCCURRENCE.names)


def _stricter(record: pl.Series, photo: pl.Series) -> pl.Series:
    """Take the stricter licence row by row, judging each pair that occurs once."""
    spelt = pl.Categorical(pl.Categories.random())
    coded = [given.cast(spelt) for given in (record, photo)]
    words = pl.concat(codes.unique().drop_nulls() for codes in coded).unique()
    spelling = dict(zip(words.to_physical().to_list(), words.cast(pl.String).to_list(), strict=True))
    absent = max(spelling, default=-1) + 1
    of_each = [codes.to_physical().fill_null(absent).to_numpy().astype(np.int64) for codes in coded]
    pair = of_each[0] * (absent + 1) + of_each[1]
    if absent < _FEW:
        pairs = np.flatnonzero(np.bincount(pair))
        place = np.zeros((absent + 1) ** 2, np.uint32)
        place[pairs] = np.arange(len(pairs))
        which = place[pair]
    else:
        pairs, which = np.unique(pair, return_inverse=True)
    stricter = [
        stricter_of_two(spelling.get(of_record), spelling.get(of_photo))
        for of_record, of_photo in zip(*(part.tolist() for part in np.divmod(pairs, absent + 1)), strict=True)
    ]
    return pl.Series(stricter, dtype=pl.String).gather(which)


def _first_given(terms: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    found = terms[names[0]]
    for name in names[1:]:
        if not found.null_count():
            break
        if terms[name].null_count() < terms.height:
            found = _given(found, terms[name])
    return found


def _given(first: pl.Series, second: pl.Series) -> pl.Series:
    return first.zip_with(first.is_not_null(), second) if first.null_count() else first


def _number(text: pl.Series) -> pl.Series:
    number = text.cast(pl.Float64, strict=False)
    return number.fill_nan(None) if number.is_nan().any() else number


def _day(terms: pl.DataFrame, year: pl.Series) -> pl.Series:
    text = terms["eventDate"]
    after = text.str.slice(_ISO_LENGTH, 1)
    separated = after == "T"
    if not separated.all():
        separated |= after.is_in(["", "/", " "]) & (text.str.len_bytes() >= _ISO_LENGTH)
    days = text.str.head(_ISO_LENGTH)
    iso = (days if separated.all() else days.set(~separated, None)).str.to_date("%Y-%m-%d", strict=False)
    if not iso.null_count():
        return iso
    parts = pl.DataFrame({"year": year, "month": _number(terms["month"]), "day": _number(terms["day"])})
    whole = pl.all_horizontal(pl.all() == pl.all().floor())
    written = pl.format("{}-{}-{}", *(pl.col(name).cast(pl.Int32, strict=False) for name in parts.columns))
    built = parts.select(pl.when(whole).then(written).str.to_date("%Y-%m-%d", strict=False)).to_series()
    return _given(iso, built)


def _images(media: pl.DataFrame) -> pl.Series:
    """Tell which media are still images: by type or format, or where these do not say, by the address."""
    plain = (media["type"] == "StillImage") & media["format"].is_in(["image/jpeg", "image/png"])
    if plain.all() and not plain.null_count():
        return plain
    texts = [pl.col(name).fill_null("") for name in ("type", "format")]
    kind = pl.concat_str(texts, separator=" ").str.to_lowercase()
    other = kind.str.contains("sound|moving|audio|video|text/|html")
    by_name = pl.col("identifier").str.contains(r"(?i)\.(?:jpe?g|png|webp|tiff?)(?:$|\?)").fill_null(False)
    return media.select(~other & (kind.str.contains("stillimage|image/") | by_name)).to_series()
