"""What the stand-ins must remember over a restart: a table of JSON texts by kind and key."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any


class State:
    """A small store in SQLite; every change is kept at once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS kept (kind TEXT, key TEXT, value TEXT NOT NULL, PRIMARY KEY (kind, key))"
        )

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return what is kept under a key, or None."""
        row = self._connection.execute("SELECT value FROM kept WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, kind: str, key: str, value: dict[str, Any]) -> None:
        """Keep a value; it replaces an older one and keeps its place."""
        self._connection.execute(
            "INSERT INTO kept VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
            (kind, key, json.dumps(value)),
        )

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return the values of a kind, oldest first."""
        rows = self._connection.execute("SELECT value FROM kept WHERE kind = ? ORDER BY rowid", (kind,)).fetchall()
        return [json.loads(row[0]) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
