"""The columns that a function needs of a table it is given."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from plant_traits.errors import TableError


def need_columns(frame: pd.DataFrame, what: str, columns: Iterable[str]) -> None:
    """Refuse a table that lacks a column.

    Args:
        frame: the table.
        what: what it is, for the message.
        columns: names of those that it must have; it may have others.

    Raises:
        TableError: some are missing.
    """
    needed = list(columns)
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise TableError(f"{what}: columns {missing} are missing; expected {needed}, found {list(frame.columns)}")
