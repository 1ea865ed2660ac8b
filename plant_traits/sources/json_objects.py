"""JSON files from outside, read within bounds: small ones whole, one huge object block by block."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from plant_traits.errors import InputError, MissingInputError

_BLOCK = 2**20  # characters
_TRIES = 64
_TAIL = 2**16  # characters at a text's end in which its last whole entry is looked for
_COMMA = re.compile(",")
_INNER_END = re.compile(r"(?<=})\s*,")


def read_json_object(path: Path, most_bytes: int) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Args:
        path: the file.
        most_bytes: size up to which it is read.

    Raises:
        MissingInputError: the file is not there.
        InputError: it is larger, is not UTF-8 JSON, names a key twice, or holds something else than an object.
    """
    size = _size(path)
    if size > most_bytes:
        raise InputError(
            f"{path.name}: expected at most {most_bytes} bytes, found {size}; raise the limit if it is right"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path.name}: not readable as JSON: {error}; fetch the file again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path.name}: expected a JSON object, found {type(content).__name__}")
    return content


def object_entries(path: Path, *, nested: bool, block: int = _BLOCK) -> Iterator[list[tuple[str, Any]]]:
    """Yield the entries of one JSON object, however large, a block at a time.

    An object inside an entry becomes a list of pairs, so that a key that stands twice is seen by the caller.

    Args:
        path: the file.
        nested: whether the entries are objects themselves.
        block: characters read at a time; an entry must be shorter than eight of them.

    Raises:
        MissingInputError: the file is not there.
        InputError: the file is not UTF-8 JSON, holds something else than an object, or has an entry that is too long.
    """
    _size(path)
    with path.open(encoding="utf-8") as stream:
        try:
            text = stream.read(block).lstrip("\ufeff \t\r\n")
            if not text.startswith("{"):
                _refuse(path, "expected a JSON object")
            rest, more = text[1:], True
            while more:
                chunk = stream.read(block)
                more = bool(chunk)
                entries, rest = _whole_entries(rest, nested) if more else _last_entries(path, rest)
                rest += chunk
                if len(rest) > 8 * block:
                    _refuse(path, f"an entry is longer than {8 * block} characters, or the file is cut off")
                if entries:
                    yield entries
        except UnicodeDecodeError as error:
            raise InputError(f"{path.name}: not UTF-8 text: {error}; fetch the file again") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path.name}: not readable as JSON: {error}; fetch the file again") from error


def _whole_entries(text: str, nested: bool) -> tuple[list[tuple[str, Any]], str]:
    """Return the entries that end in a text, and what is left of it.

    A place between entries is one where what stands before it parses: a comma within a text or an inner object leaves
    that open.
    """
    places = _INNER_END if nested else _COMMA
    cuts = [found.start() for found in places.finditer(text, max(len(text) - _TAIL, 0))]
    for cut in reversed(cuts[-_TRIES:]):
        try:
            return _pairs(text[:cut]), text[text.index(",", cut) + 1 :]
        except ValueError:
            continue
    return [], text


def _last_entries(path: Path, text: str) -> tuple[list[tuple[str, Any]], str]:
    """Return the entries up to the end of the object."""
    body = text.rstrip()
    if not body.endswith("}"):
        _refuse(path, "the object does not end; the file is cut off")
    return _pairs(body[:-1]), ""


def _pairs(body: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = json.loads("{" + body + "}", object_pairs_hook=list)
    return pairs


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return content


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise MissingInputError(f"{path} is not there; complete the folder as its source describes it") from error


def _refuse(path: Path, what: str) -> NoReturn:
    raise InputError(f"{path.name}: {what}; fetch the file again")
