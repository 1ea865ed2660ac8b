"""Keep to the limits of each host: a place in its queue for every request, and a count of what was used.

The state lies in one SQLite file, so that all processes of a workspace share it and a restart does not forget it.
"""

from __future__ import annotations

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
_SCHEMA = """
CREATE TABLE IF NOT EXISTS queue (host TEXT PRIMARY KEY, next_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS used (
    host TEXT NOT NULL, hour INTEGER NOT NULL, requests INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (host, hour)
);
"""


class Pace:
    """Paces requests by host; safe for threads and for processes that share the file.

    Requests of a host are spaced evenly, ``60 / requests_per_minute`` seconds apart, so that no window of any length
    holds more than its share. What is over a budget of bytes waits until the hour that used it has passed.

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
        self._local = threading.local()
        self._one_at_a_time = threading.Lock()  # threads of one process queue here, not in SQLite's slow retries
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._transaction() as connection:
            for statement in _SCHEMA.split(";"):
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
            self._sleep(min(pause, 60.0))

    def count_bytes(self, host: str, size: int) -> None:
        """Add received bytes to the host's account."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO used VALUES (?, ?, 0, ?) ON CONFLICT (host, hour) DO UPDATE SET bytes = bytes + ?",
                (host, int(self._now() // _HOUR), size, size),
            )

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
                "SELECT coalesce(sum(requests), 0), coalesce(sum(bytes), 0) FROM used WHERE host = ?", (host,)
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
            connection.execute(
                "INSERT INTO used VALUES (?, ?, 1, 0) ON CONFLICT (host, hour) DO UPDATE SET requests = requests + 1",
                (limits.host, int(now // _HOUR)),
            )
            return None

    def _over_budget(self, connection: sqlite3.Connection, limits: HostLimits, now: float) -> float | None:
        hour = int(now // _HOUR)
        for column, limit, hours in (
            ("bytes", limits.bytes_per_hour, 1),
            ("bytes", limits.bytes_per_day, 24),
            ("requests", limits.requests_per_day, 24),
        ):
            if limit is None:
                continue
            rows = connection.execute(
                f"SELECT hour, {column} FROM used WHERE host = ? AND hour > ? ORDER BY hour",  # noqa: S608
                (limits.host, hour - hours),
            ).fetchall()
            total = sum(n for _, n in rows)
            for used_hour, n in rows:
                if total < limit:
                    break
                total -= n
                wait = (used_hour + hours) * _HOUR - now
                if total < limit:
                    return float(wait)
        return None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._one_at_a_time:
            yield from self._exclusive()

    def _exclusive(self) -> Iterator[sqlite3.Connection]:
        connection = getattr(self._local, "connection", None)
        try:
            if connection is None:
                connection = sqlite3.connect(self._path, timeout=60.0, isolation_level=None)
                # What a killed process wrote is kept; only a power cut may lose the last entries of the account.
                connection.execute("PRAGMA synchronous = OFF")
                self._local.connection = connection
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise WorkspaceError(f"the account of requests {self._path} cannot be used: {error}") from error
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
