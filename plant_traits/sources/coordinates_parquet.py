"""Read a Parquet file of bare coordinates: species, decimallongitude, decimallatitude and the collection's name."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from plant_traits.errors import MissingInputError, TableError
from plant_traits.sources.raw_occurrence import raw_occurrences
from plant_traits.sources.stable_hash import row_hash_text

_COLUMNS = ["species", "decimallongitude", "decimallatitude", "source"]
_LIMIT_BYTES = 8 * 1024**3


def read_coordinates_parquet(path: Path, source: str) -> pd.DataFrame:
    """Read bare coordinates into raw occurrences without photos, dates or observers.

    A record's id is the hash of its content and, among rows that say the same, its rank: the same rows have the
    same ids in any order.

    Args:
        path: the Parquet file, coordinates in degrees, EPSG:4326.
        source: source id of the catalogue.

    Returns:
        One row per record, columns ``RAW_OCCURRENCE``.

    Raises:
        MissingInputError: the file is not there.
        TableError: not Parquet, too large, or a column is missing or of another type.
    """
    if not path.is_file():
        raise MissingInputError(f"occurrence file {path} is not there: fetch it, or correct its path in the profile")
    if path.stat().st_size > _LIMIT_BYTES:
        raise TableError(f"{path.name}: {path.stat().st_size} bytes, at most {_LIMIT_BYTES} are accepted; split it")
    try:
        found = pq.read_schema(path).names
        missing = [name for name in _COLUMNS if name not in found]
        if missing:
            raise TableError(f"{path.name}: expected the columns {_COLUMNS}, {missing} are missing; found {found}")
        table = pq.read_table(path, columns=_COLUMNS).cast(
            pa.schema(
                [
                    ("species", pa.string()),
                    (_COLUMNS[1], pa.float64()),
                    (_COLUMNS[2], pa.float64()),
                    ("source", pa.string()),
                ]
            )
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise TableError(f"{path.name}: not a readable Parquet table of coordinates ({error})") from error
    frame = table.to_pandas()
    content = row_hash_text(frame, _COLUMNS)
    rank = content.groupby(content).cumcount().astype("str")
    columns = {
        "source": source,
        "dataset_key": frame["source"],
        "occurrence_id": content + "-" + rank,
        "scientific_name": frame["species"],
        "species": frame["species"],
        "latitude": frame["decimallatitude"],
        "longitude": frame["decimallongitude"],
    }
    return raw_occurrences(columns, len(frame))
