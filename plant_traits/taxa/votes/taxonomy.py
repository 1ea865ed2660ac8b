"""The tree of names that iNaturalist's rule climbs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plant_traits.errors import TableError

_DEEPEST = 64


@dataclass(frozen=True)
class Taxonomy:
    """A forest of names.

    Attributes:
        taxa: the names.
        rank: rank of each, null where unknown; shape (taxa,).
        lineage: codes of each name itself, its parent, and so on, -1 past the root; shape (taxa, depth).
    """

    taxa: pd.Index[str]
    rank: NDArray[np.object_]
    lineage: NDArray[np.int32]

    @classmethod
    def of(cls, taxa: pd.DataFrame) -> Self:
        """Build the tree from names and parents.

        Args:
            taxa: columns ``taxon``, ``parent`` (null for a root) and ``rank``; one row per name.

        Raises:
            TableError: a name occurs twice, a parent is missing, or the tree has a cycle or more than 64 levels.
        """
        missing = [name for name in ("taxon", "parent", "rank") if name not in taxa.columns]
        if missing:
            raise TableError(f"taxonomy: columns {missing} are missing; found {list(taxa.columns)}")
        names = pd.Index(taxa["taxon"].astype("str"))
        if names.has_duplicates:
            raise TableError(f"taxonomy: {names[names.duplicated()][0]!r} has more than one row; give each name one")
        parent = names.get_indexer(pd.Index(taxa["parent"].astype("str"))).astype(np.int32)
        orphans = taxa["parent"].notna().to_numpy() & (parent < 0)
        if orphans.any():
            lost = taxa["parent"][orphans].iloc[0]
            raise TableError(f"taxonomy: {int(orphans.sum())} parents have no row, such as {lost!r}; add them")
        parent[taxa["parent"].isna().to_numpy()] = -1
        lineage = [np.arange(len(names), dtype=np.int32)]
        while (lineage[-1] >= 0).any():
            if len(lineage) > _DEEPEST:
                raise TableError(f"taxonomy: more than {_DEEPEST} levels, or a name above itself; correct its parents")
            lineage.append(np.where(lineage[-1] < 0, -1, parent[lineage[-1]]).astype(np.int32))
        ranks = taxa["rank"].astype("object").where(taxa["rank"].notna(), None).to_numpy()
        return cls(names, ranks, np.stack(lineage[:-1] or lineage, axis=1))

    @classmethod
    def of_lineages(cls, lineages: pd.DataFrame) -> Self:
        """Build the tree from rows of species, genus and family, such as observations; nulls are left out.

        Where rows disagree on a name's parent the most frequent one counts.

        Args:
            lineages: columns ``species``, ``genus`` and ``family``.
        """
        levels = []
        ranks = ("species", "genus", "family")
        for rank, above in zip(ranks, (*ranks[1:], None), strict=True):
            rows = lineages[lineages[rank].notna()]
            parent = rows[above] if above else pd.Series(None, index=rows.index, dtype="str")
            pairs = pd.DataFrame({"taxon": rows[rank].astype("str"), "parent": parent, "rank": rank})
            counted = pairs.value_counts(dropna=False).reset_index(name="rows")
            counted["unknown"] = counted["parent"].isna()
            counted = counted.sort_values(["taxon", "unknown", "rows", "parent"], ascending=[True, True, False, True])
            levels.append(counted.drop_duplicates("taxon")[["taxon", "parent", "rank"]])
        return cls.of(pd.concat(levels, ignore_index=True))

    @classmethod
    def of_ancestry(cls, taxa: pd.DataFrame, root: int) -> Self:
        """Build the tree below one taxon from iNaturalist's open table of taxa.

        Names that it retired are left out, but for those with others below them that are in use.

        Args:
            taxa: columns ``taxon_id``, ``ancestry`` (ids from the root down, with ``/`` between them, null at the
                top), ``rank``, ``name`` and ``active`` (``true`` or ``false``, as text or not), in any type.
            root: id of the taxon, such as 47126 for plants; what is above it is left out.

        Raises:
            TableError: a column is missing, the root is, or two names in use are spelled alike.
        """
        missing = [name for name in ("taxon_id", "ancestry", "rank", "name", "active") if name not in taxa.columns]
        if missing:
            raise TableError(f"taxonomy: columns {missing} are missing; found {list(taxa.columns)}")
        ids = taxa["taxon_id"].astype("str")
        path = "/" + taxa["ancestry"].astype("str").where(taxa["ancestry"].notna(), "") + "/"
        below = path.str.contains(f"/{int(root)}/", regex=False)
        in_use = taxa["active"].astype("str").str.lower() == "true"
        passed = taxa["ancestry"][below & in_use].drop_duplicates().astype("str").str.split("/").explode().unique()
        rows = taxa[(below & (in_use | ids.isin(passed))) | (ids == str(int(root)))]
        if not (ids == str(int(root))).any():
            raise TableError(f"taxonomy: taxon {root} is not in the table; name one that is")
        named = pd.Series(rows["name"].to_numpy(), index=ids[rows.index].to_numpy())
        parent = rows["ancestry"].astype("str").str.rpartition("/")[2].map(named)
        frame = pd.DataFrame({"taxon": rows["name"], "parent": parent, "rank": rows["rank"]})
        return cls.of(frame)
