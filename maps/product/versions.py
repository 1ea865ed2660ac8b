"""Every released version of a map product in one icechunk repository: commit, open, list, expire.

A version is a snapshot, whole or not there, with a tag ``<month>.<n>``: the n-th release of that month. A tag always
means the same maps; a month means its newest version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import dask
import icechunk
import xarray as xr

from maps.product.version_repository import (
    BRANCH,
    Address,
    UnknownVersionError,
    VersionConflictError,
    committing,
    first_line,
    open_or_create_repository,
    open_repository,
)
from plant_traits.errors import WorkspaceError
from plant_traits.month import Month

WAIT_SECONDS = 600.0

_FACTS = ("tag", "month", "release", "model_id", "configuration", "time")
_LISTED = 20


@dataclass(frozen=True)
class MapVersion:
    """One version of a map product.

    Attributes:
        tag: ``<month>.<n>``.
        snapshot: icechunk's id of it.
        month: month of the refresh.
        time: last day that the product covers.
        message: what the commit says.
        model_id: the model that predicted.
        configuration: hash of the run's configuration.
        release: key of the release it was committed from.
        committed: when it was written, by the store's clock.
        reused: True where this call found the release committed.
    """

    tag: str
    snapshot: str
    month: str
    time: str
    message: str
    model_id: str
    configuration: str
    release: str
    committed: datetime
    reused: bool = field(default=False, compare=False)

    @property
    def order(self) -> tuple[str, int]:
        """Month and number, so that the latest version is the greatest."""
        return self.month, int(self.tag.rpartition(".")[2])


@dataclass(frozen=True)
class Expired:
    """What expiry removed: versions by tag, and the objects that only they, or killed commits, had."""

    versions: tuple[str, ...]
    snapshots: int
    chunks: int
    bytes: int


def commit_product(
    repository: Address,
    product: xr.Dataset,
    *,
    release: str,
    month: Month,
    model_id: str,
    configuration: str,
    message: str,
    wait_s: float = WAIT_SECONDS,
) -> MapVersion:
    """Add a product as a version, in one step: a reader sees all of it or none.

    A release that was committed before is not committed again; where that commit was killed before its tag, the tag is
    set.

    Args:
        repository: a local path or ``s3://`` URL; made where there is none.
        product: the product as it lies on disk, see ``maps.product.store.write_zarr``; lazy arrays are read chunk by
            chunk.
        release: key of the release.
        month: month of the refresh.
        model_id: the model that predicted.
        configuration: hash of the run's configuration.
        message: a line for the history.
        wait_s: seconds to wait for another committer.

    Raises:
        VersionConflictError: another committer did not end in time or, in an object store, was first.
        VersionsUnsupportedError: no repository can lie at the address.
        WorkspaceError: the repository cannot be written.
    """
    with committing(repository, wait_s):
        opened = open_or_create_repository(repository)
        try:
            known = _versions(opened)
            found = next((version for version in known if version.release == release), None)
            if found is None:
                facts = {
                    "release": release,
                    "month": str(month),
                    "model_id": model_id,
                    "configuration": configuration,
                    "time": str(product.attrs.get("time_coverage_end", month)),
                }
                found = _commit(opened, product, facts, message)
            else:
                found = replace(found, reused=True)
            if found.tag not in _tags(opened):
                opened.create_tag(found.tag, found.snapshot)
        except icechunk.ConflictError as error:
            raise VersionConflictError(
                f"versions at {repository}: another committer was first; run again, finished steps are kept"
            ) from error
        except (icechunk.IcechunkError, OSError) as error:
            raise WorkspaceError(
                f"versions at {repository}: release {release} cannot be committed: {first_line(error)}. Free space or "
                "make it writable, then run again; earlier versions are as they were"
            ) from error
    return found


def open_map(repository: Address, version: str | None = None) -> xr.Dataset:
    """Open a version lazily, as ``xarray.open_zarr`` opens the release's ``maps.zarr``.

    Args:
        repository: a local path or ``s3://`` URL.
        version: a tag, a snapshot id, or a month for its newest version; the newest of the latest month by default.

    Raises:
        UnknownVersionError: there is no such version; the message lists those there are.
        MissingInputError: there is no repository.
        WorkspaceError: it cannot be read.
    """
    opened = open_repository(repository)
    try:
        found = _find(repository, _versions(opened), version)
        session = opened.readonly_session(snapshot_id=found.snapshot)
        product: xr.Dataset = xr.open_zarr(session.store, consolidated=False)
    except icechunk.IcechunkError as error:
        raise WorkspaceError(f"versions at {repository} cannot be read: {first_line(error)}") from error
    return product


def find_version(repository: Address, version: str | None = None) -> MapVersion:
    """Return what is known of a version; see ``open_map`` for names and errors."""
    return _find(repository, history(repository), version)


def history(repository: Address) -> list[MapVersion]:
    """Return all versions, the latest month and release first.

    Raises:
        MissingInputError: there is no repository.
        WorkspaceError: it cannot be read.
    """
    opened = open_repository(repository)
    try:
        return _versions(opened)
    except icechunk.IcechunkError as error:
        raise WorkspaceError(f"versions at {repository} cannot be read: {first_line(error)}") from error


def expire_and_collect(
    repository: Address, older_than: datetime, *, keep_tags: bool = True, wait_s: float = WAIT_SECONDS
) -> Expired:
    """Remove what was written before a time and is needed no more.

    Killed commits leave objects that nothing names; these always go. Versions go only without ``keep_tags``, and the
    latest month's newest version and the last commit stay even then. A reader that has an expired version open
    may fail.

    Args:
        repository: a local path or ``s3://`` URL.
        older_than: with a time zone; compared with the store's clock.
        keep_tags: keep every tagged version.
        wait_s: seconds to wait for a committer.

    Raises:
        ValueError: ``older_than`` has no time zone.
        MissingInputError: there is no repository.
        VersionConflictError: a committer did not end in time.
        WorkspaceError: the repository cannot be written.
    """
    if older_than.tzinfo is None:
        raise ValueError("older_than needs a time zone, such as datetime(2026, 1, 1, tzinfo=UTC)")
    open_repository(repository)  # a wrong address is told before a lock is made beside it
    with committing(repository, wait_s):
        opened = open_repository(repository)
        try:
            before = _versions(opened)
            kept = {opened.lookup_branch(BRANCH), *(version.snapshot for version in before[:1])}
            if not keep_tags:
                for version in before:
                    if version.committed < older_than and version.snapshot not in kept and version.tag in _tags(opened):
                        opened.delete_tag(version.tag)
            opened.expire_snapshots(older_than)
            collected = opened.garbage_collect(older_than)
            after = {version.tag for version in _versions(opened)}
        except (icechunk.IcechunkError, OSError) as error:
            raise WorkspaceError(
                f"versions at {repository} cannot be expired: {first_line(error)}. Make it writable and run again"
            ) from error
    gone = tuple(version.tag for version in before if version.tag not in after)
    return Expired(gone, collected.snapshots_deleted, collected.chunks_deleted, collected.bytes_deleted)


def _commit(opened: icechunk.Repository, product: xr.Dataset, facts: Mapping[str, str], message: str) -> MapVersion:
    session = opened.writable_session(BRANCH)
    last = opened.lookup_snapshot(session.snapshot_id)
    # Numbers are never given twice, though an expired version leaves no other trace.
    numbers = json.loads(last.metadata.get("numbers", "{}"))
    number = numbers.get(facts["month"], 0) + 1
    told = {**facts, "tag": f"{facts['month']}.{number}"}
    with dask.config.set(scheduler="threads"):  # a session does not travel to a cluster's workers
        product.to_zarr(session.store, mode="w", zarr_format=3, consolidated=False)
    numbers[facts["month"]] = number
    snapshot = session.commit(message, {**told, "numbers": json.dumps(numbers, sort_keys=True)})
    return _version(opened.lookup_snapshot(snapshot))


def _versions(opened: icechunk.Repository) -> list[MapVersion]:
    """Return the branch's versions and those that only a tag keeps."""
    infos = {info.id: info for info in opened.ancestry(branch=BRANCH)}
    for snapshot in _tags(opened).values():
        if snapshot not in infos:
            infos[snapshot] = opened.lookup_snapshot(snapshot)
    found = [_version(info) for info in infos.values() if all(name in info.metadata for name in _FACTS)]
    return sorted(found, key=lambda version: version.order, reverse=True)


def _tags(opened: icechunk.Repository) -> dict[str, str]:
    return {tag: opened.lookup_tag(tag) for tag in opened.list_tags()}


def _version(info: icechunk.SnapshotInfo) -> MapVersion:
    told = {name: str(info.metadata[name]) for name in _FACTS}
    return MapVersion(
        tag=told["tag"],
        snapshot=info.id,
        month=told["month"],
        time=told["time"],
        message=info.message,
        model_id=told["model_id"],
        configuration=told["configuration"],
        release=told["release"],
        committed=info.written_at,
    )


def _find(repository: Address, versions: list[MapVersion], name: str | None) -> MapVersion:
    found = [version for version in versions if name in (None, version.tag, version.month, version.snapshot)]
    if found:
        return found[0]
    listed = ", ".join(version.tag for version in versions[:_LISTED]) or "none yet"
    more = f" and {len(versions) - _LISTED} older" if len(versions) > _LISTED else ""
    raise UnknownVersionError(
        f"versions at {repository}: there is no version {name!r}; expected a month, a tag or a snapshot id. "
        f"There are: {listed}{more}"
    )
