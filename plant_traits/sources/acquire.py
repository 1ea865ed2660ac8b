"""Bring one source into the mirror: plan, fetch, verify, normalise; its manifest is written last."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import JsonValue

from plant_traits.errors import WorkspaceError
from plant_traits.sources.protocol import DataSource, Fetched, Plan, Request
from plant_traits.sources.web.client import Web

MANIFEST = "acquired.json"
_ASIDE = ".normalising"


@dataclass(frozen=True)
class Acquired:
    """The manifest of one source in the mirror.

    Attributes:
        source: id of the catalogue's source.
        key: hash of what was asked, see ``Plan``.
        asked: what was asked.
        files: fetched files and tables made of them, relative to the folder, with their sizes.
        facts: DOI, citation, and what else the service told.
        counts: rows and rejected rows of the tables.
        lost: what could not be had, by reason.
        mended: the plug-in mends its files, none is removed.
        reused: True where nothing had to be done.
    """

    source: str
    key: str
    asked: JsonValue
    files: Mapping[str, int]
    facts: Mapping[str, JsonValue]
    counts: Mapping[str, int]
    lost: Mapping[str, int]
    mended: bool = False
    reused: bool = field(default=False, compare=False)

    def write(self, folder: Path) -> None:
        """Write the manifest in one step."""
        content = {name: value for name, value in asdict(self).items() if name != "reused"}
        aside = folder / f"{MANIFEST}.tmp"
        aside.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
        aside.replace(folder / MANIFEST)


def read_acquired(folder: Path) -> Acquired | None:
    """Return the manifest in a folder, or None where there is none."""
    try:
        return Acquired(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")), reused=True)
    except (FileNotFoundError, ValueError, TypeError):
        return None


def find_acquired(folder: Path, plan: Plan) -> Acquired | None:
    """Return the manifest of a finished acquisition of this plan whose files are whole, else None.

    A file of it that has another size than it had is removed, so that it is made again, unless the plug-in mends it.
    """
    found = read_acquired(folder)
    if found is None or found.key != plan.key:
        return None
    whole = True
    for name, size in found.files.items():
        path = folder / name
        if not (path.is_file() and path.stat().st_size == size):
            if not found.mended:
                path.unlink(missing_ok=True)
            whole = False
    return found if whole else None


def acquire_source(plugin: DataSource, request: Request, web: Web) -> Acquired:
    """Bring a source into its folder, unless this very thing is there already.

    A kill at any moment leaves no manifest; the next call goes on with what the plug-in finds in the folder.

    Args:
        plugin: the source's plug-in.
        request: what is wanted; its folder is made where absent.
        web: the client.

    Returns:
        The manifest.

    Raises:
        InputError: the source cannot be had or is not what it should be; what came is kept for the next try.
        WorkspaceError: the folder cannot be written or read, as on a full disk; what came is kept.
    """
    request.folder.mkdir(parents=True, exist_ok=True)
    plan = plugin.plan(request)
    found = find_acquired(request.folder, plan)
    if found is not None:
        return found
    (request.folder / MANIFEST).unlink(missing_ok=True)
    try:
        fetched = plugin.fetch(request, plan, web)
        plugin.verify(request, fetched)
        tables, counts = _normalised(plugin, request, fetched)
        sizes = {name: (request.folder / name).stat().st_size for name in sorted({*fetched.files, *tables})}
        acquired = Acquired(
            source=request.source.id,
            key=plan.key,
            asked=plan.asked,
            files=sizes,
            facts=dict(fetched.facts),
            counts=counts,
            lost=dict(fetched.lost),
            mended=fetched.mended,
        )
        acquired.write(request.folder)
    except (OSError, sqlite3.Error) as error:
        raise WorkspaceError(
            f"source {request.source.id!r}: {request.folder} cannot be written or read ({error}); free space or mend "
            "the disk, then run again: what came is kept"
        ) from error
    return acquired


def _normalised(plugin: DataSource, request: Request, fetched: Fetched) -> tuple[list[str], dict[str, int]]:
    """Make the tables aside, then move them to where they are read."""
    aside = request.folder / _ASIDE
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        counts = dict(plugin.normalise(request, fetched, aside))
        tables = sorted(path.name for path in aside.iterdir())
        for name in tables:
            target = request.folder / name
            if target.is_dir():
                shutil.rmtree(target)
            (aside / name).replace(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return [name for name in tables if (request.folder / name).is_file()], counts
