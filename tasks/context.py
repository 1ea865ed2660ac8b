"""What every task needs: the run's specification, its workspace, and its steps shown as they go."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from prefect.runtime import flow_run

from data_catalog import load_catalog
from plant_traits.code_version import code_version
from plant_traits.collected import plan_backfill
from plant_traits.errors import GridError, WorkspaceError
from plant_traits.inference.cluster import CLUSTERS, ClusterSpec, ShardJob, run_jobs
from plant_traits.model.device import resolve_device
from plant_traits.model.encoders import Encoder, load_encoder
from plant_traits.model.location_encoders import PlaceFeatures, load_place_features
from plant_traits.month import Month, parse_months
from plant_traits.region_geojson import find_region
from plant_traits.regions import Region
from plant_traits.run_spec import RunSpec
from plant_traits.stages.acquisition import check_ended, held
from plant_traits.steps import Artifact, StepStore, Summary
from plant_traits.workspace import Workspace
from tasks.services import STAND_INS
from tasks.showing import showing_stage

logger = logging.getLogger("plant_traits.run")

VIRTUAL_SALT = "virtual observers"
DATA_VARIABLES = ("PLANT_TRAITS_REAL_DATA", "PLANT_TRAITS_MIRROR")


@dataclass(frozen=True)
class RunContext:
    """A run and where it works; passed to every task."""

    spec: RunSpec
    workspace: Workspace
    device: str
    observer_salt: str = field(repr=False)

    @property
    def store(self) -> StepStore:
        """The run's step store."""
        return StepStore(self.workspace)

    @cached_property
    def photo_encoder(self) -> Encoder:
        """The frozen photo encoder of the run's profile; its weights are read once a run.

        Raises:
            ModelError: it is unknown, or its weights are missing or damaged.
        """
        settings = self.spec.profile.model
        return load_encoder(settings.encoder, settings.encoder_location)

    @cached_property
    def place_features(self) -> PlaceFeatures:
        """What the run's models read of a place; the weights of location encoders are read once a run.

        Raises:
            ModelError: a location encoder is unknown, or its weights are missing or damaged.
        """
        settings = self.spec.profile.model
        return load_place_features(settings.location_encoder, settings.location_encoder_location)

    @property
    def cluster(self) -> ClusterSpec:
        """Where shards are worked on without an accelerator."""
        return ClusterSpec(self.spec.profile.workers, self.spec.dask_address)

    @property
    def accelerated_cluster(self) -> ClusterSpec:
        """Where networks run: each task asks for a GPU where the run has one."""
        return ClusterSpec(self.spec.profile.workers, self.spec.dask_address, gpu=self.device == "cuda")

    def step(
        self,
        title: str,
        step: str,
        call: partial[Summary],
        *,
        parameters: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        with_progress: bool = False,
    ) -> Artifact:
        """Run one library call as one step, shown under a title.

        Args:
            title: what people call the stage.
            step: name of the step in the store.
            call: called with an empty folder; the module of its function and what that imports are the code version.
            parameters: what the call is told, as JSON, for the key.
            inputs: digests of what the call reads, for the key.
            with_progress: pass the call a ``Progress``.
        """
        with showing_stage(title) as stage:
            compute = partial(call, progress=stage.progress) if with_progress else call
            stage.artifact = self.store.run(
                step, compute, code=code_version(call.func.__module__), parameters=parameters, inputs=inputs
            )
        return stage.artifact

    def jobs(self, title: str, step: str, jobs: Mapping[str, ShardJob], *, accelerated: bool = False) -> Artifact:
        """Run one step per shard on Dask, shown under a title, and return the collection of outputs."""
        cluster = self.accelerated_cluster if accelerated else self.cluster
        with showing_stage(title) as stage:
            members = run_jobs(self.store, jobs, cluster, stage.progress)
            totals = {part: _total(x.summary.get(part, {}) for x in members.values()) for part in ("in", "out", "lost")}
            collection = self.store.collect(step, members, totals)
            stage.artifact = replace(collection, reused=all(x.reused for x in members.values()))
        return stage.artifact

    def data_root(self, world: Artifact | None) -> Path:
        """Return the local folder of the run's inputs: of real files, of a virtual world, or the mirror of either.

        Raises:
            WorkspaceError: the mirror of a virtual world would lie in a remote workspace.
        """
        if self.spec.data_root is not None:
            return self.spec.data_root
        if world is None:
            raise ValueError("a run without a data folder needs its virtual world")
        if not self.spec.profile.inputs.acquire:
            return self.store.fetch(world)
        if not self.workspace.is_local:
            raise WorkspaceError(
                f"workspace {self.workspace.root} is remote: a virtual world is fetched into a local one"
            )
        return Path(self.workspace.address("mirror", f"{self.spec.profile.id}-{world.key[:12]}"))


@dataclass(frozen=True)
class RunWords:
    """A run as an operator states it; see ``flows.refresh.refresh`` for what each word means."""

    profile: str
    month: str | None = None
    region: str | None = None
    grid: str | None = None
    workspace: str = "workspace"
    scratch: str | None = None
    data: str | None = None
    catalog: tuple[str, ...] = ()
    faults: float | None = None
    dask_address: str | None = None

    def resolve(self) -> RunSpec:
        """Read the words against the catalogue.

        Raises:
            CatalogError: the profile or region is unknown.
            PlantTraitsError: a word cannot be read, or the data folder is not there.
        """
        variables = dict(os.environ) if self.data is None else {name: self.data for name in DATA_VARIABLES}
        return RunSpec.resolve(
            self.profile,
            month=self.month,
            region=self.region,
            grid=self.grid,
            catalog=load_catalog(*(Path(folder) for folder in self.catalog)),
            variables=variables,
            faults=self.faults,
            dask_address=self.dask_address,
        )

    def open_workspace(self) -> Workspace:
        """Open the workspace, creating it where needed.

        Raises:
            WorkspaceError: it cannot be written.
        """
        return Workspace.open(self.workspace, None if self.scratch is None else Path(self.scratch))


@contextmanager
def open_run(words: RunWords) -> Iterator[RunContext]:
    """Resolve a run's words, open its workspace and hold it, and the mirror that it fills, until the run ends.

    A run without a month that the scheduler started takes the month before its scheduled start, so that a late or
    repeated run maps the same month.

    Raises:
        CatalogError: the profile or region is unknown.
        PlantTraitsError: the words, the data folder or the workspace cannot be used.
    """
    spec = replace(words, month=words.month or _scheduled_month()).resolve()
    workspace = words.open_workspace()
    with _held(spec, workspace) as run:
        yield run


def read_backfill(words: RunWords, region: str, months: Sequence[str]) -> tuple[RunSpec, Region, tuple[Month, ...]]:
    """Read the words of a backfill against the catalogue.

    Args:
        words: what is mapped; its month does not matter.
        region: what is collected: a region of the catalogue, west,south,east,north or a GeoJSON file.
        months: months and ranges of months, such as 2026-08..2026-10.

    Returns:
        The run of the last month, what is collected, and the months in ascending order.

    Raises:
        CatalogError: the profile or a region is unknown.
        PlantTraitsError: a word cannot be read, the data folder is not there, the region is not mapped, or a month has
            not ended.
    """
    wanted = parse_months(months)
    spec = replace(words, month=str(wanted[-1])).resolve()
    collected = find_region(region, spec.catalog)
    if not collected.overlaps(spec.region):
        raise GridError(
            f"region {collected.name!r} {collected.bbox} lies outside what profile {spec.profile.id!r} maps, "
            f"{spec.region.name!r} {spec.region.bbox}; choose another region, or map another with --mapped"
        )
    if spec.profile.inputs.world is None and spec.profile.inputs.acquire:
        check_ended(wanted[-1], datetime.now(UTC).date())
    return spec, collected, wanted


@contextmanager
def open_backfill(words: RunWords, region: str, months: Sequence[str]) -> Iterator[tuple[RunContext, ...]]:
    """Hold workspace and mirror until a backfill ends; yield a run for each month, in ascending order.

    Args:
        words: see ``read_backfill``.
        region: the same.
        months: the same.

    Raises:
        CatalogError: the profile or a region is unknown.
        PlantTraitsError: the words or the workspace cannot be used, or a month cannot follow the one before it.
    """
    spec, collected, wanted = read_backfill(words, region, months)
    workspace = words.open_workspace()
    with _held(spec, workspace) as run:
        plan = plan_backfill(workspace, spec.lineage, collected, wanted)
        for month, regions in plan.items():
            names = ", ".join(x.name for x in regions) or "all of the mapped region"
            logger.info("%s is made of the records of: %s", month, names)
        yield tuple(replace(run, spec=replace(spec, month=month, collected=regions)) for month, regions in plan.items())


@contextmanager
def _held(spec: RunSpec, workspace: Workspace) -> Iterator[RunContext]:
    """Hold a workspace, and the mirror that a run fills; yield the run."""
    with ExitStack() as stack:
        stack.enter_context(workspace.exclusive())
        stack.enter_context(CLUSTERS.keeping())
        stack.enter_context(STAND_INS.keeping())
        # The mirror of a virtual world lies in its workspace.
        if spec.data_root is not None and spec.profile.inputs.acquire:
            stack.enter_context(held(spec.data_root))
        salt = os.environ.get("PLANT_TRAITS_OBSERVER_SALT") or _observer_salt(spec, workspace)
        yield RunContext(spec, workspace, resolve_device(spec.profile.device), salt)


def _observer_salt(spec: RunSpec, workspace: Workspace) -> str:
    """Return the public salt for virtual observers, the workspace's own secret for people."""
    return VIRTUAL_SALT if spec.profile.inputs.world is not None else workspace.secret("observer-salt")


def _scheduled_month() -> str | None:
    if not flow_run.run_count or "auto-scheduled" not in flow_run.tags:
        return None
    start = flow_run.scheduled_start_time
    return str(Month(start.year, start.month).previous)


def _total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))
