"""A workspace is checked when it is opened and held by one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from plant_traits.errors import WorkspaceError
from plant_traits.workspace import Workspace


def test_a_file_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        Workspace.open(tmp_path / "file")


def test_unwritable_workspace(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="--workspace"):
        Workspace.open("/proc/plant-traits")


def test_remote_workspace_needs_scratch() -> None:
    with pytest.raises(WorkspaceError, match="--scratch"):
        Workspace.open("memory://somewhere")


def test_one_run_at_a_time(tmp_path: Path) -> None:
    first, second = Workspace.open(tmp_path), Workspace.open(tmp_path)
    with first.exclusive(), pytest.raises(WorkspaceError, match="in use"), second.exclusive():
        pass
    with second.exclusive():
        pass


def test_leftovers_of_killed_runs_are_cleared(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    (workspace.scratch / "step-abc").mkdir()
    (workspace.scratch / "fetched").mkdir()
    with workspace.exclusive():
        assert not (workspace.scratch / "step-abc").exists()
        assert (workspace.scratch / "fetched").exists()


def test_write_replaces_in_one_step(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    assert workspace.read_bytes("a", "b.json") is None
    workspace.write_bytes(b"one", "a", "b.json")
    workspace.write_bytes(b"two", "a", "b.json")
    assert workspace.read_bytes("a", "b.json") == b"two"
    assert [x.name for x in (tmp_path / "a").iterdir()] == ["b.json"]
