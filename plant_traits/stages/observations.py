"""Stage: all occurrence records, cleaned, keyed, deduplicated and entered in the ledger."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from plant_traits.month import Month
from plant_traits.observations.cleaning import clean
from plant_traits.observations.ledger import update_ledger
from plant_traits.regions import Region
from plant_traits.schemas import LEDGER, OBSERVATION, read_table, write_table
from plant_traits.sources.inputs import InputSet
from plant_traits.sources.occurrences import read_occurrences
from plant_traits.sources.raw_occurrence import concatenated
from plant_traits.steps import Summary
from plant_traits.taxa.growth_forms import growth_form_of


def build_observations(
    destination: Path,
    *,
    root: Path,
    inputs: InputSet,
    taxa: Path,
    month: Month,
    region: Region,
    salt: str,
    previous_ledger: Path | None,
) -> Summary:
    """Write ``observations.parquet`` and ``ledger.parquet``.

    Args:
        destination: an empty folder.
        root: the run's data folder.
        inputs: the run's inputs.
        taxa: output of ``summarise_taxa``; gives species their growth form.
        month: the month of the run.
        region: records outside it do not take part.
        salt: secret of the installation; observers' names are hashed with it.
        previous_ledger: the ledger of the run before, where there is one.

    Returns:
        Counts in, out and lost, by reason.

    Raises:
        InputError: an occurrence file cannot be read.
    """
    frames = []
    read = {}
    for record in inputs.of("occurrences"):
        frame = read_occurrences(record.reader, root / record.path, record.source)
        frames.append(frame)
        read[f"rows of {record.source}"] = len(frame)
    cleaned = clean(concatenated(frames), month=month, region=region, salt=salt)
    forms = pd.read_parquet(taxa / "growth_forms.parquet").set_index("taxon")["growth_form"]
    observations = cleaned.observations.assign(growth_form=growth_form_of(cleaned.observations, forms))
    previous = None if previous_ledger is None else read_table(previous_ledger, LEDGER)
    ledger = update_ledger(previous, observations, month)
    write_table(observations, destination / "observations.parquet", OBSERVATION)
    write_table(ledger, destination / "ledger.parquet", LEDGER)
    return {
        "in": read,
        "out": {
            "observations": len(observations),
            "with a photo": int(observations["photo_id"].notna().sum()),
            "species": int(observations["species"].nunique()),
            "observers": int(observations["observer"].nunique()),
            **{f"ledger: {state}": int(n) for state, n in ledger["state"].value_counts().sort_index().items()},
        },
        "lost": dict(cleaned.dropped),
        "flagged": dict(cleaned.flagged),
        "not tested": list(cleaned.not_tested),
    }
