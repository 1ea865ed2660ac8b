"""The text table of a TRY release, streamed: tabs, latin-1, never quoted, a trailing tab on every line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import polars as pl

from plant_traits.errors import MissingInputError, TableError
from plant_traits.sources.delimited_text import TextTable, line_blocks, parse_block
from plant_traits.sources.dwca_meta import DeclaredTable
from plant_traits.sources.read_ahead import results_in_order

Result = TypeVar("Result")

_COLUMNS = (
    "SpeciesName",
    "AccSpeciesName",
    "ObservationID",
    "ObsDataID",
    "TraitID",
    "DataID",
    "DataName",
    "OrigValueStr",
    "ValueKindName",
    "StdValue",
    "UnitName",
    "OrigObsDataID",
    "ErrorRisk",
)
_NUMBERS = frozenset(["ObservationID", "ObsDataID", "TraitID", "DataID", "StdValue", "OrigObsDataID", "ErrorRisk"])
_ENCODING = "latin-1"
_HEADER_BYTES = 64 * 1024
_WORKERS = 2


@dataclass(frozen=True)
class TryTable:
    """A release whose header has been read.

    Attributes:
        path: the file.
        header: names of its columns, the last one empty.
    """

    path: Path
    header: tuple[str, ...]

    def results(
        self, columns: Sequence[str], function: Callable[[pl.DataFrame], Result]
    ) -> Iterator[tuple[Result, int, int]]:
        """Apply a function to the table block by block, in other threads.

        Args:
            columns: names of the columns wanted; numbers become floats, null where they cannot be read.
            function: called with a frame of these columns.

        Yields:
            The function's result, the number of lines in its block, and how many of them were left out because they
            do not have the header's number of fields.

        Raises:
            TableError: NUL bytes, or lines longer than a record can be.
        """
        number = {name: index for index, name in reversed(list(enumerate(self.header)))}
        declared = DeclaredTable(
            location="the release",
            row_type="",
            delimiter="\t",
            quote=None,
            encoding=_ENCODING,
            header_lines=1,
            id_column=number["ObservationID"],
            columns=dict(enumerate(self.header)),
            constants={},
        )
        text = TextTable(self.path.name, declared, columns)
        read = pl.col(name for name in columns if name in _NUMBERS).cast(pl.Float64, strict=False)

        def work(block: bytes) -> tuple[Result, int, int]:
            terms, bad = parse_block(block, text)
            return function(terms.select(columns).with_columns(read)), terms.height + bad, bad

        with self.path.open("rb") as stream, ThreadPoolExecutor(_WORKERS) as pool:
            yield from results_in_order(pool, work, line_blocks(stream, text))


def open_try_table(path: Path) -> TryTable:
    """Read the header of a TRY release.

    Raises:
        MissingInputError: the file is not there.
        TableError: a column is missing.
    """
    if not path.is_file():
        raise MissingInputError(f"TRY release {path} is not there: TRY sends it on request, https://www.try-db.org")
    with path.open("rb") as stream:
        line = stream.readline(_HEADER_BYTES)
    header = line.decode(_ENCODING).rstrip("\r\n").split("\t")
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise TableError(
            f"{path.name}: not a TRY release, a tab-separated table of 27 columns: columns {missing} are missing, "
            f"found {[name[:40] for name in header[:40]]}. Use the text file as TRY sent it"
        )
    return TryTable(path, tuple(header))
