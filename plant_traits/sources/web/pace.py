"""Keep to the limits of each host: a place in its queue for every request, and a count of what was used.

The state lies in one SQLite file, so that all processes of a mirror share it and a restart does not forget it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from data_catalog import HostLimits
from plant_traits.errors import WebError, WorkspaceError

_HOUR = 3600
_DAY = 24 * _HOUR
_SLOT = 300  # what was used is summed up by so many seconds
_LONGEST_NAP_S = 60.0
_TABLES = (
    "CREATE TABLE IF NOT EXISTS queue (host TEXT PRIMARY KEY, next_at REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS spent (host TEXT NOT NULL, slot INTEGER NOT NULL, requests INTEGER NOT NULL, "
    "bytes INTEGER NOT NULL, PRIMARY KEY (host, slot)) WITHOUT ROWID",
)


class Pace:
    """Paces requests by host; safe for threads and for processes that share the file.

    Requests of a host are spaced evenly, ``60 / requests_per_minute`` seconds apart, so that no window of any length
    holds more than its share. What is over a budget of an hour or a day waits until enough of what used it has passed
    out of it, to five minutes. Bytes are counted when they have come: what is on its way may exceed their budget.

    Attributes:
        limits: limits by host.
    """

    def __init__(
        self,
        path: Path,
        limits: Mapping[str, HostLimits],
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        longest_wait_s: float = _DAY,
    ) -> None:
        self.limits = dict(limits)
        self._path = path
        self._now = now
        self._sleep = sleep
        self._longest_wait = longest_wait_s
        self._one_at_a_time = threading.Lock()  # threads of one process queue here, not in SQLite's slow retries
        # By process: a forked one opens its own, and leaves alone what it inherited, which is not its to close.
        self._opened: dict[int, sqlite3.Connection] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._transaction() as connection:
            for statement in _TABLES:
                connection.execute(statement)

    def wait_for_turn(self, host: str) -> None:
        """Return when a request to the host may be sent, and count it.

        Raises:
            WebError: ``over_budget``, the wait would be longer than a day.
        """
        limits = self.limits[host]
        while True:
            pause = self._reserve(limits)
            if pause is None:
                return
            if pause > self._longest_wait:
                raise WebError(
                    "over_budget",
                    f"{host}: its budget of bytes or requests is used up for the next {pause / _HOUR:.1f} hours; "
                    "what has been fetched is kept, run again later",
                )
            self._sleep(min(pause, _LONGEST_NAP_S))

    def count_bytes(self, host: str, size: int) -> None:
        """Add received bytes to the host's account."""
        if size == 0:
            return
        with self._transaction() as connection:
            _add(connection, host, self._now(), 0, size)

    def postpone(self, host: str, seconds: float) -> None:
        """Let nobody send to the host for so many seconds, as a server's Retry-After asks."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO queue VALUES (?, ?) "
                "ON CONFLICT (host) DO UPDATE SET next_at = max(next_at, excluded.next_at)",
                (host, self._now() + seconds),
            )

    def used(self, host: str) -> tuple[int, int]:
        """Return requests and bytes of a host since the account began."""
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT coalesce(sum(requests), 0), coalesce(sum(bytes), 0) FROM spent WHERE host = ?", (host,)
            ).fetchone()
        return int(row[0]), int(row[1])

    def _reserve(self, limits: HostLimits) -> float | None:
        """Take the next place in the queue and return None once it is due; else return how long to wait."""
        with self._transaction() as connection:
            now = self._now()
            over = self._over_budget(connection, limits, now)
            if over is not None:
                return over
            row = connection.execute("SELECT next_at FROM queue WHERE host = ?", (limits.host,)).fetchone()
            due = now if row is None else float(row[0])
            if due > now:
                return due - now
            connection.execute(
                "INSERT OR REPLACE INTO queue VALUES (?, ?)", (limits.host, now + 60.0 / limits.requests_per_minute)
            )
            _add(connection, limits.host, now, 1, 0)
            return None

    def _over_budget(self, connection: sqlite3.Connection, limits: HostLimits, now: float) -> float | None:
        """Return how long until a request fits into every budget, None where it does now."""
        waits = [
            _until_below(connection, limits.host, column, limit, seconds, now)
            for column, limit, seconds in (
                ("bytes", limits.bytes_per_hour, _HOUR),
                ("bytes", limits.bytes_per_day, _DAY),
                ("requests", limits.requests_per_day, _DAY),
            )
            if limit is not None
        ]
        longest = max(waits, default=0.0)
        return longest if longest > 0 else None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._one_at_a_time:
            try:
                connection = self._connection()
                with connection:  # commits, or rolls back what an error leaves
                    connection.execute("BEGIN IMMEDIATE")
                    yield connection
            except sqlite3.Error as error:
                raise WorkspaceError(f"the account of requests {self._path} cannot be used: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        process = os.getpid()
        if process not in self._opened:
            connection = sqlite3.connect(self._path, timeout=60.0, isolation_level=None, check_same_thread=False)
            # What a killed process wrote is kept; only a power cut may lose the last entries of the account.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = PERSIST")
            self._opened[process] = connection
        return self._opened[process]


def _add(connection: sqlite3.Connection, host: str, now: float, requests: int, size: int) -> None:
    connection.execute(
        "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT (host, slot) DO UPDATE SET "
        "requests = requests + excluded.requests, bytes = bytes + excluded.bytes",
        (host, int(now // _SLOT), requests, size),
    )


def _until_below(connection: sqlite3.Connection, host: str, column: str, limit: int, seconds: int, now: float) -> float:
    """Return how long until the use of so many last seconds is below a limit; 0 where it is."""
    first = int((now - seconds) // _SLOT)  # the slot that the window begins in counts whole
    (used,) = connection.execute(
        f"SELECT coalesce(sum({column}), 0) FROM spent WHERE host = ? AND slot >= ?",  # noqa: S608
        (host, first),
    ).fetchone()
    if used < limit:
        return 0.0
    rows = connection.execute(
        f"SELECT slot, {column} FROM spent WHERE host = ? AND slot >= ? ORDER BY slot",  # noqa: S608
        (host, first),
    ).fetchall()
    total, wait = used, 0.0
    for slot, n in rows:
        if total < limit:
            break
        total -= n
        wait = (slot + 1) * _SLOT + seconds - now
    return wait
