"""Shard jobs on Dask: reused where done, retried where a worker dies, raised where they fail."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pytest

from plant_traits.errors import TableError
from plant_traits.inference.cluster import CLUSTERS, ClusterSpec, ShardJob, run_jobs
from plant_traits.steps import StepStore
from plant_traits.workspace import Workspace


def write(destination: Path, *, text: str, source: Path | None = None) -> dict[str, int]:
    """Write a text, in front of it that of an input."""
    before = "" if source is None else (source / "text").read_text()
    (destination / "text").write_text(before + text)
    return {"length": len(text)}


def tell_process(destination: Path, *, number: int) -> dict[str, int]:
    """Tell which process this is."""
    return {"process": os.getpid(), "number": number}


def die_once(destination: Path, *, marker: str) -> dict[str, int]:
    """Kill the worker at the first call."""
    if not Path(marker).exists():
        Path(marker).write_text("died")
        os.kill(os.getpid(), signal.SIGKILL)
    return write(destination, text="survived")


def refuse(destination: Path) -> dict[str, int]:
    """Fail as a bad input makes a job fail."""
    raise TableError("shard: column 'x' is missing")


@pytest.fixture(autouse=True)
def functions_travel_by_value() -> Iterator[None]:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture
def store(tmp_path: Path) -> StepStore:
    return StepStore(Workspace.open(tmp_path / "workspace"))


def job(text: str, **inputs: object) -> ShardJob:
    return ShardJob(step="text", function=write, code="1", parameters={"text": text}, inputs=inputs)  # type: ignore[arg-type]


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu resource"])
def test_jobs_run_and_are_reused(store: StepStore, gpu: bool) -> None:
    seen: list[tuple[int, int]] = []
    jobs = {name: job(name) for name in ("a", "b", "c")}
    first = run_jobs(store, jobs, ClusterSpec(workers=2, gpu=gpu), lambda done, total: seen.append((done, total)))
    assert list(first) == ["a", "b", "c"]
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    again = run_jobs(store, jobs | {"d": job("d")}, ClusterSpec(workers=1))
    assert [artifact.reused for artifact in again.values()] == [True, True, True, False]
    following = run_jobs(store, {"x": job("!", source=first["a"])}, ClusterSpec(workers=1))
    assert (store.fetch(following["x"]) / "text").read_text() == "a!"


def test_a_killed_worker_costs_nothing(store: StepStore, tmp_path: Path) -> None:
    fragile = ShardJob(step="text", function=die_once, code="1", parameters={"marker": str(tmp_path / "marker")})
    done = run_jobs(store, {"fragile": fragile, "other": job("other")}, ClusterSpec(workers=2))
    assert (tmp_path / "marker").exists()
    assert (store.fetch(done["fragile"]) / "text").read_text() == "survived"


def test_a_failing_job_is_raised_and_the_rest_kept(store: StepStore) -> None:
    jobs = {"good": job("good"), "bad": ShardJob(step="text", function=refuse, code="1")}
    run_jobs(store, {"good": jobs["good"]}, ClusterSpec(workers=1))
    with pytest.raises(TableError, match="column 'x'"):
        run_jobs(store, jobs, ClusterSpec(workers=1))
    assert store.find("text", jobs["good"].key) is not None


def test_keys_ignore_settings(store: StepStore) -> None:
    on_cpu, on_gpu = (
        ShardJob(step="text", function=write, code="1", parameters={"text": "a"}, settings={"device": device})
        for device in ("cpu", "cuda")
    )
    assert on_cpu.key == on_gpu.key


def process_of(store: StepStore, number: int) -> int:
    asked = ShardJob(step="process", function=tell_process, code="1", parameters={"number": number})
    return int(run_jobs(store, {"a": asked}, ClusterSpec(workers=1))["a"].summary["process"])


def test_a_kept_cluster_is_found_by_the_next_jobs_and_ends(store: StepStore) -> None:
    with CLUSTERS.keeping():
        first, second = process_of(store, 1), process_of(store, 2)
        with pytest.raises(TableError):
            run_jobs(store, {"a": ShardJob(step="refused", function=refuse, code="1")}, ClusterSpec(workers=1))
        third = process_of(store, 3)
    assert first == second == third != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert process_of(store, 4) != first
