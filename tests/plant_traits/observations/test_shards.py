from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plant_traits.errors import GridError, InputError, PhotoError, TableError
from plant_traits.observations.shards import TILES, plan_shards, read_shard, tile_name, write_shard
from plant_traits.schemas import OBSERVATION


def observations(n: int, seed: int = 1) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"observation_id": [f"gbif:d:{k}" for k in range(n)]})
    for field in OBSERVATION:
        if field.name not in frame:
            frame[field.name] = 1.0 if pa.types.is_floating(field.type) else None
    frame["photo_id"] = [str(k) for k in range(n)]
    frame["latitude"] = random.uniform(35, 55, n)
    frame["longitude"] = random.uniform(-5, 15, n)
    frame["flags"] = 0
    frame["snapshot"] = "2026-10"
    return frame[OBSERVATION.names]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 120), st.integers(1, 40), st.integers(0, 5))
def test_shards_hold_every_row_once_within_size_and_tile(n: int, size: int, seed: int) -> None:
    rows = observations(n, seed)
    shards = plan_shards(rows, size)
    assert sum(shard.size for shard, _ in shards) == n
    ids = [x for _, own in shards for x in own["observation_id"]]
    assert sorted(ids) == sorted(rows["observation_id"])
    for shard, own in shards:
        assert len(own) == shard.size <= size
        tiles = TILES.cell_of(own["latitude"].to_numpy(), own["longitude"].to_numpy())
        assert {tile_name(int(tile)) for tile in tiles} == {shard.tile}
    assert len({shard.name for shard, _ in shards}) == len(shards)
    again = plan_shards(rows.sample(frac=1, random_state=seed), size)
    assert [shard for shard, _ in again] == [shard for shard, _ in shards]
    for (_, own), (_, other) in zip(shards, again, strict=True):
        pd.testing.assert_frame_equal(own, other)


def test_a_new_row_touches_one_shard() -> None:
    before = {shard.name for shard, _ in plan_shards(observations(400).iloc[:399], 30)}
    after = {shard.name for shard, _ in plan_shards(observations(400), 30)}
    assert len(before - after) <= 1
    assert len(after - before) <= 2  # one, or two where it had to be divided


def test_the_name_is_the_content_and_not_the_month_or_the_flags() -> None:
    rows = observations(10)
    names = [shard.name for shard, _ in plan_shards(rows, 100)]
    assert [x.name for x, _ in plan_shards(rows.assign(snapshot="2026-11", flags=4), 100)] == names
    changed = rows.assign(species="Poa annua")
    assert not {x.name for x, _ in plan_shards(changed, 100)} & set(names)


@pytest.mark.parametrize(
    ("latitude", "longitude", "name"),
    [(36.99, -122.06, "N30W130"), (-0.1, 0.0, "S10E000"), (90.0, 180.0, "N80W180"), (-90.0, 179.9, "S90E170")],
)
def test_tiles_are_named_by_their_south_west_corner(latitude: float, longitude: float, name: str) -> None:
    assert tile_name(int(TILES.cell_of(latitude, longitude))) == name


def test_what_cannot_be_divided_is_refused() -> None:
    rows = observations(3)
    with pytest.raises(InputError, match="at least 1"):
        plan_shards(rows, 0)
    with pytest.raises(InputError, match="repeated"):
        plan_shards(pd.concat([rows, rows]), 10)
    with pytest.raises(GridError):
        plan_shards(rows.assign(latitude=np.nan), 10)
    with pytest.raises(TableError, match="species"):
        plan_shards(rows.drop(columns="species"), 10)


class Photos:
    """A reader of photos in memory; None cannot be read."""

    def __init__(self, photos: dict[str, bytes | None]) -> None:
        self.photos = photos

    def __enter__(self) -> Photos:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __contains__(self, photo_id: object) -> bool:
        return photo_id in self.photos

    def read(self, photo_id: str) -> bytes:
        data = self.photos[photo_id]
        if data is None:
            raise PhotoError("unreadable", photo_id)
        return data


def test_a_shard_is_written_and_read_back(tmp_path: Path) -> None:
    rows = observations(150).assign(photo_id=[str(k) if k < 140 else None for k in range(150)])
    first = Photos({str(k): f"photo {k}".encode() for k in range(5, 138)} | {"138": None, "3": None})
    second = Photos({"3": b"photo 3 elsewhere", "5": b"not this"})
    counts = write_shard(rows, [first, second], tmp_path / "shard")
    assert counts == {"missing": 5, "ok": 134, "unreadable": 1}
    stored = read_shard(tmp_path / "shard")
    pd.testing.assert_frame_equal(
        stored.observations[["observation_id", "photo_id"]], rows[["observation_id", "photo_id"]]
    )
    photos = stored.photos().set_index("photo_id")
    assert len(photos) == 140
    assert photos.loc["5", "image"] == b"photo 5"
    assert photos.loc["3", "image"] == b"photo 3 elsewhere"
    assert photos.loc["5", "sha256"] == hashlib.sha256(b"photo 5").hexdigest()
    assert photos.loc["138", "status"] == "unreadable"
    assert photos.loc["139", "status"] == "missing"
    assert photos.loc["139", "image"] is None
    assert [len(batch) for batch in stored.photo_batches()] == [64, 64, 12]
    assert pq.ParquetFile(tmp_path / "shard" / "photos.parquet").num_row_groups == 3


def test_the_same_shard_has_the_same_bytes(tmp_path: Path) -> None:
    rows = observations(20)
    photos = [Photos({str(k): bytes([k]) for k in range(20)})]
    for name in ("one", "two"):
        write_shard(rows, photos, tmp_path / name)
    for file in ("observations.parquet", "photos.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_shard_without_photos_has_an_empty_file_of_them(tmp_path: Path) -> None:
    assert write_shard(observations(3).assign(photo_id=None), [], tmp_path / "shard") == {}
    assert read_shard(tmp_path / "shard").photos().empty


def test_a_damaged_shard_says_so(tmp_path: Path) -> None:
    write_shard(observations(3), [], tmp_path / "shard")
    stored = read_shard(tmp_path / "shard")
    (tmp_path / "shard" / "photos.parquet").write_bytes(b"PAR1")
    with pytest.raises(TableError, match="make the shard again"):
        stored.photos()
    (tmp_path / "shard" / "observations.parquet").unlink()
    with pytest.raises(TableError):
        read_shard(tmp_path / "shard")
