"""Stage: the release's map product as a version of its repository."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import xarray as xr

from maps.product.version_repository import VersionsUnsupportedError
from maps.product.versions import MapVersion, commit_product
from plant_traits.errors import MissingInputError
from plant_traits.run_spec import RunSpec
from plant_traits.steps import Artifact
from plant_traits.workspace import Workspace

logger = logging.getLogger(__name__)

FOLDER = "versions"


def repository_address(workspace: Workspace, name: str) -> str:
    """Return the address of the repository of this name: a path, or a URL where the workspace is remote."""
    address = workspace.address(FOLDER, name)
    return address if workspace.is_local else str(workspace.filesystem.unstrip_protocol(address))


def repository_name(spec: RunSpec) -> str:
    """Return the run's name without its month: the maps of one profile, region and grid follow each other."""
    return spec.name.removesuffix(f"-{spec.month}")


def repository_names(workspace: Workspace) -> list[str]:
    """Return the names of the repositories in a workspace."""
    names = sorted(address.rstrip("/").rpartition("/")[2] for address in workspace.list(FOLDER))
    return [name for name in names if not name.endswith((".lock", ".tmp"))]


def keep_version(workspace: Workspace, spec: RunSpec, *, release: Path, key: str, model_id: str) -> Artifact:
    """Commit a release's maps, once; a workspace that cannot keep versions goes on without, and says so.

    Args:
        workspace: where the repository lies.
        spec: the run.
        release: local folder of the release, which holds ``maps.zarr``.
        key: the release's key; the same one is committed once.
        model_id: the model that predicted.

    Returns:
        The version as a stage shows it; ``key`` is the snapshot, or empty where versions are not supported.

    Raises:
        MissingInputError: the release holds no maps.
        VersionConflictError: another committer did not end in time.
        WorkspaceError: the repository cannot be written.
    """
    store = release / "maps.zarr"
    if not store.is_dir():
        raise MissingInputError(f"{store}: expected the maps of a release, found none; run the refresh again")
    name = repository_name(spec)
    told = json.dumps(spec.parameters, sort_keys=True)
    try:
        version = commit_product(
            repository_address(workspace, name),
            xr.open_zarr(store),
            release=key,
            month=spec.month,
            model_id=model_id,
            configuration=hashlib.sha256(told.encode()).hexdigest()[:32],
            message=f"{name}, {spec.month}",
        )
    except VersionsUnsupportedError as error:
        logger.warning("the release is not kept as a version: %s", error)
        return Artifact(FOLDER, "", "", {}, {"lost": {"version not kept: address not supported": 1}})
    return _shown(version)


def _shown(version: MapVersion) -> Artifact:
    summary = {"out": {f"version kept, {version.tag}": 1}, "version": version.tag}
    return Artifact(FOLDER, version.snapshot, version.release, {}, summary, reused=version.reused)
