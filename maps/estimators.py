"""The estimators of a cell's trait: mean, inverse-variance, random effects and mixed, all functions of the moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.stats import norm
from scipy.stats import t as student

from maps.mixed import MixedMeans, mixed_means
from maps.moments import KEYS, SUMS
from maps.random_effects import RandomEffects, paule_mandel_by_group
from plant_traits.errors import PlantTraitsError, TableError
from plant_traits.grid import FloatArray, IntArray
from plant_traits.schemas import ESTIMATE, MOMENTS

NORMAL_95 = float(norm.ppf(0.975))

Estimator = Callable[[pd.DataFrame], pd.DataFrame]


def mean(moments: pd.DataFrame) -> pd.DataFrame:
    """Estimate each cell by the unweighted mean over its photos, as PlantTraitNet's maps do.

    The standard error is cluster-robust in two ways, by species and by observer (Cameron, Gelbach & Miller 2011, each
    part with its G / (G - 1)), and never below either one-way error (MacKinnon, Nielsen & Webb 2024) nor below
    the photos' own, (sum v) ** 1/2 / n. A cell of one species has no scatter among species to learn from: the mean
    tau2 of its trait's other cells is added to the photos' own variance. The interval is normal.

    Args:
        moments: ``schemas.MOMENTS`` of one kind of evidence, in any order.

    Returns:
        One row per cell and trait, ``schemas.ESTIMATE``, working space; every estimator of this module carries the
        same diagnostics: counts, where unnamed photos count together as one species and unknown observers as one
        observer; Kish's effective number (sum w)^2 / sum w^2 of photos; Paule-Mandel tau2 and I2 among species means,
        null where the cell has one species; and the variance among plants, tau2 (of a one-species cell: the trait's
        mean) plus the mean aleatoric variance of the photos.

    Raises:
        TableError: a column is missing, or the moments mix kinds of evidence.
    """
    cells = _Cells.of(moments)
    location = cells.total("sum_y") / cells.n
    residual = cells.rows["sum_y"] - cells.rows["n"] * location[cells.of_row]
    by_species = cells.clustered(residual, cells.species_of_row)
    by_observer = cells.clustered(residual, cells.observer_of_row)
    by_both = cells.clustered(residual, np.arange(len(residual)))
    variance = np.maximum(np.maximum(by_species, by_observer), by_species + by_observer - by_both)
    own = cells.total("sum_v") / cells.n**2
    own = np.where(cells.effects.k == 1, own + cells.pooled_tau2(), own)
    variance = np.maximum(variance, own)
    return cells.frame(location, np.sqrt(variance), np.full(cells.size, NORMAL_95))


def inverse_variance(moments: pd.DataFrame) -> pd.DataFrame:
    """Estimate each cell by the fixed-effect mean, photos weighted by 1 / v, SE = (sum w) ** -1/2, interval normal.

    It takes every photo as independent and every species as the same, so its errors are far too small; it is here
    to be compared with. Arguments, result and errors are those of ``mean``.
    """
    cells = _Cells.of(moments)
    weight = cells.total("sum_w")
    return cells.frame(cells.total("sum_wy") / weight, weight**-0.5, np.full(cells.size, NORMAL_95))


def random_effects(moments: pd.DataFrame) -> pd.DataFrame:
    """Estimate each cell by the Paule-Mandel mean of its species' means.

    A species' mean is its photos' inverse-variance mean, of variance 1 / sum w. The error is Hartung and Knapp's,
    with their factor not below 1 (Röver, Knapp & Friede 2015), so that species which agree by chance
    give no absurd certainty; the interval takes Student's t with k - 1 degrees of freedom for k species. A cell of
    one species has the mean tau2 of its trait's other cells added to its variance, and a normal interval.

    Arguments, result and errors are those of ``mean``.
    """
    cells = _Cells.of(moments)
    effects = cells.effects
    several = effects.k > 1
    single = cells.pooled_tau2() + effects.standard_error**2
    error = np.where(several, np.fmax(effects.standard_error, effects.standard_error_hk), np.sqrt(single))
    quantile = np.where(several, student.ppf(0.975, np.maximum(effects.k - 1, 1)), NORMAL_95)
    return cells.frame(effects.location, error, quantile)


def mixed(moments: pd.DataFrame, biome: Mapping[int, str] | None = None) -> pd.DataFrame:
    """Estimate each cell by generalised least squares with effects of species and of observers.

    The model is y = cell + species + observer + error, with the photos' own variances as the errors' and the variances
    of species and observers pooled over the cells of a trait and biome (``maps.mixed``). The standard error is that of
    the cell's mean over its possible species and observers, each counting the same however often it was seen; the
    interval takes Student's t with Satterthwaite's degrees of freedom. An error that all photos of a cell share, such
    as a model's bias at a place, leaves no trace in the moments and is not in it. The variance among plants is the
    pooled variance of species plus the mean aleatoric variance of the photos; tau2 and I2 remain the cell's own,
    as for every estimator.

    Args:
        moments: as for ``mean``.
        biome: biome by cell; a cell that is not in it, and every cell where it is None, takes the variances of all.

    Returns and errors are those of ``mean``.
    """
    return mixed_with_components(moments, biome)[0]


def mixed_with_components(
    moments: pd.DataFrame, biome: Mapping[int, str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the estimates of ``mixed`` and the variance components behind them.

    Returns:
        The estimates; and one row per trait and biome (null: all cells together, where some cell takes them) with
        ``species_variance``, ``observer_variance``, their standard errors, ``cells``, the number of cells that take
        these variances, ``cells_of_species`` and ``cells_of_observers``, those with two or more to learn from, and
        ``converged``.
    """
    cells = _Cells.of(moments)
    names = pd.Series(dict(biome or {}), dtype=object).reindex(cells.cell)
    code, labels = pd.factorize(names, sort=True)
    location, error, quantile, among_species = np.empty((4, cells.size))
    tables = []
    for trait in range(int(cells.trait_code.max(initial=-1)) + 1):
        own = np.flatnonzero(cells.trait_code == trait)
        fitted = _mixed_of_trait(cells, own, code[own])
        location[own], error[own] = fitted.location, fitted.standard_error
        quantile[own] = student.ppf(0.975, fitted.degrees_of_freedom)
        among_species[own] = fitted.components.variance[fitted.group, 0]
        tables.append(_component_table(fitted, str(cells.trait[own[0]]), list(labels)))
    frame = cells.frame(location, error, quantile, among_species)
    return frame, pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=_COMPONENT_COLUMNS)


ESTIMATORS: Mapping[str, Estimator] = {
    "mean": mean,
    "inverse_variance": inverse_variance,
    "random_effects": random_effects,
    "mixed": mixed,
}


def estimate(
    moments: pd.DataFrame, estimator: str, evidence: str = "photo", biome: Mapping[int, str] | None = None
) -> pd.DataFrame:
    """Estimate every cell and trait from one kind of evidence, by the estimator of that name.

    The biome of each cell matters to ``mixed`` alone.

    Raises:
        PlantTraitsError: there is no such estimator.
        TableError: a column is missing.
    """
    if estimator not in ESTIMATORS:
        raise PlantTraitsError(f"unknown estimator {estimator!r}; choose one of {', '.join(ESTIMATORS)}")
    if "evidence" not in moments.columns:
        raise TableError(f"moments: column 'evidence' is missing; found {list(moments.columns)}")
    function = partial(mixed, biome=biome) if estimator == "mixed" else ESTIMATORS[estimator]
    return function(moments[moments["evidence"] == evidence])


@dataclass(frozen=True)
class _Cells:
    """Moments by cell and trait, with the heterogeneity among the species of each."""

    cell: IntArray
    trait: pa.Array
    trait_code: IntArray
    rows: Mapping[str, FloatArray]
    of_row: IntArray
    species_of_row: IntArray
    observer_of_row: IntArray
    effects: RandomEffects

    @classmethod
    def of(cls, moments: pd.DataFrame) -> _Cells:
        """Group the moments; sums run over canonically ordered rows, whatever the order they came in."""
        missing = [name for name in MOMENTS.names if name not in moments.columns]
        if missing:
            raise TableError(f"moments: columns {missing} are missing; found {list(moments.columns)}")
        kinds = sorted(moments["evidence"].unique())
        if len(kinds) > 1:
            raise TableError(f"moments: expected one kind of evidence, found {kinds}; choose one with `estimate`")
        codes = {"cell": moments["cell"].to_numpy(dtype=np.int64)}
        names: dict[str, pd.Index] = {}
        for key in KEYS[1:4]:
            codes[key], names[key] = pd.factorize(moments[key], sort=True)
        order = np.lexsort((codes["observer"], codes["species"], codes["trait"], codes["cell"]))
        cell, trait, species, observer = (codes[key][order] for key in ("cell", "trait", "species", "observer"))
        of_row, first = _number(cell, trait)
        species_of_row, first_of_species = _number(of_row, species)
        by_observer = np.lexsort((observer, of_row))
        observer_of_row = np.empty(len(order), dtype=np.int64)
        observer_of_row[by_observer] = _number(of_row[by_observer], observer[by_observer])[0]
        rows = {name: moments[name].to_numpy(dtype=np.float64)[order] for name in ("n", *SUMS)}
        weight = np.bincount(species_of_row, rows["sum_w"])
        species_mean = np.bincount(species_of_row, rows["sum_wy"]) / weight
        effects = paule_mandel_by_group(species_mean, 1.0 / weight, of_row[first_of_species], len(first))
        trait_name = pa.array([str(name) for name in names["trait"]], type=pa.string()).take(pa.array(trait[first]))
        return cls(cell[first], trait_name, trait[first], rows, of_row, species_of_row, observer_of_row, effects)

    @property
    def size(self) -> int:
        return len(self.cell)

    @property
    def n(self) -> FloatArray:
        return self.total("n")

    def total(self, column: str) -> FloatArray:
        return np.bincount(self.of_row, self.rows[column], self.size).astype(np.float64)

    def clustered(self, residual: FloatArray, cluster: IntArray) -> FloatArray:
        """Return the cluster-robust variance of the unweighted mean; 0 where there is one cluster only."""
        cell_of_cluster = np.zeros(int(cluster.max(initial=-1)) + 1, dtype=np.int64)
        cell_of_cluster[cluster] = self.of_row
        g = np.bincount(cell_of_cluster, minlength=self.size)
        squares = np.bincount(cell_of_cluster, np.bincount(cluster, residual) ** 2, self.size)
        return np.where(g > 1, squares / self.n**2 * g / np.maximum(g - 1, 1), 0.0)

    def pooled_tau2(self) -> FloatArray:
        """Return, for each cell, its trait's mean tau2 over the cells of two species or more.

        It stands in where a cell of one species cannot tell how species differ. Where a trait has no cell of two
        species, the mean variance of its photos takes that part.
        """
        several = self.effects.k > 1
        n_traits = int(self.trait_code.max(initial=-1)) + 1
        count = np.bincount(self.trait_code[several], minlength=n_traits)
        tau2 = np.bincount(self.trait_code[several], self.effects.tau2[several], n_traits)
        photos = np.bincount(self.trait_code, self.n, n_traits)
        spread = np.bincount(self.trait_code, self.total("sum_v"), n_traits)
        return np.where(count > 0, tau2 / np.maximum(count, 1), spread / photos)[self.trait_code]

    def frame(
        self,
        location: FloatArray,
        standard_error: FloatArray,
        quantile: FloatArray,
        among_species: FloatArray | None = None,
    ) -> pd.DataFrame:
        """Return the estimates with their interval and the diagnostics of their cells.

        The variance among plants has the given part among species, the cell's tau2 where none is given.
        """
        if among_species is None:
            among_species = np.where(self.effects.k > 1, self.effects.tau2, self.pooled_tau2())
        cell_of_observer = np.zeros(int(self.observer_of_row.max(initial=-1)) + 1, dtype=np.int64)
        cell_of_observer[self.observer_of_row] = self.of_row
        n_observers = np.bincount(cell_of_observer, minlength=self.size)
        columns = {
            "cell": self.cell,
            "trait": self.trait,
            "location": location,
            "standard_error": standard_error,
            "interval_lower": location - quantile * standard_error,
            "interval_upper": location + quantile * standard_error,
            "n_photos": self.n.astype(np.int64),
            "n_species": self.effects.k,
            "n_observers": n_observers,
            "n_effective": self.total("sum_w") ** 2 / self.total("sum_w2"),
            "tau2": self.effects.tau2,
            "i2": self.effects.i2,
            "variance_among_plants": among_species + self.total("sum_aleatoric") / self.n,
        }
        frame: pd.DataFrame = pa.table(columns, schema=ESTIMATE).to_pandas()
        return frame


_COMPONENT_COLUMNS = (
    "trait",
    "biome",
    "species_variance",
    "observer_variance",
    "species_variance_error",
    "observer_variance_error",
    "cells",
    "cells_of_species",
    "cells_of_observers",
    "converged",
)


def _mixed_of_trait(cells: _Cells, own: IntArray, biome: IntArray) -> MixedMeans:
    number = np.full(cells.size, -1, dtype=np.int64)
    number[own] = np.arange(len(own))
    mine = number[cells.of_row] >= 0
    rows = {name: cells.rows[name][mine] for name in ("n", "sum_w", "sum_wy", "sum_v")}
    return mixed_means(
        rows["sum_w"],
        rows["sum_wy"] / rows["sum_w"],
        cells.species_of_row[mine],
        cells.observer_of_row[mine],
        number[cells.of_row[mine]],
        biome.astype(np.int64),
        float(rows["sum_v"].sum() / rows["n"].sum()),
    )


def _component_table(fitted: MixedMeans, trait: str, biomes: Sequence[str]) -> pd.DataFrame:
    taken = np.bincount(fitted.group, minlength=len(fitted.informative))
    error = np.sqrt(np.diagonal(fitted.components.covariance, axis1=1, axis2=2))
    columns = (
        trait,
        [*biomes[: len(taken) - 1], None],
        *fitted.components.variance.T,
        *error.T,
        taken,
        *fitted.informative.T,
        fitted.components.converged,
    )
    frame = pd.DataFrame(dict(zip(_COMPONENT_COLUMNS, columns, strict=True)))
    return frame[taken > 0].reset_index(drop=True)


def _number(*keys: IntArray) -> tuple[IntArray, IntArray]:
    """Number the runs of equal sorted keys; return each row's number and each run's first row."""
    new = np.ones(len(keys[0]), dtype=bool)
    new[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.cumsum(new) - 1, np.flatnonzero(new)
