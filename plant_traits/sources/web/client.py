"""The one client through which every source asks: allow-listed, paced, bounded, retried, never trusting an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import httpcore
import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from data_catalog import HostLimits
from plant_traits.errors import WebError
from plant_traits.sources.web.addresses import AddressBook, PublicBackend
from plant_traits.sources.web.pace import Pace

USER_AGENT = "plant-traits/0.1 (global plant trait maps)"
JSON_LIMIT_BYTES = 64 * 1024**2
_REDIRECTS = 5
_PASSING = frozenset([408, 425, 429, 500, 502, 503, 504])
_GONE = frozenset([404, 410])
_FORBIDDEN = frozenset([401, 403, 451])


@dataclass(frozen=True)
class Answer:
    """A server's answer, its body read whole and within bounds.

    Attributes:
        url: address that answered, after redirects, as the catalogue knows it (not where a route leads).
        status: HTTP status, 200 to 299 or 304.
        headers: lower-case names.
        content: the body.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:  # noqa: ANN401 - what JSON holds is the caller's to check
        """Read the body as JSON.

        Raises:
            WebError: ``unexpected_answer``.
        """
        try:
            return json.loads(self.content)
        except ValueError as error:
            raise WebError(
                "unexpected_answer", f"{self.url}: expected JSON, found {self.content[:60]!r} ({error})", self.status
            ) from error


@dataclass(frozen=True)
class Patience:
    """How long to go on asking.

    Attributes:
        attempts: requests in all for one answer.
        first_wait_s: upper end of the first pause; it doubles from one to the next.
        longest_wait_s: upper end of any pause, and the longest Retry-After that is waited for.
        timeout_s: seconds without a byte after which a connection counts as dead.
    """

    attempts: int = 8
    first_wait_s: float = 1.0
    longest_wait_s: float = 300.0
    timeout_s: float = 60.0


class Passing(Exception):
    """A failure that may pass: asked again until patience ends."""

    def __init__(self, error: WebError, retry_after_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after_s = retry_after_s


@dataclass
class Tally:
    """What a client did, for the run report: requests, retries and bytes."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, requests: int = 0, retries: int = 0, size: int = 0) -> None:
        """Count, from any thread."""
        with self.lock:
            self.requests += requests
            self.retries += retries
            self.bytes += size


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
    ) -> None:
        """Make a client.

        Args:
            limits: the hosts that may be asked, and how much.
            account: SQLite file that keeps the account of requests from run to run.
            routes: base address by host, see ``AddressBook``.
            credentials: user name and password by host; sent only where a request asks for them, over https or a route.
            patience: how long to go on asking.
            pace: a ready account, instead of one in ``account``.
        """
        self.pace = pace or Pace(account, limits)
        self.tally = Tally()
        self.patience = patience or Patience()
        self.addresses = AddressBook(frozenset(limits), dict(routes or {}))
        self._credentials = dict(credentials or {})
        connections = sum(x.connections for x in limits.values())
        bounds = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        public = httpx.HTTPTransport(limits=bounds)
        public._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            network_backend=PublicBackend(),
        )
        mounts: dict[str, httpx.BaseTransport | None] = {
            f"all://{httpx.URL(base).host}": httpx.HTTPTransport(limits=bounds)
            for base in self.addresses.routes.values()
        }
        self._client = httpx.Client(
            transport=public,
            mounts=mounts,
            timeout=self.patience.timeout_s,
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": USER_AGENT},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

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
        return Retrying(
            retry=retry_if_exception_type(Passing),
            stop=stop_after_attempt(self.patience.attempts),
            wait=self._pause,
            before_sleep=lambda _: self.tally.add(retries=1),
            retry_error_callback=_give_up,
        )

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
        for _ in range(_REDIRECTS + 1):
            host = self.addresses.host_of(url)
            request = self._client.build_request(
                method, self.addresses.routed(url), params=params, headers=dict(headers or {}), json=body
            )
            if authenticate and host == secured:
                self.user(host)
                next(httpx.BasicAuth(*self._credentials[host]).sync_auth_flow(request))
            self.pace.wait_for_turn(host)
            self.tally.add(requests=1)
            try:
                response = self._client.send(request, stream=True)
            except httpx.TransportError as error:
                raise Passing(WebError("unavailable", f"{url}: {_plain(error)}")) from error
            try:
                if response.status_code not in (301, 302, 303, 307, 308):
                    self._raise_for_status(url, host, response)
                    yield url, response
                    return
                location = response.headers.get("location", "")
                url, params = urljoin(url, location), None
                if response.status_code == 303:
                    method, body = "GET", None
            except httpx.TransportError as error:
                raise Passing(WebError("incomplete", f"{url}: {_plain(error)}")) from error
            finally:
                response.close()
        raise WebError("unexpected_answer", f"{url[:200]}: more than {_REDIRECTS} redirects")

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
        def once() -> Answer:
            with self.stream(method, url, params=params, headers=headers, body=body, authenticate=authenticate) as (
                final,
                response,
            ):
                content = self.read(final, response, limit)
                return Answer(final, response.status_code, dict(response.headers), content)

        def once_and_for_all() -> Answer:
            try:
                return once()
            except Passing as failure:
                if failure.error.status in (429, 503):
                    raise
                raise failure.error from failure

        return self.attempts()(once if method == "GET" else once_and_for_all)

    def read(self, url: str, response: httpx.Response, limit: int) -> bytes:
        """Read a body whole.

        Raises:
            WebError: ``too_large``, it is longer than the limit.
            Passing: it ended early.
        """
        declared = int(response.headers.get("content-length", "0") or 0)
        if declared > limit:
            raise WebError("too_large", f"{url}: {declared} bytes are announced, at most {limit} are accepted")
        parts: list[bytes] = []
        size = 0
        for part in response.iter_bytes():
            size += len(part)
            if size > limit:
                raise WebError("too_large", f"{url}: more than {limit} bytes came")
            parts.append(part)
        self.received(url, response.num_bytes_downloaded)
        return b"".join(parts)

    def _raise_for_status(self, url: str, host: str, response: httpx.Response) -> None:
        status = response.status_code
        if 200 <= status < 300 or status == 304:
            return
        shown = url.split("?", maxsplit=1)[0]
        if status in _PASSING:
            after = retry_after_s(response.headers.get("retry-after"), response.headers.get("date"))
            if status in (429, 503):
                self.pace.postpone(host, min(after or self.patience.first_wait_s, self.patience.longest_wait_s))
            raise Passing(WebError("unavailable", f"{shown}: the server answers {status}", status), after)
        if status in _GONE:
            raise WebError("gone", f"{shown}: the server answers {status}, it has no such thing (any more)", status)
        if status in _FORBIDDEN:
            raise WebError("forbidden", f"{shown}: the server answers {status}; check the account", status)
        response.read()
        raise WebError("unexpected_answer", f"{shown}: the server answers {status}: {response.text[:300]}", status)

    def _pause(self, state: RetryCallState) -> float:
        patience = self.patience
        usual = wait_random_exponential(multiplier=patience.first_wait_s, max=patience.longest_wait_s)(state)
        failure = state.outcome.exception() if state.outcome is not None else None
        asked = failure.retry_after_s if isinstance(failure, Passing) else None
        return usual if asked is None else min(asked, patience.longest_wait_s)


def retry_after_s(text: str | None, date: str | None = None) -> float | None:
    """Read a Retry-After header, seconds or a date (told from the answer's own Date); None where it says nothing."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        now = parsedate_to_datetime(date or "")
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _give_up(state: RetryCallState) -> Any:  # noqa: ANN401 - it never returns
    failure = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(failure, Passing):
        raise TypeError(f"a retry loop ended without a passing failure: {failure!r}")
    error = failure.error
    detail = f"{error}; asked {state.attempt_number} times in {state.seconds_since_start or 0:.0f} s, run again later"
    raise WebError(error.reason, detail, error.status) from failure


def _plain(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()
