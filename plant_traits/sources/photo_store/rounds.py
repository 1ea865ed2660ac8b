"""Which wanted photos are still to be asked for: a round is one pass over them, and a kill does not end it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from plant_traits.sources.photo_store.index import read_meta, transaction, write_meta
from plant_traits.sources.photo_store.store import WantedPhoto

# What came whole is judged for good. What did not come whole is asked for in a few rounds, and in every round what the
# server could not serve.
LIMITED = ("incomplete", "unexpected_answer")
PASSING = "unavailable"

_NUMBER, _BEGUN = "round", "begun"

# What failed in a round is left alone in it; a later round asks again where the reason allows.
_OPEN = f"""
    w.refusal IS NULL AND (p.photo_id IS NULL OR (p.status = 'failed' AND p.round <> :round AND (
        :retry_failed OR p.url IS NOT w.url OR p.reason = '{PASSING}'
        OR (p.reason IN {LIMITED} AND p.attempts < :attempts)
    )))
"""


@dataclass(frozen=True)
class Round:
    """One pass over the wanted photos.

    Attributes:
        number: of the store's rounds.
        attempts: rounds in which a photo that came broken is asked for.
        retry_failed: ask again for all that failed in earlier rounds.
    """

    number: int
    attempts: int
    retry_failed: bool = False

    @property
    def terms(self) -> dict[str, int]:
        """Return the parameters of the queries."""
        return {"round": self.number, "attempts": self.attempts, "retry_failed": int(self.retry_failed)}

    @property
    def next(self) -> Round:
        """Return the round after this one."""
        return Round(self.number + 1, self.attempts)


def begin_round(index: sqlite3.Connection, key: str, attempts: int, retry_failed: bool) -> Round:
    """Begin the round of a plan, or go on with the one that a kill ended.

    What the wanted photos' rows say now is taken over: refusals, licences and attributions. A photo that is held and
    refused is kept, but not read; its licence may become acceptable again.
    """
    with transaction(index):
        number = int(read_meta(index, _NUMBER) or 0)
        if read_meta(index, _BEGUN) != key:
            number += 1
            write_meta(index, _NUMBER, str(number))
            write_meta(index, _BEGUN, key)
        accepted = "photo_id IN (SELECT photo_id FROM wanted.wanted WHERE refusal IS NULL)"
        index.execute(f"DELETE FROM photo WHERE status = 'refused' AND sha256 IS NULL AND {accepted}")  # noqa: S608
        index.execute(f"UPDATE photo SET status = 'ok', reason = NULL WHERE status = 'refused' AND {accepted}")  # noqa: S608
        index.execute(
            "INSERT INTO photo SELECT photo_id, 'refused', refusal, 0, NULL, NULL, url, licence, attribution, ? "
            "FROM wanted.wanted WHERE refusal IS NOT NULL "
            "ON CONFLICT (photo_id) DO UPDATE SET status = 'refused', reason = excluded.reason",
            (number,),
        )
        index.execute(
            "UPDATE photo SET licence = w.licence, attribution = w.attribution FROM wanted.wanted AS w "
            "WHERE w.photo_id = photo.photo_id "
            "AND (w.licence IS NOT photo.licence OR w.attribution IS NOT photo.attribution)"
        )
    return Round(number, attempts, retry_failed)


def end_round(index: sqlite3.Connection, this: Round, asked: str) -> None:
    """End a round; where it leaves photos to the next, note that what was asked is to be asked again."""
    with transaction(index):
        write_meta(index, _BEGUN, None)
        if count_open(index, this.next):
            write_meta(index, f"again {asked}", str(rounds_left_open(index, asked) + 1))


def rounds_left_open(index: sqlite3.Connection, asked: str) -> int:
    """Return how many rounds of what is asked have left photos to the next."""
    return int(read_meta(index, f"again {asked}") or 0)


def count_open(index: sqlite3.Connection, this: Round) -> int:
    """Return how many photos a round has still to ask for."""
    query = f"SELECT count(*) FROM wanted.wanted AS w LEFT JOIN photo AS p USING (photo_id) WHERE {_OPEN}"  # noqa: S608
    return int(index.execute(query, this.terms).fetchone()[0])


def open_photos(index: sqlite3.Connection, this: Round, host: str, after: str, limit: int) -> list[WantedPhoto]:
    """Return the next photos of a host that a round has to ask for, in the order of their ids, behind one of them."""
    query = (
        "SELECT w.photo_id, w.url, w.licence, w.attribution FROM wanted.wanted AS w "  # noqa: S608
        "LEFT JOIN photo AS p USING (photo_id) "
        f"WHERE w.host = :host AND w.photo_id > :after AND {_OPEN} ORDER BY w.photo_id LIMIT :limit"
    )
    rows = index.execute(query, {**this.terms, "host": host, "after": after, "limit": limit})
    return [WantedPhoto(*row) for row in rows]


def wanted_hosts(index: sqlite3.Connection) -> list[str]:
    """Return the hosts that hold wanted photos."""
    rows = index.execute("SELECT DISTINCT host FROM wanted.wanted WHERE refusal IS NULL ORDER BY host")
    return [str(row[0]) for row in rows]
