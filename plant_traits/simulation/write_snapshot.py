"""Write records as GBIF's monthly snapshots in the cloud are: Parquet, lower-case columns, no addresses of photos."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from plant_traits.simulation.seeds import stream

DATES = ("2026-09-01", "2026-10-01", "2026-11-01")
_PARTS = 3
_ROWS_IN_GROUP = 20_000
_NEW = 0.02  # share of the records that the oldest snapshot does not have yet
_RETRACTED = 0.01  # share, of all records, that only the oldest snapshot has
_ANIMALS = 0.05
_WORD = pa.list_(pa.struct([pa.field("array_element", pa.string())]))
_LICENCES = {"by-nc": "CC_BY_NC_4_0", "/by/": "CC_BY_4_0", "zero": "CC0_1_0"}
_TEXT = (
    *("gbifID", "datasetKey", "occurrenceID", "kingdom", "phylum", "class", "order", "family", "genus", "species"),
    *("taxonRank", "scientificName", "countryCode", "occurrenceStatus", "taxonKey", "speciesKey", "basisOfRecord"),
    *("institutionCode", "collectionCode", "catalogNumber", "license", "rightsHolder", "establishmentMeans"),
)
_NUMBERS = ("decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters")
_WHOLE = ("day", "month", "year")
_MOMENTS = ("eventDate", "lastInterpreted")
_LISTS = ("recordedBy", "identifiedBy", "mediaType", "issue")


def write_snapshots(
    occurrences: pd.DataFrame, seed: int, folder: Path, later: Mapping[str, pd.DataFrame] = MappingProxyType({})
) -> dict[str, int]:
    """Write ``occurrence/<date>/occurrence.parquet/<part>`` for the dates of ``DATES``, and later ones.

    The oldest lacks the newest records and has some that were retracted since; all hold a few animals.

    Args:
        occurrences: the columns of a Darwin Core archive's occurrence.txt, as text, empty where missing: the world's
            first month.
        seed: of the world.
        folder: receives them.
        later: the same of later months, by the date of their snapshot.

    Returns:
        Rows by date.
    """
    rng = stream(seed, "snapshots")
    animals = _as_animals(occurrences.sample(frac=_ANIMALS, random_state=rng))
    retracted = _renamed(occurrences.sample(frac=_RETRACTED, random_state=rng), 9_000_000_000)
    last = max(1, round(_NEW * len(occurrences)))
    contents = {date: [occurrences, animals] for date in DATES}
    contents[DATES[0]] = [occurrences.iloc[:-last], animals, retracted]
    contents |= {date: [rows, animals] for date, rows in later.items()}
    counts = {}
    for date, now in contents.items():
        table = snapshot_table(pd.concat(now, ignore_index=True))
        target = folder / "occurrence" / date
        (target / "occurrence.parquet").mkdir(parents=True, exist_ok=True)
        edges = np.linspace(0, table.num_rows, _PARTS + 1).round().astype(int)
        for part, (start, stop) in enumerate(itertools.pairwise(edges)):
            path = target / "occurrence.parquet" / f"{part:06d}"
            pq.write_table(table.slice(start, stop - start), path, row_group_size=_ROWS_IN_GROUP, compression="snappy")
        doi = f"https://doi.org/10.15468/dl.virt{date[5:7]}"
        (target / "citation.txt").write_text(f"GBIF.org ({date}) GBIF Occurrence Data {doi}\n", encoding="utf-8")
        counts[date] = table.num_rows
    return counts


def snapshot_table(occurrences: pd.DataFrame) -> pa.Table:
    """Turn columns of text into the types of GBIF's snapshots; what is empty is null."""
    columns: dict[str, pa.Array] = {}
    for name in (*_TEXT, *_NUMBERS, *_WHOLE, *_MOMENTS, *_LISTS):
        text = occurrences.get(name, pd.Series("", index=occurrences.index)).astype(object)
        if name == "license":
            text = text.map(_licence)
        if name in _LISTS:
            words = [[{"array_element": x} for x in value.split(";") if x] for value in text]
            columns[name.lower()] = pa.array(words, type=_WORD)
        elif name in _MOMENTS:
            moments = pd.to_datetime(text.where(text != "").str.slice(0, 19), format="ISO8601", errors="coerce")
            columns[name.lower()] = pa.array(
                moments.astype("datetime64[ms]"), type=pa.timestamp("ms"), from_pandas=True
            )
        elif name in _TEXT:
            columns[name.lower()] = pa.array(text.where(text != "", None), type=pa.string(), from_pandas=True)
        else:
            kind = pa.int32() if name in _WHOLE else pa.float64()
            numbers = pd.to_numeric(text, errors="coerce")
            columns[name.lower()] = pa.array(numbers, type=kind, from_pandas=True, safe=False)
    return pa.table(columns)


def _as_animals(rows: pd.DataFrame) -> pd.DataFrame:
    taxon = {"kingdom": "Animalia", "phylum": "Chordata", "class": "Aves", "order": "Passeriformes"}
    taxon |= {"family": "Paridae", "genus": "Parus", "species": "Parus major"}
    named = {"scientificName": "Parus major Linnaeus, 1758", "taxonKey": "9705453", "speciesKey": "9705453"}
    return _renamed(rows.assign(**taxon, **named), 8_000_000_000)


def _renamed(rows: pd.DataFrame, first: int) -> pd.DataFrame:
    keys = [str(first + k) for k in range(len(rows))]
    return rows.assign(gbifID=keys, occurrenceID=[f"virtual:{key}" for key in keys], catalogNumber=keys)


def _licence(text: str) -> str:
    return next((name for part, name in _LICENCES.items() if part in text), text)
