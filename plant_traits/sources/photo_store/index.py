"""The index of a photo store: an SQLite file that says of every photo what became of it and where its bytes lie."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from plant_traits.errors import MissingInputError, WorkspaceError
from plant_traits.sources.photo_store.pack import Place

INDEX = "index.sqlite"
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS picture (
    sha256 TEXT PRIMARY KEY, pack INTEGER NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, format TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS picture_place ON picture (pack, offset);
CREATE TABLE IF NOT EXISTS photo (
    photo_id TEXT PRIMARY KEY,
    status TEXT NOT NULL,
    reason TEXT,
    attempts INTEGER NOT NULL,
    http_status INTEGER,
    sha256 TEXT,
    url TEXT,
    licence TEXT,
    attribution TEXT,
    round INTEGER NOT NULL
) WITHOUT ROWID;
CREATE VIEW IF NOT EXISTS photos AS
    SELECT photo.photo_id, status, reason, attempts, http_status, photo.sha256, url, licence, attribution,
        pack, offset, size, width, height, format
    FROM photo LEFT JOIN picture USING (sha256);
"""


def open_index(store: Path) -> sqlite3.Connection:
    """Open the index of a store for writing; it is made where absent.

    Raises:
        sqlite3.DatabaseError: the file is damaged.
        WorkspaceError: a later version of this program made it.
    """
    store.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(store / INDEX, timeout=60.0, isolation_level=None, check_same_thread=False)
    with ExitStack() as stack:
        stack.callback(connection.close)
        # What a killed process wrote is kept by the system. A power cut may cost the index: it is made anew from packs.
        connection.execute("PRAGMA synchronous = OFF")
        # Without a write-ahead log, a reader needs no right to write.
        connection.execute("PRAGMA journal_mode = PERSIST")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > _VERSION:
            raise WorkspaceError(
                f"photo store {store}: its index has version {version}, at most {_VERSION} is understood; "
                "update this program"
            )
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        stack.pop_all()  # the caller closes it
    return connection


@contextmanager
def read_index(store: Path) -> Iterator[sqlite3.Connection]:
    """Open the index of a store for reading.

    Raises:
        MissingInputError: there is none.
        WorkspaceError: it is damaged.
    """
    path = store / INDEX
    if not path.is_file():
        raise MissingInputError(f"photo store {store} has no {INDEX}: fetch its photos, or correct its path")
    # Not mode=ro: what a kill left half written is rolled back by whoever opens the file next.
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=60.0, check_same_thread=False)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT 1 FROM photo LIMIT 1")
        yield connection
    except sqlite3.DatabaseError as error:
        raise WorkspaceError(
            f"photo store {store}: its index cannot be read ({error}); fetch its photos again"
        ) from error
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do all of what is in the block, or nothing."""
    with connection:  # commits, or rolls back what an error leaves
        connection.execute("BEGIN IMMEDIATE")
        yield


def read_meta(connection: sqlite3.Connection, key: str) -> str | None:
    """Return what was noted under a key."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def write_meta(connection: sqlite3.Connection, key: str, value: str | None) -> None:
    """Note something under a key, or forget it."""
    connection.execute("DELETE FROM meta WHERE key = ?", (key,))
    if value is not None:
        connection.execute("INSERT INTO meta VALUES (?, ?)", (key, value))


def last_place(connection: sqlite3.Connection) -> Place | None:
    """Return the place of the last photo of the last pack."""
    row = connection.execute(
        "SELECT pack, offset, size FROM picture ORDER BY pack DESC, offset DESC LIMIT 1"
    ).fetchone()
    return None if row is None else Place(*map(int, row))
