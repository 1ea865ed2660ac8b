"""Stages: which names a taxonomy is asked for, and its answers, under which trait tables and records join."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from plant_traits.sources.inputs import InputSet
from plant_traits.steps import Summary
from plant_traits.taxa.accepted_names import accepted_names, names_to_ask

NAMES = "names.parquet"
RAW_PARQUET = "raw-parquet"


def collect_names(
    destination: Path, *, root: Path, inputs: InputSet, records: Path, accepted: Collection[str]
) -> Summary:
    """Write ``names.parquet``: the distinct names of trait records and occurrences that are to be matched.

    Args:
        destination: an empty folder.
        root: the run's data folder.
        inputs: the run's inputs; occurrences count where they are tables of raw occurrences.
        records: output of ``gather_trait_records``.
        accepted: sources that write the taxonomy's accepted names already.

    Returns:
        Number of names.
    """
    columns = [pd.read_parquet(records / "trait_records.parquet", columns=["species"])["species"]]
    for record in inputs.of("occurrences"):
        if record.reader == RAW_PARQUET and record.source not in accepted:
            columns.append(_distinct(root / record.path))
    names = names_to_ask(columns)
    names.to_parquet(destination / NAMES, index=False)
    return {"out": {"names to match": len(names)}}


def keep_answers(destination: Path, *, answers: Path) -> Summary:
    """Keep a taxonomy's answers with the run.

    Args:
        destination: an empty folder.
        answers: ``names.parquet`` that the acquisition of names left in the mirror.

    Returns:
        Names by how they were matched.
    """
    table = pd.read_parquet(answers)
    table.to_parquet(destination / NAMES, index=False)
    matched = table["match_type"].value_counts().sort_index()
    synonyms = int((table["accepted_species"].notna() & (table["accepted_species"] != table["name"])).sum())
    return {
        "in": {"names": len(table)},
        "out": {"names renamed": synonyms, **{f"{k}": int(n) for k, n in matched.items()}},
    }


def with_accepted_names(table: pd.DataFrame, names: Path | None) -> tuple[pd.DataFrame, dict[str, int]]:
    """Replace species, genus and family by the accepted ones.

    Args:
        table: columns species, genus and family.
        names: output of ``keep_answers``; None leaves the table as it is.

    Returns:
        The table, and distinct names by how they were matched.
    """
    if names is None:
        return table, {}
    found = accepted_names(table["species"], pd.read_parquet(names / NAMES))
    named = table.assign(
        species=found.taxa["species"],
        genus=found.taxa["genus"].fillna(table["genus"]),
        family=found.taxa["family"].fillna(table["family"]),
    )
    return named, {f"names {kind}": n for kind, n in found.counts.items()}


def _distinct(path: Path) -> pd.Series:
    """Return the distinct species and, where there is none, scientific names of a table of raw occurrences."""
    seen: set[str] = set()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["species", "scientific_name"]):
            frame = batch.to_pandas()
            seen.update(frame["species"].fillna(frame["scientific_name"]).dropna().unique())
    return pd.Series(sorted(seen), dtype="str")
