"""Observations of collected regions: the same from pieces as from one file, and the regions' order leaves no trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plant_traits.errors import InputError
from plant_traits.lattice import pieces
from plant_traits.month import Month
from plant_traits.regions import Area, Collected, Region
from plant_traits.sources.inputs import InputRecord, InputSet
from plant_traits.sources.raw_occurrence import raw_occurrences, write_raw_occurrences
from plant_traits.stages.observations import build_observations

WORLD = Region("world", -180, -90, 180, 90)
WEST, EAST = Region("west", -10, 40, 31, 55), Region("east", 25, 40, 60, 55)


def occurrences(n: int = 300) -> pd.DataFrame:
    """Records on land, some on the lattice line at 30° E, with repeats and duplicates on both sides of it."""
    rng = np.random.default_rng(5)
    longitude = np.where(np.arange(n) % 5 == 0, 30.0, rng.uniform(5, 55, n).round(2))
    latitude = rng.uniform(45.2, 52, n).round(2)
    of = np.arange(n) % 200  # the last hundred say again what the first said
    return raw_occurrences(
        {
            "source": "gbif",
            "dataset_key": "d",
            "occurrence_id": pd.Series([f"r{k}" for k in (np.where(np.arange(n) % 7 == 0, of, np.arange(n)))]),
            "photo_id": pd.Series([f"p{k}" for k in of]),
            "photo_url": "https://photos.example/1",
            "scientific_name": "Rosa canina",
            "species": "Rosa canina",
            "latitude": pd.Series(latitude[of]),
            "longitude": pd.Series(longitude[of]),
            "coordinate_uncertainty_m": 10.0,
            "observed_on": pd.Timestamp("2024-05-01"),
            "year": 2024.0,
            "recorded_by": pd.Series([f"observer {k % 9}" for k in of]),
            "basis_of_record": "HUMAN_OBSERVATION",
        },
        n,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The same records in one file, and in a file for each tile of 30 degrees."""
    raw = occurrences()
    write_raw_occurrences([raw], tmp_path / "whole.parquet")
    for piece in pieces([WEST, EAST], WORLD, 30):
        inside = piece.contains(raw["latitude"], raw["longitude"])
        write_raw_occurrences([raw[inside].reset_index(drop=True)], tmp_path / f"{piece.name}.parquet")
    pd.DataFrame({"taxon": ["Rosa canina"], "growth_form": ["shrub"]}).to_parquet(tmp_path / "growth_forms.parquet")
    return tmp_path


def built(root: Path, name: str, area: Area, files: Sequence[str]) -> tuple[Path, dict[str, dict[str, int]]]:
    folder = root / name
    folder.mkdir()
    summary = build_observations(
        folder,
        root=root,
        inputs=InputSet(tuple(InputRecord("occurrences", "raw-parquet", "gbif", f"{x}.parquet", 0, "") for x in files)),
        taxa=root,
        month=Month(2024, 6),
        region=area,
        salt="salt",
        previous_ledger=None,
        accepted=["gbif"],
    )
    return folder, summary


def test_pieces_equal_the_whole(root: Path) -> None:
    names = [x.name for x in pieces([WEST, EAST], WORLD, 30)]
    area = Collected(WORLD, (EAST, WEST))
    whole, expected = built(root, "whole", area, ["whole"])
    assert expected["lost"]["repeated_record"] > 0
    for k, order in enumerate((names, names[::-1])):
        folder, summary = built(root, f"pieces{k}", area, order)
        for file in ("observations", "ledger", "effort", "beyond_cap"):
            pd.testing.assert_frame_equal(
                pd.read_parquet(folder / f"{file}.parquet"), pd.read_parquet(whole / f"{file}.parquet")
            )
        at_border = summary["lost"].pop("rows that two pieces of a region hold")
        assert at_border == (occurrences()["longitude"] == 30.0).sum()
        assert summary["lost"] == expected["lost"]
        assert summary["in"]["rows of gbif"] == expected["in"]["rows of gbif"] + at_border


def test_records_of_a_piece_beyond_the_regions_are_counted_as_such(root: Path) -> None:
    folder, summary = built(root, "west", Collected(WORLD, (WEST,)), ["tile30-n30-e0", "tile30-n30-e30"])
    assert pd.read_parquet(folder / "observations.parquet")["longitude"].between(-10, 31).all()
    assert summary["lost"]["outside_region"] == (occurrences()["longitude"] > 31).sum()


def test_a_region_without_a_record_ends_clearly(root: Path) -> None:
    sea = Collected(WORLD, (Region("sea", 1, 46, 2, 47),))
    with pytest.raises(InputError, match=r"no record of a plant is left of the 300 read .*'outside_region': 300"):
        built(root, "sea", sea, ["whole"])
