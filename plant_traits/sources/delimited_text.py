"""Read delimited text in blocks of whole lines, and count the lines that do not fit."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv

from plant_traits.errors import TableError
from plant_traits.sources.dwca_meta import DeclaredTable

_BLOCK_BYTES = 8 * 1024**2
_LONGEST_LINE_BYTES = 4 * 1024**2
_SLICE_BYTES = 256 * 1024  # small enough for the cache, and for memory that is used again at once
ID = "record_id"


@dataclass(frozen=True)
class TextTable:
    """One table of an archive, and which of its columns are wanted.

    Attributes:
        archive: name of the archive, for messages.
        table: what ``meta.xml`` declares.
        terms: terms wanted; one that the table does not have becomes its declared constant, or null.
    """

    archive: str
    table: DeclaredTable
    terms: Sequence[str]

    @property
    def columns(self) -> dict[str, int]:
        """Index of the column of ``ID`` and of each wanted term; of a term declared twice, the first."""
        found = {ID: self.table.id_column}
        for index in sorted(self.table.columns):
            if self.table.columns[index] in self.terms:
                found.setdefault(self.table.columns[index], index)
        return found

    @property
    def width(self) -> int:
        """Number of fields of a line."""
        return max([*self.table.columns, self.table.id_column]) + 1

    def error(self, what: str) -> TableError:
        """Build the error that says what is wrong with this table."""
        return TableError(f"{self.archive}: {self.table.location} {what}; download the archive again")


def line_blocks(stream: BinaryIO, text: TextTable) -> Iterator[bytes]:
    """Yield the lines of a table after its header, as UTF-8 text in blocks of whole lines.

    Raises:
        TableError: the encoding is unknown or contradicts the text, a line is longer than 4 MiB, or
            there are NUL bytes.
    """
    source = _utf8(stream, text)
    try:
        for _ in range(text.table.header_lines):
            _check_lines(source.readline(_LONGEST_LINE_BYTES + 1), text)
        start = codecs.BOM_UTF8 if not text.table.header_lines else b""
        while block := _whole_lines(source):
            _check_lines(block, text)
            yield block.removeprefix(start) if start else block
            start = b""
    except UnicodeError as error:
        raise text.error(f"is not readable as {text.table.encoding} text ({error})") from error


def parse_block(block: bytes, text: TextTable) -> tuple[pl.DataFrame, int]:
    """Split a block of lines into the wanted columns, all as text.

    Args:
        block: whole lines, as ``line_blocks`` yields them.
        text: the table.

    Returns:
        The columns ``ID`` and the wanted terms, without spaces around them, null where a field is empty; and the number
        of lines left out because they do not have the declared number of fields.

    Raises:
        TableError: a wanted field is not UTF-8.
    """
    names = {term: str(index) for term, index in text.columns.items()}
    parsed, bad = _unquoted(block, text) if text.table.quote is None else _quoted(block, text)
    missing = [term for term in text.terms if term not in names]
    constants = {term: pl.lit(text.table.constants.get(term), dtype=pl.String) for term in missing}
    named = parsed.select(*(pl.col(name).alias(term) for term, name in names.items()), **constants)
    if text.table.quote is not None or _padded(block):
        stripped = pl.all().str.strip_chars()
        named = named.select(pl.when(stripped != "").then(stripped).name.keep())
    return named, bad


def _unquoted(block: bytes, text: TextTable) -> tuple[pl.DataFrame, int]:
    """Parse fast, then prove that every line has the declared number of fields; else leave out those that have not."""
    delimiter = text.table.delimiter.encode()
    parsed = None
    if block.count(delimiter, 0, block.find(b"\n") + 1 or len(block)) == text.width - 1:
        parsed = _split(block, text)
        # No line is too short where each has something in its last field; then, if the sum is right, none is too long.
        right = _count(block, ord(delimiter)) == parsed.height * (text.width - 1)
        if right and parsed[str(text.width - 1)].null_count() == 0:
            return parsed, 0
    fitting, bad = _fitting_lines(block, text)
    if parsed is None or fitting is not block:
        parsed = _split(fitting, text)
    return parsed, bad


def _split(block: bytes, text: TextTable) -> pl.DataFrame:
    last = text.width - 1
    scan = pl.scan_csv(
        block,
        separator=text.table.delimiter,
        quote_char=None,
        has_header=False,
        truncate_ragged_lines=True,
        schema={str(k): pl.String for k in range(text.width)},
    )
    try:
        parsed = scan.select(str(k) for k in sorted({*text.columns.values(), last})).collect()
    except pl.exceptions.ComputeError as error:
        raise text.error(f"is not readable as {text.table.encoding} text ({error})") from error
    return parsed.rechunk()  # it comes in small pieces, and most of what follows takes longer the more there are


def _count(block: bytes, byte: int) -> int:
    """Count a byte, slice by slice so that the comparison stays in the processor's cache."""
    octets = np.frombuffer(block, np.uint8)
    slices = range(0, len(octets), _SLICE_BYTES)
    return sum(int(np.count_nonzero(octets[start : start + _SLICE_BYTES] == byte)) for start in slices)


def _padded(block: bytes) -> bool:
    """Tell whether any field may begin or end with a space; control characters count as delimiters too."""
    octets = np.frombuffer(block, np.uint8)
    sums = np.empty(min(len(octets), _SLICE_BYTES), np.uint8)
    within = np.empty(sums.shape, np.bool_)
    for start in range(0, len(octets) - 1, _SLICE_BYTES):
        part = octets[start : start + _SLICE_BYTES + 1]
        n = len(part) - 1
        # A space beside a control character: the sum of both is from 32 to 45, which is so for few other neighbours.
        np.add(part[1:], part[:-1], out=sums[:n])
        np.subtract(sums[:n], ord(" "), out=sums[:n])
        if np.less_equal(sums[:n], ord("\r"), out=within[:n]).any():
            space, control = part == ord(" "), part <= ord("\r")
            if (space[1:] & control[:-1]).any() or (space[:-1] & control[1:]).any():
                return True
    return block[:1] == b" " or block[-1:] == b" "


def _fitting_lines(block: bytes, text: TextTable) -> tuple[bytes, int]:
    """Return the lines that have the declared number of fields, and how many others there are; blank lines go."""
    octets = np.frombuffer(block if block.endswith(b"\n") else block + b"\n", np.uint8)
    ends = np.flatnonzero(octets == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    delimiters = np.flatnonzero(octets == ord(text.table.delimiter))
    found = np.diff(np.searchsorted(delimiters, ends), prepend=0)
    blank = (ends == starts) | ((ends == starts + 1) & (octets[starts] == ord("\r")))
    fits = (found == text.width - 1) & ~blank
    if fits.all():
        return block, 0
    keep = np.repeat(fits, ends - starts + 1)
    return octets[keep].tobytes(), int((~fits & ~blank).sum())


def _quoted(block: bytes, text: TextTable) -> tuple[pl.DataFrame, int]:
    names = [str(k) for k in range(text.width)]
    bad = 0

    def count_bad_row(_row: object) -> str:
        nonlocal bad
        bad += 1
        return "skip"

    include = [str(k) for k in sorted(set(text.columns.values()))]
    try:
        parsed = pyarrow.csv.read_csv(
            pa.py_buffer(block),
            pyarrow.csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
            pyarrow.csv.ParseOptions(
                delimiter=text.table.delimiter, quote_char=text.table.quote, invalid_row_handler=count_bad_row
            ),
            pyarrow.csv.ConvertOptions(
                include_columns=include,
                column_types=dict.fromkeys(include, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        raise text.error(f"is not readable as {text.table.encoding} text ({error})") from error
    return pl.DataFrame({name: pl.Series(parsed.column(name)) for name in include}), bad


def _whole_lines(source: BinaryIO | codecs.StreamRecoder) -> bytes:
    """Read about a block, up to the end of a line."""
    if isinstance(source, io.BufferedReader):  # a file: look where the line ends first, so that nothing is copied
        start = source.tell()
        source.seek(start + _BLOCK_BYTES)
        rest = len(source.readline(_LONGEST_LINE_BYTES + 1))
        source.seek(start)
        return source.read(_BLOCK_BYTES + rest)
    block = source.read(_BLOCK_BYTES)
    if block and not block.endswith(b"\n"):
        block += source.readline(_LONGEST_LINE_BYTES + 1)
    return block


def _utf8(stream: BinaryIO, text: TextTable) -> BinaryIO | codecs.StreamRecoder:
    try:
        encoding = codecs.lookup(text.table.encoding).name
        "".encode(encoding)  # refuses codecs that are no encodings of text, such as zlib
    except (LookupError, UnicodeError) as error:
        raise text.error(f"is declared in the encoding {text.table.encoding!r}, which is unknown") from error
    return stream if encoding in ("utf-8", "ascii") else codecs.EncodedFile(stream, "utf-8", encoding)


def _check_lines(block: bytes, text: TextTable) -> None:
    if b"\0" in block:
        raise text.error("holds NUL bytes, so it is damaged or no text")
    start = 0
    while len(block) - start > _LONGEST_LINE_BYTES:
        start = block.rfind(b"\n", start, start + _LONGEST_LINE_BYTES + 1) + 1
        if not start:
            raise text.error(f"holds a line of more than {_LONGEST_LINE_BYTES} bytes, which no record has")
