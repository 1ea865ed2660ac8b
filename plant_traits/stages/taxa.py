"""Stages: the trait tables read, and what they know about taxa and about plants at a place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_catalog import Trait
from plant_traits.schemas import MEASUREMENT, SPECIES_RECORD, SPECIES_TRAIT, write_table
from plant_traits.sources.inputs import InputSet
from plant_traits.sources.trait_tables import read_traits
from plant_traits.stages.names import with_accepted_names
from plant_traits.steps import Summary
from plant_traits.taxa.growth_forms import growth_forms, write_growth_forms
from plant_traits.taxa.species_traits import measurements, records_of_species, summarise

RECORDS = "trait_records.parquet"


def gather_trait_records(destination: Path, *, root: Path, inputs: InputSet, traits: Sequence[Trait]) -> Summary:
    """Read every trait table; write ``trait_records.parquet``, names as the tables have them.

    Args:
        destination: an empty folder.
        root: the run's data folder.
        inputs: the run's inputs.
        traits: traits to read.

    Returns:
        Counts in, out and lost, by reason.

    Raises:
        InputError: a table cannot be read.
    """
    frames = []
    read: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for record in inputs.of("traits"):
        table = read_traits(record.reader, root / record.path, record.source, traits)
        frames.append(table.records)
        read[f"rows of {record.source}"] += table.read
        lost.update({f"{record.source}: {reason}": n for reason, n in table.rejected.items()})
    records = pd.concat(frames, ignore_index=True)
    records.to_parquet(destination / RECORDS, index=False)
    return {"in": dict(read), "out": {"trait records": len(records)}, "lost": dict(lost)}


def summarise_taxa(destination: Path, *, records: Path, names: Path | None, traits: Sequence[Trait]) -> Summary:
    """Write the distribution of each trait within species, genera and families, under accepted names where known.

    Writes ``species_traits.parquet``, ``species_records.parquet`` (the single values behind the species' summaries, in
    working space), ``measurements.parquet`` and ``growth_forms.parquet`` (taxon, growth_form).

    Args:
        destination: an empty folder.
        records: output of ``gather_trait_records``.
        names: output of ``keep_answers``, or None where no taxonomy was asked.
        traits: the traits.

    Returns:
        Counts in, out and lost, and names by how they were matched.
    """
    table = pd.read_parquet(records / RECORDS)
    table, matched = with_accepted_names(table, names)
    summary = summarise(table, traits)
    values = records_of_species(table, traits)
    measured = measurements(table)
    forms = growth_forms(table)
    write_table(summary, destination / "species_traits.parquet", SPECIES_TRAIT)
    write_table(values, destination / "species_records.parquet", SPECIES_RECORD)
    write_table(measured, destination / "measurements.parquet", MEASUREMENT)
    write_growth_forms(forms, destination)
    species = summary[summary["rank"] == "species"]
    left = int((table["species"].isna() & table["genus"].notna()).sum())
    useless = len(table) - len(values) - left
    return {
        "in": {"trait records": len(table), **matched},
        "out": {
            "species with a trait": int(species["taxon"].nunique()),
            "values of species": len(values),
            "values left to their genus": left,
            "measurements at a place": len(measured),
        },
        "lost": {"value without a name, or not of these traits' range": useless} if useless else {},
    }
