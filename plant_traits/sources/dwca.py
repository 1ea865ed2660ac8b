"""Read GBIF's Darwin Core archives of any size: occurrences, with their photos joined on the record's id."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa

from plant_traits.errors import ArchiveError, TableError
from plant_traits.sources.archives import ArchiveFiles, open_files
from plant_traits.sources.delimited_text import TextTable, line_blocks, parse_block
from plant_traits.sources.dwca_columns import (
    MEDIA_TERMS,
    OCCURRENCE_TERMS,
    PHOTO_COLUMNS,
    occurrence_columns,
    photo_columns,
    raw_columns,
)
from plant_traits.sources.dwca_join import OutOfOrderError, gathered, join_spilled, merge_in_order
from plant_traits.sources.dwca_meta import DeclaredTable, parse_meta
from plant_traits.sources.raw_occurrence import read_raw_occurrences, write_raw_occurrence_tables
from plant_traits.sources.read_ahead import read_ahead, results_in_order

_REQUIRED = ("decimalLatitude", "decimalLongitude", "scientificName", "basisOfRecord")
_META_BYTES = 16 * 1024**2
_WORKERS = 2
_PART_BYTES = 32 * 1024**2
_MOST_PARTS = 400  # each is an open file
_ROW_GROUP = 200_000


def read_dwca(path: Path, source: str) -> pd.DataFrame:
    """Read a Darwin Core archive as GBIF writes it into raw occurrences, whole.

    As ``write_dwca_occurrences``; the counts of what was left out are the frame's ``rejected_rows``.

    Returns:
        One row per record and photo, columns ``RAW_OCCURRENCE``.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_dwca_occurrences(path, source, Path(folder))
        return read_raw_occurrences(Path(folder) / "occurrences.parquet")


def write_dwca_occurrences(path: Path, source: str, destination: Path) -> dict[str, int]:
    """Write the raw occurrences of a Darwin Core archive of any size into ``occurrences.parquet``.

    The archive's own ``meta.xml`` says which column holds which term. Only still images become photos. Rows that do not
    have the declared number of fields, media that are not images, and media of unknown records are counted. Tables are
    read in blocks, so that memory does not grow with them. Where both tables come in the order of numeric ids, as GBIF
    writes them, they are merged; in any other order they are joined through temporary files in ``destination``.

    Args:
        path: the zip archive, or the folder it was unpacked into.
        source: source id of the catalogue.
        destination: folder; the file has one row per record and photo, columns ``RAW_OCCURRENCE``, the rows of a record
            together.

    Returns:
        ``rows``, and ``rejected: <reason>`` for each reason.

    Raises:
        MissingInputError: there is no such file or folder.
        ArchiveError: not a zip, truncated, hostile, or not a Darwin Core archive of occurrences.
        TableError: a needed column is not declared, or a table is not text in the declared encoding.
    """
    file = destination / "occurrences.parquet"
    with open_files(path) as files:
        archive = _archive(files, path)
        try:
            with ThreadPoolExecutor(_WORKERS) as pool:
                counts = Counter[str]()
                merged = merge_in_order(archive.records(pool, counts), archive.photos(pool, counts), counts)
                return write_raw_occurrence_tables(_tables(merged, source), file, counts)
        except OutOfOrderError:
            pass  # what was merged so far is gone
        with tempfile.TemporaryDirectory(dir=destination) as folder, ThreadPoolExecutor(_WORKERS) as pool:
            counts = Counter[str]()
            spilled = join_spilled(
                archive.records(pool, counts), archive.photos(pool, counts), Path(folder), counts, archive.parts
            )
            return write_raw_occurrence_tables(_tables(spilled, source), file, counts)


@dataclass(frozen=True)
class _Archive:
    name: str
    files: ArchiveFiles
    folder: str
    core: DeclaredTable
    media: DeclaredTable | None

    @property
    def parts(self) -> int:
        """In how many parts the tables are joined, so that each fits into memory."""
        tables = [self.core, *([self.media] if self.media is not None else [])]
        size = sum(self.files.size(self.folder + table.location) for table in tables)
        return min(1 + size // _PART_BYTES, _MOST_PARTS)

    def records(self, pool: ThreadPoolExecutor, counts: Counter[str]) -> Iterator[pl.DataFrame]:
        text = TextTable(self.name, self.core, OCCURRENCE_TERMS)

        def rows(block: bytes) -> tuple[pl.DataFrame, Counter[str]]:
            terms, bad = parse_block(block, text)
            return occurrence_columns(terms), +Counter({f"malformed_row_of_{self.core.location}": bad})

        return self._frames(text, rows, pool, counts)

    def photos(self, pool: ThreadPoolExecutor, counts: Counter[str]) -> Iterator[pl.DataFrame]:
        if self.media is None:
            return iter([pl.DataFrame(schema=dict.fromkeys(PHOTO_COLUMNS, pl.String))])
        text = TextTable(self.name, self.media, MEDIA_TERMS)
        reason = f"malformed_row_of_{self.media.location}"

        def rows(block: bytes) -> tuple[pl.DataFrame, Counter[str]]:
            terms, bad = parse_block(block, text)
            photos, rejected = photo_columns(terms)
            return photos, rejected + Counter({reason: bad})

        return self._frames(text, rows, pool, counts)

    def _frames(
        self,
        text: TextTable,
        rows: Callable[[bytes], tuple[pl.DataFrame, Counter[str]]],
        pool: ThreadPoolExecutor,
        counts: Counter[str],
    ) -> Iterator[pl.DataFrame]:
        with self.files.open(self.folder + text.table.location) as stream:
            for frame, rejected in results_in_order(pool, rows, line_blocks(stream, text)):
                counts.update(rejected)
                yield frame


def _tables(frames: Iterator[pl.DataFrame], source: str) -> Iterator[pa.Table]:
    """Complete frames, a row group at a time, while the next ones are read and joined in another thread."""
    for group in read_ahead(gathered(frames, _ROW_GROUP)):
        yield raw_columns(group, source).to_arrow(compat_level=pl.CompatLevel.newest())


def _archive(files: ArchiveFiles, path: Path) -> _Archive:
    meta_name = _meta_name(files, path)
    with files.open(meta_name) as stream:
        core, extensions = parse_meta(stream.read(_META_BYTES + 1), path.name)
    if core.row_type != "Occurrence":
        raise ArchiveError(f"{path.name}: expected a core of occurrences, found {core.row_type!r}; request occurrences")
    missing = [t for t in _REQUIRED if t not in core.columns.values() and t not in core.constants]
    if missing:
        raise TableError(
            f"{path.name}: {core.location} has no column {', '.join(missing)}; "
            f"it declares {len(core.columns)} columns. Request the download in the format DWCA"
        )
    folder = meta_name.removesuffix("meta.xml")
    media = next((x for x in extensions if x.row_type == "Multimedia"), None)
    for table in [core, *([media] if media is not None else [])]:
        if folder + table.location not in files.names():
            raise ArchiveError(
                f"{path.name}: meta.xml declares {table.location}, which is not inside; download the archive again"
            )
    return _Archive(path.name, files, folder, core, media)


def _meta_name(files: ArchiveFiles, path: Path) -> str:
    names = [n for n in files.names() if n.rsplit("/", 1)[-1] == "meta.xml" and not n.startswith("__MACOSX/")]
    if not names:
        raise ArchiveError(
            f"{path.name}: no meta.xml inside, so this is not a Darwin Core archive "
            "(a SIMPLE_CSV download carries no photos: request the format DWCA)"
        )
    name = min(names, key=lambda n: (n.count("/"), n))
    if files.size(name) > _META_BYTES:
        raise ArchiveError(f"{path.name}: meta.xml declares {files.size(name)} bytes; refused")
    return name
