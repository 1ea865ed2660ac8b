"""The files of GBIF downloads: the world's Darwin Core archive, or the selected part of it."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from plant_traits.simulation.services.world_records import BoolArray, WorldRecords

_MOMENT = (2026, 11, 1, 3, 0, 0)
_TABLES = ("occurrence.txt", "multimedia.txt", "verbatim.txt")
_SIMPLE = (
    *("gbifID", "datasetKey", "occurrenceID", "kingdom", "phylum", "class", "order", "family", "genus", "species"),
    *("infraspecificEpithet", "taxonRank", "scientificName", "verbatimScientificName", "countryCode", "locality"),
    *("stateProvince", "occurrenceStatus", "individualCount", "publishingOrgKey", "decimalLatitude"),
    *("decimalLongitude", "coordinateUncertaintyInMeters", "coordinatePrecision", "elevation", "depth", "eventDate"),
    *("day", "month", "year", "taxonKey", "speciesKey", "basisOfRecord", "institutionCode", "collectionCode"),
    *("catalogNumber", "recordNumber", "identifiedBy", "dateIdentified", "license", "rightsHolder", "recordedBy"),
    *("typeStatus", "establishmentMeans", "lastInterpreted", "mediaType", "issue"),
)


def write_archive(records: WorldRecords, chosen: BoolArray, form: str, key: str, path: Path) -> None:
    """Write the file of a download; the same records and key give the same bytes.

    Args:
        records: the world's.
        chosen: which of them the download has.
        form: DWCA or SIMPLE_CSV.
        key: of the download.
        path: the zip file; it gets its name when it is whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    if form == "SIMPLE_CSV":
        table = records.occurrences[chosen].reindex(columns=list(_SIMPLE), fill_value="")
        text = table.to_csv(sep="\t", index=False, quoting=3, lineterminator="\n", escapechar="\\")
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_member(f"{key}.csv"), text.encode(), zipfile.ZIP_DEFLATED)
    elif chosen.all():
        shutil.copyfile(records.archive, part)
    else:
        _filter(records, chosen, part)
    part.replace(path)


def _filter(records: WorldRecords, chosen: BoolArray, path: Path) -> None:
    """Copy an archive, keeping the lines whose first field is a chosen gbifID."""
    keys = {key.encode() for key in records.texts("gbifID")[chosen]}
    with zipfile.ZipFile(records.archive) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            if name == "citations.txt":
                data = _citations(records, chosen)
            elif name in _TABLES:
                with source.open(name) as lines:
                    data = b"".join(_kept(lines, keys))
            else:
                data = source.read(name)
            target.writestr(_member(name), data, zipfile.ZIP_DEFLATED)


def _kept(lines: IO[bytes], keys: set[bytes]) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        if number == 0 or line.partition(b"\t")[0] in keys:
            yield line


def _citations(records: WorldRecords, chosen: BoolArray) -> bytes:
    keys, counts = np.unique(pd.Series(records.texts("datasetKey")[chosen], dtype=str), return_counts=True)
    lines = [f"{key} ({n} records)\n" for key, n in zip(keys, counts, strict=True)]
    return "".join(["Simulated records; please do not cite.\n", *lines]).encode()


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, _MOMENT)
