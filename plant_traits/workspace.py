"""The folder (or object store) a run works in, and where things lie inside it."""

from __future__ import annotations

import fcntl
import secrets
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from plant_traits.errors import WorkspaceError

RESUME = "resume"
KEPT_IN_SCRATCH = ("fetched", RESUME)
"""Folders of scratch that outlive a run: copies of a remote workspace, and what a killed training resumes from."""


@dataclass(frozen=True)
class Workspace:
    """A root address (a local path or any fsspec URL) and a local folder for work in progress.

    Everything a run keeps lies under ``root``: ``steps/`` (content-keyed outputs), ``runs/`` (which outputs a run is
    made of) and ``releases/`` (what users download). ``scratch`` is local, may be lost at any time, and is on the same
    disk as a local root so that finished work is renamed, not copied.

    Raises:
        WorkspaceError: the root or the scratch folder cannot be created or written.
    """

    root: str
    scratch: Path
    filesystem: AbstractFileSystem = field(compare=False, repr=False)

    @classmethod
    def open(cls, root: str | Path, scratch: Path | None = None) -> Workspace:
        """Open a workspace, creating it where needed, and check that it can be written.

        Args:
            root: local path or fsspec URL, such as ``s3://bucket/plant-traits``.
            scratch: local folder in which ``plant-traits-scratch`` is made for work in progress, on the disk of a local
                root; ``<root>/scratch`` by default, needed for a remote root.
        """
        filesystem, path = fsspec.core.url_to_fs(str(root))
        local = isinstance(filesystem, LocalFileSystem)
        if scratch is None and not local:
            raise WorkspaceError(f"workspace {root} is remote: name a local folder for work in progress with --scratch")
        scratch = Path(path) / "scratch" if scratch is None else scratch / "plant-traits-scratch"
        probe = f"{path.rstrip('/')}/.probe-{uuid.uuid4().hex}"
        try:
            filesystem.makedirs(path, exist_ok=True)
            scratch.mkdir(parents=True, exist_ok=True)
            filesystem.pipe_file(probe, b"plant-traits")
            if filesystem.cat_file(probe) != b"plant-traits":
                raise WorkspaceError(f"workspace {root} does not give back what is written to it")
            filesystem.rm_file(probe)
            one_disk = not local or Path(path).stat().st_dev == scratch.stat().st_dev
        except OSError as error:
            raise WorkspaceError(
                f"workspace {root} cannot be written: {error}. Expected a folder or object store with read and write "
                "access; choose another with --workspace"
            ) from error
        if not one_disk:
            raise WorkspaceError(
                f"scratch folder {scratch} is on another disk than workspace {root}: finished work is renamed into "
                "a local workspace, not copied; choose a scratch folder on its disk, or leave --scratch out"
            )
        return cls(path.rstrip("/"), scratch, filesystem)

    @property
    def is_local(self) -> bool:
        """Tell whether the root is a folder of this machine."""
        return isinstance(self.filesystem, LocalFileSystem)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the workspace for one run and clear what killed runs left in scratch.

        The lock is the operating system's and goes with the process, however it ends. A remote root has no such lock:
        there the scheduler's concurrency limit keeps runs apart, and the lock only guards scratch.

        Raises:
            WorkspaceError: another run holds the workspace.
        """
        place = Path(self.root) if self.is_local else self.scratch
        with (place / ".lock").open("w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise WorkspaceError(
                    f"workspace {self.root} is in use by another run; wait for it, or choose another with --workspace"
                ) from error
            for leftover in self.scratch.iterdir():
                if leftover.is_dir() and leftover.name not in KEPT_IN_SCRATCH:
                    shutil.rmtree(leftover, ignore_errors=True)
            yield

    def secret(self, name: str) -> str:
        """Return a random secret of this workspace, made at the first call and kept from then on.

        It lies in ``secrets/``, readable by its owner alone where the root is local.
        """
        found = self.read_bytes("secrets", name)
        if found is None:
            self.write_bytes(secrets.token_hex(32).encode(), "secrets", name)
            if self.is_local:
                Path(self.address("secrets", name)).chmod(0o600)
            found = self.read_bytes("secrets", name)
        return (found or b"").decode()

    def address(self, *parts: str) -> str:
        """Return the address of something inside the root."""
        return "/".join([self.root, *parts])

    def list(self, *parts: str) -> list[str]:
        """Return the addresses directly inside a folder of the root; none where it does not exist."""
        try:
            return [str(x) for x in self.filesystem.ls(self.address(*parts), detail=False)]
        except FileNotFoundError:
            return []

    def read_bytes(self, *parts: str) -> bytes | None:
        """Return the content of a file inside the root, or None where it does not exist."""
        try:
            content: bytes = self.filesystem.cat_file(self.address(*parts))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise WorkspaceError(f"cannot read {self.address(*parts)}: {error}") from error
        return content

    def write_bytes(self, content: bytes, *parts: str) -> None:
        """Write a file inside the root in one step: a reader sees the old content or the new, never a part."""
        target = self.address(*parts)
        try:
            self.filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
            if self.is_local:
                aside = Path(f"{target}.{uuid.uuid4().hex}.tmp")
                aside.write_bytes(content)
                aside.replace(target)
            else:
                self.filesystem.pipe_file(target, content)
        except OSError as error:
            raise WorkspaceError(f"cannot write {target}: {error}") from error
