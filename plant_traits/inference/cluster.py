"""Run one step per shard on Dask: a local cluster by default, an existing scheduler by address."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dask
from dask.distributed import Client, LocalCluster, as_completed

from plant_traits.code_version import OUR_PACKAGES, code_version
from plant_traits.errors import WorkspaceError
from plant_traits.kept_open import KeptOpen
from plant_traits.steps import Artifact, StepStore, Summary, step_key
from plant_traits.workspace import Workspace

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ClusterSpec:
    """Where shards are worked on.

    Attributes:
        workers: processes of a local cluster, one thread each.
        address: an existing scheduler, which then decides about workers.
        gpu: True asks every task for one unit of the ``GPU`` resource.
    """

    workers: int = 2
    address: str | None = None
    gpu: bool = False


@dataclass(frozen=True)
class ShardJob:
    """One step on one shard, described without data so that it crosses the scheduler in a few hundred bytes.

    Attributes:
        step: name of the step.
        function: a module-level function ``(destination, *, <one Path per role of inputs>, **parameters)``.
        code: its code version.
        inputs: artifacts it reads, by the name of the argument that receives their local folder.
        parameters: further arguments, JSON-serialisable, part of the key.
        settings: further arguments that do not change the result, such as a device; not part of the key.
    """

    step: str
    function: Callable[..., Summary]
    code: str
    inputs: Mapping[str, Artifact] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Key of the step's output."""
        return step_key(self.step, parameters=self.parameters, inputs=self._digests, code=self.code)

    @property
    def _digests(self) -> dict[str, str]:
        return {role: artifact.digest for role, artifact in self.inputs.items()}

    def run(self, workspace: Workspace) -> Artifact:
        """Return the step's output, computing it in this process where it does not exist.

        Raises:
            WorkspaceError: this process has other code than the one that planned the job.
        """
        module = self.function.__module__
        if module.partition(".")[0] in OUR_PACKAGES and code_version(module) != self.code:
            raise WorkspaceError(
                f"job {self.step!r} was planned with code {self.code}, this worker has {code_version(module)}: "
                "install the same version and libraries on the workers and where the flow runs"
            )
        store = StepStore(workspace)

        def compute(destination: Path) -> Summary:
            folders = {role: store.fetch(artifact) for role, artifact in self.inputs.items()}
            return self.function(destination, **folders, **self.parameters, **self.settings)

        return store.run(self.step, compute, code=self.code, parameters=self.parameters, inputs=self._digests)


def run_jobs(
    store: StepStore, jobs: Mapping[str, ShardJob], cluster: ClusterSpec, progress: Progress | None = None
) -> dict[str, Artifact]:
    """Return the output of every job; only those without one are sent to the cluster.

    A worker that dies is replaced and its job tried again by Dask; an error of a job itself is raised here, after
    which finished jobs are kept and a rerun resumes.

    Args:
        store: where outputs live; workers open the same workspace.
        jobs: jobs by name.
        cluster: where they run.
        progress: called with (finished, total).

    Returns:
        Artifacts by name, in the order of ``jobs``.
    """
    done: dict[str, Artifact] = {}
    pending: dict[str, ShardJob] = {}
    for name, job in jobs.items():
        found = store.find(job.step, job.key)
        if found is None:
            pending[name] = job
        else:
            done[name] = found
    _tell(progress, len(done), len(jobs))
    if pending:
        with _client(cluster, store.workspace) as client, client.as_current():
            resources = {"GPU": 1} if cluster.gpu else None
            futures = {
                client.submit(
                    job.run, store.workspace, pure=False, resources=resources, key=f"{job.step}-{job.key}"
                ): name
                for name, job in pending.items()
            }
            for future, artifact in as_completed(futures, with_results=True):
                done[futures[future]] = artifact
                _tell(progress, len(done), len(jobs))
    return {name: done[name] for name in jobs}


CLUSTERS: KeptOpen[Client] = KeptOpen("clusters", usable=lambda client: client.status == "running")
"""Local clusters: starting workers, and their loading of libraries, costs more than a few jobs do."""


def _client(cluster: ClusterSpec, workspace: Workspace) -> AbstractContextManager[Client]:
    if cluster.address is not None:
        return Client(cluster.address)
    return CLUSTERS.use((cluster, workspace.scratch), partial(_local, cluster, workspace))


@contextmanager
def _local(cluster: ClusterSpec, workspace: Workspace) -> Iterator[Client]:
    """Start a local cluster, and end it."""
    settings = {
        "temporary-directory": str(workspace.scratch / "dask"),
        "distributed.admin.log-format": "%(message)s",
        "distributed.scheduler.allowed-failures": 3,
    }
    with (
        dask.config.set(settings),
        closing(
            LocalCluster(
                n_workers=cluster.workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # any free port of this machine, seen from nowhere else
                local_directory=str(workspace.scratch / "dask"),
                silence_logs="ERROR",
                resources={"GPU": 1} if cluster.gpu else None,
            )
        ) as local,
        # Not the default of the thread, which may be another when the cluster ends.
        closing(Client(local, set_as_default=False)) as client,
    ):
        yield client


def _tell(progress: Progress | None, finished: int, total: int) -> None:
    if progress is not None:
        progress(finished, total)
