"""Read a table of iNaturalist photos collected at one stated place, with the photos in a folder beside it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from plant_traits.errors import MissingInputError, TableError
from plant_traits.sources.photo_ids import photo_ids
from plant_traits.sources.raw_occurrence import raw_occurrences

# The table has no coordinates: all photos are from one campus, whose extent is the coordinates' uncertainty.
STATED_LATITUDE = 36.99
STATED_LONGITUDE = -122.06
STATED_UNCERTAINTY_M = 1500.0
_DATASET = "inaturalist-research-grade"
_COLUMNS = [
    "img_name",
    "scientific_name",
    "observed_on",
    "observation_url",
    "image_url",
    "taxon_family_name",
    "taxon_genus_name",
]
_LIMIT_BYTES = 256 * 1024**2


def read_photo_table(path: Path, source: str) -> pd.DataFrame:
    """Read the photo table into raw occurrences at the stated coordinates.

    Args:
        path: the CSV file.
        source: source id of the catalogue.

    Returns:
        One row per photo, columns ``RAW_OCCURRENCE``; latitude and longitude are the stated ones.

    Raises:
        MissingInputError: the file is not there.
        TableError: not a CSV file of photos, or a column is missing.
    """
    table = photo_table(path)
    observed_on = pd.to_datetime(table["observed_on"], format="%Y-%m-%d", errors="coerce")
    columns = {
        "source": source,
        "dataset_key": _DATASET,
        "occurrence_id": table["observation_url"],
        "photo_id": photo_ids(table["image_url"]),
        "photo_url": table["image_url"],
        "scientific_name": table["scientific_name"],
        "species": table["scientific_name"],
        "genus": table["taxon_genus_name"],
        "family": table["taxon_family_name"],
        "latitude": STATED_LATITUDE,
        "longitude": STATED_LONGITUDE,
        "coordinate_uncertainty_m": STATED_UNCERTAINTY_M,
        "observed_on": observed_on,
        "year": observed_on.dt.year,
        "basis_of_record": "HUMAN_OBSERVATION",
    }
    return raw_occurrences(columns, len(table))


def photo_table(path: Path) -> pd.DataFrame:
    """Read the columns of the photo table as text.

    Raises:
        MissingInputError: the file is not there.
        TableError: not a CSV file of photos, or a column is missing.
    """
    if not path.is_file():
        raise MissingInputError(f"photo table {path} is not there: it belongs beside the folder of its photos")
    if path.stat().st_size > _LIMIT_BYTES:
        raise TableError(f"{path.name}: {path.stat().st_size} bytes, at most {_LIMIT_BYTES} are accepted")
    try:
        table = pd.read_csv(path, dtype="str", encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError) as error:
        raise TableError(f"{path.name}: not a readable CSV table of photos ({error})") from error
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise TableError(f"{path.name}: columns {missing} are missing; found {list(table.columns)}")
    return table[_COLUMNS]
