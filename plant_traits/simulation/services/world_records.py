"""The records of a virtual world, as its Darwin Core archive has them."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import InputError

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class WorldRecords:
    """Reads the world's archive when it is first needed; all values are text, empty where missing.

    Attributes:
        archive: the zip file.
    """

    archive: Path

    @classmethod
    def of_world(cls, world: Path, month: str | None = None) -> WorldRecords:
        """Find the archive of a world's folder that is published by the end of a month.

        Args:
            world: the folder.
            month: ``YYYY-MM``; the world's first month where none is given and before it, the last one after it.

        Raises:
            InputError: there is not exactly one.
        """
        folder = world / "gbif"
        later = [path for path in sorted(folder.glob("[0-9]*-[0-9]*/")) if month is not None and path.name <= month]
        folder = later[-1] if later else folder
        found = sorted(folder.glob("*.zip"))
        if len(found) != 1:
            raise InputError(f"{folder}: expected one Darwin Core archive, found {len(found)}; build the world anew")
        return cls(found[0])

    @cached_property
    def occurrences(self) -> pd.DataFrame:
        """One row per record, with the columns of occurrence.txt."""
        return self._table("occurrence.txt")

    @cached_property
    def media(self) -> pd.DataFrame:
        """One row per photo, with the columns of multimedia.txt."""
        return self._table("multimedia.txt")

    @cached_property
    def media_of(self) -> dict[str, list[int]]:
        """Rows of ``media`` by gbifID."""
        return {str(key): list(rows) for key, rows in self.media.groupby("gbifID", sort=False).indices.items()}

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """Return a column of occurrences as numbers, NaN where it has none."""
        values = self.occurrences.get(column)
        if values is None:
            return np.full(len(self.occurrences), np.nan)
        return pd.to_numeric(values, errors="coerce").to_numpy(np.float64)

    def texts(self, column: str) -> npt.NDArray[np.object_]:
        """Return a column of occurrences as text, empty where the table has no such column."""
        values = self.occurrences.get(column)
        if values is None:
            return np.full(len(self.occurrences), "", dtype=object)
        return values.to_numpy(object)

    def _table(self, member: str) -> pd.DataFrame:
        with zipfile.ZipFile(self.archive) as archive:
            data = archive.read(member)
        return pd.read_csv(io.BytesIO(data), sep="\t", dtype=object, keep_default_na=False, quoting=3)
