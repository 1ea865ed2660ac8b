"""Means of cells under y = cell + species + observer + error, for given variances of species and observers.

A cell has two means. That of its *possible* species counts each of them the same: it is the fixed effect mu, estimated
by generalised least squares. That of its *community* counts each by its share p_s of the plants, mu + sum of p_s a_s;
it is predicted by the best linear unbiased prediction (Henderson 1975) of mu + sum of q_s a_s, q_s the estimated
shares (``maps.estimators.species_shares``). Both are weighted means k'y of the rows, sum of k = 1, with

    k = V^-1 1 / (1' V^-1 1) * (1 - t) + V^-1 c,    c = species variance * Zs q,    t = 1' V^-1 c,

and the first is the second for q = 0. The error of k'y as a prediction has the variance

    species variance * |Zs'k - q|^2 + observer variance * |Zo'k|^2 + sum of k^2 / w,

to which the shares' own errors add species variance * sum of var p_s: given the photos, a_s has a squared mean and a
variance that on average make up the species variance, whether a photo shows the species or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maps.estimators.cell_moments import CellMoments
from maps.estimators.crossed_effects import CellBlock, CellCovariances, cell_blocks
from maps.estimators.photo_weights import with_level_weights, with_noise
from maps.estimators.species_shares import species_shares
from plant_traits.grid import FloatArray


@dataclass(frozen=True)
class CellComponents:
    """The pooled components that each cell takes.

    Attributes:
        variance: (cells, 2) of species and of observers.
        covariance: (cells, 2, 2) of these estimates.
        concentration: (cells,) chance that two plants of a community are of one species.
        clumping: (cells,) correlation of species among one observer's photos.
        noise: (cells,) share of a photo's variance that its prediction scatters by.
        variance_slope: (cells,) of the logarithm of a photo's variance on its prediction.
    """

    variance: FloatArray
    covariance: FloatArray
    concentration: FloatArray
    clumping: FloatArray
    noise: FloatArray
    variance_slope: FloatArray


@dataclass(frozen=True)
class CellMeans:
    """Means of cells, (cells,) each.

    Attributes:
        location: working space.
        standard_error: of its error.
        degrees_of_freedom: of Student's t; infinite where the variances are as good as known.
    """

    location: FloatArray
    standard_error: FloatArray
    degrees_of_freedom: FloatArray


def possible_means(cells: CellMoments, components: CellComponents) -> CellMeans:
    """Estimate every cell's mean over its possible species and observers, each counting the same.

    It is 1'V^-1 y / 1'V^-1 1 with standard error (1'V^-1 1)^-1/2. Arguments are those of ``community_means``.
    """
    none = np.zeros(len(cells.of_row))
    scaled = with_noise(cells, components.noise)
    return predict_means(_blocks(scaled), _y(scaled), components, none, np.zeros(cells.size))


def community_means(cells: CellMoments, components: CellComponents) -> tuple[CellMeans, FloatArray]:
    """Predict every cell's community mean, in which a species counts by its share of the plants.

    Photos are weighed by their variances as far as these do not go with the prediction
    (``maps.estimators.photo_weights``).

    Args:
        cells: moments of one trait.
        components: what each cell takes of the pooled components.

    Returns:
        The means, and the variance among species in each community, (cells,): the species variance times the chance
        that two plants differ in species.
    """
    shares = species_shares(cells, components.concentration, components.clumping)
    level = with_level_weights(cells, components.noise, components.variance_slope)
    means = predict_means(_blocks(level), _y(level), components, shares.of_row, shares.error)
    return means, components.variance[:, 0] * shares.evenness


def predict_means(
    blocks: Sequence[CellBlock], y: FloatArray, components: CellComponents, share: FloatArray, share_error: FloatArray
) -> CellMeans:
    """Predict each cell's mu + sum of q_s a_s; see the module.

    The degrees of freedom are Satterthwaite's, as in Fai & Cornelius (1996): they carry what is not known of the
    variances into the interval, which matters where few cells were pooled. The slopes of the prediction's variance are
    those of a fixed k, since k minimises it.

    Args:
        blocks: the cells, from ``cell_blocks``.
        y: (rows,) means of the rows, sum wy / sum w.
        components: what each cell takes.
        share: (rows,) the row's part of its species' share q_s; 0 for the mean of possible species.
        share_error: (cells,) variance of the shares, summed over species.

    Returns:
        The means of the cells.
    """
    location, variance, freedom = np.empty((3, len(share_error)))
    for block in blocks:
        at = block.cells
        of_species, of_observer = components.variance[at].T
        covariances = CellCovariances(block, of_species, of_observer)
        own, q = y[block.rows], share[block.rows]
        towards = of_species[block.cell_of_row] * block.spread(q)[0]
        ones, shifted = covariances.solve(np.stack([np.ones_like(own), towards], axis=-1)).T
        of_ones = (1.0 - block.by_cell(shifted)) / block.by_cell(ones)
        k = of_ones[block.cell_of_row] * ones + shifted
        rough = block.by_cell(block.weight * own) / block.by_cell(block.weight)
        location[at] = rough + block.by_cell(k * (own - rough[block.cell_of_row]))  # the k of a cell sum to 1
        slope = np.stack([block.squares(k - q)[:, 0] + share_error[at], block.squares(k)[:, 1]], axis=-1)
        variance[at] = (slope * components.variance[at]).sum(axis=1) + block.by_cell(k**2 / block.weight)
        spread = np.einsum("ci,cij,cj->c", slope, components.covariance[at], slope)
        with np.errstate(divide="ignore"):
            freedom[at] = np.maximum(2.0 * variance[at] ** 2 / spread, 1.0)
    return CellMeans(location, np.sqrt(variance), freedom)


def _blocks(cells: CellMoments) -> list[CellBlock]:
    return list(cell_blocks(cells.rows["sum_w"], cells.species_of_row, cells.observer_of_row, cells.of_row))


def _y(cells: CellMoments) -> FloatArray:
    return np.asarray(cells.rows["sum_wy"] / cells.rows["sum_w"])
