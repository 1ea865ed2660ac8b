"""Which outputs a run is made of, the run before it, and the pointer users follow to the newest release."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from plant_traits.errors import WorkspaceError
from plant_traits.run_spec import RunSpec
from plant_traits.steps import Artifact, StepStore
from plant_traits.workspace import Workspace


@dataclass(frozen=True)
class RunRecord:
    """What a finished run has noted of itself.

    Attributes:
        address: where the note lies.
        month: the run's month.
        name: the run's name.
        collected: the regions whose records make up its state, each as JSON; none for all of the mapped region.
        stages: step, key and digest of each stage's output.
    """

    address: str
    month: str
    name: str
    collected: frozenset[str]
    stages: Mapping[str, Mapping[str, str]]

    def artifact(self, store: StepStore, stage: str) -> Artifact | None:
        """Return a stage's output, None where the run had no such stage.

        Raises:
            WorkspaceError: it is noted, but has been removed.
        """
        entry = self.stages.get(stage)
        if entry is None:
            return None
        found = store.find(entry["step"], entry["key"])
        if found is None:
            raise WorkspaceError(
                f"the {stage} of {self.month} are recorded in {self.address}, but steps/{entry['step']}/{entry['key']} "
                f"is gone or damaged: run the refresh of {self.month} again, or remove {self.address} to begin anew"
            )
        return found


def record_run(workspace: Workspace, spec: RunSpec, stages: Mapping[str, Artifact]) -> None:
    """Write ``runs/<lineage>/<month>/<name>.json``: the run's words and the artifact of each stage.

    A run that collects regions adds a hash of them to the name of the file.
    """
    collected = sorted(_collected(spec))
    content = {
        "profile": spec.profile.id,
        "month": str(spec.month),
        "region": list(spec.region.bbox),
        "grid": str(spec.grid),
        "collected": [json.loads(region) for region in collected],
        "stages": {name: {"step": x.step, "key": x.key, "digest": x.digest} for name, x in stages.items()},
    }
    suffix = f"-{hashlib.sha256(json.dumps(collected).encode()).hexdigest()[:8]}" if collected else ""
    place = ("runs", spec.lineage, str(spec.month), f"{spec.name}{suffix}.json")
    workspace.write_bytes(json.dumps(content, indent=1).encode(), *place)


def previous_run(workspace: Workspace, spec: RunSpec) -> RunRecord | None:
    """Return the run whose shards this one goes on from, or None where there is none.

    Runs of one lineage read the same occurrence sources in the same folder for the same region, whatever their grid, so
    that one ledger and one set of shards follow them from month to month and over months that were skipped. A run goes
    on from one of an earlier month, or from one of its own month that collected the records of fewer regions; never
    from one that collected a region which this run does not. Among them the latest month counts, then the most
    regions, then the name. So a repeated run goes on from the same one as before, and never from itself.

    Raises:
        WorkspaceError: a record cannot be read.
    """
    return _latest(workspace, spec, own_month=True)


def previous_observations(workspace: Workspace, spec: RunSpec) -> Artifact | None:
    """Return the observations of the latest earlier month that runs of the same lineage have recorded.

    Unlike ``previous_run`` it never returns those of the run's own month: within a month nothing is retracted.

    Returns:
        The artifact, or None where no earlier month is recorded.

    Raises:
        WorkspaceError: the month is recorded, but its observations have been removed.
    """
    before = _latest(workspace, spec, own_month=False)
    return None if before is None else before.artifact(StepStore(workspace), "observations")


def point_at(workspace: Workspace, kind: str, name: str, made: Artifact) -> str:
    """Make ``<kind>/<name>``, such as ``releases/<run name>``, show an output, in one step, and return its address.

    A local workspace gets a symbolic link; every workspace gets ``<kind>/<name>.json`` with the address.

    Raises:
        WorkspaceError: something else has taken the link's place.
    """
    address = workspace.address("steps", made.step, made.key)
    pointer = {"address": address, "digest": made.digest}
    workspace.write_bytes(json.dumps(pointer, indent=1).encode(), kind, f"{name}.json")
    if not workspace.is_local:
        return address
    link = Path(workspace.address(kind, name))
    if link.exists() and not link.is_symlink():
        raise WorkspaceError(f"{link} should be a link to an output, but something else lies there; move it away")
    aside = link.with_name(f"{link.name}.{uuid.uuid4().hex[:8]}.tmp")
    aside.symlink_to(os.path.relpath(address, link.parent), target_is_directory=True)
    aside.replace(link)
    return str(link)


def _latest(workspace: Workspace, spec: RunSpec, *, own_month: bool) -> RunRecord | None:
    own, this_month = _collected(spec), str(spec.month)
    months = {x.rpartition("/")[2] for x in workspace.list("runs", spec.lineage)}
    for month in sorted(months, reverse=True):
        if month > this_month or (month == this_month and not own_month):
            continue
        records = [_read_record(workspace, address, month) for address in workspace.list("runs", spec.lineage, month)]
        fit = [x for x in records if _within(x.collected, own) and (month < this_month or x.collected != own)]
        if fit:
            return min(fit, key=lambda x: (bool(x.collected), -len(x.collected), x.name))
    return None


def _within(regions: frozenset[str], others: frozenset[str]) -> bool:
    """Tell whether some collected regions are among others; none stands for all of the mapped region."""
    return not others or (bool(regions) and regions <= others)


def _collected(spec: RunSpec) -> frozenset[str]:
    return frozenset(json.dumps(region.key) for region in spec.collected)


def _read_record(workspace: Workspace, address: str, month: str) -> RunRecord:
    file = address.rpartition("/")[2]
    content = workspace.read_bytes(*_place(address, month))
    try:
        told = json.loads(content or b"")
        regions = frozenset(json.dumps(region) for region in told.get("collected", []))
        return RunRecord(address, month, file.removesuffix(".json"), regions, told["stages"])
    except (ValueError, KeyError, AttributeError) as error:
        raise WorkspaceError(
            f"{address} should be the record of a run, a JSON object with its stages, and cannot be read ({error!r}): "
            f"remove it and run the refresh of {month} again"
        ) from error


def _place(address: str, month: str) -> tuple[str, ...]:
    *_, lineage, _, file = address.split("/")
    return ("runs", lineage, month, file)
