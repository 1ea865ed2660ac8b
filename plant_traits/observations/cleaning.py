"""Clean raw occurrences into observations: every record is tested, flagged and either kept or counted as dropped."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import InputError, TableError
from plant_traits.month import Month
from plant_traits.observations.flags import FATAL, Flag
from plant_traits.observations.outliers import species_outliers
from plant_traits.observations.places import (
    GBIF_HEADQUARTERS,
    FloatArray,
    ReferencePlaces,
    in_sea,
    within,
)
from plant_traits.observations.reference_places import reference_places
from plant_traits.regions import Area
from plant_traits.schemas import OBSERVATION
from plant_traits.sources.raw_occurrence import RAW_OCCURRENCE, rejected_rows
from plant_traits.taxa.names import canonical_binomial, genus

CENTROID_M = 1_000.0
CAPITAL_M = 10_000.0
INSTITUTION_M = 100.0
SHORE_M = 1_000.0
LARGEST_UNCERTAINTY_M = 10_000.0
DEFAULT_UNCERTAINTIES_M = (301.0, 3036.0, 999.0, 9999.0)
FIRST_YEAR = 1900
_WRONG_BASIS = ("FOSSILSPECIMEN", "LIVINGSPECIMEN", "MATERIALSAMPLE")
# Among rows of the same record and photo, these decide which comes first.
_TIE_BREAKERS = ("latitude", "longitude", "observed_on", "species", "coordinate_uncertainty_m", "observer", "licence")
# Columns that only the tests of single rows read; they are not carried on.
_TESTED_ONLY = ("scientific_name", "year", "recorded_by", "basis_of_record", "degree_of_establishment", "occurrence_id")
_CAPTIVE = ("captive", "cultivated", "managed")


@dataclass(frozen=True)
class CleanedObservations:
    """The observations of one month, and an account of all records that came in.

    ``counts_in == len(observations) + sum(dropped.values())``; the rows that a reader could not read count on both
    sides.

    Attributes:
        observations: one row per record and photo, columns ``OBSERVATION``, sorted by observation and photo.
        counts_in: number of raw rows.
        dropped: rows dropped, by the first fatal flag of each, or by the reader's reason.
        flagged: rows kept with a flag, by flag; a row may have several.
        not_tested: tests that were not made for want of reference places.
        found: rows in which a test found something, kept or dropped, by flag: each test's own count. A row may have
            several flags; the sea, repetitions and outliers are looked for among the rows that are still in.
        origins: where each test's reference places came from.
    """

    observations: pd.DataFrame
    counts_in: int
    dropped: dict[str, int] = field(default_factory=dict)
    flagged: dict[str, int] = field(default_factory=dict)
    not_tested: tuple[str, ...] = ()
    found: dict[str, int] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)


def clean(
    raw: pd.DataFrame, *, month: Month, region: Area, salt: str, places: ReferencePlaces | None = None
) -> CleanedObservations:
    """Test, name, deduplicate and select raw occurrences.

    The result does not depend on the order of the rows. Photos that reached us twice, records that stand twice, and
    records of the same species, place, day and observer count once: the first by observation id. Where the observer is
    not stated, records with photos are duplicates only if they share the photo. A record without a date is kept and
    flagged. Observers become salted hashes; those not stated count as one observer per data set, so that they do not
    inflate the number of observers. ``growth_form`` is left null: it comes from the trait tables.

    Args:
        raw: columns ``RAW_OCCURRENCE``, of one reader or several concatenated.
        month: observations until its last day are taken; also the ``snapshot`` written.
        region: observations inside it are taken.
        salt: secret of the installation, not empty.
        places: reference places; what is installed when not given.

    Returns:
        The observations and the account.

    Raises:
        TableError: a column is missing.
        InputError: the salt is empty.
    """
    reference = places if places is not None else reference_places()
    rows = flagged_rows(raw, month=month, region=region, salt=salt, places=reference)
    kept = _kept(rows)
    observations = rows.loc[kept, OBSERVATION.names].reset_index(drop=True)
    unread = rejected_rows(raw)
    return CleanedObservations(
        observations=observations,
        counts_in=len(raw) + sum(unread.values()),
        dropped=_dropped(rows.loc[~kept, "flags"]) | unread,
        flagged=_counts(observations["flags"]),
        not_tested=reference.not_tested,
        found=_counts(rows["flags"]),
        origins=dict(reference.origins),
    )


def flagged_rows(raw: pd.DataFrame, *, month: Month, region: Area, salt: str, places: ReferencePlaces) -> pd.DataFrame:
    """Test and name raw occurrences, and keep all of them: for looking at what the tests found.

    Args:
        raw: as for ``clean``.
        month: as for ``clean``.
        region: as for ``clean``.
        salt: as for ``clean``.
        places: reference places.

    Returns:
        Columns ``OBSERVATION``, ``source`` and what ``raw`` has beyond ``RAW_OCCURRENCE``; a row per row of ``raw``,
        sorted by observation and photo. ``flags`` has the bits of all tests that found something.

    Raises:
        TableError: a column is missing.
        InputError: the salt is empty.
    """
    missing = [name for name in RAW_OCCURRENCE.names if name not in raw.columns]
    if missing:
        raise TableError(f"raw occurrences: columns {missing} are missing; found {list(raw.columns)}; use a reader")
    if not salt:
        raise InputError("the salt for observers' names is empty: set a secret one and keep it from month to month")
    rows = _identified(raw, salt)
    flags = np.zeros(len(rows), dtype=np.int64)
    for flag, found in _tests_of_rows(rows, month, region, places).items():
        flags |= np.where(found.to_numpy(dtype=bool), int(flag), 0)
    rows = rows.drop(columns=list(_TESTED_ONLY))
    rows["flags"] = flags
    rows["growth_form"] = pd.Series(pd.NA, index=rows.index, dtype="str")
    rows["snapshot"] = str(month)
    rows = rows.sort_values(["observation_id", "photo_id", *_TIE_BREAKERS], ignore_index=True, na_position="last")
    _flag_sea(rows, places)
    _flag_repetitions(rows)
    kept = _kept(rows)
    outlier = species_outliers(rows.loc[kept, "species"], rows.loc[kept, "latitude"], rows.loc[kept, "longitude"])
    _add(rows, kept, outlier, Flag.SPECIES_OUTLIER)
    return rows


def _identified(raw: pd.DataFrame, salt: str) -> pd.DataFrame:
    """Give every row its observation id, its canonical name and its observer's hash."""
    rows = raw.reset_index(drop=True).copy()
    rows["observation_id"] = rows["source"] + ":" + rows["dataset_key"].fillna("") + ":" + rows["occurrence_id"]
    binomial = canonical_binomial(rows["species"])
    rows["species"] = binomial.fillna(canonical_binomial(rows["scientific_name"]))
    rows["genus"] = genus(rows["species"]).fillna(genus(rows["genus"])).fillna(genus(rows["scientific_name"]))
    rows["observed_on"] = pd.to_datetime(rows["observed_on"])
    named = rows["recorded_by"].str.strip().str.casefold()
    rows["observer_stated"] = named.notna()
    person = ("name:" + named).fillna("unstated:" + rows["source"] + ":" + rows["dataset_key"].fillna(""))
    rows["observer"] = person.map({text: _salted(text, salt) for text in person.dropna().unique()}).astype("str")
    return rows


def _salted(text: str, salt: str) -> str:
    # A key of the hash may have 64 bytes at most: a longer salt is hashed first.
    key = hashlib.blake2b(salt.encode()).digest()
    return hashlib.blake2b(text.encode(), key=key, digest_size=12).hexdigest()


def _tests_of_rows(rows: pd.DataFrame, month: Month, region: Area, places: ReferencePlaces) -> dict[Flag, pd.Series]:
    """Make the tests that look at one row at a time."""
    lat, lon = rows["latitude"], rows["longitude"]
    missing = lat.isna() | lon.isna()
    out = ~missing & ~((lat.abs() <= 90) & (lon.abs() <= 180))
    near_zero = (lat.abs() <= 0.5) & (lon.abs() <= 0.5)
    uncertainty = rows["coordinate_uncertainty_m"]
    day, year = rows["observed_on"], rows["year"].fillna(rows["observed_on"].dt.year)
    end = pd.Timestamp(month.next.first_day)
    basis = rows["basis_of_record"].str.upper().str.replace(r"[^A-Z]", "", regex=True)
    captive = "|".join(_CAPTIVE)
    points = lat.to_numpy(dtype=np.float64), lon.to_numpy(dtype=np.float64)

    def near(what: FloatArray, metres: float) -> pd.Series:
        return pd.Series(within(*points, what, metres), index=rows.index)

    return {
        Flag.OUTSIDE_REGION: ~missing & ~out & ~pd.Series(region.contains(lat, lon), index=rows.index),
        Flag.AFTER_MONTH: (day >= end) | (day.isna() & (year > month.year)),
        Flag.COORDINATE_MISSING: missing,
        Flag.COORDINATE_OUT_OF_RANGE: out,
        Flag.COORDINATE_ZERO: (lat == 0) | (lon == 0) | near_zero,
        Flag.COORDINATE_EQUAL: lat.abs() == lon.abs(),
        Flag.NO_SPECIES: rows["species"].isna(),
        Flag.BASIS_OF_RECORD: basis.isin(_WRONG_BASIS),
        Flag.CAPTIVE: rows["degree_of_establishment"].str.contains(captive, case=False, na=False),
        Flag.YEAR_EARLY: year < FIRST_YEAR,
        Flag.UNCERTAINTY_LARGE: uncertainty > LARGEST_UNCERTAINTY_M,
        Flag.UNCERTAINTY_DEFAULT: uncertainty.isin(DEFAULT_UNCERTAINTIES_M),
        Flag.GBIF_HEADQUARTERS: near(GBIF_HEADQUARTERS, CENTROID_M),
        Flag.COUNTRY_CENTROID: near(places.country_centroids, CENTROID_M),
        Flag.PROVINCE_CENTROID: near(places.province_centroids, CENTROID_M),
        Flag.CAPITAL: near(places.capitals, CAPITAL_M),
        Flag.INSTITUTION: near(places.institutions, INSTITUTION_M),
        Flag.DATE_MISSING: day.isna(),
    }


def _flag_sea(rows: pd.DataFrame, places: ReferencePlaces) -> None:
    """Test the rows that are still in for lying in the sea."""
    kept = _kept(rows)
    wet = in_sea(rows.loc[kept, "latitude"].to_numpy(), rows.loc[kept, "longitude"].to_numpy(), places.land, SHORE_M)
    _add(rows, kept, wet, Flag.SEA)


def _flag_repetitions(rows: pd.DataFrame) -> None:
    """Test the rows that are still in, in their canonical order, for saying again what an earlier one said."""
    kept = _kept(rows)
    _add(rows, kept, rows[kept].duplicated(["observation_id", "photo_id"]), Flag.REPEATED_RECORD)
    kept = _kept(rows) & rows["photo_id"].notna()
    _add(rows, kept, rows[kept].duplicated(["photo_id"]), Flag.REPEATED_PHOTO)
    kept = _kept(rows)
    own = rows[kept]
    # Of an unknown observer, two photos are two pieces of evidence.
    evidence = own["photo_id"].mask(own["observer_stated"])
    key = own[["species", "latitude", "longitude", "observed_on", "observer"]].assign(evidence=evidence)
    first = own.groupby([key[name] for name in key.columns], dropna=False)["observation_id"]
    later = own["observation_id"] != first.transform("first")
    _add(rows, kept, later, Flag.DUPLICATE)


def _kept(rows: pd.DataFrame) -> pd.Series:
    return (rows["flags"] & int(FATAL)) == 0


def _add(rows: pd.DataFrame, tested: pd.Series, found: npt.ArrayLike, flag: Flag) -> None:
    """Set a bit on those of the tested rows where it was found."""
    flags = rows["flags"].to_numpy(dtype=np.int64, copy=True)
    flags[tested.to_numpy(dtype=bool)] |= np.where(np.asarray(found, dtype=bool), int(flag), 0)
    rows["flags"] = flags


def _dropped(flags: pd.Series) -> dict[str, int]:
    fatal = flags.to_numpy(dtype=np.int64) & int(FATAL)
    first = fatal & -fatal  # the lowest bit
    bits, counts = np.unique(first, return_counts=True)
    return {str(Flag(int(bit)).name).lower(): int(n) for bit, n in zip(bits, counts, strict=True)}


def _counts(flags: pd.Series) -> dict[str, int]:
    bits = flags.to_numpy(dtype=np.int64)
    counts = {str(flag.name).lower(): int(np.count_nonzero(bits & int(flag))) for flag in Flag}
    return {name: n for name, n in counts.items() if n}
