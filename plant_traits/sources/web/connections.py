"""The connections to one host: as many as its limits allow, each used by one thread at a time."""

from __future__ import annotations

import ssl
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpcore
import httpx

from plant_traits.errors import WebError
from plant_traits.sources.web.patience import Passing

USER_AGENT = "plant-traits/0.1 (global plant trait maps)"
_KEPT_S = 5.0  # an idle connection that is older is opened anew: the server may be about to close it


class HostConnections:
    """Kept connections to a host.

    Threads do not share one pool of the library's: it may close a connection as idle that another thread has just
    begun to use.

    Args:
        host: its name, for messages.
        connections: how many there may be.
        timeout_s: seconds without a byte after which one counts as dead, and longest wait for a free one.
        certificates: for https.
        backend: makes the connections.
    """

    def __init__(
        self,
        host: str,
        connections: int,
        timeout_s: float,
        certificates: ssl.SSLContext,
        backend: httpcore.NetworkBackend,
    ) -> None:
        self._host = host
        self._connections = connections
        self._timeout = timeout_s
        self._certificates = certificates
        self._backend = backend
        self._free = threading.BoundedSemaphore(connections)
        self._idle: deque[httpx.Client] = deque()

    @contextmanager
    def one(self) -> Iterator[httpx.Client]:
        """Yield a client of one connection, the one used last where several are idle.

        Raises:
            Passing: all are in use for too long.
        """
        if not self._free.acquire(timeout=self._timeout):
            raise Passing(
                WebError("unavailable", f"{self._host}: its {self._connections} connections are all in use"), sent=False
            )
        try:
            try:
                client = self._idle.pop()
            except IndexError:
                client = self._make()
            try:
                yield client
            finally:
                self._idle.append(client)
        finally:
            self._free.release()

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def _make(self) -> httpx.Client:
        transport = httpx.HTTPTransport(verify=self._certificates, trust_env=False)
        transport._pool = httpcore.ConnectionPool(
            ssl_context=self._certificates,
            max_connections=1,
            max_keepalive_connections=1,
            keepalive_expiry=_KEPT_S,
            network_backend=self._backend,
        )
        return httpx.Client(
            transport=transport,
            timeout=self._timeout,
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )
