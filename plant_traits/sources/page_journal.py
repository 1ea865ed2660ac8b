"""Pages of a service's answers, kept in a folder as they come, so that a killed fetch asks for none of them twice."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from plant_traits.errors import InputError


def write_page(path: Path, answer: object) -> None:
    """Keep an answer as compressed JSON; the file gets its name when it is whole."""
    aside = path.with_name(f"{path.name}.tmp")
    with gzip.open(aside, "wt", encoding="utf-8", compresslevel=4) as stream:
        json.dump(answer, stream, ensure_ascii=False)
    aside.replace(path)


def read_page(path: Path) -> dict[str, Any]:
    """Read an answer that ``write_page`` kept; it is an object with a list ``results``.

    Raises:
        InputError: it is damaged; it was removed, so that the next fetch asks for it again.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            page = json.load(stream)
        problem = None if isinstance(page, dict) and isinstance(page.get("results"), list) else "it has no `results`"
    except (OSError, EOFError, ValueError) as error:
        problem = str(error)
    if problem is not None:
        path.unlink(missing_ok=True)
        raise InputError(f"{path}: not a page of answers ({problem}); it was removed, run again")
    return dict(page)
