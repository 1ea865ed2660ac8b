"""The estimators of a cell's trait: mean, inverse-variance, random effects and mixed, all functions of the moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student

from maps.estimators.cell_moments import CellMoments, Moments
from maps.estimators.mixed import community_means, possible_means
from maps.estimators.pooled_components import Biomes, components_of_cells, no_components, pool_components
from plant_traits.errors import PlantTraitsError, TableError
from plant_traits.grid import FloatArray, IntArray

NORMAL_95 = float(norm.ppf(0.975))

PooledTau2 = Mapping[str, float]
"""Mean tau2 of each trait over its cells of two species or more."""


def mean(moments: Moments, tau2: PooledTau2 | None = None) -> pd.DataFrame:
    """Estimate each cell by the unweighted mean over its photos, as PlantTraitNet's maps do.

    The standard error is cluster-robust in two ways, by species and by observer (Cameron, Gelbach & Miller 2011, each
    part with its G / (G - 1)), and never below either one-way error (MacKinnon, Nielsen & Webb 2024) nor below
    the photos' own, (sum v) ** 1/2 / n. A cell of one species has no scatter among species to learn from: the mean
    tau2 of its trait's other cells is added to the photos' own variance. The interval is normal.

    Args:
        moments: ``schemas.MOMENTS`` of one kind of evidence, in any order, or grouped already.
        tau2: mean tau2 by trait, for moments of some cells only; that of the moments by default.

    Returns:
        One row per cell and trait, ``schemas.ESTIMATE``, working space; every estimator of this module carries the
        same diagnostics: counts, where unnamed photos count together as one species and unknown observers as one
        observer; Kish's effective number (sum w)^2 / sum w^2 of photos; Paule-Mandel tau2 and I2 among species means,
        null where the cell has one species; and the variance among plants, tau2 (of a one-species cell: the trait's
        mean) plus the mean aleatoric variance of the photos.

    Raises:
        TableError: a column is missing, or the moments mix kinds of evidence.
    """
    cells = CellMoments.of(moments)
    location = cells.total("sum_y") / cells.n
    residual = cells.rows["sum_y"] - cells.rows["n"] * location[cells.of_row]
    by_species = _clustered(cells, residual, cells.species_of_row)
    by_observer = _clustered(cells, residual, cells.observer_of_row)
    by_both = _clustered(cells, residual, np.arange(len(residual)))
    variance = np.maximum(np.maximum(by_species, by_observer), by_species + by_observer - by_both)
    among_species = _among_species(cells, tau2)
    own = cells.total("sum_v") / cells.n**2
    own = np.where(cells.effects.k == 1, own + among_species, own)
    return cells.estimates(location, np.sqrt(np.maximum(variance, own)), _normal(cells), among_species)


def inverse_variance(moments: Moments, tau2: PooledTau2 | None = None) -> pd.DataFrame:
    """Estimate each cell by the fixed-effect mean, photos weighted by 1 / v, SE = (sum w) ** -1/2, interval normal.

    It takes every photo as independent and every species as the same, so its errors are far too small; it is here
    to be compared with. Arguments, result and errors are those of ``mean``.
    """
    cells = CellMoments.of(moments)
    weight = cells.total("sum_w")
    return cells.estimates(cells.total("sum_wy") / weight, weight**-0.5, _normal(cells), _among_species(cells, tau2))


def random_effects(moments: Moments, tau2: PooledTau2 | None = None) -> pd.DataFrame:
    """Estimate each cell by the Paule-Mandel mean of its species' means.

    A species' mean is its photos' inverse-variance mean, of variance 1 / sum w. The error is Hartung and Knapp's,
    with their factor not below 1 (Röver, Knapp & Friede 2015), so that species which agree by chance
    give no absurd certainty; the interval takes Student's t with k - 1 degrees of freedom for k species. A cell of
    one species has the mean tau2 of its trait's other cells added to its variance, and a normal interval.

    Arguments, result and errors are those of ``mean``.
    """
    cells = CellMoments.of(moments)
    effects, among_species = cells.effects, _among_species(cells, tau2)
    several = effects.k > 1
    single = among_species + effects.standard_error**2
    error = np.where(several, np.fmax(effects.standard_error, effects.standard_error_hk), np.sqrt(single))
    quantile = np.where(several, student.ppf(0.975, np.maximum(effects.k - 1, 1)), NORMAL_95)
    return cells.estimates(effects.location, error, quantile, among_species)


def mixed(moments: Moments, biome: Biomes | None = None, components: pd.DataFrame | None = None) -> pd.DataFrame:
    """Predict each cell's community mean under a model with effects of species and of observers.

    The model is y = cell + species + observer + error, with that part of the photos' own variances by which they
    scatter as the errors' (``maps.estimators.photo_weights``), and the variances of species and observers pooled over
    the cells of a trait and biome (``maps.estimators.pooled_components``). In the community mean a species counts by
    its share of the plants, estimated from its share of the cell's photos (``maps.estimators.mixed``,
    ``maps.estimators.species_shares``). The standard error holds the errors of the model's mean and effects and those
    of the shares; the interval takes Student's t with Satterthwaite's degrees of freedom. An error that all photos of a
    cell share, such as a model's bias at a place, leaves no trace in the moments and is not in it; neither is what
    observers prefer to photograph. The variance among plants is the pooled variance of species times the chance that
    two plants of the community differ in species, plus the mean aleatoric variance of the photos; tau2 and I2 remain
    the cell's own, as for every estimator.

    Args:
        moments: as for ``mean``.
        biome: biome by cell; a cell that is not in it, and every cell where it is None, takes the components of all.
        components: ``schemas.COMPONENTS`` of the same evidence, for moments of some cells only; those of the moments
            by default (``variance_components``).

    Returns:
        As for ``mean``.

    Raises:
        TableError: a column is missing, the moments mix kinds of evidence, or a cell finds no components.
    """
    return _mixed(moments, biome, components, of_community=True)


def mixed_equal(moments: Moments, biome: Biomes | None = None, components: pd.DataFrame | None = None) -> pd.DataFrame:
    """Estimate each cell's mean over its possible species and observers by generalised least squares.

    The model is that of ``mixed``, its variances as the photos tell them; here every species counts the same, however
    often it was seen, and the variance among plants holds the whole pooled variance of species. Arguments, result and
    errors are those of ``mixed``.
    """
    return _mixed(moments, biome, components, of_community=False)


def variance_components(moments: pd.DataFrame, biome: Biomes | None = None) -> pd.DataFrame:
    """Return the components that ``mixed`` and ``mixed_equal`` take by default.

    Args:
        moments: as for ``mean``.
        biome: as for ``mixed``.

    Returns:
        A frame of ``schemas.COMPONENTS``.
    """
    return _pooled(CellMoments.of(moments), str(moments["evidence"].iloc[0]) if len(moments) else "", biome)


@dataclass(frozen=True)
class Estimator:
    """An estimator by its name.

    Attributes:
        function: of the moments and of what it takes from all cells.
        pools_components: whether that is biomes and components; the mean tau2 otherwise.
    """

    function: Callable[..., pd.DataFrame]
    pools_components: bool = False

    def __call__(self, moments: Moments) -> pd.DataFrame:
        """Estimate the cells of moments that hold all cells."""
        return self.function(moments)


ESTIMATORS: Mapping[str, Estimator] = {
    "mean": Estimator(mean),
    "inverse_variance": Estimator(inverse_variance),
    "random_effects": Estimator(random_effects),
    "mixed": Estimator(mixed, pools_components=True),
    "mixed_equal": Estimator(mixed_equal, pools_components=True),
}


def estimate(
    moments: Moments,
    estimator: str,
    evidence: str = "photo",
    *,
    biome: Biomes | None = None,
    tau2: PooledTau2 | None = None,
    components: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Estimate every cell and trait from one kind of evidence, by the estimator of that name.

    What an estimator takes from all cells is found in the moments, unless it is given: then the moments may be those of
    some cells only.

    Args:
        moments: ``schemas.MOMENTS``, in any order, or grouped already from that kind of evidence.
        estimator: one of ``ESTIMATORS``.
        evidence: kind of evidence.
        biome: biome by cell, for the mixed estimators.
        tau2: mean tau2 by trait, for the others.
        components: ``schemas.COMPONENTS``, of any kinds of evidence, for the mixed estimators.

    Raises:
        PlantTraitsError: there is no such estimator.
        TableError: a column is missing, or a cell finds no components.
    """
    if estimator not in ESTIMATORS:
        raise PlantTraitsError(f"unknown estimator {estimator!r}; choose one of {', '.join(ESTIMATORS)}")
    if isinstance(moments, pd.DataFrame):
        if "evidence" not in moments.columns:
            raise TableError(f"moments: column 'evidence' is missing; found {list(moments.columns)}")
        moments = moments[moments["evidence"] == evidence]
    chosen = ESTIMATORS[estimator]
    if not chosen.pools_components:
        return chosen.function(moments, tau2)
    if components is not None:
        components = components[components["evidence"] == evidence]
    return chosen.function(moments, biome, components)


def _mixed(
    moments: Moments, biome: Biomes | None, components: pd.DataFrame | None, *, of_community: bool
) -> pd.DataFrame:
    cells = CellMoments.of(moments)
    pooled = _pooled(cells, "", biome) if components is None else components
    location, error, quantile, among_species = np.empty((4, cells.size))
    for trait, own, part in cells.by_trait():
        taken = components_of_cells(pooled, trait, part.cell, biome)
        if of_community:
            means, among_species[own] = community_means(part, taken)
        else:
            means, among_species[own] = possible_means(part, taken), taken.variance[:, 0]
        location[own], error[own] = means.location, means.standard_error
        quantile[own] = student.ppf(0.975, means.degrees_of_freedom)
    return cells.estimates(location, error, quantile, among_species)


def _pooled(cells: CellMoments, evidence: str, biome: Biomes | None) -> pd.DataFrame:
    tables = [pool_components([part], trait, evidence, biome) for trait, _, part in cells.by_trait()]
    return pd.concat(tables, ignore_index=True) if tables else no_components()


def _clustered(cells: CellMoments, residual: FloatArray, cluster: IntArray) -> FloatArray:
    """Return the cluster-robust variance of the unweighted mean; 0 where there is one cluster only."""
    g = np.bincount(cells.cell_of(cluster), minlength=cells.size)
    squares = cells.squares(residual, cluster)
    return np.where(g > 1, squares / cells.n**2 * g / np.maximum(g - 1, 1), 0.0)


def _among_species(cells: CellMoments, tau2: PooledTau2 | None) -> FloatArray:
    """Return each cell's tau2, or the mean of its trait where the cell has one species."""
    pooled = cells.mean_tau2() if tau2 is None else tau2
    names = cells.trait.dictionary_encode()
    mean_of_trait = np.array([pooled[trait] for trait in names.dictionary.to_pylist()], dtype=np.float64)
    shared = mean_of_trait[names.indices.to_numpy()] if cells.size else np.empty(0)
    return np.where(cells.effects.k > 1, cells.effects.tau2, shared)


def _normal(cells: CellMoments) -> FloatArray:
    return np.full(cells.size, NORMAL_95)
