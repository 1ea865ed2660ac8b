"""Measured trait values of plants, in one form whatever table they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from data_catalog import Trait
from plant_traits.taxa.names import canonical_binomial, genus
from plant_traits.traits import in_valid_range

RECORD_COLUMNS = (
    "record_id",  # <source>:<id>:<trait>
    "source",
    "species",  # canonical binomial
    "genus",
    "family",
    "growth_form",  # tree, shrub, herb or null
    "trait",
    "value",  # canonical unit
    "latitude",
    "longitude",
)


@dataclass(frozen=True)
class TraitRecords:
    """The usable records of a trait table, and what became of the rest: ``read == len(records) + sum(rejected)``.

    Attributes:
        records: one row per value, columns ``RECORD_COLUMNS``; values in the trait's canonical unit, coordinates in
            degrees, EPSG:4326, NaN where not given.
        rejected: number of values or rows left out, by reason.
        read: number of values or rows read.
    """

    records: pd.DataFrame
    rejected: dict[str, int] = field(default_factory=dict)
    read: int = 0


@dataclass
class Sieve:
    """A table passing through tests one after the other; each row is lost to the first test that it fails."""

    rows: pd.DataFrame
    rejected: Counter[str] = field(default_factory=Counter)

    def drop(self, failed: pd.Series, reason: str) -> None:
        """Drop the rows where ``failed`` is true and count them under that reason."""
        lost = failed.fillna(False).astype(bool)
        if lost.any():
            self.rejected[reason] += int(lost.sum())
            self.rows = self.rows[~lost]


def to_canonical(sieve: Sieve, traits: Mapping[str, Trait]) -> None:
    """Bring ``value`` in ``unit`` to the canonical unit of ``trait``, dropping what cannot be.

    Dropped are ``no_value``, ``unknown_unit`` (not in the trait's ``unit_factors``) and ``out_of_range`` (outside its
    ``valid_range``).
    """
    sieve.drop(~np.isfinite(sieve.rows["value"]), "no_value")
    rows = sieve.rows
    factor = pd.Series(np.nan, index=rows.index)
    for trait_id, trait in traits.items():
        own = rows["trait"] == trait_id
        factor[own] = rows.loc[own, "unit"].str.strip().map({trait.unit: 1.0, **trait.unit_factors})
    sieve.rows = rows.assign(value=rows["value"] * factor)
    sieve.drop(factor.isna(), "unknown_unit")
    credible = pd.Series(False, index=sieve.rows.index)
    for trait_id, trait in traits.items():
        own = sieve.rows["trait"] == trait_id
        credible[own] = in_valid_range(trait, sieve.rows.loc[own, "value"])
    sieve.drop(~credible, "out_of_range")


def finish(sieve: Sieve, source: str, read: int) -> TraitRecords:
    """Name the species, complete the columns and close the account.

    Args:
        sieve: rows with ``id``, ``name``, ``trait`` and ``value``, and where known ``family``, ``growth_form``,
            ``latitude`` and ``longitude``.
        source: source id of the catalogue.
        read: number of rows that entered the first sieve.
    """
    sieve.rows = sieve.rows.assign(species=canonical_binomial(sieve.rows["name"]), genus=genus(sieve.rows["name"]))
    sieve.drop(sieve.rows["genus"].isna(), "no_name")
    rows = sieve.rows
    for name in ("family", "growth_form"):
        if name not in rows:
            rows[name] = pd.Series(pd.NA, index=rows.index, dtype="str")
    for name, bound in (("latitude", 90), ("longitude", 180)):
        given = pd.to_numeric(rows[name], errors="coerce") if name in rows else pd.Series(np.nan, index=rows.index)
        rows[name] = given.where(given.abs() <= bound).astype("float64")
    half = rows["latitude"].isna() | rows["longitude"].isna()
    rows.loc[half, ["latitude", "longitude"]] = np.nan
    rows["source"] = source
    rows["record_id"] = source + ":" + rows["id"].astype("str") + ":" + rows["trait"]
    records = rows[list(RECORD_COLUMNS)].sort_values("record_id", kind="stable", ignore_index=True)
    return TraitRecords(records, dict(sorted(sieve.rejected.items())), read)
