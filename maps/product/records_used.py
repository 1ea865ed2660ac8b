"""Which records a map is made of, counted by data set: what a citation of exactly these records needs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from maps.moments.reduction import used_predictions
from plant_traits.grid import Grid
from plant_traits.sources.stable_hash import row_hashes

BoolArray = npt.NDArray[np.bool_]


class RecordCounter:
    """Counts the different records behind the values of a product, a shard at a time.

    An observation counts once, however many photos, traits or shards it appears in. It keeps 24 bytes of each.
    """

    def __init__(self, product: xr.Dataset, grid: Grid) -> None:
        """Note in which cells photos weigh in.

        Args:
            product: the map product, with ``photo_share`` over (trait, lat, lon).
            grid: its grid.
        """
        photo = product["photo_share"].to_numpy() > 0
        self._mapped = {str(trait): photo[k].reshape(-1) for k, trait in enumerate(product["trait"].to_numpy())}
        self._grid = grid
        self._datasets: dict[tuple[str, str], int] = {}
        self._seen: list[npt.NDArray[np.uint64]] = []

    def add(self, predictions: pd.DataFrame, observations: pd.DataFrame) -> None:
        """Take in one shard.

        Args:
            predictions: columns of ``schemas.PREDICTION``.
            observations: columns of ``schemas.SHARD_ROW``.
        """
        used = predictions[used_predictions(predictions, observations) == "photo"]
        rows = observations.drop_duplicates("observation_id").set_index("observation_id")
        rows = rows.loc[used["observation_id"]].assign(trait=used["trait"].to_numpy())
        cell = self._grid.cell_of(rows["latitude"].to_numpy(), rows["longitude"].to_numpy())
        mapped = np.zeros(len(rows), dtype=bool)
        for trait, cells in self._mapped.items():
            own = (rows["trait"] == trait).to_numpy()
            mapped[own] = cells[cell[own]]
        kept = rows[mapped].reset_index()
        kept = kept.drop_duplicates("observation_id")
        source = kept["observation_id"].str.split(":", n=1).str[0]  # an id is <source>:<dataset>:<id>
        pairs = list(zip(source, kept["dataset_key"].fillna(""), strict=True))
        codes = [self._datasets.setdefault(pair, len(self._datasets)) for pair in pairs]
        hashes = row_hashes(kept, ["observation_id"])
        self._seen.append(np.column_stack([hashes, np.asarray(codes, dtype=np.uint64)]))

    def counts(self) -> pd.DataFrame:
        """Return the number of records by ``source`` and ``dataset_key``, most first."""
        seen = np.unique(np.concatenate([*self._seen, np.empty((0, 3), np.uint64)]), axis=0)
        number = np.bincount(seen[:, 2].astype(np.int64), minlength=len(self._datasets))
        frame = pd.DataFrame(
            {
                "source": pd.Series([source for source, _ in self._datasets], dtype="str"),
                "dataset_key": pd.Series([key for _, key in self._datasets], dtype="str"),
                "n_records": number.astype(np.int64),
            }
        )
        order = ["n_records", "source", "dataset_key"]
        return frame.sort_values(order, ascending=[False, True, True], ignore_index=True)
