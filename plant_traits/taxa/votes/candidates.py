"""The names that each observation's votes propose, and the sums of weights that they gather."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidates:
    """The distinct names of each observation, in order of observation and name; votes are grouped by them.

    Attributes:
        of_vote: candidate of each vote, ascending; shape (votes,).
        first_vote: first vote of each candidate; shape (candidates,).
        observation: code of each candidate's observation, ascending.
        taxon: code of each candidate's name.
        first: first candidate of each observation; shape (observations,).
    """

    of_vote: NDArray[np.int32]
    first_vote: NDArray[np.int64]
    observation: NDArray[np.int32]
    taxon: NDArray[np.int32]
    first: NDArray[np.int64]

    @classmethod
    def of(cls, observation: NDArray[np.int32], taxon: NDArray[np.int32]) -> Self:
        """Group votes that are in order of observation, then name; every observation has a vote."""
        opens = np.ones(len(observation), dtype=bool)
        opens[1:] = (observation[1:] != observation[:-1]) | (taxon[1:] != taxon[:-1])
        first_vote = np.flatnonzero(opens)
        of_candidate = observation[first_vote]
        opens_observation = np.ones(len(of_candidate), dtype=bool)
        opens_observation[1:] = of_candidate[1:] != of_candidate[:-1]
        first = np.flatnonzero(opens_observation)
        of_vote = (np.cumsum(opens, dtype=np.int32) - np.int32(1)).astype(np.int32)
        return cls(of_vote, first_vote, of_candidate, taxon[first_vote], first)

    def gathered(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the weight that each candidate gathers from its votes' weights."""
        return np.asarray(np.add.reduceat(units, self.first_vote) if len(units) else units, dtype=np.int64)

    def totals(self, gathered: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the weight of all candidates of each observation."""
        return np.asarray(np.add.reduceat(gathered, self.first) if len(gathered) else gathered, dtype=np.int64)

    def heaviest(self, gathered: NDArray[np.int64], incumbent: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return each observation's heaviest candidate; a tie goes to the incumbent, else to the first in name order.

        Args:
            gathered: weight of each candidate.
            incumbent: candidate that each observation had so far, where it had one.
        """
        if not len(gathered):
            return np.empty(0, dtype=np.int64)
        best = np.maximum.reduceat(gathered, self.first)
        place = np.arange(len(gathered), dtype=np.int64)
        place[gathered != best[self.observation]] = len(gathered)
        earliest = np.asarray(np.minimum.reduceat(place, self.first), dtype=np.int64)
        return earliest if incumbent is None else np.where(gathered[incumbent] == best, incumbent, earliest)
