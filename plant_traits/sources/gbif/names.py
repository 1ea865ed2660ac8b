"""Accepted names from GBIF: each distinct name is asked once, and the answer kept for the months to come.

The journal of answers is one SQLite file in the acquisition's folder, which all months share; a killed call loses no
answer. A name whose answer is older than ``refresh_months`` is asked again, because taxonomies move.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from plant_traits.errors import InputError, MissingInputError, TableError, WebError, WorkspaceError
from plant_traits.month import Month
from plant_traits.sources.gbif.checklist import CATALOGUE_OF_LIFE
from plant_traits.sources.gbif.lookups import HOST, species_match
from plant_traits.sources.gbif.name_match import NameMatch
from plant_traits.sources.plugin_settings import PluginSettings, read_settings
from plant_traits.sources.protocol import NAMES, Fetched, Plan, Request
from plant_traits.sources.web.client import Web

ACCEPTED_NAME = pa.schema(
    [
        pa.field("name", pa.string()),  # as it was asked
        pa.field("match_type", pa.string()),  # EXACT, VARIANT, HIGHERRANK, NONE …
        pa.field("rank", pa.string()),  # of the usage found
        pa.field("status", pa.string()),
        pa.field("usage_key", pa.string()),
        pa.field("canonical", pa.string()),
        pa.field("accepted_key", pa.string()),
        pa.field("accepted_name", pa.string()),
        pa.field("accepted_species", pa.string()),  # null where the name stands for no one species
        pa.field("genus", pa.string()),
        pa.field("family", pa.string()),
        pa.field("homonyms", pa.bool_()),
        pa.field("issues", pa.string()),
    ]
)
"""Columns of ``names.parquet``, see ``NameMatch``."""

JOURNAL = "answers.sqlite"
REFUSED = "REFUSED"
"""Match type of a name that the service cannot read at all."""

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS answers (name TEXT, checklist_key TEXT, kingdom TEXT, month TEXT NOT NULL, "
    "answer TEXT NOT NULL, PRIMARY KEY (name, checklist_key, kingdom)) WITHOUT ROWID"
)
_AT_ONCE = 4  # names in the queue for each connection
_BATCH = 20_000
_LONGEST_NAME = 500
_UNREADABLE = (400, 414, 422)


class GbifNamesSettings(PluginSettings):
    """Settings of the plug-in ``gbif-names``."""

    checklist_key: str = CATALOGUE_OF_LIFE
    kingdom: str = Field(default="Plantae", description="tells homonyms apart; empty for none")
    refresh_months: int = Field(default=12, ge=1)


class GbifNames:
    """Matches the names of the table ``names`` (column ``name``) with GBIF's taxonomy."""

    def plan(self, request: Request) -> Plan:
        """Say which names will be asked.

        Raises:
            InputError: the settings are wrong, or there is no table of names.
        """
        settings = read_settings(request, GbifNamesSettings, "gbif-names")
        names, _ = _names(request)
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
        asked = {**settings.model_dump(mode="json"), "month": str(request.month), "names": len(names), "hash": digest}
        return Plan(asked, requests=len(names))

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        """Ask for the names that the journal does not know, over the host's connections, and keep every answer.

        Raises:
            WebError: the service failed for good; the answers that came are kept.
        """
        settings = read_settings(request, GbifNamesSettings, "gbif-names")
        names, too_long = _names(request)
        connections = next((x.connections for x in request.source.hosts if x.host == HOST), 1)
        match = species_match(web)

        def ask(name: str) -> tuple[str, str]:
            try:
                answer = match(
                    scientificName=name, kingdom=settings.kingdom or None, checklistKey=settings.checklist_key
                )
            except WebError as error:
                if error.status not in _UNREADABLE:
                    raise
                answer = {"diagnostics": {"matchType": REFUSED, "note": str(error)[:300]}}
            NameMatch.read(name, answer)
            return name, json.dumps(answer, ensure_ascii=False)

        with closing(_journal(request.folder)) as journal:
            due = _due(journal, names, settings, request.month)
            with ThreadPoolExecutor(connections) as pool:
                for name, answer in _answers(pool, ask, due, connections * _AT_ONCE):
                    journal.execute(
                        "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?)",
                        (name, settings.checklist_key, settings.kingdom, str(request.month), answer),
                    )
            found: Counter[str] = Counter()
            for matches in _matches(journal, names, settings):
                found.update(match.match_type for match in matches)
        lost = {"names the service cannot read": found[REFUSED], "names too long to be names": too_long}
        return Fetched(
            files=(),
            facts={
                "names": len(names),
                "asked_now": len(due),
                "checklist_key": settings.checklist_key,
                "match_types": dict(sorted(found.items())),
            },
            lost={reason: n for reason, n in lost.items() if n},
        )

    def verify(self, request: Request, fetched: Fetched) -> None:
        """Check that there is an answer to every name.

        Raises:
            InputError: there is not.
        """
        settings = read_settings(request, GbifNamesSettings, "gbif-names")
        names, _ = _names(request)
        with closing(_journal(request.folder)) as journal:
            known = sum(len(matches) for matches in _matches(journal, names, settings))
        if known != len(names):
            raise InputError(
                f"source {request.source.id!r}: {len(names)} names were asked and {known} answers are in "
                f"{request.folder / JOURNAL}; run again"
            )

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        """Write ``names.parquet`` (``ACCEPTED_NAME``), one row per name in name order."""
        settings = read_settings(request, GbifNamesSettings, "gbif-names")
        rows = 0
        with (
            closing(_journal(request.folder)) as journal,
            pq.ParquetWriter(destination / "names.parquet", ACCEPTED_NAME, compression="zstd") as writer,
        ):
            for matches in _matches(journal, _names(request)[0], settings):
                writer.write_table(pa.Table.from_pylist([asdict(match) for match in matches], ACCEPTED_NAME))
                rows += len(matches)
        return {"rows": rows}


def _names(request: Request) -> tuple[list[str], int]:
    """Read the distinct names, sorted, and count those that are too long to be one."""
    path = request.tables.get(NAMES)
    if path is None or not path.is_file():
        raise MissingInputError(
            f"source {request.source.id!r}: `gbif-names` needs the table `{NAMES}` with a column `name`, found "
            f"{path or 'none'}; run the stage that collects the names first"
        )
    try:
        column: pd.Series = pq.read_table(path, columns=["name"]).to_pandas()["name"]
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise TableError(f"{path}: expected a Parquet table with a column `name` ({error})") from error
    text = column.dropna().astype("str").str.strip()
    distinct = pd.Series(text[text != ""].unique(), dtype="str")
    short = distinct.str.len() <= _LONGEST_NAME
    return sorted(distinct[short]), int((~short).sum())


def _journal(folder: Path) -> sqlite3.Connection:
    path = folder / JOURNAL
    try:
        connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        # What a killed process wrote is kept; a power cut may lose the last answers, which are then asked again.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(_SCHEMA)
    except sqlite3.Error as error:
        raise WorkspaceError(f"{path}: the journal of names cannot be used ({error}); remove it to ask anew") from error
    return connection


def _due(journal: sqlite3.Connection, names: Sequence[str], settings: GbifNamesSettings, month: Month) -> list[str]:
    rows = journal.execute(
        "SELECT name, month FROM answers WHERE checklist_key = ? AND kingdom = ?",
        (settings.checklist_key, settings.kingdom),
    )
    fresh = {name for name, asked in rows if _months(Month.parse(asked), month) < settings.refresh_months}
    return [name for name in names if name not in fresh]


def _months(first: Month, last: Month) -> int:
    return (last.year - first.year) * 12 + last.month - first.month


def _answers(
    pool: ThreadPoolExecutor, ask: Callable[[str], tuple[str, str]], names: Sequence[str], queue: int
) -> Iterator[tuple[str, str]]:
    """Yield answers as they come, with only a short queue of names before the connections.

    After a failure no more names are asked; answers that are on their way are still yielded before it is raised.
    """
    waiting: set[Future[tuple[str, str]]] = set()
    failure: BaseException | None = None
    remaining = iter(names)
    try:
        while True:
            if failure is None:
                waiting |= {pool.submit(ask, name) for name in islice(remaining, queue - len(waiting))}
            if not waiting:
                break
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                error = None if future.cancelled() else future.exception()
                if error is None and not future.cancelled():
                    yield future.result()
                elif error is not None and failure is None:
                    failure = error
                    for late in waiting:
                        late.cancel()
    finally:
        for future in waiting:
            future.cancel()
    if failure is not None:
        raise failure


def _matches(
    journal: sqlite3.Connection, names: Sequence[str], settings: GbifNamesSettings
) -> Iterator[list[NameMatch]]:
    """Yield the known matches of the names, in their order, in batches."""
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        matches = []
        for name in batch:
            row = journal.execute(
                "SELECT answer FROM answers WHERE name = ? AND checklist_key = ? AND kingdom = ?",
                (name, settings.checklist_key, settings.kingdom),
            ).fetchone()
            if row is not None:
                matches.append(NameMatch.read(name, json.loads(row[0])))
        yield matches
