"""Count the records of a GBIF download, and so find out whether its archive is whole and of the format asked for."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from plant_traits.errors import ArchiveError, TableError
from plant_traits.sources.archives import open_archive
from plant_traits.sources.gbif.predicate import DownloadFormat
from plant_traits.sources.gbif.simple import csv_member, parquet_members

_BLOCK_BYTES = 8 * 1024**2
_DWCA_MEMBERS = ("meta.xml", "occurrence.txt", "multimedia.txt")


def count_records(path: Path, form: DownloadFormat) -> int:
    """Count the records of an archive; tables are read through, which verifies their checksums.

    Args:
        path: the zip archive.
        form: its format.

    Raises:
        ArchiveError: not a zip, truncated, damaged, hostile, or without the members of its format.
        TableError: a member is not Parquet.
    """
    try:
        with open_archive(path) as archive:
            if form == "SIMPLE_PARQUET":
                return sum(_parquet_rows(archive, name, path.name) for name in parquet_members(archive, path.name))
            if form == "SIMPLE_CSV":
                return _lines(archive, csv_member(archive, path.name)) - 1
            found = archive.namelist()
            missing = [name for name in _DWCA_MEMBERS if name not in found]
            if missing:
                raise ArchiveError(
                    f"{path.name}: expected a Darwin Core archive of GBIF, {missing} are not inside; found {found[:9]}"
                )
            return _lines(archive, "occurrence.txt") - 1
    except zlib.error as error:
        raise ArchiveError(f"{path.name}: the zip archive is damaged ({error}); download it again") from error


def _parquet_rows(archive: zipfile.ZipFile, name: str, where: str) -> int:
    with archive.open(name) as member:
        try:
            return int(pq.ParquetFile(member).metadata.num_rows)
        except (pa.ArrowInvalid, OSError) as error:
            raise TableError(f"{where}: {name} is not Parquet ({error}); download it again") from error


def _lines(archive: zipfile.ZipFile, name: str) -> int:
    """Count lines; an empty table counts as its header alone."""
    ends, last = 0, b"\n"
    with archive.open(name) as member:
        while block := member.read(_BLOCK_BYTES):
            ends += block.count(b"\n")
            last = block[-1:]
    return max(1, ends + (last != b"\n"))
