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


def test_a_users_scratch_folder_is_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "precious").mkdir(parents=True)
    (home / "precious" / "thesis.txt").write_text("ten years")
    workspace = Workspace.open(tmp_path / "workspace", scratch=home)
    with workspace.exclusive():
        assert (home / "precious" / "thesis.txt").read_text() == "ten years"


def test_two_scratch_folders_are_still_one_workspace(tmp_path: Path) -> None:
    first, second = (Workspace.open(tmp_path / "w", scratch=tmp_path / name) for name in ("a", "b"))
    with first.exclusive(), pytest.raises(WorkspaceError, match="in use"), second.exclusive():
        pass


def test_scratch_on_another_disk_is_refused_at_once(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second disk here")
    with pytest.raises(WorkspaceError, match="another disk"):
        Workspace.open(tmp_path / "workspace", scratch=other / "plant-traits-test")


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    first = Workspace.open(tmp_path).secret("salt")
    assert len(first) == 64
    assert Workspace.open(tmp_path).secret("salt") == first
    assert (tmp_path / "secrets" / "salt").stat().st_mode & 0o077 == 0
