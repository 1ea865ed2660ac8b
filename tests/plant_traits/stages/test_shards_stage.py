"""Months in shards: what stays, photos gathered for what is new alone, live rows, and runs that were killed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plant_traits.errors import WorkspaceError
from plant_traits.schemas import OBSERVATION, SHARD_ROW, read_table, write_table
from plant_traits.sources.inputs import InputRecord, InputSet
from plant_traits.stages import shards as stage
from plant_traits.stages.shards import ShardSet, cut_shards
from plant_traits.steps import Artifact, StepStore
from plant_traits.workspace import Workspace

# id, photo, species, latitude, longitude
MAY = [
    ("a", "1", "Poa annua", 45.0, 5.0),
    ("b", "2", "Poa annua", 45.5, 5.5),
    ("b", "3", "Poa annua", 45.5, 5.5),
    ("c", None, "Poa annua", 46.0, 6.0),
    ("d", "4", "Poa annua", -22.0, 32.0),
    ("e", "5", "Poa annua", -21.0, 31.0),
    ("f", "6", "Poa annua", 60.0, 100.0),
]
# b loses its photo 3, d is another species, f is retracted, g is new.
JUNE = [
    ("a", "1", "Poa annua", 45.0, 5.0),
    ("b", "2", "Poa annua", 45.5, 5.5),
    ("c", None, "Poa annua", 46.0, 6.0),
    ("d", "4", "Poa alpina", -22.0, 32.0),
    ("e", "5", "Poa annua", -21.0, 31.0),
    ("g", "7", "Poa annua", 45.1, 5.1),
]
HELD = {"1", "2", "3", "4", "6", "7"}  # photo 5 is lost


class Months:
    """A workspace, a zip of photos and the observations of months."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.store = StepStore(Workspace.open(folder / "workspace"))
        self.photos(HELD)

    def photos(self, held: set[str]) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for photo in sorted(held):
                archive.writestr(f"photos/{photo}/original.jpg", f"photo {photo}".encode())
        (self.root / "photos.zip").write_bytes(buffer.getvalue())

    def observations(self, rows: list[tuple], month: str = "2026-05") -> Artifact:
        names = ["observation_id", "photo_id", "species", "latitude", "longitude"]
        table = pd.DataFrame(rows, columns=names).assign(flags=0, snapshot=month)
        for field in OBSERVATION:
            if field.name not in table:
                table[field.name] = 1.0 if pa.types.is_floating(field.type) else None

        def write(folder: Path) -> None:
            write_table(table, folder / "observations.parquet", OBSERVATION)

        return self.store.run("observations", write, code="1", parameters={"rows": rows, "month": month})

    def cut(
        self, observations: Artifact, previous: ShardSet | None = None, code: str = "1", size: int = 10
    ) -> ShardSet:
        records = (
            InputRecord(role="photos", reader="bucket-zip", source="inaturalist", path="photos.zip", size=0, sha256=""),
        )
        return cut_shards(
            self.store,
            root=self.root,
            inputs=InputSet(records),
            observations=observations,
            size=size,
            code=code,
            previous=previous,
        )

    def rows(self, collection: Artifact) -> dict[str, set[tuple[str, str | None, str]]]:
        found = {}
        for name, member in self.store.members(collection).items():
            table = read_table(self.store.fetch(member) / "observations.parquet", SHARD_ROW)
            columns = ["observation_id", "photo_id", "species"]
            found[name] = set(
                table[columns].astype(object).where(table[columns].notna(), None).itertuples(index=False, name=None)
            )
        return found

    def statuses(self, collection: Artifact) -> dict[str, str]:
        found: dict[str, str] = {}
        for member in self.store.members(collection).values():
            table = pq.read_table(self.store.fetch(member) / "photos.parquet", columns=["photo_id", "status"])
            found |= dict(zip(table["photo_id"].to_pylist(), table["status"].to_pylist(), strict=True))
        return found


@pytest.fixture
def months(tmp_path: Path) -> Months:
    return Months(tmp_path)


def triples(rows: list[tuple]) -> set[tuple]:
    return {row[:3] for row in rows}


def test_a_first_month_is_all_live(months: Months) -> None:
    may = months.cut(months.observations(MAY))
    assert months.store.members(may.live) == months.store.members(may.shards)
    assert set().union(*months.rows(may.shards).values()) == triples(MAY)
    assert may.shards.summary == {
        "members": 3,
        "in": {"observations": 7, "photos": 6},
        "out": {"shards": 3, "shards cut": 3, "rows cut as new or changed": 7, "photos held": 5},
        "lost": {"photo missing": 1},
    }


def test_a_later_month_cuts_what_is_new_and_leaves_the_rest_as_it_is(months: Months) -> None:
    may = months.cut(months.observations(MAY))
    months.photos({"4", "7"})  # photos of rows that stay are not asked for again
    june = months.cut(months.observations(JUNE, "2026-06"), may)
    before, after = months.store.members(may.shards), months.store.members(june.shards)
    kept = set(before) & set(after)
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    new = {name: rows for name, rows in months.rows(june.shards).items() if name not in kept}
    assert list(map(sorted, new.values())) == [[("d", "4", "Poa alpina"), ("g", "7", "Poa annua")]]
    live = months.rows(june.live)
    assert set().union(*live.values()) == triples(JUNE)
    assert sum(map(len, live.values())) == len(JUNE)
    assert set(live) == set(after)
    assert {"b"} == {row[0] for name in kept for row in months.rows(june.shards)[name] - live[name]} - {"d"}
    assert june.shards.summary["out"] == {
        "shards": 3,
        "shards cut": 1,
        "rows cut as new or changed": 2,
        "shards of which rows were retracted or changed": 2,
        "rows retracted or changed since the month before": 3,
        "photos held": 4,
    }
    assert june.shards.summary["lost"] == {"photo missing": 1}


def test_a_month_cut_again_does_nothing(months: Months, monkeypatch: pytest.MonkeyPatch) -> None:
    may = months.cut(months.observations(MAY))
    june = months.cut(months.observations(JUNE, "2026-06"), may)

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(stage, "write_shard", refuse)
    monkeypatch.setattr(stage, "plan_month", refuse)
    again = months.cut(months.observations(JUNE, "2026-06"), may)
    assert again == june
    assert again.shards.reused
    assert again.live.reused


@pytest.mark.parametrize("survives", range(6))
def test_a_killed_cut_goes_on_and_ends_the_same(
    months: Months, monkeypatch: pytest.MonkeyPatch, survives: int, tmp_path: Path
) -> None:
    may = months.cut(months.observations(MAY))
    observations = months.observations(JUNE, "2026-06")
    run, done = StepStore.run, []

    def killed(self: StepStore, *words: object, **told: object) -> Artifact:
        if len(done) == survives:
            raise KeyboardInterrupt
        done.append(words)
        return run(self, *words, **told)

    monkeypatch.setattr(StepStore, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        months.cut(observations, may)
    monkeypatch.undo()
    resumed = months.cut(observations, may)
    other = Months(tmp_path / "other")
    assert resumed == other.cut(other.observations(JUNE, "2026-06"), other.cut(other.observations(MAY)))


def test_a_photo_that_is_there_now_is_gathered_with_its_row(months: Months) -> None:
    may = months.cut(months.observations(MAY))
    assert months.statuses(may.shards)["5"] == "missing"
    months.photos(HELD | {"5"})
    june = months.cut(months.observations(MAY, "2026-06"), may)
    assert june.shards.summary["lost"] == {}
    assert june.shards.summary["out"]["rows cut again for a photo that was missing"] == 1
    assert (
        months.rows(june.live).keys() - months.rows(may.live).keys()
        == months.store.members(june.shards).keys() - months.store.members(may.shards).keys()
    )
    (new,) = months.store.members(june.shards).keys() - months.store.members(may.shards).keys()
    assert months.rows(june.shards)[new] == {("e", "5", "Poa annua")}
    assert set().union(*months.rows(june.live).values()) == triples(MAY)
    july = months.cut(months.observations(MAY, "2026-07"), june)
    assert july.shards.summary["out"]["shards"] == june.shards.summary["out"]["shards"]
    assert "shards cut" not in july.shards.summary["out"]


def test_a_photo_that_stays_lost_is_not_cut_again(months: Months) -> None:
    may = months.cut(months.observations(MAY))
    june = months.cut(months.observations(MAY, "2026-06"), may)
    assert months.store.members(june.shards) == months.store.members(may.shards)
    assert june.shards.summary["lost"] == {"photo missing": 1}


@pytest.mark.parametrize(("code", "size"), [("2", 10), ("1", 2)])
def test_other_code_or_another_size_cuts_everything_afresh(months: Months, code: str, size: int) -> None:
    may = months.cut(months.observations(MAY))
    observations = months.observations(JUNE, "2026-06")
    assert months.cut(observations, may, code, size) == months.cut(observations, None, code, size)


def test_a_shard_that_was_removed_is_told(months: Months) -> None:
    may = months.cut(months.observations(MAY))
    member = next(iter(months.store.members(may.shards).values()))
    Path(months.store.workspace.address("steps", "shard", f"{member.key}.json")).unlink()
    with pytest.raises(WorkspaceError, match="run the refresh again"):
        months.cut(months.observations(JUNE, "2026-06"), may)


def test_progress_ends_with_all_shards(months: Months) -> None:
    told: list[tuple[int, int]] = []

    def progress(finished: int, total: int) -> None:
        told.append((finished, total))

    cut_shards(
        months.store,
        root=months.root,
        inputs=InputSet(()),
        observations=months.observations(MAY),
        size=10,
        code="1",
        progress=progress,
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
