"""Read GBIF's SIMPLE_CSV and SIMPLE_PARQUET downloads: one row per record, without the addresses of photos."""

from __future__ import annotations

import codecs
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from plant_traits.errors import ArchiveError, MissingInputError, TableError
from plant_traits.sources.archives import open_archive
from plant_traits.sources.delimited_text import ID, TextTable, line_blocks, parse_block
from plant_traits.sources.dwca_columns import OCCURRENCE_TERMS, PHOTO_COLUMNS, occurrence_columns, raw_columns
from plant_traits.sources.dwca_meta import DeclaredTable
from plant_traits.sources.raw_occurrence import RAW_OCCURRENCE, raw_occurrences

# GBIF writes names in camel case, or in lower case in Parquet.
_TERM = {term.lower(): term for term in OCCURRENCE_TERMS}
_ID = "gbifid"
_REQUIRED = (_ID, "datasetkey", "scientificname", "decimallatitude", "decimallongitude", "basisofrecord")
_HEADER_BYTES = 1024**2
_COPY_BYTES = 8 * 1024**2
_BATCH_ROWS = 65_536


def read_simple_csv(path: Path, source: str) -> pd.DataFrame:
    """Read a SIMPLE_CSV download whole, as ``simple_csv_tables``; rejected rows are in the frame's counts."""
    rejected = Counter[str]()
    return _frame(list(simple_csv_tables(path, source, rejected)), rejected)


def read_simple_parquet(path: Path, source: str) -> pd.DataFrame:
    """Read a SIMPLE_PARQUET download whole, as ``simple_parquet_tables``."""
    return _frame(list(simple_parquet_tables(path, source)), Counter())


def simple_csv_tables(path: Path, source: str, rejected: Counter[str]) -> Iterator[pa.Table]:
    """Read a SIMPLE_CSV download in blocks: UTF-8, tabs, no quoting, in a zip archive or bare.

    The format has no addresses of photos, so photo columns are null.

    Args:
        path: the zip archive, or the table itself (``.csv``, ``.tsv``, ``.txt``).
        source: source id of the catalogue.
        rejected: receives the number of rows that do not have the header's number of fields.

    Yields:
        Tables with the columns ``RAW_OCCURRENCE``, one row per record.

    Raises:
        MissingInputError: the file is not there.
        ArchiveError: not a zip, truncated, hostile, or without exactly one table.
        TableError: a needed column is missing, or the table holds NUL bytes, a line of several MiB, or no UTF-8.
    """
    with _open_table(path) as (stream, location):
        text = _declared(stream, path.name, location)
        for block in line_blocks(cast(BinaryIO, stream), text):
            terms, bad = parse_block(block, text)
            rejected.update({"malformed_row": bad} if bad else {})
            yield _raw(terms, source)


def simple_parquet_tables(path: Path, source: str, scratch: Path | None = None) -> Iterator[pa.Table]:
    """Read a SIMPLE_PARQUET download in batches: the Parquet files of a zip archive, or one bare file.

    Args:
        path: the zip archive, or a Parquet file.
        source: source id of the catalogue.
        scratch: folder for one unpacked file at a time; the system's where None.

    Yields:
        Tables with the columns ``RAW_OCCURRENCE``, one row per record; photo columns are null.

    Raises:
        MissingInputError: the file is not there.
        ArchiveError: not a zip, truncated, hostile, or without Parquet files.
        TableError: a file is not Parquet, or a needed column is missing.
    """
    if path.suffix != ".zip":
        with _open_plain(path) as stream:
            yield from _parquet_tables(stream, path.name, source)
        return
    with open_archive(path) as archive:
        for name in parquet_members(archive, path.name):
            with tempfile.TemporaryFile(dir=scratch) as unpacked:
                with archive.open(name) as member:
                    shutil.copyfileobj(member, unpacked, _COPY_BYTES)
                yield from _parquet_tables(unpacked, f"{path.name}: {name}", source)


def parquet_members(archive: zipfile.ZipFile, name: str) -> list[str]:
    """Return the Parquet files of a SIMPLE_PARQUET archive: those of ``occurrence.parquet/``, or named ``*.parquet``.

    Raises:
        ArchiveError: there are none.
    """
    files = [x.filename for x in archive.infolist() if not x.is_dir()]
    found = sorted(x for x in files if "occurrence.parquet/" in x or x.endswith(".parquet"))
    if not found:
        raise ArchiveError(f"{name}: expected Parquet files, found {files[:5]}; request the format SIMPLE_PARQUET")
    return found


def csv_member(archive: zipfile.ZipFile, name: str) -> str:
    """Return the one table of a SIMPLE_CSV archive.

    Raises:
        ArchiveError: there is none, or several.
    """
    files = [x.filename for x in archive.infolist() if not x.is_dir()]
    found = [x for x in files if x.endswith((".csv", ".tsv"))]
    if len(found) != 1:
        raise ArchiveError(f"{name}: expected one table *.csv, found {files[:5]}; request the format SIMPLE_CSV")
    return found[0]


def simple_occurrences(table: pa.Table, source: str) -> pa.Table:
    """Turn a table with GBIF's simple columns, in whatever types and case, into raw occurrences.

    Lists become text joined by ``;``, structures of a concept its name, numbers and dates their text; the id is
    ``occurrenceID``, else GBIF's own.
    """
    lower = {name.lower(): name for name in table.column_names}
    texts = {term: as_text(table[lower[name]]) for name, term in {**_TERM, _ID: ID}.items() if name in lower}
    return _raw(pl.DataFrame(pl.from_arrow(pa.table(texts))), source)


def wanted_columns(names: Sequence[str], where: str) -> list[str]:
    """Return the columns of a file, spelt as it spells them, that become part of a raw occurrence.

    Raises:
        TableError: a needed column is missing, or one is there twice.
    """
    lower = [name.lower() for name in names]
    missing = [name for name in _REQUIRED if name not in lower]
    if missing:
        raise TableError(f"{where}: columns {missing} are missing; found {list(names[:60])}. Request a simple format")
    wanted = [name for name in names if name.lower() in _TERM or name.lower() == _ID]
    repeated = sorted(name for name, n in Counter(x.lower() for x in wanted).items() if n > 1)
    if repeated:
        raise TableError(f"{where}: the columns {repeated} are there twice; download it again")
    return wanted


def as_text(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    """Write a column of any type that GBIF has used as text; see ``simple_occurrences``."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return pa.chunked_array([_text(chunk) for chunk in chunks], type=pa.string())


def _text(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        fresh = array.take(pa.array(np.arange(len(array))))  # a slice has no offsets of its own
        words = _text(fresh.values)
        lists = pa.ListArray.from_arrays(fresh.offsets.cast(pa.int32()), words, mask=fresh.is_null())
        return pc.binary_join(lists, ";")
    if pa.types.is_struct(kind):
        return _text(pc.struct_field(array, 0))  # array_element, or the concept before its lineage
    return array.cast(pa.string())


def _raw(terms: pl.DataFrame, source: str) -> pa.Table:
    absent = [name for name in (ID, *OCCURRENCE_TERMS) if name not in terms.columns]
    given = terms.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in absent)
    photos = [pl.lit(None, dtype=pl.String).alias(name) for name in PHOTO_COLUMNS if name != ID]
    return raw_columns(occurrence_columns(given).with_columns(photos), source).to_arrow().cast(RAW_OCCURRENCE)


def _frame(tables: list[pa.Table], rejected: Counter[str]) -> pd.DataFrame:
    frame = pa.concat_tables([RAW_OCCURRENCE.empty_table(), *tables]).to_pandas()
    return raw_occurrences({name: frame[name] for name in RAW_OCCURRENCE.names}, len(frame), rejected)


@contextmanager
def _open_plain(path: Path) -> Iterator[IO[bytes]]:
    if not path.is_file():
        raise MissingInputError(f"{path} is not there: fetch it, or correct its path in the profile")
    with path.open("rb") as stream:
        yield stream


@contextmanager
def _open_table(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    if path.suffix == ".zip":
        with open_archive(path) as archive:
            name = csv_member(archive, path.name)
            with archive.open(name) as stream:
                yield stream, name
        return
    with _open_plain(path) as stream:
        yield stream, path.name


def _declared(stream: IO[bytes], archive: str, location: str) -> TextTable:
    """Read the header, and declare the table as an archive's ``meta.xml`` would."""
    line = stream.readline(_HEADER_BYTES)
    try:
        header = line.removeprefix(codecs.BOM_UTF8).decode("utf-8").rstrip("\r\n").split("\t")
    except UnicodeDecodeError as error:
        raise TableError(f"{archive}: the header of {location} is not UTF-8 ({error}); download it again") from error
    wanted_columns(header, f"{archive}: {location}")
    lower = [name.lower() for name in header]
    table = DeclaredTable(
        location=location,
        row_type="Occurrence",
        delimiter="\t",
        quote=None,
        encoding="utf-8",
        header_lines=0,
        id_column=lower.index(_ID),
        columns={k: _TERM.get(name, header[k]) for k, name in enumerate(lower)},
        constants={},
    )
    return TextTable(archive, table, OCCURRENCE_TERMS)


def _parquet_tables(stream: IO[bytes], name: str, source: str) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(stream) as file:
            include = wanted_columns(file.schema_arrow.names, name)
            for batch in file.iter_batches(_BATCH_ROWS, columns=include, use_threads=False):
                yield simple_occurrences(pa.Table.from_batches([batch]), source)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise TableError(f"{name}: not a readable Parquet table ({error}); download it again") from error
