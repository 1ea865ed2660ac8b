"""What every source of data does: plan, fetch, verify, normalise. A new source is one module that does these four."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from data_catalog import Source
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.web.client import Web

NAMES, OBSERVATIONS, VOTED = "names", "observations", "voted"
"""Tables of earlier stages by which some sources are asked: names to match, photos to fetch, and observations whose
identifications are wanted."""


@dataclass(frozen=True)
class Request:
    """What a run wants of one source.

    Attributes:
        source: the catalogue's entry.
        month: the run's month; records are wanted until its last day.
        region: where records or pixels are wanted.
        settings: the plug-in's own settings, from the profile.
        folder: local folder of this acquisition in the mirror; it may hold what an earlier, killed call left there.
        tables: tables of earlier stages that say what to fetch, by name, such as ``OBSERVATIONS``.
        progress: called with (finished, total) while a long fetch goes on, from any thread.
    """

    source: Source
    month: Month
    region: Region
    settings: Mapping[str, JsonValue]
    folder: Path
    tables: Mapping[str, Path] = field(default_factory=dict)
    progress: Callable[[int, int], None] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Plan:
    """What will be asked for.

    Attributes:
        asked: everything that decides what comes back, as JSON; the same is never fetched twice.
        requests: about how many requests it takes, where known.
        bytes: about how many bytes come, where known.
    """

    asked: JsonValue
    requests: int | None = None
    bytes: int | None = None

    @property
    def key(self) -> str:
        """Hash of what is asked."""
        return hashlib.sha256(json.dumps(self.asked, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Fetched:
    """What came.

    Attributes:
        files: paths relative to the request's folder.
        facts: DOI, citation, download key, counts the service states … as JSON.
        lost: things that could not be had, by reason.
        mended: fetch itself finds what is missing or damaged in the files; otherwise one whose size changed is removed,
            so that it is fetched anew.
    """

    files: tuple[str, ...]
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    mended: bool = False


class DataSource(Protocol):
    """A plug-in: four steps, each a plain call. It keeps no state but files in the request's folder.

    ``fetch`` must survive a kill at any moment: called again with the same request and plan, it goes on with what lies
    in the folder and asks for nothing that it already has.
    """

    def plan(self, request: Request) -> Plan:
        """Say what will be asked, without asking.

        Raises:
            InputError: the settings are wrong, or the request cannot be met.
        """
        ...

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        """Bring everything into the request's folder.

        Raises:
            WebError: the service failed for good.
        """
        ...

    def verify(self, request: Request, fetched: Fetched) -> None:
        """Check that what came is whole, harmless and what was asked for.

        Raises:
            InputError: it is not.
        """
        ...

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        """Write this project's tables into an empty folder, in bounded memory.

        Occurrences go into ``occurrences.parquet`` (``RAW_OCCURRENCE``). A source whose files are read as they are
        writes nothing.

        Returns:
            Counts: ``rows`` and, as ``rejected: <reason>``, what could not become a row.
        """
        ...
