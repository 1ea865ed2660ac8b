"""Pointers from a lineage to what its runs keep: small JSON files that name outputs of the step store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from plant_traits.errors import WorkspaceError
from plant_traits.steps import Artifact, StepStore
from plant_traits.workspace import Workspace

KeptT = TypeVar("KeptT")
Find = Callable[[Mapping[str, str]], Artifact | None]
"""Finds the output that an entry of a pointer names; None where it is gone or damaged."""


class Kept(Protocol):
    """What a lineage keeps: it tells what was asked of it."""

    @property
    def fits(self) -> Mapping[str, Any]:
        """What a run must have in common with it, as JSON by name."""
        ...


def entry(artifact: Artifact) -> dict[str, str]:
    """Return how a pointer names an output."""
    return {"step": artifact.step, "key": artifact.key, "digest": artifact.digest}


def write_pointer(workspace: Workspace, kind: str, lineage: str, content: Mapping[str, Any]) -> None:
    """Write ``<kind>/<lineage>.json`` in one step."""
    workspace.write_bytes(json.dumps(dict(content), indent=1).encode(), kind, f"{lineage}.json")


def read_pointer(
    workspace: Workspace, kind: str, lineage: str, read: Callable[[dict[str, Any], Find], KeptT], advice: str
) -> KeptT | None:
    """Return what a pointer's content is read as; None where there is no pointer.

    Args:
        workspace: where it lies.
        kind: its folder.
        lineage: its name.
        read: called with the content and a function that finds an output by its entry; it may raise what a content of
            another shape makes it raise.
        advice: what to do with a pointer that cannot be read.

    Raises:
        WorkspaceError: the pointer cannot be read.
    """
    content = workspace.read_bytes(kind, f"{lineage}.json")
    if content is None:
        return None
    store = StepStore(workspace)
    try:
        return read(json.loads(content), lambda named: store.find(named["step"], named["key"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkspaceError(
            f"{workspace.address(kind, f'{lineage}.json')} should tell which model is kept, and cannot be read "
            f"({error!r}): {advice}"
        ) from error


def differences(kept: Kept, wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of what a run asks otherwise than was asked of what is kept; a name not there counts as null."""
    asked, had = (json.loads(json.dumps(dict(told))) for told in (wanted, kept.fits))
    return tuple(sorted(name for name in {*asked, *had} if asked.get(name) != had.get(name)))
