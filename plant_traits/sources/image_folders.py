"""Which of the images that a set's metadata name lie in its folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd

from plant_traits.errors import InputError

_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


def check_relative_paths(paths: pd.Series, source: str) -> None:
    """Check that paths from outside stay inside the set's folder.

    Raises:
        InputError: a path is absolute, climbs, or has characters that no set has.
    """
    good = paths.astype("str").str.fullmatch(rf"{_PART.pattern}(?:/{_PART.pattern})*").fillna(value=False)
    if not good.all():
        bad = str(paths[~good.astype(bool)].iloc[0])[:80]
        raise InputError(
            f"{source}: {int((~good).sum())} image paths are not plain paths inside the folder, such as {bad!r}; "
            "do not use this copy, fetch the set from its publisher"
        )


def present(folder: Path, paths: pd.Series) -> pd.Series:
    """Tell which relative paths are plain files; a link does not count.

    Each folder that occurs is listed once.
    """
    parents = paths.str.rpartition("/")[0]
    listed = {parent: _files(folder / parent) for parent in parents.unique()}
    found = {f"{parent}/{name}" if parent else name for parent, names in listed.items() for name in names}
    return paths.isin(list(found))


def _files(folder: Path) -> set[str]:
    if folder.is_symlink() or not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
