"""Stage: what a run's profile asks of the services, brought into its mirror."""

from __future__ import annotations

import fcntl
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path, PurePosixPath

from data_catalog import Acquisition
from plant_traits.errors import InputError, MissingInputError, WebError, WorkspaceError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.run_spec import RunSpec
from plant_traits.sources.acquire import Acquired, acquire_source, read_acquired
from plant_traits.sources.protocol import VOTED, Plan, Request
from plant_traits.sources.registry import find_plugin
from plant_traits.sources.web.client import Web

logger = logging.getLogger(__name__)

ACCOUNT = ".account.sqlite"
_PIECES_AT_ONCE = 3  # GBIF makes three downloads of an account ready at a time
_MOST_FAILED_PIECES = 3  # then the service is down, and the rest would fail as well


@dataclass(frozen=True)
class Wanted:
    """One acquisition of a run: all of its region, or a piece.

    Attributes:
        item: the profile's entry, its folder placed for the run's month and for the region.
        region: where.
    """

    item: Acquisition
    region: Region


@dataclass(frozen=True)
class Planned:
    """What one acquisition would ask.

    Attributes:
        item: the profile's entry, its folder placed for the run's month and region.
        plan: the plug-in's plan.
    """

    item: Acquisition
    plan: Plan


def acquisitions(spec: RunSpec, needs: str | None = None) -> tuple[Wanted, ...]:
    """Return the acquisitions of a run that need this table of an earlier stage (none by default)."""
    return tuple(Wanted(item, region) for item, region in spec.acquisitions if find_plugin(item.plugin).needs == needs)


def plan_acquisitions(spec: RunSpec, mirror: Path) -> list[Planned]:
    """Say what the acquisitions of a run would ask that need no table of an earlier stage. Nothing is asked.

    Raises:
        InputError: the settings of one are wrong.
    """
    return [
        Planned(wanted.item, find_plugin(wanted.item.plugin).make().plan(_request(spec, mirror, wanted, {})))
        for wanted in acquisitions(spec)
    ]


def check_acquisitions(spec: RunSpec, mirror: Path, today: date | None) -> None:
    """Check what can be checked before anything is asked, so that a run does not fail after hours of fetching.

    Args:
        spec: the run.
        mirror: local folder.
        today: the day; a run of real services fetches only months that have ended. None for a virtual world.

    Raises:
        InputError: the month has not ended, two acquisitions share a folder, one would be split that comes only whole,
            or the settings of one are wrong.
        MissingInputError: a folder that nobody serves is not there, or is empty.
    """
    if not spec.inputs.acquire:
        return
    if today is not None:
        check_ended(spec.month, today)
    shared = [into for into, n in Counter(str(PurePosixPath(x.into)) for x in spec.inputs.acquire).items() if n > 1]
    if shared:
        raise InputError(
            f"profile {spec.profile.id!r}: several acquisitions go into {shared}, where one would take the other's "
            "manifest for its own; give each a folder in `into`"
        )
    of_pieces = set(spec.pieces)
    for wanted in (Wanted(*x) for x in spec.acquisitions):
        plugin = find_plugin(wanted.item.plugin)
        if plugin.whole and wanted.region in of_pieces:
            raise InputError(
                f"profile {spec.profile.id!r}: `{wanted.item.plugin}` reads all of its source for every piece of a "
                f"region, of which there are {len(spec.pieces)}; set `split: false` in its entry of `acquire`"
            )
        with suppress(MissingInputError):  # the table that it needs is made later
            plugin.make().plan(_request(spec, mirror, wanted, {}))
    for name in spec.inputs.brought:
        if not any((mirror / name).glob("*")):
            raise MissingInputError(
                f"mirror {mirror} has nothing in {name!r}, which nobody serves: put its files there before a run "
                "fetches the rest, see docs/sources.md"
            )


def check_ended(month: Month, today: date) -> None:
    """Check that a month of real services is over.

    Raises:
        InputError: it is not.
    """
    if today < month.next.first_day:
        raise InputError(
            f"month {month} has not ended on {today}: what is fetched now would be taken for the whole month "
            f"later; name {Month(today.year, today.month).previous} or an earlier one"
        )


def acquire(
    spec: RunSpec,
    mirror: Path,
    web: Web,
    *,
    items: Sequence[Wanted],
    tables: Mapping[str, Path] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Acquired]:
    """Bring sources into the mirror; what is there already is not asked for again.

    Pieces of a region come first, a few at a time, because services take long to make them ready; the rest comes one
    after the other. A piece that cannot be had does not keep the others back: it is tried once more after them.

    Args:
        spec: the run.
        mirror: local folder; a run holds it until it ends, see ``held``.
        web: the client.
        items: which acquisitions, see ``acquisitions``.
        tables: the tables they need.
        progress: called with (finished, total).

    Returns:
        Their manifests, in order.

    Raises:
        InputError: a source cannot be had; what came is kept.
    """
    done: dict[int, Acquired] = {}
    failed: dict[int, WebError] = {}

    def bring_in(k: int) -> None:
        request = _request(spec, mirror, items[k], tables or {})
        if len(items) == 1:  # the bar shows what goes on inside
            request = replace(request, progress=progress)
        done[k] = acquire_source(find_plugin(items[k].item.plugin).make(), request, web)
        if progress is not None and len(items) > 1:
            progress(len(done), len(items))

    def bring_piece_in(k: int) -> None:
        if len(failed) >= _MOST_FAILED_PIECES:
            return
        try:
            bring_in(k)
        except WebError as error:
            logger.warning("%s of %s failed: %s", items[k].region.name, items[k].item.plugin, error)
            failed[k] = error

    pieces = set(spec.pieces)
    with ThreadPoolExecutor(_PIECES_AT_ONCE) as pool:
        list(pool.map(bring_piece_in, [k for k, wanted in enumerate(items) if wanted.region in pieces]))
    if len(failed) >= _MOST_FAILED_PIECES:
        raise next(iter(failed.values()))
    for k in sorted(set(range(len(items))) - set(done)):
        bring_in(k)
    return [done[k] for k in sorted(done)]


def manifests(spec: RunSpec, mirror: Path, *, voted: bool) -> list[Acquired]:
    """Return the manifests of what a run has fetched so far.

    Args:
        spec: the run.
        mirror: where it fetches to.
        voted: whether the run uses votes on names; if not, those that other runs fetched are no part of it.
    """
    used = [item for item in spec.inputs.acquire if voted or find_plugin(item.plugin).needs != VOTED]
    return [x for item in used if (x := read_acquired(mirror / item.into)) is not None]


def bring(mirror: Path, world: Path, folders: Sequence[str]) -> None:
    """Put the folders that nobody serves into the mirror, as links to where a virtual world has them."""
    mirror.mkdir(parents=True, exist_ok=True)
    for name in folders:
        link = mirror / name
        if link.is_symlink() and link.resolve() == (world / name).resolve():
            continue
        if link.is_symlink():
            link.unlink()
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((world / name).resolve(), target_is_directory=True)


@contextmanager
def held(mirror: Path) -> Iterator[None]:
    """Hold a mirror, so that no other run fills it: runs share the folders of names, photos and rasters.

    Raises:
        WorkspaceError: another run fills it.
    """
    mirror.mkdir(parents=True, exist_ok=True)
    with (mirror / ".lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WorkspaceError(f"mirror {mirror} is being filled by another run; wait for it") from error
        yield


def _request(spec: RunSpec, mirror: Path, wanted: Wanted, tables: Mapping[str, Path]) -> Request:
    item = wanted.item
    folder = (mirror / item.into).resolve()
    if not folder.is_relative_to(mirror.resolve()):
        raise InputError(
            f"acquisition {item.plugin!r}: `into` {item.into!r} leaves the mirror; name a folder inside it"
        )
    return Request(
        source=spec.catalog.source(item.source),
        month=spec.month,
        region=wanted.region,
        settings=item.settings,
        folder=folder,
        tables=tables,
    )
