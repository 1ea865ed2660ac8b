"""Which month a run follows, and what its release points at."""

from __future__ import annotations

from pathlib import Path

import pytest

from plant_traits.errors import WorkspaceError
from plant_traits.run_spec import RunSpec
from plant_traits.runs import point_at, previous_observations, record_run
from plant_traits.steps import Artifact, StepStore
from plant_traits.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def observations(workspace: Workspace, text: str) -> Artifact:
    def write(folder: Path) -> None:
        (folder / "ledger.parquet").write_text(text)

    return StepStore(workspace).run("observations", write, code="1", parameters={"text": text})


def spec(month: str, **words: str) -> RunSpec:
    return RunSpec.resolve("tiny", month=month, **words)


def test_the_first_month_follows_none(workspace: Workspace) -> None:
    assert previous_observations(workspace, spec("2026-01")) is None


def test_a_month_follows_the_latest_recorded_one_over_gaps_and_grids(workspace: Workspace) -> None:
    for month in ("2025-11", "2026-01"):
        record_run(workspace, spec(month), {"observations": observations(workspace, month)})
    for month, expected in (("2026-01", "2025-11"), ("2026-02", "2026-01"), ("2026-07", "2026-01")):
        found = previous_observations(workspace, spec(month, grid="10deg"))
        assert found is not None
        assert (StepStore(workspace).fetch(found) / "ledger.parquet").read_text() == expected


def test_another_region_has_a_ledger_of_its_own(workspace: Workspace) -> None:
    record_run(workspace, spec("2026-01"), {"observations": observations(workspace, "world")})
    assert previous_observations(workspace, spec("2026-02", region="africa")) is None


def test_a_ledger_that_is_gone_is_not_begun_anew_in_silence(workspace: Workspace) -> None:
    artifact = observations(workspace, "january")
    record_run(workspace, spec("2026-01"), {"observations": artifact})
    Path(workspace.address("steps", "observations", f"{artifact.key}.json")).unlink()
    with pytest.raises(WorkspaceError, match=r"ledger of 2026-01 .* gone"):
        previous_observations(workspace, spec("2026-02"))


def test_the_release_pointer_moves_and_takes_nothing_elses_place(workspace: Workspace) -> None:
    first, second = observations(workspace, "one"), observations(workspace, "two")
    link = Path(point_at(workspace, "releases", spec("2026-01").name, first))
    assert (link / "ledger.parquet").read_text() == "one"
    assert Path(point_at(workspace, "releases", spec("2026-01").name, second)) == link
    assert (link / "ledger.parquet").read_text() == "two"
    link.unlink()
    link.mkdir()
    with pytest.raises(WorkspaceError, match="move it away"):
        point_at(workspace, "releases", spec("2026-01").name, first)
