"""Readers of occurrence files, by the reader id that run profiles use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from plant_traits.errors import InputError
from plant_traits.sources.coordinates_parquet import read_coordinates_parquet
from plant_traits.sources.dwca import read_dwca
from plant_traits.sources.photo_table import read_photo_table

OccurrenceReader = Callable[[Path, str], pd.DataFrame]

OCCURRENCE_READERS: Mapping[str, OccurrenceReader] = {
    "dwca": read_dwca,
    "coordinates-parquet": read_coordinates_parquet,
    "photo-table": read_photo_table,
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
