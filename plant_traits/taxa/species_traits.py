"""The distribution of each trait within species, genera and families, in the working space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from data_catalog import Trait
from plant_traits.schemas import MEASUREMENT, SPECIES_RECORD, SPECIES_TRAIT
from plant_traits.taxa.growth_forms import growth_forms
from plant_traits.traits import to_working

FEWEST = 3  # fewer members than this say too little of their own spread
_NAMELESS = " sp."  # follows the genus of a record whose species is not known
_Z95 = 1.6448536269514722  # normal quantiles of 0.95 and 0.75
_Z75 = 0.6744897501960817


def summarise(records: pd.DataFrame, traits: Sequence[Trait]) -> pd.DataFrame:
    """Summarise trait records by species, genus and family.

    A species is summarised over its records. A genus is summarised over its species' medians and a family over its
    genera's, each counting once, so that well-sampled species do not dominate; their variance is the variance among
    those medians plus the mean variance within them. A taxon with fewer than three members (records, species, genera),
    or whose records are all the same, takes the pooled within-taxon standard deviation of its trait and rank, and
    normal quantiles around its median; where no taxon of the rank has two members, the pooled value of the rank below,
    or the overall spread, stands in. Quantiles of genera and families are normal ones.

    Args:
        records: trait records (columns ``RECORD_COLUMNS``), values in canonical units; rows without a species inform
            nothing at species rank and are left to their genus as one nameless species.
        traits: traits to summarise.

    Returns:
        One row per taxon × trait, columns ``SPECIES_TRAIT``; ``n`` counts records; sorted by rank, taxon and trait.
        ``sd`` is NaN only where a trait has a single record in all.
    """
    parts = [_summarise_trait(records[records["trait"] == trait.id], trait) for trait in traits]
    summary = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SPECIES_TRAIT.names)
    forms = growth_forms(records)
    summary["growth_form"] = summary["taxon"].map(forms).astype("str")
    order = summary["rank"].map({"species": 0, "genus": 1, "family": 2})
    summary = summary.assign(order=order).sort_values(["order", "taxon", "trait"], ignore_index=True)
    result: pd.DataFrame = summary[list(SPECIES_TRAIT.names)].astype({"n": "int64"})
    return result


def records_of_species(records: pd.DataFrame, traits: Sequence[Trait]) -> pd.DataFrame:
    """Return the single values that ``summarise`` summarises species over, so that their medians are the summary's.

    Args:
        records: trait records as for ``summarise``.
        traits: traits to return.

    Returns:
        One row per value, columns ``SPECIES_RECORD``: values in working space; sorted by trait, taxon and value.
    """
    parts = [_working_rows(records[records["trait"] == trait.id], trait).assign(trait=trait.id) for trait in traits]
    if not parts:
        return pd.DataFrame(columns=SPECIES_RECORD.names)
    rows = pd.concat(parts, ignore_index=True).rename(columns={"species": "taxon"})
    named = rows[~rows["taxon"].str.endswith(_NAMELESS)]
    result: pd.DataFrame = named.sort_values(["trait", "taxon", "value"], ignore_index=True)[list(SPECIES_RECORD.names)]
    return result


def measurements(records: pd.DataFrame) -> pd.DataFrame:
    """Return the trait records that have coordinates, columns ``MEASUREMENT``: values in canonical units."""
    placed = records[records["latitude"].notna() & records["longitude"].notna()]
    renamed = placed.rename(columns={"record_id": "measurement_id"})
    result: pd.DataFrame = renamed[list(MEASUREMENT.names)].reset_index(drop=True)
    return result


def _working_rows(records: pd.DataFrame, trait: Trait) -> pd.DataFrame:
    """Return species, genus, family and the value in working space of each record that says something of a taxon."""
    rows = pd.DataFrame(
        {
            "species": records["species"].fillna(records["genus"] + _NAMELESS),
            "genus": records["genus"],
            "family": records["family"],
            "value": to_working(trait, records["value"].to_numpy()),
        }
    )
    informative: pd.DataFrame = rows[np.isfinite(rows["value"]) & rows["species"].notna()]
    return informative


def _summarise_trait(records: pd.DataFrame, trait: Trait) -> pd.DataFrame:
    rows = _working_rows(records, trait)
    species = _of_species(rows)
    named = species[~species["taxon"].str.endswith(_NAMELESS)]
    genera = _of_rank(species.dropna(subset=["genus"]), "genus")
    genera = genera.merge(_majority(rows, "genus", "family"), left_on="taxon", right_index=True, how="left")
    families = _of_rank(genera.dropna(subset=["family"]), "family")
    ranks = [named.assign(rank="species"), genera.assign(rank="genus"), families.assign(rank="family")]
    filled = [part for part in ranks if len(part)]
    summary = pd.concat(filled, ignore_index=True) if filled else named.assign(rank="species")
    return summary.assign(trait=trait.id)


def _of_species(rows: pd.DataFrame) -> pd.DataFrame:
    groups = rows.groupby("species", sort=True)["value"]
    result = pd.DataFrame({"n": groups.size(), "median": groups.median(), "mean": groups.mean(), "sd": groups.std()})
    for name, share in (("q05", 0.05), ("q25", 0.25), ("q75", 0.75), ("q95", 0.95)):
        result[name] = groups.quantile(share)
    overall = float(rows["value"].std()) if len(rows) > 1 else np.nan
    few = (result["n"] < FEWEST) | (result["sd"] == 0)
    result.loc[few, "sd"] = _pooled_sd(result["sd"], result["n"], overall)
    normal = _normal_quantiles(result)
    result.loc[few, normal.columns] = normal[few]
    result["genus"] = _majority(rows, "species", "genus")
    return result.rename_axis("taxon").reset_index()


def _of_rank(lower: pd.DataFrame, rank: str) -> pd.DataFrame:
    """Summarise one rank over the medians of the rank below; ``lower`` has a column named after the rank."""
    groups = lower.assign(variance=lower["sd"] ** 2).groupby(rank, sort=True)
    members = groups.size()
    among = groups["median"].std()
    within = groups["variance"].mean()
    result = pd.DataFrame({"n": groups["n"].sum(), "median": groups["median"].median(), "mean": groups["mean"].mean()})
    result["sd"] = np.sqrt(among**2 + within)
    few = members < FEWEST
    pooled_among = _pooled_sd(among, members, 0.0)
    result.loc[few, "sd"] = np.sqrt(pooled_among**2 + float(within.mean())) if len(result) else np.nan
    quantiles = _normal_quantiles(result)
    return pd.concat([result, quantiles], axis=1).rename_axis("taxon").reset_index()


def _pooled_sd(sd: pd.Series, n: pd.Series, otherwise: float) -> float:
    """Return the pooled standard deviation of groups, from those with two members or more."""
    usable = n >= 2
    freedom = float((n[usable] - 1).sum())
    return float(np.sqrt(((n[usable] - 1) * sd[usable] ** 2).sum() / freedom)) if freedom else otherwise


def _normal_quantiles(summary: pd.DataFrame) -> pd.DataFrame:
    median, sd = summary["median"], summary["sd"]
    return pd.DataFrame(
        {"q05": median - _Z95 * sd, "q25": median - _Z75 * sd, "q75": median + _Z75 * sd, "q95": median + _Z95 * sd}
    )


def _majority(rows: pd.DataFrame, of: str, value: str) -> pd.Series:
    """Return the most frequent ``value`` of each ``of``; ties go to the first in alphabetical order."""
    counts = rows.dropna(subset=[of, value]).groupby([of, value]).size().rename("count").reset_index()
    first = counts.sort_values([of, "count", value], ascending=[True, False, True]).drop_duplicates(of)
    return first.set_index(of)[value]
