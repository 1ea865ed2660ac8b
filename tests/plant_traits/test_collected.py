"""Which regions make up a month: a set that grows, in any order, and follows the month before."""

from __future__ import annotations

from pathlib import Path

import pytest
import shapely

from plant_traits.collected import plan_backfill, read_collected, record_collected
from plant_traits.errors import InputError, WorkspaceError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.workspace import Workspace

A, B, C = (Region(name, k, 0, k + 2, 10) for k, name in enumerate("abc"))
SHAPE = Region.of_shape("shape", shapely.MultiPolygon([shapely.Polygon([(0, 0), (1 / 3, 0), (0, 2 / 3)])]))
LINEAGE = "tiny-0"
AUGUST, SEPTEMBER, OCTOBER = (Month(2026, k) for k in (8, 9, 10))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def test_regions_come_back_as_they_were_whatever_their_order(workspace: Workspace) -> None:
    for region in (C, SHAPE, A, C):
        record_collected(workspace, LINEAGE, AUGUST, [region])
    found = read_collected(workspace, LINEAGE, AUGUST)
    assert not found.whole
    assert found.regions == (A, C, SHAPE)
    assert [x.key for x in found.regions] == [x.key for x in (A, C, SHAPE)]
    assert read_collected(workspace, LINEAGE, SEPTEMBER).regions == ()
    assert read_collected(workspace, "tiny-1", AUGUST).regions == ()


def test_regions_of_one_name_and_other_bounds_are_two(workspace: Workspace) -> None:
    other = Region("a", 50, 0, 60, 10)
    record_collected(workspace, LINEAGE, AUGUST, [A, other])
    assert set(read_collected(workspace, LINEAGE, AUGUST).regions) == {A, other}


def test_a_set_grows_within_its_month(workspace: Workspace) -> None:
    assert plan_backfill(workspace, LINEAGE, A, [AUGUST]) == {AUGUST: (A,)}
    record_collected(workspace, LINEAGE, AUGUST, [A])
    assert plan_backfill(workspace, LINEAGE, A, [AUGUST]) == {AUGUST: (A,)}
    assert plan_backfill(workspace, LINEAGE, B, [AUGUST]) == {AUGUST: (A, B)}


def test_a_month_takes_the_regions_of_the_month_before_along(workspace: Workspace) -> None:
    record_collected(workspace, LINEAGE, AUGUST, [B])
    assert plan_backfill(workspace, LINEAGE, A, [AUGUST, OCTOBER]) == {AUGUST: (A, B), OCTOBER: (A, B)}
    assert plan_backfill(workspace, LINEAGE, A, [SEPTEMBER]) == {SEPTEMBER: (A, B)}
    record_collected(workspace, LINEAGE, SEPTEMBER, [C])
    assert plan_backfill(workspace, LINEAGE, A, [OCTOBER]) == {OCTOBER: (A, C)}


def test_a_month_that_was_collected_whole_stays_whole(workspace: Workspace) -> None:
    record_collected(workspace, LINEAGE, AUGUST, [A])
    record_collected(workspace, LINEAGE, AUGUST, [])
    assert read_collected(workspace, LINEAGE, AUGUST).whole
    assert plan_backfill(workspace, LINEAGE, B, [AUGUST]) == {AUGUST: ()}


def test_a_region_alone_does_not_follow_a_whole_month(workspace: Workspace) -> None:
    record_collected(workspace, LINEAGE, AUGUST, [])
    with pytest.raises(InputError, match="Run `refresh` for 2026-10"):
        plan_backfill(workspace, LINEAGE, B, [AUGUST, OCTOBER])
    record_collected(workspace, LINEAGE, OCTOBER, [])
    assert plan_backfill(workspace, LINEAGE, B, [AUGUST, OCTOBER]) == {AUGUST: (), OCTOBER: ()}


def test_an_earlier_month_is_not_kept_back_by_a_later_one(workspace: Workspace) -> None:
    record_collected(workspace, LINEAGE, OCTOBER, [])
    assert plan_backfill(workspace, LINEAGE, B, [AUGUST]) == {AUGUST: (B,)}


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"name": "a", "bbox": [0, 0, 1], "shape": null}'])
def test_a_damaged_note_is_told(workspace: Workspace, content: bytes) -> None:
    workspace.write_bytes(content, "collected", LINEAGE, str(AUGUST), "region-a-0.json")
    with pytest.raises(WorkspaceError, match=r"region-a-0\.json does not tell a region"):
        read_collected(workspace, LINEAGE, AUGUST)
