"""The one client through which every source asks: allow-listed, paced, bounded, retried, never trusting an answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import httpx
from tenacity import Retrying

from data_catalog import HostLimits
from plant_traits.errors import WebError
from plant_traits.sources.web.addresses import AddressBook, PublicBackend, without_secrets
from plant_traits.sources.web.answer import NOT_TAKEN, Answer, Tally, check_status
from plant_traits.sources.web.body import declared_length, decoded_body
from plant_traits.sources.web.connections import USER_AGENT, HostConnections
from plant_traits.sources.web.framing import FramedBackend
from plant_traits.sources.web.pace import Pace
from plant_traits.sources.web.patience import Passing, Patience

__all__ = ["USER_AGENT", "Answer", "Passing", "Patience", "Tally", "Web"]

JSON_LIMIT_BYTES = 64 * 1024**2
_REDIRECTS = 5
_MOVED = frozenset([301, 302, 303, 307, 308])
_PRIVATE_HEADERS = frozenset(["authorization", "cookie", "proxy-authorization"])


class Web:
    """Asks servers for data; safe for threads. Use it in a ``with`` block.

    Attributes:
        tally: what was asked so far.
        pace: the account of requests by host.
    """

    def __init__(
        self,
        limits: Mapping[str, HostLimits],
        account: Path,
        *,
        routes: Mapping[str, str] | None = None,
        credentials: Mapping[str, tuple[str, str]] | None = None,
        patience: Patience | None = None,
        pace: Pace | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Make a client.

        Args:
            limits: the hosts that may be asked, and how much.
            account: SQLite file that keeps the account of requests from run to run.
            routes: base address by host, see ``AddressBook``.
            credentials: user name and password by host; sent only where a request asks for them, over https or a route.
            patience: how long to go on asking.
            pace: a ready account, instead of one in ``account``.
            sleep: waits so many seconds between requests of one answer.
        """
        self.tally = Tally()
        self.patience = patience or Patience()
        self.pace = pace or Pace(account, limits, longest_wait_s=self.patience.longest_queue_s)
        self.addresses = AddressBook(frozenset(limits), dict(routes or {}))
        self._credentials = dict(credentials or {})
        self._sleep = sleep
        self._certificates = httpx.create_ssl_context(trust_env=False)
        self._connections: dict[str, HostConnections] = {}
        self._making = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._making:
            for connections in self._connections.values():
                connections.close()
            self._connections.clear()

    def user(self, host: str) -> str:
        """Return the user name for a host.

        Raises:
            WebError: ``forbidden``, no credentials are set.
        """
        if host not in self._credentials:
            raise WebError("forbidden", f"{host} needs an account: set its user name and password, see docs/sources.md")
        return self._credentials[host][0]

    def get(
        self,
        url: str,
        *,
        params: Mapping[str, str | int | float | list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        authenticate: bool = False,
        limit_bytes: int = JSON_LIMIT_BYTES,
    ) -> Answer:
        """Ask for something small enough for memory.

        Raises:
            WebError: see its reasons; those that may pass have been tried again.
        """
        return self._ask("GET", url, params=params, headers=headers, authenticate=authenticate, limit=limit_bytes)

    def post(
        self, url: str, body: object, *, authenticate: bool = False, limit_bytes: int = JSON_LIMIT_BYTES
    ) -> Answer:
        """Send JSON. It is sent again only where the server said that it did not take it (429 or 503).

        Raises:
            WebError: ``unavailable`` where it is not known whether the server took it.
        """
        return self._ask("POST", url, body=body, authenticate=authenticate, limit=limit_bytes)

    def attempts(self) -> Retrying:
        """Return the retry loop for work that raises ``Passing``; the last failure's ``WebError`` comes out."""
        return self.patience.retrying(self._sleep, lambda: self.tally.add(retries=1))

    @contextmanager
    def stream(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        authenticate: bool = False,
    ) -> Iterator[tuple[str, httpx.Response]]:
        """Send one request, follow its redirects with every check made anew, and yield (address, open response).

        Raises:
            Passing: a failure that may pass; use it inside ``attempts``.
            WebError: a failure that will not.
        """
        secured = self.addresses.host_of(url)
        if authenticate:
            self.user(secured)
        given = {name.lower(): value for name, value in (headers or {}).items()}
        shown = without_secrets(url)
        for _ in range(_REDIRECTS + 1):
            host = self.addresses.host_of(url)
            if host != secured:
                given = {name: value for name, value in given.items() if name not in _PRIVATE_HEADERS}
            address = httpx.URL(self.addresses.routed(url))
            address = address.copy_merge_params(params) if params else address
            self.pace.wait_for_turn(host)
            with self._connections_to(host).one() as client:
                request = client.build_request(method, address, headers=given, json=body)
                if authenticate and host == secured:
                    next(httpx.BasicAuth(*self._credentials[host]).sync_auth_flow(request))
                self.tally.add(requests=1)
                try:
                    response = client.send(request, stream=True)
                except httpx.RequestError as error:
                    failure = WebError("unavailable", f"{shown}: {_plain(error)}")
                    sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                    raise Passing(failure, sent=sent) from error
                try:
                    if response.status_code not in _MOVED:
                        self._check_status(shown, host, response)
                        yield shown, response
                        return
                    url, params = _redirected(url, response), None
                except httpx.RequestError as error:
                    raise Passing(WebError("incomplete", f"{shown}: {_plain(error)}")) from error
                finally:
                    response.close()
            shown = without_secrets(url)
            if response.status_code == httpx.codes.SEE_OTHER:
                method, body = "GET", None
            elif method != "GET" and self.addresses.host_of(url) != host:
                raise WebError("unexpected_answer", f"{shown}: a {method} is not sent on to another host")
        raise WebError("unexpected_answer", f"{shown}: more than {_REDIRECTS} redirects")

    def received(self, url: str, size: int) -> None:
        """Count bytes received from an address."""
        self.tally.add(size=size)
        self.pace.count_bytes(self.addresses.host_of(url), size)

    def _ask(
        self,
        method: str,
        url: str,
        *,
        limit: int,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        authenticate: bool = False,
    ) -> Answer:
        # A part of a compressed body could not be read.
        coding = "identity" if any(name.lower() == "range" for name in headers or {}) else "gzip"
        asked = {"Accept-Encoding": coding, **(headers or {})}

        def once() -> Answer:
            with self.stream(method, url, params=params, headers=asked, body=body, authenticate=authenticate) as (
                final,
                response,
            ):
                content = self.read(final, response, limit)
                return Answer(final, response.status_code, dict(response.headers), content)

        def once_and_for_all() -> Answer:
            try:
                return once()
            except Passing as failure:
                if not failure.sent or failure.error.status in NOT_TAKEN:
                    raise
                raise failure.error from failure

        return self.attempts()(once if method == "GET" else once_and_for_all)

    def read(self, url: str, response: httpx.Response, limit: int) -> bytes:
        """Read a body whole.

        Raises:
            WebError: ``too_large``, it is longer than the limit.
            Passing: it ended early.
        """
        declared = declared_length(response)
        if declared is not None and declared > limit:
            raise WebError("too_large", f"{url}: {declared} bytes are announced, at most {limit} are accepted")
        deadline = time.monotonic() + self.patience.longest_answer_s
        parts: list[bytes] = []
        try:
            size = 0
            for part in decoded_body(url, response, limit + 1):
                size += len(part)
                if size > limit:
                    raise WebError("too_large", f"{url}: more than {limit} bytes came")
                if time.monotonic() > deadline:
                    raise Passing(WebError("incomplete", f"{url}: {size} bytes came, too slowly to wait for the rest"))
                parts.append(part)
        finally:
            self.received(url, response.num_bytes_downloaded)
        return b"".join(parts)

    def _connections_to(self, host: str) -> HostConnections:
        with self._making:
            if host not in self._connections:
                self._connections[host] = HostConnections(
                    host,
                    self.pace.limits[host].connections,
                    self.patience.timeout_s,
                    self._certificates,
                    FramedBackend() if host in self.addresses.routes else PublicBackend(),
                )
            return self._connections[host]

    def _check_status(self, shown: str, host: str, response: httpx.Response) -> None:
        try:
            check_status(shown, response)
        except Passing as failure:
            if failure.error.status in NOT_TAKEN:
                asked = failure.retry_after_s or self.patience.first_wait_s
                self.pace.postpone(host, min(asked, self.patience.longest_queue_s))
            raise


def _plain(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()


def _redirected(url: str, response: httpx.Response) -> str:
    location = str(response.headers.get("location", ""))
    if not location:
        raise WebError(
            "unexpected_answer",
            f"{without_secrets(url)}: the server answers {response.status_code} and does not say where to",
            response.status_code,
        )
    try:
        return urljoin(url, location)
    except ValueError:
        raise WebError("refused_address", f"{without_secrets(url)}: it is redirected to no address") from None
