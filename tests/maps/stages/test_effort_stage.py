"""The stages of effort: shards to sub-cells, and the month's records that weigh them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from maps.sampling.effort_weights import effort_estimates, merge_subcells, subcell_grid, weigh_subcells
from maps.stages.cells import read_estimates, reduce_shard
from maps.stages.effort import EFFORT_FILE, ESTIMATOR, SUBCELLS_FILE, reduce_shard_to_subcells, weigh_by_effort
from plant_traits.errors import GridError, TableError
from plant_traits.grid import Grid
from plant_traits.observations.effort import BEYOND_CAP, target_group_effort
from plant_traits.schemas import (
    EFFORT,
    EFFORT_RECORD,
    OBSERVATION,
    PREDICTION,
    SHARD_ROW,
    SUBCELL_SUMS,
    read_table,
    write_table,
)

# Records of two tiles and both hemispheres, at 5 degrees: sub-cells of 1.25 degrees.
PLACES = {"o1": (41.0, 11.0), "o2": (41.1, 11.1), "o3": (44.0, 14.0), "o4": (-39.0, 71.0), "o5": (41.0, 11.2)}


def frame(ids: list[str], schema: pa.Schema) -> pd.DataFrame:
    rows = pd.DataFrame(
        {field.name: [1.0 if pa.types.is_floating(field.type) else None] * len(ids) for field in schema}
    )
    if "flags" in schema.names:
        rows["flags"] = 0
    latitude, longitude = zip(*(PLACES[name] for name in ids), strict=True)
    return rows.assign(
        observation_id=ids, photo_id=[f"p{name}" for name in ids], species="Poa annua", observer="ann",
        latitude=latitude, longitude=longitude,
    )  # fmt: skip


def shard(folder: Path, means: dict[str, float], modalities: str = "image+geospatial") -> Path:
    """Write a shard of these records and their predictions of height."""
    folder.mkdir()
    ids = list(means)
    write_table(frame(ids, SHARD_ROW), folder / "observations.parquet", SHARD_ROW)
    predicted = pd.DataFrame({"observation_id": ids, "photo_id": [f"p{name}" for name in ids]}).assign(
        trait="height", mean=list(means.values()), variance_aleatoric=0.2, variance_epistemic=0.1, model_id="m",
        modalities=modalities, status="ok",
    )  # fmt: skip
    write_table(predicted, folder / "predictions.parquet", PREDICTION)
    return folder


def reduced(folder: Path) -> Path:
    out = folder / "subcells"
    out.mkdir()
    reduce_shard_to_subcells(out, shard=folder, predictions=folder, grid="5deg")
    return out


@pytest.fixture
def subcells(tmp_path: Path) -> list[Path]:
    """Four photos north, one of them alone in its sub-cell, and one south."""
    first = shard(tmp_path / "first", {"o1": 1.0, "o2": 2.0})
    second = shard(tmp_path / "second", {"o3": 6.0, "o5": 3.0})
    third = shard(tmp_path / "third", {"o4": 9.0})
    return [reduced(folder) for folder in (first, second, third)]


@pytest.fixture
def observations(tmp_path: Path) -> Path:
    """The same records, o2 with two photos, and three beyond the cap beside them."""
    folder = tmp_path / "observations"
    folder.mkdir()
    rows = frame(["o1", "o2", "o2", "o3", "o4", "o5"], OBSERVATION)
    write_table(rows, folder / "observations.parquet", OBSERVATION)
    beyond = pd.DataFrame(
        {"observation_id": ["o6", "o7", "o8"], "observer": ["bob", "ann", None], "latitude": 41.0, "longitude": 11.0}
    )
    write_table(beyond, folder / BEYOND_CAP, EFFORT_RECORD)
    return folder


def test_subcells_are_weighed_by_the_records_of_the_month(
    tmp_path: Path, subcells: list[Path], observations: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    summary = weigh_by_effort(out, subcells=subcells, observations=observations, grid="5deg")
    assert summary == {
        "in": {"records of the target group": 8, "sums of sub-cells": 3},
        "out": {"cells with a photo": 2, "sub-cells with a record": 3},
        "lost": {},
    }
    found = read_estimates(out, "photo", [ESTIMATOR])[ESTIMATOR].set_index("cell")
    north, south = Grid.parse("5deg").cell_of([41.0, -39.0], [11.0, 71.0]).tolist()
    # Three photos of mean 2 in a sub-cell of six records, one of 6 in one of one: (1/2 x 2 + 1 x 6) / (3/2).
    assert found.loc[north, "location"] == pytest.approx(7 / 1.5)
    assert found.loc[north, "n_photos"] == 4
    assert found.loc[south, "location"] == 9.0
    effort = read_table(out / EFFORT_FILE, EFFORT).set_index("cell")
    assert effort.loc[north].tolist() == [7, 2]
    assert effort.loc[south].tolist() == [1, 1]


def test_the_order_of_shards_does_not_matter_and_bands_are_those_of_all_at_once(
    tmp_path: Path, subcells: list[Path], observations: Path
) -> None:
    results = []
    for name, order in (("a", subcells), ("b", subcells[::-1])):
        (tmp_path / name).mkdir()
        weigh_by_effort(tmp_path / name, subcells=order, observations=observations, grid="5deg")
        results.append((tmp_path / name / "photo-effort_weighted.parquet").read_bytes())
    assert results[0] == results[1]
    grid = Grid.parse("5deg")
    records = pd.concat(
        [pd.read_parquet(observations / name) for name in ("observations.parquet", BEYOND_CAP)], ignore_index=True
    )
    sums = merge_subcells(read_table(folder / SUBCELLS_FILE, SUBCELL_SUMS) for folder in subcells)
    weighed, lost = weigh_subcells(sums, target_group_effort(records, subcell_grid(grid)), grid)
    assert lost == 0
    pd.testing.assert_frame_equal(
        read_estimates(tmp_path / "a", "photo", [ESTIMATOR])[ESTIMATOR], effort_estimates(weighed)
    )


def test_predictions_without_a_photo_or_estimate_are_counted_as_lost(tmp_path: Path) -> None:
    folder = shard(tmp_path / "one", {"o1": np.nan, "o2": 2.0})
    assert reduce_shard_to_subcells(tmp_path, shard=folder, predictions=folder, grid="5deg") == {
        "in": {"predictions": 2}, "out": {"rows of sums": 1}, "lost": {"no_finite_estimate": 1},
    }  # fmt: skip
    folder = shard(tmp_path / "two", {"o1": 1.0, "o2": 2.0}, modalities="geospatial")
    summary = reduce_shard_to_subcells(tmp_path, shard=folder, predictions=folder, grid="5deg")
    assert (summary["out"], summary["lost"]) == ({"rows of sums": 0}, {"no usable photo": 2})


def test_photos_where_no_record_is_known_are_counted_as_lost(tmp_path: Path, subcells: list[Path]) -> None:
    folder = tmp_path / "fewer"
    folder.mkdir()
    write_table(frame(["o1"], OBSERVATION), folder / "observations.parquet", OBSERVATION)
    write_table(EFFORT_RECORD.empty_table().to_pandas(), folder / BEYOND_CAP, EFFORT_RECORD)
    summary = weigh_by_effort(tmp_path, subcells=subcells, observations=folder, grid="5deg")
    assert summary["lost"] == {"prediction where no record is known": 2}
    assert summary["out"]["cells with a photo"] == 1


def test_nothing_to_weigh_gives_an_empty_table(tmp_path: Path, observations: Path) -> None:
    summary = weigh_by_effort(tmp_path, subcells=[], observations=observations, grid="5deg")
    assert summary["out"] == {"cells with a photo": 0, "sub-cells with a record": 3}
    assert read_estimates(tmp_path, "photo", [ESTIMATOR])[ESTIMATOR].empty


def test_unsorted_observations_and_sums_of_another_grid_are_refused(
    tmp_path: Path, subcells: list[Path], observations: Path
) -> None:
    with pytest.raises(GridError, match="reduce for 20deg"):
        weigh_by_effort(tmp_path, subcells=subcells, observations=observations, grid="20deg")
    rows = read_table(observations / "observations.parquet", OBSERVATION)
    write_table(rows.iloc[::-1], observations / "observations.parquet", OBSERVATION)
    with pytest.raises(TableError, match="sorted by observation_id"):
        weigh_by_effort(tmp_path, subcells=subcells, observations=observations, grid="5deg")
    (observations / "observations.parquet").write_bytes(b"no table")
    with pytest.raises(TableError, match="build them again"):
        weigh_by_effort(tmp_path, subcells=subcells, observations=observations, grid="5deg")


def test_predictions_of_rows_that_are_not_live_are_no_loss(tmp_path: Path) -> None:
    folder = shard(tmp_path / "one", {"o1": 1.0, "o2": 2.0, "o3": 3.0})
    live = tmp_path / "live"
    live.mkdir()
    write_table(frame(["o1", "o3"], SHARD_ROW), live / "observations.parquet", SHARD_ROW)
    # Both in one cell, in two of its sub-cells.
    for reduce, out in ((reduce_shard_to_subcells, {"rows of sums": 2}), (reduce_shard, {"rows of moments": 1})):
        summary = reduce(tmp_path, shard=live, predictions=folder, grid="5deg")
        seen = {"predictions": 2, "predictions of rows that are not live": 1}
        assert summary == {"in": seen, "out": out, "lost": {}}
    # A photo that is gone from an observation that has another.
    other = frame(["o1", "o2", "o3"], SHARD_ROW).assign(photo_id=["po1", "other", "po3"])
    write_table(other, live / "observations.parquet", SHARD_ROW)
    assert reduce_shard(tmp_path, shard=live, predictions=folder, grid="5deg")["in"] == seen
