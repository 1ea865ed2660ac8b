"""The raw occurrence frame: what every occurrence reader hands over, before any cleaning."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from plant_traits.errors import TableError

RAW_OCCURRENCE = pa.schema(
    [
        pa.field("source", pa.string()),  # source id of the catalogue
        pa.field("dataset_key", pa.string()),  # data set within the source
        pa.field("occurrence_id", pa.string()),  # stable within (source, dataset)
        pa.field("photo_id", pa.string()),  # null where the record has no photo
        pa.field("photo_url", pa.string()),
        pa.field("scientific_name", pa.string()),  # as the source writes it
        pa.field("species", pa.string()),  # as the source interprets it
        pa.field("taxon_key", pa.string()),
        pa.field("genus", pa.string()),
        pa.field("family", pa.string()),
        pa.field("latitude", pa.float64()),  # degrees north, EPSG:4326, NaN where absent or unreadable
        pa.field("longitude", pa.float64()),  # degrees east
        pa.field("coordinate_uncertainty_m", pa.float64()),
        pa.field("observed_on", pa.date32()),
        pa.field("year", pa.float64()),  # NaN where unknown
        pa.field("recorded_by", pa.string()),
        pa.field("basis_of_record", pa.string()),
        pa.field("degree_of_establishment", pa.string()),  # degree or means of establishment, captive or cultivated
        pa.field("licence", pa.string()),  # the photo's where it is stricter
        pa.field("attribution", pa.string()),
    ]
)

_REJECTED = "rejected"
# Where looking for repeats costs less than writing each value; for the short ones it does not.
_REPEATED = (
    "source",
    "dataset_key",
    "scientific_name",
    "species",
    "taxon_key",
    "genus",
    "family",
    "coordinate_uncertainty_m",
    "licence",
)


def raw_occurrences(columns: Mapping[str, object], n: int, rejected: Mapping[str, int] | None = None) -> pd.DataFrame:
    """Build a raw occurrence frame of ``n`` rows; columns that are not given are null.

    Args:
        columns: values by name of ``RAW_OCCURRENCE``; scalars are repeated; blank text becomes null;
            ``observed_on`` as datetime64.
        n: number of rows.
        rejected: rows of the file that could not become rows of the frame, counted by reason
            (see ``rejected_rows``).

    Returns:
        A frame with exactly the columns of ``RAW_OCCURRENCE``, in that order.
    """
    frame = pd.DataFrame(index=pd.RangeIndex(n))
    for field in RAW_OCCURRENCE:
        given = columns.get(field.name)
        if pa.types.is_floating(field.type):
            frame[field.name] = _repeat(np.nan if given is None else given, n).astype("float64")
        elif pa.types.is_date(field.type):
            frame[field.name] = pd.to_datetime(_repeat(pd.NaT if given is None else given, n)).astype("datetime64[s]")
        else:
            text = _repeat(pd.NA if given is None else given, n).astype("str").str.strip()
            frame[field.name] = text.mask(text == "")
    frame.attrs[_REJECTED] = dict(rejected or {})
    return frame


def rejected_rows(frame: pd.DataFrame) -> dict[str, int]:
    """Return how many rows of the file a reader could not turn into rows of this frame, by reason."""
    return dict(frame.attrs.get(_REJECTED, {}))


def concatenated(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put raw occurrence frames below each other, adding up their ``rejected_rows``."""
    if not frames:
        return raw_occurrences({}, 0)
    counts: Counter[str] = Counter()
    for frame in frames:
        counts.update(rejected_rows(frame))
    joined = pd.concat(frames, ignore_index=True)
    joined.attrs[_REJECTED] = dict(counts)
    return joined


def write_raw_occurrences(frames: Iterable[pd.DataFrame], path: Path) -> dict[str, int]:
    """Write raw occurrence frames into one Parquet file, one after the other; their ``rejected_rows`` go with it.

    Args:
        frames: what ``raw_occurrences`` builds, each small enough for memory.
        path: the file.

    Returns:
        ``rows``, and ``rejected: <reason>`` for each reason.
    """
    rows = 0
    rejected: Counter[str] = Counter()
    with pq.ParquetWriter(path, RAW_OCCURRENCE, compression="zstd") as writer:
        for frame in frames:
            rows += len(frame)
            rejected.update(rejected_rows(frame))
            writer.write_table(pa.Table.from_pandas(frame, schema=RAW_OCCURRENCE, preserve_index=False))
        writer.add_key_value_metadata({_REJECTED: json.dumps(dict(sorted(rejected.items())))})
    return {"rows": rows, **{f"rejected: {reason}": n for reason, n in sorted(rejected.items())}}


def write_raw_occurrence_tables(tables: Iterable[pa.Table], path: Path, rejected: Mapping[str, int]) -> dict[str, int]:
    """Write Arrow tables of raw occurrences into one Parquet file, as ``write_raw_occurrences`` does with frames.

    The file is there once it is whole: where a table fails, none is left.

    Args:
        tables: tables with the columns of ``RAW_OCCURRENCE``, text perhaps as dictionaries; each becomes a row group.
        path: the file.
        rejected: rows that could not become rows, by reason; looked at after the last table.

    Returns:
        ``rows``, and ``rejected: <reason>`` for each reason.
    """
    rows = 0
    counted: dict[str, int] = {}
    aside = path.with_name(path.name + ".part")
    try:
        with ExitStack() as stack:
            writer: pq.ParquetWriter | None = None
            for table in chain(tables, [RAW_OCCURRENCE.empty_table()]):
                if writer is None:
                    # Without the Arrow schema inside, dictionaries and views are read back as the text that they are.
                    made = pq.ParquetWriter(
                        aside,
                        table.schema,
                        compression="lz4",  # half of zstd's time, for a file half as large again
                        store_schema=False,
                        write_statistics=False,
                        use_dictionary=list(_REPEATED),
                    )
                    writer = stack.enter_context(made)
                if table.num_rows:
                    rows += table.num_rows
                    writer.write_table(table)
            counted = {reason: n for reason, n in sorted(rejected.items()) if n}
            if writer is not None:
                writer.add_key_value_metadata({_REJECTED: json.dumps(counted)})
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return {"rows": rows, **{f"rejected: {reason}": n for reason, n in counted.items()}}


def read_raw_occurrences(path: Path) -> pd.DataFrame:
    """Read a file that ``write_raw_occurrences`` wrote, whole.

    Raises:
        TableError: it is not such a file.
    """
    try:
        with pq.ParquetFile(path) as file:
            if file.schema_arrow.remove_metadata() != RAW_OCCURRENCE:
                raise TableError(f"{path}: expected the columns of raw occurrences, found {file.schema_arrow.names}")
            frame: pd.DataFrame = file.read().to_pandas()
            metadata = file.metadata.metadata or {}
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(f"{path}: not a readable table of raw occurrences ({error}); acquire it again") from error
    columns = {name: frame[name] for name in RAW_OCCURRENCE.names}
    return raw_occurrences(columns, len(frame), json.loads(metadata.get(_REJECTED.encode(), b"{}")))


def _repeat(values: object, n: int) -> pd.Series:
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True)
    return pd.Series(values, index=pd.RangeIndex(n))
