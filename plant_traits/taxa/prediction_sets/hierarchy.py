"""Coarser names where the species is in doubt: a set of species says which genera, families and growth forms remain.

A set C of species induces, at every coarser rank r, the set of the taxa its members belong to. A stated name is
accepted at the finest rank whose induced set holds the taxon it names: at species where the species is in C; else at
genus where some species of that genus is in C; else at family; else at growth form; else not at all.

What that guarantees: where C holds the true species with probability 1 - α or more, the induced set of any coarser rank
holds the true genus, family or growth form with at least the same probability, since the true species brings its own
taxa along. Coverage therefore never falls from one rank to the next coarser one; a stated name that is right is
accepted at species with probability of at least 1 - α, and at some rank with at least that. It guarantees nothing for
plants of species that the model does not know, and nothing about how often a wrong name is refused: a wrong name of the
right genus is accepted at genus by design. A taxon that is not known (null) is never accepted; at its rank the
statement is about the species whose taxon is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.errors import ModelError
from plant_traits.taxa.prediction_sets.scores import FloatArray, IntArray, chunks
from plant_traits.taxa.prediction_sets.thresholds import BoolArray

RANKS = ("species", "genus", "family", "growth_form")
"""From fine to coarse."""
NOT_ACCEPTED = len(RANKS)
"""In place of a rank's position in ``RANKS``: the stated name is accepted at none."""
UNKNOWN = -1


@dataclass(frozen=True)
class Hierarchy:
    """The taxa of k species.

    Attributes:
        taxa: for each of ``RANKS`` the names of its taxa; at ``species`` those of the k classes.
        codes: (4, k) position of each species' taxon among them, ``UNKNOWN`` where it has none.
    """

    taxa: tuple[tuple[str, ...], ...]
    codes: IntArray

    def codes_of(self, stated: pd.DataFrame) -> IntArray:
        """Look up stated taxa, (4, n), ``UNKNOWN`` for what is null or is no taxon of a known species.

        Args:
            stated: n rows with the columns ``RANKS``.

        Raises:
            ModelError: a column is missing.
        """
        _check_columns(stated)
        found = [
            pd.Index(names).get_indexer(pd.Index(stated[rank])) for rank, names in zip(RANKS, self.taxa, strict=True)
        ]
        return np.stack(found).astype(np.int64)


def make_hierarchy(classes: pd.DataFrame) -> Hierarchy:
    """Make the hierarchy of the k classes, in their order.

    Args:
        classes: one row per class, columns ``RANKS``; null where a taxon is not known.

    Raises:
        ModelError: a column is missing, or a species is null or stands twice.
    """
    _check_columns(classes)
    species = classes["species"]
    if species.isna().any() or species.duplicated().any():
        raise ModelError(
            f"hierarchy of names: expected each class once, found {int(species.isna().sum())} null and "
            f"{int(species.duplicated().sum())} repeated species"
        )
    codes, taxa = [np.arange(len(classes))], [tuple(species.astype(str))]
    for rank in RANKS[1:]:
        code, names = pd.factorize(classes[rank], sort=True)
        codes.append(code)
        taxa.append(tuple(str(name) for name in names))
    return Hierarchy(tuple(taxa), np.stack(codes).astype(np.int64))


def induced_holds(sets: BoolArray, hierarchy: Hierarchy, rank: int, codes: IntArray) -> BoolArray:
    """Tell whether the set that each set of species induces at a rank holds a taxon, (n,).

    Args:
        sets: (n, k) sets of species.
        hierarchy: of the k species.
        rank: position in ``RANKS``.
        codes: (n,) the taxon asked for in each row, ``UNKNOWN`` in none.
    """
    known = codes != UNKNOWN
    return np.asarray((sets & (hierarchy.codes[rank][None, :] == codes[:, None])).any(axis=1) & known)


def finest_rank(sets: BoolArray, hierarchy: Hierarchy, stated: IntArray) -> npt.NDArray[np.int8]:
    """Return the finest rank at which each stated name is accepted, (n,), ``NOT_ACCEPTED`` where it is at none.

    Args:
        sets: (n, k) sets of species, as ``SetRule.in_chunks`` yields them.
        hierarchy: of the k species.
        stated: (4, n) stated taxa, see ``Hierarchy.codes_of``.

    Raises:
        ModelError: the shapes do not fit.
    """
    if sets.ndim != 2 or sets.shape[1] != hierarchy.codes.shape[1] or stated.shape != (len(RANKS), len(sets)):
        raise ModelError(
            f"hierarchy of names: expected sets of {hierarchy.codes.shape[1]} species and {len(RANKS)} stated taxa for "
            f"each, found shapes {sets.shape} and {stated.shape}"
        )
    finest = np.full(len(sets), NOT_ACCEPTED, dtype=np.int8)
    for part in chunks(*sets.shape):
        for rank in range(len(RANKS) - 1, -1, -1):  # finer ranks overwrite coarser ones
            finest[part][induced_holds(sets[part], hierarchy, rank, stated[rank, part])] = rank
    return finest


def coverage_by_rank(sets: BoolArray, hierarchy: Hierarchy, labels: IntArray) -> dict[str, float]:
    """Return, for each rank, the share of photos whose true taxon is in the induced set, among those whose is known.

    Args:
        sets: (n, k) sets of species.
        hierarchy: of the k species.
        labels: (n,) true classes.
    """
    found = {}
    for rank, name in enumerate(RANKS):
        codes = hierarchy.codes[rank][labels]
        known = codes != UNKNOWN
        held = induced_holds(sets, hierarchy, rank, codes)
        found[name] = float(held[known].mean()) if known.any() else float("nan")
    return found


def taxon_probabilities(probabilities: npt.NDArray[np.floating], codes: IntArray, taxa: int) -> FloatArray:
    """Sum the posteriors of species over their taxa at one rank, (n, taxa).

    Args:
        probabilities: (n, k).
        codes: (k,) taxon of each species, ``UNKNOWN`` where there is none: its probability is left out.
        taxa: how many taxa there are.
    """
    out = np.zeros((len(probabilities), taxa))
    order = np.argsort(codes, kind="stable")[np.count_nonzero(codes == UNKNOWN) :]
    if order.size:
        # Not a matrix product, whose last bits depend on the number of rows.
        present, first = np.unique(codes[order], return_index=True)
        out[:, present] = np.add.reduceat(np.asarray(probabilities, dtype=np.float64)[:, order], first, axis=1)
    return out


def _check_columns(table: pd.DataFrame) -> None:
    missing: Sequence[str] = [rank for rank in RANKS if rank not in table]
    if missing:
        raise ModelError(f"hierarchy of names: expected the columns {RANKS}, missing {missing}")
