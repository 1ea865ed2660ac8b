"""The step store: content keys, atomic commits, resumption."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant_traits.errors import WorkspaceError
from plant_traits.steps import StepStore, step_key
from plant_traits.workspace import Workspace


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> StepStore:
    if request.param == "local":
        return StepStore(Workspace.open(tmp_path / "workspace"))
    return StepStore(Workspace.open(f"memory://{tmp_path}/workspace", scratch=tmp_path / "scratch"))


class Recorder:
    """Writes a file and counts its calls."""

    def __init__(self, content: str = "hello") -> None:
        self.calls = 0
        self.content = content

    def __call__(self, folder: Path) -> dict[str, int]:
        self.calls += 1
        (folder / "deep").mkdir()
        (folder / "deep" / "file.txt").write_text(self.content)
        return {"rows": 1, "columns": 2}


def test_second_run_finds_the_first(store: StepStore) -> None:
    work = Recorder()
    first = store.run("step", work, code="1", parameters={"a": 1}, inputs={"x": "digest"})
    second = store.run("step", work, code="1", parameters={"a": 1}, inputs={"x": "digest"})
    assert work.calls == 1
    assert (first.reused, second.reused) == (False, True)
    assert first == second
    assert list(second.summary.items()) == [("rows", 1), ("columns", 2)]  # in the order told
    assert (store.fetch(second) / "deep" / "file.txt").read_text() == "hello"


@pytest.mark.parametrize("change", [{"code": "2"}, {"parameters": {"a": 2}}, {"inputs": {"x": "other"}}])
def test_any_change_makes_a_new_key(store: StepStore, change: dict[str, object]) -> None:
    work = Recorder()
    settings: dict[str, object] = {"code": "1", "parameters": {"a": 1}, "inputs": {"x": "digest"}}
    store.run("step", work, **settings)  # type: ignore[arg-type]
    store.run("step", work, **{**settings, **change})  # type: ignore[arg-type]
    assert work.calls == 2


def test_digest_follows_content_not_key(store: StepStore) -> None:
    one = store.run("step", Recorder("same"), code="1")
    two = store.run("step", Recorder("same"), code="2")
    three = store.run("step", Recorder("other"), code="3")
    assert one.digest == two.digest != three.digest


def test_failed_step_leaves_nothing(store: StepStore) -> None:
    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        store.run("step", fail, code="1")
    assert store.find("step", step_key("step", parameters={}, inputs={}, code="1")) is None
    assert not [x for x in store.workspace.scratch.iterdir() if x.is_dir()]
    assert store.run("step", Recorder(), code="1").summary == {"rows": 1, "columns": 2}


def test_full_disk_is_a_clear_error(store: StepStore) -> None:
    def fill(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(WorkspaceError, match="Free space"):
        store.run("step", fill, code="1")


def test_missing_or_cut_files_are_computed_again(tmp_path: Path) -> None:
    store = StepStore(Workspace.open(tmp_path))
    work = Recorder()
    artifact = store.run("step", work, code="1")
    (store.fetch(artifact) / "deep" / "file.txt").write_text("hel")
    assert store.find("step", artifact.key) is None
    again = store.run("step", work, code="1")
    assert (again.digest, work.calls) == (artifact.digest, 2)


def test_committed_outputs_are_listed(store: StepStore, caplog: pytest.LogCaptureFixture) -> None:
    assert list(store.committed("member")) == []
    made = [store.run("member", Recorder(str(i)), code=str(i)) for i in range(20)]
    store.run("another", Recorder(), code="1")
    in_order = sorted(made, key=lambda artifact: artifact.key)
    assert list(store.committed("member")) == in_order
    assert next(store.committed("member")).files == in_order[0].files
    manifest = f"{in_order[3].key}.json"
    for damage in (b"", b"[]", b'{"files": {}}'):
        store.workspace.write_bytes(damage, "steps", "member", manifest)
        caplog.clear()
        assert list(store.committed("member")) == in_order[:3] + in_order[4:]
        assert in_order[3].key in caplog.text


def test_collections(store: StepStore) -> None:
    members = {name: store.run("member", Recorder(name), code=name) for name in ("b", "a")}
    collection = store.collect("set", members, {"out": {"members": 2}})
    assert list(store.members(collection)) == ["a", "b"]
    assert store.members(collection) == dict(sorted(members.items()))
    reversed_order = store.collect("set", dict(reversed(members.items())), {"out": {"members": 2}})
    assert reversed_order.digest == collection.digest


def test_lost_member_is_named(tmp_path: Path) -> None:
    store = StepStore(Workspace.open(tmp_path))
    member = store.run("member", Recorder(), code="1")
    collection = store.collect("set", {"only": member})
    (tmp_path / "steps" / "member" / f"{member.key}.json").unlink()
    with pytest.raises(WorkspaceError, match="'only'"):
        store.members(collection)


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=4))
def test_key_does_not_depend_on_order(parameters: dict[str, object]) -> None:
    backwards = dict(reversed(parameters.items()))
    assert step_key("s", parameters=parameters, inputs={}, code="1") == step_key(
        "s", parameters=backwards, inputs={}, code="1"
    )


def test_sigkill_at_every_point_leaves_a_whole_store(tmp_path: Path) -> None:
    """Kill a writer after each of its file-system calls; the next run always ends with the same artifact."""
    program = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from plant_traits.steps import StepStore
        from plant_traits.workspace import Workspace

        fatal, root = int(sys.argv[1]), sys.argv[2]
        calls = 0

        def audit(event, arguments):
            global calls
            if event in {"os.rename", "os.mkdir", "open", "shutil.rmtree"} and root in str(arguments[0]):
                calls += 1
                if calls == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)

        store = StepStore(Workspace.open(root))

        def work(folder: Path) -> None:
            for name in ("a", "b"):
                (folder / name).write_text(name * 1000)

        sys.addaudithook(audit)
        print(store.run("step", work, code="1").digest)
    """)
    digests = set()
    killed = 0
    for fatal in range(1, 40):
        root = tmp_path / str(fatal)
        command = [sys.executable, "-c", program, str(fatal), str(root)]
        first = subprocess.run(command, capture_output=True, text=True, check=False)
        if first.returncode == 0:
            break
        assert first.returncode == -signal.SIGKILL, first.stderr
        killed += 1
        command[3] = "0"
        second = subprocess.run(command, capture_output=True, text=True, check=True)
        digests.add(second.stdout.strip())
    assert killed >= 5
    assert len(digests) == 1


def test_manifest_is_plain_json(tmp_path: Path) -> None:
    artifact = StepStore(Workspace.open(tmp_path)).run("step", Recorder(), code="1")
    manifest = json.loads((tmp_path / "steps" / "step" / f"{artifact.key}.json").read_text())
    assert manifest["files"]["deep/file.txt"]["size"] == 5
    assert manifest["digest"] == artifact.digest
