"""Fetch the photos of a round over several connections, each host by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

from plant_traits.errors import PhotoError, WebError
from plant_traits.sources.photo_store.bounds import PhotoBounds, check_photo
from plant_traits.sources.photo_store.rounds import PASSING, Round, open_photos, wanted_hosts
from plant_traits.sources.photo_store.store import PhotoStore, WantedPhoto
from plant_traits.sources.web.client import Web

_PAGE = 256
_OVER_BUDGET = "over_budget"


@dataclass
class Progress:
    """What a fetch has done so far.

    Attributes:
        kept: photos fetched and kept.
        failed: photos that could not be had.
        bytes: of the photos that were kept.
    """

    kept: int = 0
    failed: int = 0
    bytes: int = 0


class _Queue:
    """The photos of one host, handed out one at a time; only a page of them is in memory."""

    def __init__(self, store: PhotoStore, this: Round, host: str) -> None:
        self._store = store
        self._round = this
        self._host = host
        self._lock = threading.Lock()
        self._page: list[WantedPhoto] = []
        self._after = ""
        self._ended = False
        self._failures = 0

    def take(self) -> WantedPhoto | None:
        with self._lock:
            if self._ended:
                return None
            if not self._page:
                with self._store.lock:
                    self._page = open_photos(self._store.index, self._round, self._host, self._after, _PAGE)[::-1]
                if not self._page:
                    self._ended = True
                    return None
                self._after = self._page[0].photo_id
            return self._page.pop()

    def end(self) -> None:
        with self._lock:
            self._ended = True

    def served(self, well: bool, patience: int) -> None:
        """Count failures in a row; end where they are too many, as of a host that is down."""
        with self._lock:
            self._failures = 0 if well else self._failures + 1
            self._ended = self._ended or self._failures >= patience


def fetch_photos(
    store: PhotoStore,
    this: Round,
    web: Web,
    *,
    bounds: PhotoBounds,
    failures_in_a_row: int,
    progress: Callable[[Progress], None] | None = None,
) -> Progress:
    """Fetch, check and keep every photo that a round has to ask for.

    Each host has as many connections as its limits allow, and each connection holds one photo. A host whose budget is
    used up, or that fails so often in a row, is left alone for the rest of the round; its other photos stay open.

    Args:
        store: the open store, its wanted photos attached.
        this: the round.
        web: the client.
        bounds: of a photo.
        failures_in_a_row: photos that may be unavailable one after the other.
        progress: called after each photo, from the thread that fetched it.

    Returns:
        What was done.

    Raises:
        WorkspaceError: the store cannot be written; what came is kept.
    """
    done = Progress()
    counting = threading.Lock()

    def count(size: int | None) -> None:
        with counting:
            if size is None:
                done.failed += 1
            else:
                done.kept += 1
                done.bytes += size
            if progress is not None:
                progress(done)

    def work(queue: _Queue) -> None:
        while (photo := queue.take()) is not None:
            try:
                answer = web.get(photo.url, limit_bytes=bounds.maximum_bytes)
                picture = check_photo(answer.content, bounds)
            except WebError as error:
                if error.reason == _OVER_BUDGET:
                    queue.end()
                    return
                store.fail(photo, error.reason, error.status, this.number)
                queue.served(error.reason != PASSING, failures_in_a_row)
                count(None)
            except PhotoError as error:
                store.fail(photo, error.reason, answer.status, this.number)
                queue.served(True, failures_in_a_row)
                count(None)
            else:
                store.keep(photo, answer.content, picture, this.number)
                queue.served(True, failures_in_a_row)
                count(len(answer.content))

    with store.lock:
        hosts = wanted_hosts(store.index)
    queues = {host: _Queue(store, this, host) for host in hosts}
    connections = {host: web.pace.limits[host].connections for host in hosts}
    if not queues:
        return done
    with ThreadPoolExecutor(sum(connections.values()), thread_name_prefix="photos") as threads:
        tasks = [threads.submit(work, queues[host]) for host in hosts for _ in range(connections[host])]
        try:
            finished, _ = wait(tasks, return_when=FIRST_EXCEPTION)
        finally:
            for queue in queues.values():
                queue.end()
        for task in finished:
            task.result()
    return done
