"""Stage: what the trait tables know about taxa, and the measurements they hold of plants at a place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from data_catalog import Trait
from plant_traits.schemas import MEASUREMENT, SPECIES_TRAIT, write_table
from plant_traits.sources.inputs import InputSet
from plant_traits.sources.trait_tables import read_traits
from plant_traits.steps import Summary
from plant_traits.taxa.growth_forms import growth_forms
from plant_traits.taxa.species_traits import measurements, summarise


def summarise_taxa(destination: Path, *, root: Path, inputs: InputSet, traits: Sequence[Trait]) -> Summary:
    """Read every trait table and write the distribution of each trait within species, genera and families.

    Writes ``species_traits.parquet``, ``measurements.parquet`` and ``growth_forms.parquet`` (taxon, growth_form).

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
    summary = summarise(records, traits)
    measured = measurements(records)
    forms = growth_forms(records)
    write_table(summary, destination / "species_traits.parquet", SPECIES_TRAIT)
    write_table(measured, destination / "measurements.parquet", MEASUREMENT)
    forms.reset_index().to_parquet(destination / "growth_forms.parquet")
    species = summary[summary["rank"] == "species"]
    return {
        "in": dict(read),
        "out": {
            "trait records": len(records),
            "species with a trait": int(species["taxon"].nunique()),
            "measurements at a place": len(measured),
        },
        "lost": dict(lost),
    }
