"""What iNaturalist answered about the identifications of observations, kept in one SQLite file that all months share.

Of an answer it keeps who gave which name: users by number, never by login or name. An observation that the service no
longer has is kept as such.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Self

from plant_traits.errors import WorkspaceError
from plant_traits.month import Month
from plant_traits.sources.inaturalist.observations import IDENTIFICATION, identifications, known_taxa

JOURNAL = "identifications.sqlite"
TAXON = ("taxon_id", "name", "rank", "ancestry", "active")

_KNOWN_OTHERWISE = {"occurrence_id", "taxon_name", "rank", "previous_taxon_name"}
_KEPT = [name for name in IDENTIFICATION.names if name not in _KNOWN_OTHERWISE]
_BATCH = 5_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = 2**63
_MICROSECOND = timedelta(microseconds=1)
_TABLES = (
    "CREATE TABLE IF NOT EXISTS answer (asked TEXT PRIMARY KEY, month TEXT NOT NULL, rows TEXT) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS taxon (taxon_id INTEGER PRIMARY KEY, name TEXT, rank TEXT, ancestry TEXT, active INT)",
    "CREATE TEMP TABLE wanted (place INTEGER PRIMARY KEY, occurrence_id TEXT NOT NULL, asked TEXT NOT NULL)",
)


class IdentificationJournal:
    """Answers by what was asked: an observation's number or its UUID."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take an open journal, see ``open``."""
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Self]:
        """Open the journal of a folder; it is made where there is none.

        Raises:
            WorkspaceError: it cannot be used.
        """
        path = folder / JOURNAL
        try:
            connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        except sqlite3.Error as error:
            raise _unusable(path, error) from error
        try:
            # What a killed process wrote is kept; a power cut may lose the last answers, which are then asked again.
            connection.execute("PRAGMA synchronous = OFF")
            for statement in _TABLES:
                connection.execute(statement)
            yield cls(connection)
        except sqlite3.DatabaseError as error:
            raise _unusable(path, error) from error
        finally:
            connection.close()

    def want(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Set what is wanted: pairs of a run's observation id and what to ask for it, in order."""
        self._connection.execute("DELETE FROM temp.wanted")
        remaining = iter(wanted)
        while rows := list(islice(remaining, _BATCH)):
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT INTO temp.wanted (occurrence_id, asked) VALUES (?, ?)", rows)
            self._connection.execute("COMMIT")

    def due(self, month: Month, refresh_months: int) -> list[str]:
        """Return what is to be asked: never asked before, or so many months ago."""
        oldest = month
        for _ in range(refresh_months):
            oldest = oldest.previous
        rows = self._connection.execute(
            "SELECT DISTINCT w.asked FROM temp.wanted AS w LEFT JOIN answer AS a USING (asked) "
            "WHERE a.month IS NULL OR a.month <= ? ORDER BY 1",
            (str(oldest),),
        )
        return [asked for (asked,) in rows]

    def keep(self, asked: Sequence[str], observations: Sequence[Mapping[str, Any]], month: Month) -> None:
        """Keep the answers to a question; what is not among the observations, or cannot be read, is kept as gone."""
        readable = [(entry, rows) for entry in observations if (rows := _written(entry)) is not None]
        found = {key: rows for entry, rows in readable for key in (str(entry.get("id")), str(entry.get("uuid")))}
        answers = [(key, str(month), found.get(key)) for key in asked]
        taxa = [
            (number, x.get("name"), x.get("rank"), _above(number, x), x.get("is_active", True))
            for number, x in sorted(known_taxa([entry for entry, _ in readable]).items())
        ]
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT OR REPLACE INTO answer VALUES (?, ?, ?)", answers)
        self._connection.executemany("INSERT OR REPLACE INTO taxon VALUES (?, ?, ?, ?, ?)", taxa)
        self._connection.execute("COMMIT")

    def count(self) -> dict[str, int]:
        """Return how many wanted observations are answered, gone (or answered unreadably) and not asked."""
        answered, gone, missing = self._connection.execute(
            "SELECT count(a.rows), count(a.month) - count(a.rows), count(*) - count(a.month) "
            "FROM temp.wanted LEFT JOIN answer AS a USING (asked)"
        ).fetchone()
        return {"answered": answered, "gone": gone, "not asked": missing}

    def taxa(self) -> list[dict[str, Any]]:
        """Return the taxa of all answers in the form of iNaturalist's open table, columns ``TAXON``."""
        rows = self._connection.execute("SELECT taxon_id, name, rank, ancestry, active FROM taxon ORDER BY taxon_id")
        return [{**dict(zip(TAXON, row, strict=True)), "active": bool(row[-1])} for row in rows]

    def identifications(self, until: datetime) -> Iterator[tuple[list[dict[str, Any]], int]]:
        """Yield rows of ``IDENTIFICATION`` in the order of what is wanted, some at a time.

        Args:
            until: identifications of this moment and later are left out, and counted in the second value.
        """
        taxa = self._connection.execute("SELECT taxon_id, name, rank FROM taxon")
        named = {number: (name, rank) for number, name, rank in taxa}
        nothing = (None, None)
        end = (until - _EPOCH) // _MICROSECOND
        cursor = self._connection.execute(
            "SELECT w.occurrence_id, a.rows FROM temp.wanted AS w JOIN answer AS a USING (asked) "
            "WHERE a.rows IS NOT NULL ORDER BY w.place"
        )
        while batch := cursor.fetchmany(_BATCH):
            rows, late = [], 0
            for occurrence_id, text in batch:
                said = [dict(zip(_KEPT, values, strict=True)) for values in json.loads(text)]
                known, after = _by_then(said, end)
                late += after
                for row in known:
                    row["occurrence_id"] = occurrence_id
                    row["taxon_name"], row["rank"] = named.get(row["taxon_id"], nothing)
                    row["previous_taxon_name"] = named.get(row["previous_taxon_id"], nothing)[0]
                    row["created_at"] = None if row["created_at"] is None else _EPOCH + row["created_at"] * _MICROSECOND
                rows += known
            yield rows, late


def _by_then(said: list[dict[str, Any]], end: int) -> tuple[list[dict[str, Any]], int]:
    """Return an observation's identifications as they stood at a moment, and how many came after.

    What its user replaced afterwards was current then.
    """
    known = [row for row in said if row["created_at"] is None or row["created_at"] < end]
    if len(known) < len(said):
        replaced = {row["user_id"] for row in said} - {row["user_id"] for row in known if row["current"]}
        last = {row["user_id"]: row for row in known}
        after = {row["user_id"] for row in said if row["created_at"] is not None and row["created_at"] >= end}
        for user in replaced & after & last.keys():
            last[user]["current"] = True
    return known, len(said) - len(known)


def _written(observation: Mapping[str, Any]) -> str | None:
    """Return the identifications of an observation as JSON; None where the answer is not what it should be."""
    try:
        rows = identifications([observation])
        for number, taxon in known_taxa([observation]).items():
            _above(number, taxon)
            if not 0 <= number < _LARGEST:
                return None
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None
    for row in rows:
        if row["created_at"] is not None:
            row["created_at"] = (row["created_at"] - _EPOCH) // _MICROSECOND
    return json.dumps([[row[name] for name in _KEPT] for row in rows], separators=(",", ":"))


def _above(number: int, taxon: Mapping[str, Any]) -> str | None:
    """Return the ids above a taxon from the root down; answers write them with or without its own."""
    ids = [int(x) for x in taxon.get("ancestor_ids") or str(taxon.get("ancestry") or "").split("/") if str(x)]
    above = [x for x in ids if x != number]
    return "/".join(map(str, above)) or None


def _unusable(path: Path, error: sqlite3.Error) -> WorkspaceError:
    return WorkspaceError(f"{path}: the journal of identifications cannot be used ({error}); remove it to ask anew")
