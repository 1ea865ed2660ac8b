"""iNaturalist's own rule: the finest name that more than two thirds of the identifications support.

An identification supports its taxon and all above it. Of a taxon, ``agreements`` are the identifications of it or of
what it contains; ``disagreements`` those of taxa that neither contain it nor lie in it; ``ancestor disagreements``
those of a taxon above it whose user disagreed with the finer name. The community's taxon is the finest one with two
agreements or more and agreements / (agreements + disagreements + ancestor disagreements) above 2/3.

iNaturalist counts an explicit ancestor disagreement against the branch that an observation was filed under at that
time. That is not in the public table of identifications, so here an explicit one counts as one of unknown kind does
there: against every taxon below it that was identified earlier.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plant_traits.errors import TableError
from plant_traits.taxa.votes.agreement import NO_AGREEMENT, SINGLE_VOTE
from plant_traits.taxa.votes.decisions import decisions, reasons
from plant_traits.taxa.votes.taxonomy import Taxonomy
from plant_traits.taxa.votes.vote_table import VoteTable

ABOVE_SPECIES = "above species"

_FINE_RANKS = ("species", "subspecies", "variety", "form", "hybrid", "infrahybrid", "cultivar")
_BLOCK = 500_000  # votes at a time, each with its lineage


def community_names(votes: VoteTable, taxonomy: Taxonomy, block: int = _BLOCK) -> pd.DataFrame:
    """Name each observation by iNaturalist's rule; valid where the name is a species' or finer.

    Args:
        votes: votes for taxa of any rank.
        taxonomy: has all of them.
        block: votes that are worked on at a time.

    Returns:
        Columns ``NAME_DECISION``; confidence is the number of agreements, accuracy the score, the name null where there
        is but one vote or no taxon that enough votes support.

    Raises:
        TableError: a name that was voted for is not in the taxonomy.
    """
    place = taxonomy.taxa.get_indexer(votes.taxa).astype(np.int32)
    if (place < 0).any():
        some = ", ".join(votes.taxa[place < 0][:3])
        raise TableError(
            f"taxonomy: {int((place < 0).sum())} names that were voted for are not in it, such as {some}; add them"
        )
    n = len(votes.observations)
    best, agreements, score = np.full(n, -1, dtype=np.int32), np.zeros(n, dtype=np.int64), np.full(n, np.nan)
    for start, end in _blocks(votes.observation, block):
        part = slice(start, end)
        found = _best_nodes(
            votes.observation[part],
            place[votes.taxon[part]],
            votes.sequence[part],
            votes.disagreement[part],
            taxonomy,
        )
        observation = found["observation"].to_numpy()
        best[observation] = found["node"]
        agreements[observation] = found["agreements"]
        score[observation] = found["score"]
    none = best < 0
    name, rank = np.full(n, None, dtype=object), np.full(n, None, dtype=object)
    name[~none] = taxonomy.taxa.to_numpy(dtype=object)[best[~none]]
    rank[~none] = taxonomy.rank[best[~none]]
    single = np.bincount(votes.observation, minlength=n) < 2
    coarse = ~none & ~np.isin(rank.astype("str"), _FINE_RANKS)
    why = reasons(n, (none, NO_AGREEMENT), (coarse, ABOVE_SPECIES), (single, SINGLE_VOTE))
    return decisions(votes, name, agreements.astype(np.float64), score, why, rank)


def _blocks(observation: NDArray[np.int32], block: int) -> list[tuple[int, int]]:
    """Cut votes into stretches of about that many, never within an observation."""
    cuts = [0]
    while cuts[-1] < len(observation):
        end = min(cuts[-1] + block, len(observation))
        cuts.append(int(np.searchsorted(observation, observation[end - 1], side="right")))
    return list(itertools.pairwise(cuts))


def _best_nodes(
    observation: NDArray[np.int32],
    taxon: NDArray[np.int32],
    sequence: NDArray[np.int64],
    disagreement: NDArray[np.int8],
    taxonomy: Taxonomy,
) -> pd.DataFrame:
    """Return the community's taxon of each observation that has one: observation, node, agreements, score."""
    n_taxa = len(taxonomy.taxa)
    chain = taxonomy.lineage[taxon]
    inside = chain >= 0
    key = (observation.astype(np.int64)[:, None] * n_taxa + chain)[inside]
    when = np.broadcast_to(sequence[:, None], chain.shape)[inside]
    order = np.lexsort((when, key))
    key, when = key[order], when[order]
    opens = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    nodes = pd.DataFrame({"key": key[opens], "first": when[opens]})
    nodes["agreements"] = np.diff(np.r_[opens, len(key)])
    nodes["observation"] = nodes["key"] // n_taxa
    nodes["node"] = nodes["key"] % n_taxa
    nodes["total"] = pd.Series(observation).value_counts().reindex(nodes["observation"]).to_numpy()

    above = taxonomy.lineage[nodes["node"].to_numpy(), 1:]
    row, _ = np.nonzero(above >= 0)
    pairs = pd.DataFrame({"row": row})
    pairs["key"] = nodes["observation"].to_numpy()[row] * n_taxa + above[above >= 0]
    said = pd.DataFrame({"key": observation.astype(np.int64) * n_taxa + taxon, "when": sequence, "how": disagreement})
    met = pairs.merge(said, on="key")
    later = met["when"].to_numpy() > nodes["first"].to_numpy()[met["row"]]
    against = met["row"][(met["how"] != 0) & later]
    nodes["ancestors"] = np.bincount(met["row"], minlength=len(nodes))
    nodes["ancestor_disagreements"] = np.bincount(against, minlength=len(nodes))

    disagreements = nodes["total"] - nodes["agreements"] - nodes["ancestors"]
    weighed = nodes["agreements"] + disagreements + nodes["ancestor_disagreements"]
    nodes["score"] = nodes["agreements"] / weighed
    nodes["depth"] = (taxonomy.lineage[nodes["node"].to_numpy()] >= 0).sum(axis=1)
    passing = nodes[(nodes["agreements"] >= 2) & (3 * nodes["agreements"] > 2 * weighed)]
    finest = passing.sort_values(["observation", "depth"]).drop_duplicates("observation", keep="last")
    return finest[["observation", "node", "agreements", "score"]]
