"""One Prefect server and one finished tiny run, shared by the tests of whole runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from plant_traits.steps import Artifact


@dataclass
class Recorder:
    """A display that remembers which stages were computed."""

    computed: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    summaries: dict[str, dict[str, object]] = field(default_factory=dict)

    def begin(self, title: str):
        return lambda finished, total, words="": None

    def end(self, title: str, artifact: Artifact) -> None:
        (self.reused if artifact.reused else self.computed).append(title)
        self.summaries[title] = artifact.summary


@dataclass(frozen=True)
class Run:
    """A finished run: its release folder, its workspace and what it showed."""

    release: Path
    workspace: Path
    shown: Recorder


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def run_refresh(prefect_server: None):
    from flows.refresh import refresh
    from tasks.showing import showing

    def run(workspace: Path, **words: object) -> Run:
        shown = Recorder()
        with showing(shown):
            release = refresh(workspace=str(workspace), **words)
        return Run(Path(release), workspace, shown)

    return run


@pytest.fixture(scope="session")
def tiny_run(run_refresh, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_refresh(tmp_path_factory.mktemp("tiny"), profile="tiny")


@pytest.fixture(scope="session")
def hashes() -> Callable[[Path], dict[str, str]]:
    """Return a function that hashes every file of a folder."""

    def of(folder: Path) -> dict[str, str]:
        files = sorted(x for x in folder.rglob("*") if x.is_file())
        return {x.relative_to(folder).as_posix(): hashlib.sha256(x.read_bytes()).hexdigest() for x in files}

    return of
