"""A backfill opens a run for each month, of the whole map, with what each month's state is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from plant_traits.collected import record_collected
from plant_traits.errors import GridError, InputError, WorkspaceError
from plant_traits.month import Month
from plant_traits.regions import Region
from tasks.context import RunWords, open_backfill, open_run


@pytest.fixture
def words(tmp_path: Path) -> RunWords:
    return RunWords("tiny", workspace=str(tmp_path / "workspace"))


def test_a_run_for_each_month_of_the_mapped_region(words: RunWords) -> None:
    with open_backfill(words, "europe", ["2026-11", "2026-09..2026-10"]) as runs:
        assert [str(run.spec.month) for run in runs] == ["2026-09", "2026-10", "2026-11"]
        assert {run.spec.region.name for run in runs} == {"world"}
        assert {tuple(x.name for x in run.spec.collected) for run in runs} == {("europe",)}
        assert len({run.spec.lineage for run in runs}) == 1


def test_what_was_collected_before_stays(words: RunWords) -> None:
    with open_run(words) as run:
        alps = Region("alps", 5.0, 43.0, 17.0, 48.0)
        record_collected(run.workspace, run.spec.lineage, Month(2026, 9), [alps])
    with open_backfill(words, "iberia", ["2026-09", "2026-10"]) as runs:
        assert [[x.name for x in run.spec.collected] for run in runs] == [["alps", "iberia"], ["alps", "iberia"]]
    with open_run(words) as run:
        record_collected(run.workspace, run.spec.lineage, Month(2026, 9), [])
    with open_backfill(words, "iberia", ["2026-09"]) as (run,):
        assert run.spec.collected == ()
    with pytest.raises(InputError, match="Run `refresh` for 2026-10"), open_backfill(words, "iberia", ["2026-10"]):
        pass


def test_another_map_has_a_state_of_its_own(words: RunWords) -> None:
    africa = RunWords("tiny", region="africa", workspace=words.workspace)
    with (
        open_backfill(words, "iberia", ["2026-10"]) as (of_world,),
        pytest.raises(WorkspaceError, match="in use"),
        open_backfill(africa, "iberia", ["2026-10"]),
    ):
        pass
    with open_backfill(africa, "iberia", ["2026-10"]) as (of_africa,):
        assert of_africa.spec.lineage != of_world.spec.lineage


def test_a_region_that_is_not_mapped(words: RunWords, tmp_path: Path) -> None:
    africa = RunWords("tiny", region="africa", workspace=words.workspace)
    outside = pytest.raises(GridError, match="lies outside what profile 'tiny' maps")
    with outside, open_backfill(africa, "north-america", ["2026-10"]):
        pass
    assert not (tmp_path / "workspace").exists()
