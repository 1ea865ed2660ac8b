"""Names numbered in their order, so that rows can be sorted and told apart by integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from plant_traits.grid import IntArray


@dataclass(frozen=True)
class NameCodes:
    """Each row's place among the sorted distinct names; a missing name comes last.

    Attributes:
        codes: (rows,) places.
        names: the distinct names in order, and a null after them.
    """

    codes: IntArray
    names: pa.Array

    @classmethod
    def of(cls, column: pa.Array | pa.ChunkedArray) -> NameCodes:
        """Number the names of a column of strings."""
        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        encoded = whole.dictionary_encode()
        order = pc.sort_indices(encoded.dictionary)
        rank = np.empty(len(order) + 1, dtype=np.int64)
        rank[order.to_numpy()] = np.arange(len(order))
        rank[-1] = len(order)
        codes = rank[encoded.indices.fill_null(len(order)).to_numpy()]
        return cls(codes, pa.concat_arrays([encoded.dictionary.take(order), pa.nulls(1, pa.string())]))

    def take(self, codes: IntArray) -> pa.Array:
        """Return the names that have these numbers."""
        return self.names.take(pa.array(codes))
