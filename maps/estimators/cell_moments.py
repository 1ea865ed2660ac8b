"""Moments grouped by cell and trait, with the species and observers of each: what every estimator starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from maps.estimators.random_effects import RandomEffects, paule_mandel_by_group
from maps.moments.addition import KEYS, SUMS
from maps.moments.name_codes import NameCodes
from plant_traits.errors import TableError
from plant_traits.grid import FloatArray, IntArray
from plant_traits.needed_columns import need_columns
from plant_traits.schemas import ESTIMATE, MOMENTS


@dataclass(frozen=True)
class CellMoments:
    """Moments by cell and trait; "cell" below is one of these pairs.

    Attributes:
        cell: (cells,) number on the grid.
        trait: (cells,) names.
        rows: columns of the moments, (rows,) each, in canonical order: by cell, trait, species and observer.
        of_row: (rows,) place of each row's cell, ascending.
        species_of_row: (rows,) number of the row's species, nested in cells.
        observer_of_row: (rows,) likewise.
    """

    cell: IntArray
    trait: pa.Array
    rows: Mapping[str, FloatArray]
    of_row: IntArray
    species_of_row: IntArray
    observer_of_row: IntArray

    @classmethod
    def of(cls, moments: Moments) -> CellMoments:
        """Group moments of one kind of evidence; sums run over canonically ordered rows, whatever order they came in.

        Moments that are grouped already are returned as they are.

        Raises:
            TableError: a column is missing, or the moments mix kinds of evidence.
        """
        if isinstance(moments, CellMoments):
            return moments
        need_columns(moments, "moments", MOMENTS.names)
        kinds = sorted(moments["evidence"].unique())
        if len(kinds) > 1:
            raise TableError(f"moments: expected one kind of evidence, found {kinds}; choose one with `estimate`")
        codes = {"cell": moments["cell"].to_numpy(dtype=np.int64)}
        names: dict[str, pd.Index] = {}
        for key in KEYS[1:4]:
            codes[key], names[key] = pd.factorize(moments[key], sort=True)
        keys = [codes[key] for key in ("cell", "trait", "species", "observer")]
        of_names = pa.array([str(name) for name in names["trait"]], type=pa.string())
        return cls._grouped(keys, of_names, {name: moments[name].to_numpy() for name in ("n", *SUMS)})

    @classmethod
    def of_trait(cls, rows: pa.Table, trait: str) -> CellMoments:
        """Group moments of one trait and kind of evidence, as ``of`` does, without a copy of what is in order."""
        species, observer = (_missing_first(NameCodes.of(rows[name])) for name in ("species", "observer"))
        keys = [rows["cell"].to_numpy(), np.zeros(len(rows), dtype=np.int8), species, observer]
        return cls._grouped(
            keys, pa.array([trait], pa.string()), {name: rows[name].to_numpy() for name in ("n", *SUMS)}
        )

    @classmethod
    def _grouped(
        cls, keys: list[IntArray], traits: pa.Array, columns: Mapping[str, npt.NDArray[np.number]]
    ) -> CellMoments:
        """Group columns by keys: cell, place in ``traits``, species and observer, both with missing names first."""
        if not _in_order(keys):
            order = np.lexsort(keys[::-1])
            keys = [key[order] for key in keys]
            columns = {name: column[order] for name, column in columns.items()}
        cell, trait, species, observer = keys
        of_row, first = _number(cell, trait)
        by_observer = np.lexsort((observer, of_row))
        observer_of_row = np.empty(len(cell), dtype=np.int64)
        observer_of_row[by_observer] = _number(of_row[by_observer], observer[by_observer])[0]
        rows = {name: column.astype(np.float64, copy=False) for name, column in columns.items()}
        name_of_cell = traits.take(pa.array(trait[first], pa.int64()))
        return cls(cell[first], name_of_cell, rows, of_row, _number(of_row, species)[0], observer_of_row)

    @property
    def size(self) -> int:
        """Number of cells."""
        return len(self.cell)

    @cached_property
    def n(self) -> FloatArray:
        """Photos of every cell, (cells,)."""
        return self.total("n")

    @cached_property
    def n_observers(self) -> IntArray:
        """Observers of every cell, (cells,); unknown ones count together as one."""
        return np.bincount(self.cell_of(self.observer_of_row), minlength=self.size)

    @cached_property
    def effects(self) -> RandomEffects:
        """Paule-Mandel's combination of every cell's species means; unnamed photos count together as one species."""
        weight = np.bincount(self.species_of_row, self.rows["sum_w"]).astype(np.float64)
        species_mean = (np.bincount(self.species_of_row, self.rows["sum_wy"]) / weight).astype(np.float64)
        return paule_mandel_by_group(species_mean, 1.0 / weight, self.cell_of(self.species_of_row), self.size)

    def total(self, column: str) -> FloatArray:
        """Sum a column by cell, (cells,)."""
        return self.by_cell(self.rows[column])

    def by_cell(self, values: FloatArray) -> FloatArray:
        """Sum values of rows, (rows,), by cell."""
        return np.bincount(self.of_row, values, self.size).astype(np.float64)

    def cell_of(self, group: IntArray) -> IntArray:
        """Return the place of the cell of every group, for groups of rows, (rows,), that are nested in cells."""
        found = np.zeros(int(group.max(initial=-1)) + 1, dtype=np.int64)
        found[group] = self.of_row
        return found

    def squares(self, values: FloatArray, group: IntArray) -> FloatArray:
        """Sum values of rows by group and return the squares of these sums, summed by cell: (cells,)."""
        of_group = np.bincount(group, values)
        return np.bincount(self.cell_of(group), of_group**2, self.size).astype(np.float64)

    def by_trait(self) -> Iterator[tuple[str, IntArray, CellMoments]]:
        """Yield each trait's name, the places of its cells, and the moments of these cells alone."""
        names = self.trait.dictionary_encode()
        code = names.indices.to_numpy()
        for k in pc.sort_indices(names.dictionary).to_pylist():
            own = np.flatnonzero(code == k)
            if len(own) == self.size:
                yield names.dictionary[k].as_py(), own, self
                continue
            number = np.full(self.size, -1, dtype=np.int64)
            number[own] = np.arange(len(own))
            mine = number[self.of_row] >= 0
            species, observer = (
                np.unique(group[mine], return_inverse=True)[1] for group in (self.species_of_row, self.observer_of_row)
            )
            rows = {name: values[mine] for name, values in self.rows.items()}
            part = CellMoments(
                self.cell[own], self.trait.take(pa.array(own)), rows, number[self.of_row[mine]], species, observer
            )
            yield names.dictionary[k].as_py(), own, part

    def mean_tau2(self) -> dict[str, float]:
        """Return each trait's mean tau2 over its cells of two species or more.

        Where a trait has no such cell, the mean variance of its photos takes its part.
        """
        return {trait: Heterogeneity().plus(part).mean() for trait, _, part in self.by_trait()}

    def estimates(
        self, location: FloatArray, standard_error: FloatArray, quantile: FloatArray, among_species: FloatArray
    ) -> pd.DataFrame:
        """Lay out estimates, (cells,) each, with their intervals and the diagnostics of their cells.

        Args:
            location: of the cells.
            standard_error: of the locations.
            quantile: half-width of the interval in standard errors.
            among_species: the part of species in the variance among plants.

        Returns:
            A frame of ``schemas.ESTIMATE``.
        """
        columns = {
            "cell": self.cell,
            "trait": self.trait,
            "location": location,
            "standard_error": standard_error,
            "interval_lower": location - quantile * standard_error,
            "interval_upper": location + quantile * standard_error,
            "n_photos": self.n.astype(np.int64),
            "n_species": self.effects.k,
            "n_observers": self.n_observers,
            "n_effective": self.total("sum_w") ** 2 / self.total("sum_w2"),
            "tau2": self.effects.tau2,
            "i2": self.effects.i2,
            "variance_among_plants": among_species + self.total("sum_aleatoric") / self.n,
        }
        frame: pd.DataFrame = pa.table(columns, schema=ESTIMATE).to_pandas()
        return frame


@dataclass(frozen=True)
class Heterogeneity:
    """Sums behind the mean tau2 of one trait, to be gathered over any number of cells.

    Attributes:
        tau2: sum over the cells of two species or more.
        cells: number of them.
        v: sum of the photos' variances, over all cells.
        photos: number of photos.
    """

    tau2: float = 0.0
    cells: int = 0
    v: float = 0.0
    photos: int = 0

    def plus(self, cells: CellMoments) -> Heterogeneity:
        """Take in whole cells of the trait."""
        several = cells.effects.k > 1
        return Heterogeneity(
            self.tau2 + float(cells.effects.tau2[several].sum()),
            self.cells + int(several.sum()),
            self.v + float(cells.rows["sum_v"].sum()),
            self.photos + int(cells.rows["n"].sum()),
        )

    def mean(self) -> float:
        """Return the mean tau2, or the mean variance of a photo where no cell has two species."""
        return self.tau2 / self.cells if self.cells else self.v / self.photos


Moments = pd.DataFrame | CellMoments
"""A frame of ``schemas.MOMENTS``, or what was grouped from one."""


def _number(*keys: IntArray) -> tuple[IntArray, IntArray]:
    """Number the runs of equal sorted keys; return each row's number and each run's first row."""
    new = np.ones(len(keys[0]), dtype=bool)
    new[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.cumsum(new) - 1, np.flatnonzero(new)


def _missing_first(names: NameCodes) -> IntArray:
    return np.where(names.codes < len(names.names) - 1, names.codes, -1)


def _in_order(keys: list[IntArray]) -> bool:
    """Tell whether rows are sorted by their keys, the first the most significant."""
    tied = np.ones(max(len(keys[0]) - 1, 0), dtype=bool)
    for key in keys:
        if (tied & (key[1:] < key[:-1])).any():
            return False
        tied &= key[1:] == key[:-1]
    return True
