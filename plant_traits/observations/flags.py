"""The tests that every occurrence passes through, one bit each, and which of them cost the record."""

from __future__ import annotations

from enum import IntFlag


class Flag(IntFlag):
    """What a test found; an observation's ``flags`` is the sum of its bits.

    The tests follow CoordinateCleaner (Zizka et al. 2019) with the project's thresholds. Bits are part of stored
    tables: add new ones at the end.
    """

    OUTSIDE_REGION = 1 << 0
    AFTER_MONTH = 1 << 1
    COORDINATE_MISSING = 1 << 2
    COORDINATE_OUT_OF_RANGE = 1 << 3
    COORDINATE_ZERO = 1 << 4
    """Latitude or longitude is exactly 0, or the point is within 0.5 degrees of 0/0."""
    COORDINATE_EQUAL = 1 << 5
    """Latitude and longitude are the same number, but for the sign."""
    NO_SPECIES = 1 << 6
    """The name is no binomial."""
    BASIS_OF_RECORD = 1 << 7
    """Fossil or living specimen, or a material sample: no plant at its natural place."""
    CAPTIVE = 1 << 8
    """Cultivated or captive."""
    YEAR_EARLY = 1 << 9
    UNCERTAINTY_LARGE = 1 << 10
    GBIF_HEADQUARTERS = 1 << 11
    COUNTRY_CENTROID = 1 << 12
    PROVINCE_CENTROID = 1 << 13
    SEA = 1 << 14
    REPEATED_RECORD = 1 << 15
    """The same record and photo stand more than once in the input."""
    REPEATED_PHOTO = 1 << 16
    """Another record already has this photo."""
    DUPLICATE = 1 << 17
    """Same species, place, day and observer as another record."""
    UNCERTAINTY_DEFAULT = 1 << 18
    """The coordinate uncertainty is a value that geocoders write where they know none: 301, 3036, 999 or 9999 m."""
    CAPITAL = 1 << 19
    INSTITUTION = 1 << 20
    DATE_MISSING = 1 << 21
    SPECIES_OUTLIER = 1 << 22
    """Far from the other records of its species."""


FATAL = (
    Flag.OUTSIDE_REGION
    | Flag.AFTER_MONTH
    | Flag.COORDINATE_MISSING
    | Flag.COORDINATE_OUT_OF_RANGE
    | Flag.COORDINATE_ZERO
    | Flag.COORDINATE_EQUAL
    | Flag.NO_SPECIES
    | Flag.BASIS_OF_RECORD
    | Flag.CAPTIVE
    | Flag.YEAR_EARLY
    | Flag.UNCERTAINTY_LARGE
    | Flag.GBIF_HEADQUARTERS
    | Flag.COUNTRY_CENTROID
    | Flag.PROVINCE_CENTROID
    | Flag.SEA
    | Flag.REPEATED_RECORD
    | Flag.REPEATED_PHOTO
    | Flag.DUPLICATE
)
"""A record with any of these is dropped, and counted under the first of them."""


def names_of(flags: int) -> tuple[str, ...]:
    """Return the names of the bits that are set, in lower case."""
    return tuple(str(flag.name).lower() for flag in Flag if flags & flag)
