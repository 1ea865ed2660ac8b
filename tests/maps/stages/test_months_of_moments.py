"""Shards, predictions and moments of three months, kept from month to month, against those made afresh."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from maps.stages.cells import MOMENTS_FILE, NOT_LIVE, merge_moments, reduce_shard
from plant_traits.covariates.biomes import NEEDED
from plant_traits.model.features import FEATURES, PhotoFeatures, write_features
from plant_traits.model.photo_hashes import hashes_of_bytes
from plant_traits.schemas import MOMENTS, OBSERVATION, PREDICTION, SHARD_ROW, read_table, write_table
from plant_traits.sources.inputs import InputRecord, InputSet
from plant_traits.stages.covariates import write_points
from plant_traits.stages.prediction import predict_shard
from plant_traits.stages.shards import ShardSet, cut_shards
from plant_traits.steps import Artifact, StepStore
from plant_traits.workspace import Workspace

ENCODER = "0123456789abcdef0123456789abcdef"
KEYS = ["observation_id", "photo_id", "trait"]
INPUTS = InputSet((InputRecord("photos", "bucket-zip", "inaturalist", "photos.zip", 0, ""),))


def drawn(text: object, n: int) -> np.ndarray:
    """Return numbers that a text stands for, wherever it is."""
    return np.random.default_rng(list(str(text).encode())).normal(size=n)


def records(ids: range) -> pd.DataFrame:
    """Return records of a continent: every fifth with two photos, every seventh with none."""
    rows = []
    for k in ids:
        latitude, longitude = 40 + 8 * drawn(f"place {k}", 2)
        photos = [None] if k % 7 == 0 else [f"{k}"] if k % 5 else [f"{k}", f"{k}5"]
        rows += [(f"gbif:d:{k}", photo, f"Rosa {k % 9}", f"observer {k % 11}", latitude, longitude) for photo in photos]
    names = ["observation_id", "photo_id", "species", "observer", "latitude", "longitude"]
    table = pd.DataFrame(rows, columns=names).assign(flags=0, snapshot="2026-05")
    table["growth_form"] = "tree"
    for field in OBSERVATION:
        if field.name not in table:
            table[field.name] = 1.0 if pa.types.is_floating(field.type) else None
    return table[OBSERVATION.names]


def month(before: pd.DataFrame, number: int) -> pd.DataFrame:
    """Return the records of a later month: others named and placed, some and single photos gone, some new."""
    rows = before[before["observation_id"].str.split(":").str[2].astype(int) % 17 != number]
    rows = rows[~((rows["photo_id"].str.len() == 3) & (rows["photo_id"].str[1] == str(number)))].copy()
    named = rows["observation_id"].str.split(":").str[2].astype(int) % 13 == number
    rows.loc[named, "species"] = f"Tilia {number}"
    rows.loc[named, "latitude"] += 0.7
    return pd.concat([rows, records(range(1000 * number, 1000 * number + 12))], ignore_index=True)


class Run:
    """Months of one workspace."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root, self.model = root, model
        self.store = StepStore(Workspace.open(root / "workspace"))
        with zipfile.ZipFile(root / "photos.zip", "w") as archive:
            for photo in sorted({x for frame in MONTHS for x in frame["photo_id"].dropna()}):
                archive.writestr(f"photos/{photo}/original.jpg", photo.encode())

    def shards(self, table: pd.DataFrame, previous: ShardSet | None = None) -> ShardSet:
        def write(folder: Path) -> None:
            write_table(table, folder / "observations.parquet", OBSERVATION)

        observations = self.store.run("observations", write, code="1", parameters={"rows": len(table)})
        return cut_shards(
            self.store, root=self.root, inputs=INPUTS, observations=observations, size=40, code="1", previous=previous
        )

    def predicted(self, shards: ShardSet) -> dict[str, Artifact]:
        return {name: self._predicted(shard) for name, shard in self.store.members(shards.shards).items()}

    def _predicted(self, shard: Artifact) -> Artifact:
        folder = self.store.fetch(shard)

        def predict(destination: Path) -> dict[str, object]:
            rows = read_table(folder / "observations.parquet", SHARD_ROW)
            places = [
                5 + drawn(f"{y:.6f} {x:.6f}", len(NEEDED))
                for y, x in zip(rows["latitude"], rows["longitude"], strict=True)
            ]
            write_points(destination, np.array(places, dtype=np.float32), NEEDED)
            photos = rows["photo_id"].dropna().unique().tolist()
            seen = np.array([drawn(photo, 2) for photo in photos], dtype=np.float32).reshape(-1, 2).astype(np.float16)
            features = PhotoFeatures(
                tuple(photos),
                hashes_of_bytes([hashlib.sha256(x.encode()).digest() for x in photos]),
                seen.astype(np.float32),
                ("ok",) * len(photos),
                ENCODER,
            )
            write_features(features, destination / FEATURES)
            return predict_shard(
                destination,
                shard=folder,
                features=destination,
                points=destination,
                model=self.model,
                batch_size=64,
                device="cpu",
            )

        return self.store.run("shard-predictions", predict, code="1", inputs={"shard": shard.digest})

    def live_predictions(self, shards: ShardSet) -> pd.DataFrame:
        parts = []
        for name, live in self.store.members(shards.live).items():
            table = read_table(self.store.fetch(self.predicted(shards)[name]) / "predictions.parquet", PREDICTION)
            own = read_table(self.store.fetch(live) / "observations.parquet", SHARD_ROW, KEYS[:2])
            parts.append(table.merge(own, on=KEYS[:2]))
        return pd.concat(parts).sort_values(KEYS, ignore_index=True)

    def moments(self, shards: ShardSet, folder: Path) -> tuple[pd.DataFrame, int]:
        """Return the month's moments, and how many predictions of rows that are not live were left out."""
        predicted, reduced, left_out = self.predicted(shards), [], 0
        for name, live in self.store.members(shards.live).items():
            destination = folder / name
            destination.mkdir(parents=True)
            told = reduce_shard(
                destination, shard=self.store.fetch(live), predictions=self.store.fetch(predicted[name]), grid="1deg"
            )
            left_out += told["in"].get(NOT_LIVE, 0)
            reduced.append(destination)
        merge_moments(folder, shards=reduced)
        return read_table(folder / MOMENTS_FILE, MOMENTS), left_out


MONTHS = [records(range(1, 260))]
for _number in (1, 2):
    MONTHS.append(month(MONTHS[-1], _number))


@pytest.fixture
def model(make_model: Callable[[dict[str, object]], Path]) -> Path:
    return make_model({})


def test_three_months_end_as_the_third_alone(model: Path, tmp_path: Path) -> None:
    (tmp_path / "followed").mkdir()
    (tmp_path / "afresh").mkdir()
    followed, afresh = Run(tmp_path / "followed", model), Run(tmp_path / "afresh", model)
    kept: ShardSet | None = None
    names: list[set[str]] = []
    for table in MONTHS:
        kept = followed.shards(table, kept)
        names.append(set(followed.predicted(kept)))
    assert kept is not None
    alone = afresh.shards(MONTHS[-1])
    for before, after in pairwise(names):
        assert 1 <= len(after - before) <= 5
        assert len(after & before) > 15

    # The rows predicted in the last month are those that it brought.
    columns = SHARD_ROW.names
    same = MONTHS[2][columns].merge(MONTHS[1][columns], on=columns)
    new = [followed.store.members(kept.shards)[name] for name in names[2] - names[1]]
    assert sum(x.summary["rows"] for x in new) == len(MONTHS[2]) - len(same) > 20

    ours, theirs = followed.live_predictions(kept), afresh.live_predictions(alone)
    assert len(ours) == 2 * len(MONTHS[2])
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    (merged, left_out), (expected, none) = (
        run.moments(shards, tmp_path / name) for run, shards, name in ((followed, kept, "a"), (afresh, alone, "b"))
    )
    assert (left_out > 100, none) == (True, 0)
    assert merged["n"].sum() == 2 * len(MONTHS[2])
    pd.testing.assert_frame_equal(merged, expected, rtol=1e-12, atol=1e-300)
