"""What a server answered and what its status means, and a tally of what was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from plant_traits.errors import WebError
from plant_traits.sources.web.body import decoded_body
from plant_traits.sources.web.patience import Passing, retry_after_s

NOT_TAKEN = frozenset([429, 503])  # the server did nothing with the request
_PASSING = frozenset([408, 425, 429, 500, 502, 503, 504])
_GONE = frozenset([404, 410])
_FORBIDDEN = frozenset([401, 403, 451])
_COMPLAINT_BYTES = 4096


@dataclass(frozen=True)
class Answer:
    """A server's answer, its body read whole and within bounds.

    Attributes:
        url: address that answered, after redirects, as the catalogue knows it (not where a route leads), without what
            follows a question mark: a redirect's may be a signature.
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
        except (ValueError, RecursionError) as error:
            raise WebError(
                "unexpected_answer", f"{self.url}: expected JSON, found {self.content[:60]!r} ({error})", self.status
            ) from error


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


def check_status(shown: str, response: httpx.Response) -> None:
    """Return if an answer is what was asked for.

    Args:
        shown: its address, fit for messages.
        response: the answer, its body unread.

    Raises:
        Passing: a failure that may pass.
        WebError: ``gone``, ``forbidden`` or ``unexpected_answer``.
    """
    status = response.status_code
    if 200 <= status < 300 or status == 304:
        return
    if status in _PASSING:
        after = retry_after_s(response.headers.get("retry-after"), response.headers.get("date"))
        raise Passing(WebError("unavailable", f"{shown}: the server answers {status}", status), after)
    if status in _GONE:
        raise WebError("gone", f"{shown}: the server answers {status}, it has no such thing (any more)", status)
    if status in _FORBIDDEN:
        raise WebError("forbidden", f"{shown}: the server answers {status}; check the account", status)
    complaint = b""
    for part in decoded_body(shown, response, _COMPLAINT_BYTES):
        complaint += part
        if len(complaint) >= _COMPLAINT_BYTES:
            break
    told = complaint[:300].decode("utf-8", "replace")
    raise WebError("unexpected_answer", f"{shown}: the server answers {status}: {told}", status)
