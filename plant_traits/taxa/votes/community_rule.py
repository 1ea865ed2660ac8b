"""iNaturalist's own rule: the finest name that more than two thirds of the identifications support.

An identification supports its taxon and all above it. Of a taxon, ``agreements`` are the identifications of it or of
what it contains; ``disagreements`` those of taxa that neither contain it nor lie in it; ``ancestor disagreements``
those of a taxon above it whose user disagreed with the finer name. The community's taxon is the finest one with two
agreements or more and agreements / (agreements + disagreements + ancestor disagreements) above 2/3.

Who identifies a taxon above what an observation is filed under is asked whether he disagrees with that. If he does, it
counts against that taxon and against all of the branch of his own taxon that it lies in, whenever others named them,
as long as a current identification still stands for it; what lies in other branches is untouched. If he does not, it
counts against nothing. Where nobody was asked, as in the oldest identifications, it counts against every taxon below it
that was identified earlier; so it does here, too, where a table of votes does not tell what was disagreed with.
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
        Columns ``RULE_DECISION``; confidence is the number of agreements, accuracy the score, the name null where there
        is but one vote or no taxon that enough votes support.

    Raises:
        TableError: a name that was voted for is not in the taxonomy.
    """
    place = taxonomy.taxa.get_indexer(votes.taxa).astype(np.int32)
    unknown = np.unique(votes.taxon[place[votes.taxon] < 0])
    if len(unknown):
        some = ", ".join(votes.taxa[unknown][:3])
        raise TableError(f"taxonomy: {len(unknown)} names that were voted for are not in it, such as {some}; add them")
    n = len(votes.observations)
    best, agreements, score = np.full(n, -1, dtype=np.int32), np.zeros(n, dtype=np.int64), np.full(n, np.nan)
    for start, end in _blocks(votes.observation, block):
        part = slice(start, end)
        found = _best_nodes(
            votes.observation[part],
            place[votes.taxon[part]],
            votes.sequence[part],
            votes.disagreement[part],
            None if votes.disagrees_with is None else _placed(votes.disagrees_with[part], place),
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


def _placed(taxon: NDArray[np.int32], place: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the nodes of names, -1 where there is no name or no node."""
    return np.where(taxon < 0, -1, place[taxon]).astype(np.int32)


def _best_nodes(
    observation: NDArray[np.int32],
    taxon: NDArray[np.int32],
    sequence: NDArray[np.int64],
    disagreement: NDArray[np.int8],
    disagrees_with: NDArray[np.int32] | None,
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
    said["with"] = -1 if disagrees_with is None else disagrees_with
    met = pairs.merge(said, on="key")
    node = met["row"].to_numpy()
    how = met["how"].to_numpy()
    counts = (how != 0) & (met["when"].to_numpy() > nodes["first"].to_numpy()[node])
    if disagrees_with is not None:
        explicit = np.flatnonzero(how > 0)
        counts[explicit] = _in_branch(nodes, met.iloc[explicit], taxonomy)
    against = node[counts]
    nodes["ancestors"] = np.bincount(met["row"], minlength=len(nodes))
    nodes["ancestor_disagreements"] = np.bincount(against, minlength=len(nodes))

    disagreements = nodes["total"] - nodes["agreements"] - nodes["ancestors"]
    weighed = nodes["agreements"] + disagreements + nodes["ancestor_disagreements"]
    nodes["score"] = nodes["agreements"] / weighed
    nodes["depth"] = (taxonomy.lineage[nodes["node"].to_numpy()] >= 0).sum(axis=1)
    passing = nodes[(nodes["agreements"] >= 2) & (3 * nodes["agreements"] > 2 * weighed)]
    finest = passing.sort_values(["observation", "depth"]).drop_duplicates("observation", keep="last")
    return finest[["observation", "node", "agreements", "score"]]


def _in_branch(nodes: pd.DataFrame, met: pd.DataFrame, taxonomy: Taxonomy) -> NDArray[np.bool_]:
    """Return whether nodes lie in the branch that explicit disagreements from above them are with.

    Args:
        nodes: those of all observations, in order of their keys.
        met: ``row`` of a node, ``key`` of an identification above it, and the node ``with`` which it disagrees.
        taxonomy: the tree.
    """
    lineage, n_taxa = taxonomy.lineage, len(taxonomy.taxa)
    depth = (lineage >= 0).sum(axis=1)
    own, above = met["key"].to_numpy() % n_taxa, met["key"].to_numpy() // n_taxa * n_taxa
    node, finer = nodes["node"].to_numpy()[met["row"]], met["with"].to_numpy()
    keys = nodes["key"].to_numpy()
    place = np.minimum(np.searchsorted(keys, above + finer), len(keys) - 1)
    stands = (finer >= 0) & (keys[place] == above + finer)
    below = depth[finer] - depth[own]  # levels from the identification down to what it disagrees with
    inside = stands & (below > 0)
    inside[inside] = lineage[finer[inside], below[inside]] == own[inside]
    branch = np.full(len(met), -1)
    branch[inside] = lineage[finer[inside], below[inside] - 1]
    return np.asarray(inside & (lineage[node, depth[node] - depth[own] - 1] == branch))
