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
    """Write ``runs/<lineage>/<month>/<name>.json``: the run's words and the artifact of each stage."""
    content = {
        "profile": spec.profile.id,
        "month": str(spec.month),
        "region": list(spec.region.bbox),
        "grid": str(spec.grid),
        "stages": {name: {"step": x.step, "key": x.key, "digest": x.digest} for name, x in stages.items()},
    }
    place = ("runs", spec.lineage, str(spec.month), f"{spec.name}.json")
    workspace.write_bytes(json.dumps(content, indent=1).encode(), *place)


def previous_observations(workspace: Workspace, spec: RunSpec) -> Artifact | None:
    """Return the observations of the latest earlier month that runs of the same lineage have recorded.

    Runs of one lineage read the same occurrence sources in the same folder for the same region, whatever their grid, so
    that one ledger follows them from month to month and over months that were skipped.

    Returns:
        The artifact, or None where no earlier month is recorded.

    Raises:
        WorkspaceError: the month is recorded, but its observations have been removed.
    """
    months = sorted(x.rpartition("/")[2] for x in workspace.list("runs", spec.lineage))
    earlier = [month for month in months if month < str(spec.month)]
    if not earlier:
        return None
    (address, *_) = sorted(workspace.list("runs", spec.lineage, earlier[-1]))
    name = address.rpartition("/")[2]
    content = json.loads(workspace.read_bytes("runs", spec.lineage, earlier[-1], name) or b"{}")
    entry = content["stages"]["observations"]
    found = StepStore(workspace).find(entry["step"], entry["key"])
    if found is None:
        raise WorkspaceError(
            f"the ledger of {earlier[-1]} is recorded in {address}, but steps/{entry['step']}/{entry['key']} is gone "
            f"or damaged: run the refresh of {earlier[-1]} again, or remove {address} to begin a new ledger"
        )
    return found


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
