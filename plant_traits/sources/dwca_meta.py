"""What a Darwin Core archive declares about itself in ``meta.xml``."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from plant_traits.errors import ArchiveError

_LIMIT_BYTES = 5 * 1024**2
_TEXT = "{http://rs.tdwg.org/dwc/text/}"
_ESCAPES = {"\\t": "\t", "\\n": "\n", "\\r\\n": "\r\n", "\\r": "\r"}


@dataclass(frozen=True)
class DeclaredTable:
    """One table of the archive: where it lies, how it is written and which term each column holds.

    Attributes:
        location: member name, relative to ``meta.xml``.
        row_type: last word of the row type, such as ``Occurrence`` or ``Multimedia``.
        delimiter: field delimiter.
        quote: quote character, None where fields are never quoted.
        encoding: text encoding.
        header_lines: lines to skip.
        id_column: index of the column that joins core and extensions.
        columns: last word of the term of each column, by index.
        constants: values that the declaration itself gives to terms without a column.
    """

    location: str
    row_type: str
    delimiter: str
    quote: str | None
    encoding: str
    header_lines: int
    id_column: int
    columns: dict[int, str]
    constants: dict[str, str]


def parse_meta(data: bytes, archive: str) -> tuple[DeclaredTable, list[DeclaredTable]]:
    """Read ``meta.xml`` into its core table and its extensions.

    Args:
        data: the bytes of ``meta.xml``.
        archive: name of the archive, for messages.

    Raises:
        ArchiveError: too large, with a document type or entities, not XML, or without a usable core.
    """
    if len(data) > _LIMIT_BYTES:
        raise ArchiveError(f"{archive}: meta.xml has {len(data)} bytes, at most {_LIMIT_BYTES} are accepted")
    # Entities can only be declared in a document type, and only an ASCII-compatible encoding can be searched for one.
    if b"\0" in data or b"<!DOCTYPE" in data.upper() or b"<!ENTITY" in data.upper():
        raise ArchiveError(f"{archive}: meta.xml declares a document type, which no Darwin Core archive does; refused")
    try:
        root = ET.fromstring(data)  # noqa: S314 - bounded, no document type, so no entities to expand
    except (ET.ParseError, LookupError, ValueError) as error:
        raise ArchiveError(f"{archive}: meta.xml is not readable XML ({error}); download the archive again") from error
    core = root.find(f"{_TEXT}core")
    if core is None:
        raise ArchiveError(f"{archive}: meta.xml declares no core table; expected a Darwin Core archive of occurrences")
    return _table(core, "id", archive), [_table(x, "coreid", archive) for x in root.findall(f"{_TEXT}extension")]


def _table(element: ET.Element, id_tag: str, archive: str) -> DeclaredTable:
    location = (element.findtext(f"{_TEXT}files/{_TEXT}location") or "").strip()
    id_element = element.find(f"{_TEXT}{id_tag}")
    columns: dict[int, str] = {}
    constants: dict[str, str] = {}
    try:
        for field in element.findall(f"{_TEXT}field"):
            term = field.get("term", "").rstrip("/").rsplit("/", 1)[-1].rsplit("#", 1)[-1]
            index = field.get("index")
            if index is not None:
                columns[int(index)] = term
            elif field.get("default"):
                constants[term] = field.get("default", "")
        id_column = int(id_element.get("index", "0")) if id_element is not None else 0
        header_lines = int(element.get("ignoreHeaderLines") or 0)
    except ValueError as error:
        raise ArchiveError(f"{archive}: meta.xml has an index that is not a number ({error})") from error
    if not location or not columns or min(columns) < 0 or max(columns) > 10_000 or not 0 <= header_lines <= 1000:
        raise ArchiveError(f"{archive}: meta.xml declares a table without a file, or with columns out of bounds")
    delimiter = element.get("fieldsTerminatedBy", ",")
    delimiter = _ESCAPES.get(delimiter, delimiter)
    quote = element.get("fieldsEnclosedBy", '"') or None
    if any(len(mark) != 1 or not mark.isascii() or mark in "\r\n" for mark in (delimiter, quote or '"')):
        raise ArchiveError(
            f"{archive}: meta.xml declares delimiter {delimiter!r} and quote {quote!r}; expected one each"
        )
    return DeclaredTable(
        location=location,
        row_type=element.get("rowType", "").rstrip("/").rsplit("/", 1)[-1],
        delimiter=delimiter,
        quote=quote,
        encoding=element.get("encoding", "UTF-8"),
        header_lines=header_lines,
        id_column=id_column,
        columns=columns,
        constants=constants,
    )
