"""Where versions of a map product lie: the icechunk storage of an address, and one committer at a time."""

from __future__ import annotations

import fcntl
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import icechunk
from fsspec.implementations.local import LocalFileSystem

from plant_traits.errors import MissingInputError, WorkspaceError

Address = str | Path
"""A repository: a local path or an ``s3://`` URL."""

BRANCH = "main"

_POLL_SECONDS = 0.1


class VersionsUnsupportedError(WorkspaceError):
    """Versions cannot be kept at this kind of address."""


class VersionConflictError(WorkspaceError):
    """Another committer holds the repository or was first."""


class UnknownVersionError(MissingInputError):
    """The repository has no version of this name."""


def open_repository(address: Address) -> icechunk.Repository:
    """Open a repository that exists.

    Raises:
        MissingInputError: there is none at the address.
        VersionsUnsupportedError: no repository can lie there.
        WorkspaceError: it cannot be read.
    """
    local = _local_path(address)
    try:
        # Icechunk makes the folder it is asked about.
        if (local is None or local.is_dir()) and icechunk.Repository.exists(_storage(address)):
            return icechunk.Repository.open(_storage(address))
    except icechunk.IcechunkError as error:
        raise WorkspaceError(f"versions at {address} cannot be read: {first_line(error)}") from error
    raise MissingInputError(
        f"{address}: expected a repository of map versions, found none; `plant-traits versions list` names those of a "
        "workspace, and a refresh makes its own"
    )


def open_or_create_repository(address: Address) -> icechunk.Repository:
    """Open a repository, made where there is none; call it inside ``committing``.

    Icechunk creates only in an empty place, so one whose creation was killed could never be used again. A local
    repository is therefore made aside and renamed.

    Raises:
        VersionsUnsupportedError: no repository can lie there.
        WorkspaceError: it cannot be made or read.
    """
    local = _local_path(address)
    try:
        if local is not None and not local.is_dir():
            for leftover in local.parent.glob(f"{local.name}.*.tmp"):
                shutil.rmtree(leftover, ignore_errors=True)
            aside = local.with_name(f"{local.name}.{uuid.uuid4().hex[:8]}.tmp")
            icechunk.Repository.create(_storage(aside))
            aside.rename(local)
        return icechunk.Repository.open_or_create(_storage(address))
    except (icechunk.IcechunkError, OSError) as error:
        raise WorkspaceError(
            f"versions at {address} cannot be opened: {first_line(error)}. Expected a repository of map versions or an "
            "empty place that can be written; restore it, or move away what lies there to begin anew"
        ) from error


@contextmanager
def committing(address: Address, wait_s: float) -> Iterator[None]:
    """Hold a repository as its only committer.

    A folder has a lock of the operating system, ``<name>.lock`` beside it, which goes with the process. An object
    store has none: there icechunk's conditional writes let one of two committers through and the other one fails.

    Args:
        address: the repository.
        wait_s: seconds to wait for another committer.

    Raises:
        VersionConflictError: another committer held it for the whole time.
        WorkspaceError: the lock cannot be written.
    """
    local = _local_path(address)
    if local is None:
        yield
        return
    lock = local.with_name(f"{local.name}.lock")
    deadline = time.monotonic() + wait_s
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        stream = lock.open("w", encoding="utf-8")
    except OSError as error:
        raise WorkspaceError(f"versions at {address} cannot be written: {error}; make the folder writable") from error
    with stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise VersionConflictError(
                        f"versions at {address} are being committed by another process, which did not end within "
                        f"{wait_s:g} s; wait for it and run again"
                    ) from error
            time.sleep(_POLL_SECONDS)
        yield


def first_line(error: Exception) -> str:
    """Return what an error of icechunk says, without the places in its own code."""
    lines = [line.strip(" x×|") for line in str(error).splitlines()]
    return next((line for line in lines if line), type(error).__name__)


def _filesystem(address: Address) -> tuple[fsspec.AbstractFileSystem, str]:
    try:
        filesystem, path = fsspec.core.url_to_fs(str(address))
    except (ImportError, ValueError) as error:
        raise VersionsUnsupportedError(f"versions at {address}: {error}; expected a local path or s3://") from error
    return filesystem, path.rstrip("/")


def _local_path(address: Address) -> Path | None:
    filesystem, path = _filesystem(address)
    return Path(path) if isinstance(filesystem, LocalFileSystem) else None


def _storage(address: Address) -> icechunk.Storage:
    """Return icechunk's storage, with the endpoint and account that fsspec is configured with."""
    filesystem, path = _filesystem(address)
    if isinstance(filesystem, LocalFileSystem):
        # Icechunk warns at each opening that folders need one committer at a time: ``committing`` sees to that.
        icechunk.set_logs_filter("error")
        return icechunk.local_filesystem_storage(path)
    protocols = {filesystem.protocol} if isinstance(filesystem.protocol, str) else set(filesystem.protocol)
    if "s3" not in protocols:
        raise VersionsUnsupportedError(
            f"versions at {address}: {sorted(protocols)[0]!r} is not supported; expected a local path or s3://"
        )
    bucket, _, prefix = path.partition("/")
    client = filesystem.client_kwargs or {}
    endpoint = filesystem.endpoint_url or client.get("endpoint_url")
    told = bool(filesystem.key and filesystem.secret)
    return icechunk.s3_storage(
        bucket=bucket,
        prefix=prefix or None,
        region=client.get("region_name"),
        endpoint_url=endpoint,
        allow_http=str(endpoint).startswith("http://"),
        force_path_style=endpoint is not None,
        access_key_id=filesystem.key if told else None,
        secret_access_key=filesystem.secret if told else None,
        session_token=filesystem.token if told else None,
        anonymous=True if filesystem.anon else None,
        from_env=None if told or filesystem.anon else True,
    )
