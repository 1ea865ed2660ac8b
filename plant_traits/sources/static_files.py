"""The plug-in for sources that are files at fixed addresses: vegetation plots, published maps, reference places."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from pydantic import Field, field_validator

from plant_traits.errors import ArchiveError, MissingInputError
from plant_traits.sources.archives import ArchiveLimits, open_archive
from plant_traits.sources.plugin_settings import PluginSettings, read_settings
from plant_traits.sources.protocol import Fetched, Plan, Request
from plant_traits.sources.web.client import Web
from plant_traits.sources.web.download import download

_UNPACKED = ArchiveLimits(total_bytes=50 * 1024**3, members=10_000)
_COPY_BYTES = 1024**2


class StaticFile(PluginSettings):
    """One file: its address, its name in the mirror, and what it must be."""

    url: str
    name: str
    size: int | None = None
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    unpack: bool = Field(default=False, description="a zip whose members are put beside it")

    @field_validator("name")
    @classmethod
    def _stays_inside(cls, name: str) -> str:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"a file's name must be relative and stay inside its folder, found {name!r}")
        return name


class StaticFileSettings(PluginSettings):
    """Settings of the plug-in ``static-files``."""

    files: tuple[StaticFile, ...] = Field(min_length=1)

    @field_validator("files")
    @classmethod
    def _of_different_names(cls, files: tuple[StaticFile, ...]) -> tuple[StaticFile, ...]:
        names = [str(PurePosixPath(file.name)) for file in files]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"files need different names, found {twice} more than once")
        return files


class StaticFiles:
    """Fetches files, checks size and hash where they are known, and unpacks zips."""

    def plan(self, request: Request) -> Plan:
        """List the files.

        Raises:
            InputError: the settings are wrong.
        """
        settings = _settings(request)
        sizes = [file.size for file in settings.files]
        total = sum(size for size in sizes if size is not None) if None not in sizes else None
        return Plan(settings.model_dump(mode="json"), requests=len(settings.files), bytes=total)

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        """Fetch what is not there yet; each file goes on where it was cut off.

        Files of earlier settings go first, with what was unpacked from them: readers would take them for today's.
        """
        files = _settings(request).files
        wanted = {_origin(file) for file in files}
        for origin in sorted(request.folder.rglob(".*.json")):
            known = _known(origin, request.folder)
            if known is not None and _origin(known) not in wanted:
                _forget(known, origin, request.folder)
        for file in files:
            target = request.folder / file.name
            origin = target.with_name(f".{target.name}.json")  # of which address and state the file at hand is
            if not (target.is_file() and origin.is_file() and origin.read_text(encoding="utf-8") == _origin(file)):
                origin.unlink(missing_ok=True)
                download(web, file.url, target, expected_size=file.size, expected_sha256=file.sha256)
                origin.write_text(_origin(file), encoding="utf-8")
        return Fetched(tuple(file.name for file in files), {"urls": [file.url for file in files]})

    def verify(self, request: Request, fetched: Fetched) -> None:
        """Check every zip that is to be unpacked; one that is none is discarded, so that the next try fetches it anew.

        Raises:
            ArchiveError: not a zip, truncated or hostile.
        """
        for file in _settings(request).files:
            if not file.unpack:
                continue
            path = request.folder / file.name
            try:
                with open_archive(path, _UNPACKED) as archive:
                    damaged = archive.testzip()
                if damaged is not None:
                    raise ArchiveError(f"{file.name}: member {damaged!r} is damaged; it was discarded, run again")
            except ArchiveError:
                path.unlink(missing_ok=True)
                raise

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        """Unpack the zips, folders inside them left out; other files are read as they are."""
        unpacked = 0
        for file in _settings(request).files:
            if not file.unpack:
                continue
            with open_archive(request.folder / file.name, _UNPACKED) as archive:
                for member in archive.infolist():
                    name = PurePosixPath(member.filename).name
                    if member.is_dir():
                        continue
                    if (destination / name).exists():
                        raise ArchiveError(f"{file.name}: two members are called {name!r}; unpack it by hand")
                    with archive.open(member) as stream, (destination / name).open("wb") as out:
                        shutil.copyfileobj(stream, out, _COPY_BYTES)
                    unpacked += 1
        return {"files unpacked": unpacked}


def _known(origin: Path, folder: Path) -> StaticFile | None:
    """Read of which file a note tells; None where another plug-in or a kill left it."""
    try:
        file = StaticFile.model_validate_json(origin.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return file if folder / file.name == origin.with_name(origin.name[1:].removesuffix(".json")) else None


def _forget(file: StaticFile, origin: Path, folder: Path) -> None:
    """Remove a file and what was unpacked from it; the note goes last, so that a kill leaves nothing behind."""
    path = folder / file.name
    with suppress(ArchiveError, MissingInputError), open_archive(path, _UNPACKED) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                (folder / PurePosixPath(member.filename).name).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    origin.unlink()


def _origin(file: StaticFile) -> str:
    return file.model_dump_json(exclude={"unpack"})


def _settings(request: Request) -> StaticFileSettings:
    return read_settings(request, StaticFileSettings, "static-files")
