"""Stage: whom a map owes its records to, counted, and the file that registers a citation of exactly these records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from pydantic import JsonValue

from maps.product.records_used import RecordCounter
from maps.product.store import open_product
from plant_traits.run_spec import RunSpec
from plant_traits.schemas import PREDICTION, SHARD_ROW, read_table
from plant_traits.sources.acquire import Acquired
from plant_traits.sources.gbif.derived_dataset import DATASET_KEY, DerivedDataset, write_derived_dataset
from plant_traits.steps import Summary

RECORDS_USED = "records_used.csv"
DERIVED = "derived_dataset"
SOURCES = "sources.json"
# The citation of a download tells its day; the second at which it was made says nothing of the records.
_OF_ONE_CALL = frozenset({"asked_anew", "found", "asked_now", "asked for", "fetched", "bytes fetched", "created"})


def count_records(
    destination: Path,
    *,
    spec: RunSpec,
    maps: Path,
    shards: Mapping[str, Path],
    predictions: Mapping[str, Path],
    acquired: Sequence[Acquired],
) -> Summary:
    """Count the records whose photos weigh in a cell's value, by data set.

    Writes ``records_used.csv`` (source, dataset_key, n_records), ``sources.json`` (what was asked of each service, its
    DOI and citation) and, where the profile says where its maps are published, ``derived_dataset.json`` and ``.tsv``,
    ready for GBIF.

    Args:
        destination: an empty folder.
        spec: the run.
        maps: output of ``build_maps``.
        shards: the live views of shards by name.
        predictions: outputs of ``predict_shard`` by the same names; those of rows that are not live do not count.
        acquired: manifests of what the run fetched.

    Returns:
        Counts of records and data sets.
    """
    counter = RecordCounter(open_product(maps / "maps.zarr").load(), spec.grid)
    for name, shard in shards.items():
        predicted = read_table(predictions[name] / "predictions.parquet", PREDICTION)
        counter.add(predicted, read_table(shard / "observations.parquet", SHARD_ROW))
    counts = counter.counts()
    counts.to_csv(destination / RECORDS_USED, index=False)
    told = [{"source": x.source, "asked": asked_for(x), "facts": lasting_facts(x)} for x in acquired]
    (destination / SOURCES).write_text(json.dumps(told, indent=1, sort_keys=True), encoding="utf-8")
    datasets = records_by_dataset(counts)
    if spec.profile.published_at is not None and datasets:
        downloads = [x.facts["doi"] for x in acquired if x.source == "gbif" and isinstance(x.facts.get("doi"), str)]
        digest = hashlib.sha256(json.dumps(datasets, sort_keys=True).encode()).hexdigest()[:12]
        derived = DerivedDataset(
            title=f"Records behind the plant trait maps {spec.name}",
            # GBIF's list of an account tells the description but not the counts: by it the same counts are found again.
            description=(
                f"Occurrences with a photo from which the cells of {spec.name} were mapped, after cleaning, "
                "deduplication and the loss of photos that could not be had or read: "
                f"{sum(datasets.values())} records of {len(datasets)} data sets, list {digest}."
            ),
            source_url=spec.profile.published_at,
            datasets=datasets,
            download_doi=str(downloads[0]) if len(downloads) == 1 else None,
        )
        write_derived_dataset(derived, destination / DERIVED)
    return {
        "out": {
            "records in a mapped cell": int(counts["n_records"].sum()),
            "data sets": int((counts["n_records"] > 0).sum()),
        },
    }


def records_by_dataset(counts: pd.DataFrame) -> dict[str, int]:
    """Return the number of records of each data set of GBIF, whichever source brought them.

    Args:
        counts: columns dataset_key and n_records.
    """
    keys = counts["dataset_key"].str.lower()
    used = keys.str.fullmatch(DATASET_KEY.pattern) & (counts["n_records"] > 0)
    return {str(key): int(n) for key, n in counts["n_records"][used].groupby(keys[used]).sum().items()}


def asked_for(acquired: Acquired) -> JsonValue:
    """Return what was asked, without the round in which photos were asked for again."""
    if not isinstance(acquired.asked, dict):
        return acquired.asked
    return {name: value for name, value in acquired.asked.items() if name != "again"}


def lasting_facts(acquired: Acquired) -> dict[str, JsonValue]:
    """Return the facts that do not tell how often a service had to be asked, or what was there already."""
    return {name: value for name, value in acquired.facts.items() if name not in _OF_ONE_CALL}
