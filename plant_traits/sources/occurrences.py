"""Readers of occurrence files, by the reader id that run profiles use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from plant_traits.errors import InputError, TableError
from plant_traits.sources.coordinates_parquet import read_coordinates_parquet
from plant_traits.sources.dwca import read_dwca
from plant_traits.sources.gbif.simple import read_simple_csv, read_simple_parquet
from plant_traits.sources.photo_table import read_photo_table
from plant_traits.sources.raw_occurrence import read_raw_occurrences

OccurrenceReader = Callable[[Path, str], pd.DataFrame]


def read_normalised(path: Path, source: str) -> pd.DataFrame:
    """Read raw occurrences that an acquisition wrote.

    Args:
        path: its ``occurrences.parquet``.
        source: source id of the catalogue, the one that the acquisition was made for.

    Raises:
        TableError: it is not such a file, or it is another source's.
    """
    frame = read_raw_occurrences(path)
    others = sorted(set(frame["source"].dropna().unique()) - {source})
    if others:
        raise TableError(f"{path}: expected records of source {source!r}, found {others}; correct `source` or `path`")
    return frame


OCCURRENCE_READERS: Mapping[str, OccurrenceReader] = {
    "dwca": read_dwca,
    "coordinates-parquet": read_coordinates_parquet,
    "gbif-simple-csv": read_simple_csv,
    "gbif-simple-parquet": read_simple_parquet,
    "photo-table": read_photo_table,
    "raw-parquet": read_normalised,
}


def read_occurrences(reader: str, path: Path, source: str) -> pd.DataFrame:
    """Read an occurrence file with the reader of that id.

    Args:
        reader: id of the reader, a key of ``OCCURRENCE_READERS``.
        path: the file.
        source: source id of the catalogue; it becomes part of every observation id.

    Returns:
        One row per record and photo, columns ``RAW_OCCURRENCE``; a record without a photo is one row with a null photo.

    Raises:
        InputError: no such reader, or the file cannot be used (its subclasses say how).
    """
    if reader not in OCCURRENCE_READERS:
        raise InputError(
            f"no occurrence reader is called {reader!r}; known readers: {', '.join(sorted(OCCURRENCE_READERS))}. "
            "Correct `reader` in the profile's inputs"
        )
    return OCCURRENCE_READERS[reader](path, source)
