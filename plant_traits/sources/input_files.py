"""Find the files that a profile's input names: one file, one folder, or a pattern such as ``gbif/*.zip``."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from plant_traits.errors import InputError, MissingInputError


def input_files(root: Path, pattern: str) -> list[Path]:
    """Return the files or folders under ``root`` that a pattern names, sorted by name.

    Raises:
        InputError: the pattern leaves the root.
        MissingInputError: nothing matches.
    """
    parts = PurePosixPath(pattern).parts
    if not parts or PurePosixPath(pattern).is_absolute() or ".." in parts:
        raise InputError(f"input path {pattern!r} must be relative and stay inside the inputs' root {root}")
    if re.search(r"[*?\[]", pattern):
        found = sorted(root.glob(pattern))
    else:
        found = [root / pattern] if (root / pattern).exists() else []
    if not found:
        raise MissingInputError(
            f"no input matches {pattern!r} under {root}: "
            "put the files there, or correct `path` or `root` in the profile"
        )
    return found
