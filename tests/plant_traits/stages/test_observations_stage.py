"""The stage of clean observations: the cap on an observer's day, with it and without, and effort before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plant_traits.grid import Grid
from plant_traits.month import Month
from plant_traits.observations.effort import BEYOND_CAP, read_effort
from plant_traits.regions import Region
from plant_traits.schemas import EFFORT_RECORD, OBSERVATION, read_table
from plant_traits.sources.inputs import InputRecord, InputSet
from plant_traits.sources.raw_occurrence import raw_occurrences, write_raw_occurrences
from plant_traits.stages.observations import ObservationLimits, build_observations

DAY = pd.Timestamp("2024-05-01")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Nine records of one species by Ann on one day in one cell of 1 degree, the last with two photos; one by Bob."""
    ids = [*(f"r{k}" for k in range(9)), "r8", "r9"]
    n = len(ids)
    frame = raw_occurrences(
        {
            "source": "gbif",
            "dataset_key": "d",
            "occurrence_id": ids,
            "photo_id": [f"p{k}" for k in range(n)],
            "photo_url": [f"https://photos.example/{k}" for k in range(n)],
            "scientific_name": "Rosa canina",
            "species": "Rosa canina",
            "genus": "Rosa",
            "family": "Rosaceae",
            "latitude": 48.31 + 0.01 * np.minimum(np.arange(n), 8),
            "longitude": 11.27,
            "coordinate_uncertainty_m": 10.0,
            "observed_on": [DAY] * n,
            "year": 2024.0,
            "recorded_by": ["Ann"] * 10 + ["Bob"],
            "basis_of_record": "HUMAN_OBSERVATION",
            "licence": "CC0 1.0",
            "attribution": "Ann",
        },
        n,
    )
    write_raw_occurrences([frame], tmp_path / "occurrences.parquet")
    pd.DataFrame({"taxon": ["Rosa canina"], "growth_form": ["shrub"]}).to_parquet(tmp_path / "growth_forms.parquet")
    return tmp_path


def built(root: Path, limits: ObservationLimits | None) -> tuple[Path, dict[str, int]]:
    folder = root / f"observations-{limits and limits.photos_per_observer_day}"
    folder.mkdir()
    record = InputRecord("occurrences", "raw-parquet", "gbif", "occurrences.parquet", 0, "")
    summary = build_observations(
        folder,
        root=root,
        inputs=InputSet((record,)),
        taxa=root,
        month=Month(2024, 6),
        region=Region("world", -180, -90, 180, 90),
        salt="salt",
        previous_ledger=None,
        accepted=["gbif"],
        limits=limits,
    )
    return folder, summary["lost"]


def test_without_a_cap_all_photos_stay(root: Path) -> None:
    folder, lost = built(root, ObservationLimits(photos_per_observer_day=None))
    assert len(read_table(folder / "observations.parquet", OBSERVATION)) == 11
    assert read_table(folder / BEYOND_CAP, EFFORT_RECORD).empty
    assert not any("share" in reason for reason in lost)


def test_with_a_cap_the_records_beyond_it_still_count_as_effort(root: Path) -> None:
    folder, lost = built(root, ObservationLimits(photos_per_observer_day=3))
    kept = read_table(folder / "observations.parquet", OBSERVATION)
    assert len(kept) == 4
    assert lost["photos beyond an observer's share"] == 7
    beyond = read_table(folder / BEYOND_CAP, EFFORT_RECORD)
    assert set(beyond["observation_id"]) | set(kept["observation_id"]) == {f"gbif:d:r{k}" for k in range(10)}
    assert not set(beyond["observation_id"]) & set(kept["observation_id"])
    uncapped, _ = built(root, ObservationLimits(photos_per_observer_day=None))
    for text in ("1deg", "0.01deg"):
        grid = Grid.parse(text)
        effort = read_effort(folder, grid)
        assert effort["n_records"].sum() == 10
        pd.testing.assert_frame_equal(effort, read_effort(uncapped, grid))
    pd.testing.assert_frame_equal(read_effort(folder, Grid.parse("1deg")), pd.read_parquet(folder / "effort.parquet"))


def test_the_default_cap_is_five(root: Path) -> None:
    folder, _ = built(root, None)
    assert len(read_table(folder / "observations.parquet", OBSERVATION)) == 6
