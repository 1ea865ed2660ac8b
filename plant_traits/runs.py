"""Which outputs a run is made of, the run before it, and the pointer users follow to the newest release."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from plant_traits.errors import WorkspaceError
from plant_traits.run_spec import RunSpec
from plant_traits.steps import Artifact, StepStore
from plant_traits.workspace import Workspace


def record_run(workspace: Workspace, spec: RunSpec, stages: Mapping[str, Artifact]) -> None:
    """Write ``runs/<name>.json``: the run's words and the artifact of each stage."""
    content = {
        "profile": spec.profile.id,
        "month": str(spec.month),
        "region": list(spec.region.bbox),
        "grid": str(spec.grid),
        "stages": {name: {"step": x.step, "key": x.key, "digest": x.digest} for name, x in stages.items()},
    }
    workspace.write_bytes(json.dumps(content, indent=1).encode(), "runs", f"{spec.name}.json")


def find_stage(workspace: Workspace, run_name: str, stage: str) -> Artifact | None:
    """Return a stage's artifact of a recorded run, or None where there is no such run or the artifact is gone."""
    content = workspace.read_bytes("runs", f"{run_name}.json")
    if content is None:
        return None
    entry = json.loads(content)["stages"].get(stage)
    return None if entry is None else StepStore(workspace).find(entry["step"], entry["key"])


def previous_ledger(workspace: Workspace, spec: RunSpec) -> Artifact | None:
    """Return the observations artifact of the same run one month earlier, where it has been made."""
    name = spec.name.removesuffix(str(spec.month)) + str(spec.month.previous)
    return find_stage(workspace, name, "observations")


def point_release(workspace: Workspace, spec: RunSpec, release: Artifact) -> str:
    """Make ``releases/<run name>`` show this release, in one step, and return its address.

    A local workspace gets a symbolic link; every workspace gets ``releases/<run name>.json`` with the address.

    Raises:
        WorkspaceError: something else has taken the link's place.
    """
    address = workspace.address("steps", release.step, release.key)
    pointer = {"release": address, "digest": release.digest}
    workspace.write_bytes(json.dumps(pointer, indent=1).encode(), "releases", f"{spec.name}.json")
    if not workspace.is_local:
        return address
    link = Path(workspace.address("releases", spec.name))
    if link.exists() and not link.is_symlink():
        raise WorkspaceError(f"{link} should be a link to a release, but something else lies there; move it away")
    aside = link.with_name(f"{link.name}.{uuid.uuid4().hex[:8]}.tmp")
    aside.symlink_to(os.path.relpath(address, link.parent), target_is_directory=True)
    aside.replace(link)
    return str(link)
