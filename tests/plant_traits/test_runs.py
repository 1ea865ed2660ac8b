"""Which month a run follows, and what its release points at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data_catalog import load_catalog
from plant_traits.errors import WorkspaceError
from plant_traits.regions import Region
from plant_traits.run_spec import RunSpec
from plant_traits.runs import point_at, previous_observations, previous_run, record_run
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


def test_the_shards_of_a_run_go_on_from_less_of_the_same_month_the_ledger_does_not(workspace: Workspace) -> None:
    africa, europe = (Region.parse(name, load_catalog()) for name in ("africa", "europe"))
    may, june = spec("2026-05"), spec("2026-06")
    one, two = replace(june, collected=(africa,)), replace(june, collected=(africa, europe))
    other = replace(june, collected=(europe,))
    assert previous_run(workspace, two) is None
    for run in (may, one):
        record_run(workspace, run, {"observations": observations(workspace, f"{run.month} {len(run.collected)}")})
    found = previous_run(workspace, two)
    assert found is not None
    assert (found.month, len(found.collected)) == ("2026-06", 1)
    # A ledger follows the months; a repeated run never follows itself, nor a run of what it does not collect.
    for run in (one, other):
        again = previous_run(workspace, run)
        assert again is None or again.month == "2026-05"
    record_run(workspace, two, {"observations": observations(workspace, "both")})
    assert previous_run(workspace, two) == found
    whole = previous_run(workspace, june)
    assert whole is not None
    assert len(whole.collected) == 2


def test_a_whole_month_is_followed_by_a_whole_month_alone(workspace: Workspace) -> None:
    (africa,) = (Region.parse("africa", load_catalog()),)
    record_run(workspace, spec("2026-05"), {"observations": observations(workspace, "may")})
    assert previous_run(workspace, replace(spec("2026-06"), collected=(africa,))) is None
    assert previous_observations(workspace, replace(spec("2026-06"), collected=(africa,))) is None
    found = previous_run(workspace, spec("2026-06"))
    assert found is not None
    assert found.artifact(StepStore(workspace), "shards") is None
    assert previous_run(workspace, spec("2026-05")) is None


def test_of_several_runs_of_a_month_the_fullest_and_first_by_name_counts(workspace: Workspace) -> None:
    africa = Region.parse("africa", load_catalog())
    may = spec("2026-05")
    for run in (replace(may, collected=(africa,)), may, spec("2026-05", grid="10deg")):
        record_run(workspace, run, {"observations": observations(workspace, "may")})
    found = previous_run(workspace, spec("2026-06"))
    assert found is not None
    assert (found.name, found.collected) == ("tiny-world-10deg-2026-05", frozenset())


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_record_is_told(workspace: Workspace, content: str) -> None:
    record_run(workspace, spec("2026-05"), {})
    (file,) = (Path(workspace.address("runs")) / spec("2026-05").lineage / "2026-05").iterdir()
    file.write_text(content)
    with pytest.raises(WorkspaceError, match="remove it and run the refresh of 2026-05 again"):
        previous_run(workspace, spec("2026-06"))


def test_another_region_has_a_ledger_of_its_own(workspace: Workspace) -> None:
    record_run(workspace, spec("2026-01"), {"observations": observations(workspace, "world")})
    assert previous_observations(workspace, spec("2026-02", region="africa")) is None


def test_a_ledger_that_is_gone_is_not_begun_anew_in_silence(workspace: Workspace) -> None:
    artifact = observations(workspace, "january")
    record_run(workspace, spec("2026-01"), {"observations": artifact})
    Path(workspace.address("steps", "observations", f"{artifact.key}.json")).unlink()
    with pytest.raises(WorkspaceError, match=r"observations of 2026-01 .* gone"):
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
