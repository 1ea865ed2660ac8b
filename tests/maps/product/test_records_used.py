"""Which records a map is made of: counted once each, and only where a cell was mapped from their photos."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from maps.product.records_used import RecordCounter
from plant_traits.grid import Grid

GRID = Grid(Fraction(10))  # 18 rows of 36 cells, the first at 90 N, 180 W
INAT, PLANTNET = "50c9509d-22c7-4a22-a47d-8c48425ef4a7", "7a3679ef-5582-4aaa-81f0-8c2545cafc81"


@pytest.fixture
def product() -> xr.Dataset:
    share = np.zeros((2, 18, 36))
    share[:, :2] = np.nan
    share[0, 4, 18] = 0.9  # height, 40-50 N 0-10 E
    share[1, 4, 19] = 0.01  # sla, 40-50 N 10-20 E
    return xr.Dataset({"photo_share": (("trait", "lat", "lon"), share)}, {"trait": ["height", "sla"]})


def observations(*rows: tuple[str, str, float]) -> pd.DataFrame:
    """Rows of (observation, data set, longitude) at 45 N."""
    frame = pd.DataFrame(rows, columns=["observation_id", "dataset_key", "longitude"])
    return frame.assign(latitude=45.0, species="Acer campestre", observer="u")


def predictions(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Rows of (observation, photo, trait, modalities)."""
    frame = pd.DataFrame(rows, columns=["observation_id", "photo_id", "trait", "modalities"])
    return frame.assign(mean=1.0, variance_aleatoric=0.5, variance_epistemic=0.1, status="ok")


def counted(counter: RecordCounter) -> list[tuple[str, str, int]]:
    return list(counter.counts().itertuples(index=False, name=None))


def test_a_record_with_two_photos_and_traits_counts_once_over_shards(product: xr.Dataset) -> None:
    seen = observations(("gbif:a:1", INAT, 5.0), ("gbif:a:2", INAT, 5.0), ("gbif:b:3", PLANTNET, 15.0))
    counter = RecordCounter(product, GRID)
    both = predictions(("gbif:a:1", "p1", "height", "image"), ("gbif:a:1", "p1", "sla", "image"))
    counter.add(both, seen)
    counter.add(predictions(("gbif:a:1", "p2", "height", "image"), ("gbif:a:2", "p3", "height", "image")), seen)
    counter.add(predictions(("gbif:b:3", "p4", "sla", "image+geospatial")), seen)
    assert counted(counter) == [("gbif", INAT, 2), ("gbif", PLANTNET, 1)]


def test_what_did_not_enter_a_mapped_cell_does_not_count(product: xr.Dataset) -> None:
    seen = observations(("gbif:a:1", INAT, 5.0), ("gbif:a:2", INAT, 15.0), ("gbif:a:3", INAT, 95.0))
    made = predictions(
        ("gbif:a:1", "p1", "sla", "image"),  # mapped for height only
        ("gbif:a:2", "p2", "sla", "geospatial"),  # no photo was seen
        ("gbif:a:3", "p3", "height", "image"),  # another cell
    )
    failed = predictions(("gbif:a:1", "p9", "height", "image")).assign(status="unreadable")
    counter = RecordCounter(product, GRID)
    counter.add(pd.concat([made, failed], ignore_index=True), seen)
    assert counter.counts()["n_records"].sum() == 0


def test_nothing_at_all_gives_an_empty_table(product: xr.Dataset) -> None:
    counter = RecordCounter(product, GRID)
    counter.add(predictions(), observations())
    assert counter.counts().empty
    assert list(counter.counts().columns) == ["source", "dataset_key", "n_records"]


def test_sources_of_one_data_set_key_are_apart(product: xr.Dataset) -> None:
    seen = observations(("gbif:a:1", INAT, 5.0), ("inaturalist::x", INAT, 5.0))
    counter = RecordCounter(product, GRID)
    counter.add(predictions(("gbif:a:1", "p1", "height", "image"), ("inaturalist::x", "p2", "height", "image")), seen)
    assert counted(counter) == [("gbif", INAT, 1), ("inaturalist", INAT, 1)]
