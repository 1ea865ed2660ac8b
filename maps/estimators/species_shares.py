"""The shares of species in a cell's community, from how often its photos show each of them.

What matters of a community is its concentration (Simpson 1949): the chance c that two of its plants, taken at random,
are of one species. It is read off pairs of photos by different observers, since those of one observer tend to be alike,
and pooled over cells, since few photos tell little of it. Of n independent photos a share n_s / n is off by
a variance of p_s (1 - p_s) / n; summed over species, seen or not, that is (1 - c) / n. The shares

    q_s = n_s / (n + (1 - c) / c)

have the least expected sum of squared errors among multiples of n_s / n, whatever the community of concentration c.
What they leave over is the share of species that no photo shows. They are the posterior means under a Dirichlet process
of concentration parameter (1 - c) / c (Ferguson 1973), whose posterior variances, summed over species, are

    (1 - sum of q_s^2) / (n + (1 - c) / c + 1).

Photos of one observer are no independent draws. With a correlation r of the species they show, n of them count as
n / (1 + r (n - 1)) draws (the design effect of clusters, Kish 1965), and no other weights of observers give the shares
less variance; n_s and n above are numbers of draws. r is pooled over cells too, from pairs of photos of one
observer, as far as they agree beyond what the concentration of their cell explains. Without such correlation the shares
are those of the photos.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maps.estimators.cell_moments import CellMoments
from plant_traits.grid import FloatArray, IntArray


@dataclass(frozen=True)
class SpeciesPairs:
    """Pairs of photos of every cell, over the square of its photos; (cells,) each.

    Attributes:
        apart: pairs by different observers.
        apart_same: those of them that show one species.
        together: pairs by one observer.
        together_same: those of them that show one species.
    """

    apart: FloatArray
    apart_same: FloatArray
    together: FloatArray
    together_same: FloatArray

    @classmethod
    def of(cls, cells: CellMoments) -> SpeciesPairs:
        """Count the ordered pairs of different photos."""
        n = cells.rows["n"]
        observers, species = (cells.squares(n, group) for group in (cells.observer_of_row, cells.species_of_row))
        both = cells.by_cell(n**2)
        all_pairs = cells.n**2
        return cls(
            (all_pairs - observers) / all_pairs,
            (species - both) / all_pairs,
            (observers - cells.n) / all_pairs,
            (both - cells.n) / all_pairs,
        )

    def pooled(self, group: IntArray, n_groups: int) -> tuple[FloatArray, FloatArray]:
        """Return concentration and correlation of every group of cells, (n_groups,) each.

        The concentration starts from half a pair in one, so that it is never 0 nor 1; where no cell has two observers
        that is all there is. There, nothing says that an observer's photos are more than one draw, and the
        correlation is 1.

        Args:
            group: (cells,) 0 to n_groups - 1; -1 leaves a cell out.
            n_groups: number of groups.
        """
        used = group >= 0

        def total(values: FloatArray) -> FloatArray:
            return np.bincount(group[used], values[used], n_groups).astype(np.float64)

        concentration = (total(self.apart_same) + 0.5) / (total(self.apart) + 1.0)
        both = self.apart > 0
        own = np.divide(self.apart_same, self.apart, out=np.zeros_like(self.apart), where=both)
        beyond = total(np.where(both, self.together_same - self.together * own, 0.0))
        most = total(np.where(both, self.together * (1.0 - own), 0.0))
        correlation = np.divide(beyond, most, out=np.zeros(n_groups), where=most > 0)
        return concentration, np.where(total(self.apart) > 0, np.clip(correlation, 0.0, 1.0), 1.0)


@dataclass(frozen=True)
class SpeciesShares:
    """Shares of the species of every cell.

    Attributes:
        of_row: (rows,) each row's part of its species' share q_s.
        error: (cells,) variance of the shares, summed over species, seen or not.
        evenness: (cells,) expected chance that two plants of the community differ in species.
        draws: (cells,) independent draws that would tell as much as the photos.
    """

    of_row: FloatArray
    error: FloatArray
    evenness: FloatArray
    draws: FloatArray


def species_shares(cells: CellMoments, concentration: FloatArray, correlation: FloatArray) -> SpeciesShares:
    """Estimate the shares of species in every cell; see the module.

    Args:
        cells: moments of one trait.
        concentration: (cells,) chance that two plants of the cell's community are of one species, in (0, 1).
        correlation: (cells,) of the species among one observer's photos, in [0, 1].

    Returns:
        The shares.
    """
    n = cells.rows["n"]
    of_observer = np.bincount(cells.observer_of_row, n)[cells.observer_of_row]
    draws_of_row = n / (1.0 + correlation[cells.of_row] * (of_observer - 1.0))
    draws = cells.by_cell(draws_of_row)
    total = draws + (1.0 - concentration) / concentration
    of_row = draws_of_row / total[cells.of_row]
    squares = cells.squares(of_row, cells.species_of_row)
    error = (1.0 - squares) / (total + 1.0)
    return SpeciesShares(of_row, error, 1.0 - squares - error, draws)
