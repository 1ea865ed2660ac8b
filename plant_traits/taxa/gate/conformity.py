"""How well names fit the photos of an observation: posteriors of the names model, at species, genus and growth form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from plant_traits.taxa.gate.calibration import GENUS, GROWTH_FORM, OF_UNKNOWN, OPEN_SET, PLANT, SPECIES, FloatArray
from plant_traits.taxa.prediction_sets.hierarchy import RANKS, UNKNOWN, Hierarchy, make_hierarchy, taxon_probabilities
from plant_traits.taxa.prediction_sets.scores import IntArray, chunks
from plant_traits.taxa.taxonet.names_model import NamesModel

_SPECIES, _GENUS, _FORM = (RANKS.index(rank) for rank in (SPECIES, GENUS, GROWTH_FORM))


@dataclass(frozen=True)
class NameFit:
    """What a names model says of m observations.

    Attributes:
        conformities: (m,) by kind, NaN where there is none, see ``plant_traits.taxa.gate.calibration``.
        best: (m,) position of the likeliest species; -1 where an observation has no photo.
    """

    conformities: dict[str, FloatArray]
    best: IntArray


@dataclass(frozen=True)
class NameJudge:
    """A names model with what is derived from it once.

    Attributes:
        model: the names model.
    """

    model: NamesModel

    @cached_property
    def hierarchy(self) -> Hierarchy:
        """The taxa of the model's species."""
        return make_hierarchy(self.model.taxa)

    @cached_property
    def _prevalence(self) -> list[FloatArray]:
        """Training frequency of each taxon, by rank."""
        share = (self.model.counts / self.model.counts.sum())[None, :]
        return [
            taxon_probabilities(share, codes, len(names))[0]
            for names, codes in zip(self.hierarchy.taxa, self.hierarchy.codes, strict=True)
        ]

    def fit_of(self, features: npt.NDArray[np.float32], observation: IntArray, stated: pd.DataFrame) -> NameFit:
        """Judge the names of m observations by n photos; the posteriors of an observation's photos are averaged.

        Of an observation with several photos the one that looks most like a plant, and the one that looks most like a
        known species, count for these scores.

        Args:
            features: (n, d) finite.
            observation: (n,) position of each photo's observation, 0 to m - 1.
            stated: (m,) rows, columns species, genus, family and growth_form, null where unknown.

        Raises:
            ModelError: the features are not those of the model's encoder.
        """
        size = len(stated)
        codes = self.hierarchy.codes_of(stated)
        known = codes[_SPECIES] != UNKNOWN
        fit = NameFit({kind: np.full(size, np.nan) for kind in _ALL}, np.full(size, UNKNOWN, dtype=np.int64))
        order = np.argsort(observation, kind="stable")
        present, first = np.unique(observation[order], return_index=True)
        for part in chunks(len(present), len(self.model.species)):
            starts = first[part]
            stop = first[part.stop] if part.stop < len(first) else len(order)
            assessed = self.model.assess(features[order[starts[0] : stop]])
            photos = np.diff(np.append(starts, stop))
            own = present[part]
            inside = starts - starts[0]
            mean = np.add.reduceat(assessed.probabilities, inside, axis=0) / photos[:, None]
            fit.best[own] = mean.argmax(axis=1)
            fit.conformities[OPEN_SET][own] = np.maximum.reduceat(assessed.open_set, inside)
            fit.conformities[PLANT][own] = np.maximum.reduceat(assessed.plant, inside)
            fit.conformities[SPECIES][own] = self._conformity(mean, _SPECIES, codes[:, own])
            for rank, kind in ((_GENUS, GENUS), (_FORM, GROWTH_FORM)):
                found = self._conformity(mean, rank, codes[:, own])
                fit.conformities[kind][own] = np.where(known[own], found, np.nan)
                fit.conformities[kind + OF_UNKNOWN][own] = np.where(known[own], np.nan, found)
        return fit

    def _conformity(self, mean: FloatArray, rank: int, codes: IntArray) -> FloatArray:
        """Return the conformity of the stated taxon at a rank, (rows,), NaN where the model does not know it."""
        known = np.flatnonzero(codes[rank] != UNKNOWN)
        taxon = codes[rank, known]
        out = np.full(len(mean), np.nan)
        if rank == _SPECIES:
            probability = mean[known, taxon]
        else:
            sums = taxon_probabilities(mean, self.hierarchy.codes[rank], len(self.hierarchy.taxa[rank]))
            probability = sums[known, taxon]
        out[known] = probability if rank == _FORM else probability / self._prevalence[rank][taxon]
        return out


_ALL = (SPECIES, GENUS, GROWTH_FORM, GENUS + OF_UNKNOWN, GROWTH_FORM + OF_UNKNOWN, OPEN_SET, PLANT)
