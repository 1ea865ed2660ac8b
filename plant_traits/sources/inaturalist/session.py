"""pyinaturalist over our own client: its knowledge of the API, our pace, routes, retries and limits.

pyinaturalist's session asks again after some failures, but not after "too many requests", and keeps a cache and an
account of requests in the user's home. Here it has neither: every request of the session goes through an adapter to
the client, which keeps the account, waits where the service asks for it, and bounds what comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import requests
from pyinaturalist.session import ClientSession
from requests.adapters import BaseAdapter
from requests_ratelimiter import MemoryListBucket

from plant_traits.sources.web.client import Web

_UNLIMITED = 1e9  # the client keeps the limits


class WebAdapter(BaseAdapter):
    """A transport of ``requests`` that hands each request to the client; only GET."""

    def __init__(self, web: Web) -> None:
        super().__init__()
        self._web = web

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: object = None,
        verify: object = True,
        cert: object = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Ask, and return the answer as ``requests`` would.

        Raises:
            WebError: the request failed for good.
            requests.exceptions.InvalidSchema: it is not a GET.
        """
        if request.method != "GET" or request.url is None:
            raise requests.exceptions.InvalidSchema(f"only GET is allowed, found {request.method} {request.url}")
        answer = self._web.get(request.url)
        response = requests.Response()
        response.status_code = answer.status
        response.url = answer.url
        response.request = request
        response.headers["Content-Type"] = answer.headers.get("content-type", "application/json")
        response.encoding = "utf-8"
        response._content = answer.content
        return response

    def close(self) -> None:
        """Do nothing: the client closes its own connections."""


def inaturalist_session(web: Web, folder: Path) -> ClientSession:
    """Return a session of pyinaturalist that asks through the client and writes nothing to the home folder.

    Args:
        web: the client.
        folder: where the session would put its files; it makes none.
    """
    session = ClientSession(
        cache_file=folder / "unused.sqlite",
        use_memory=True,
        bucket_class=MemoryListBucket,
        ratelimit_path=None,
        lock_path=None,
        per_second=_UNLIMITED,
        per_minute=_UNLIMITED * 60,
        per_day=_UNLIMITED * 60 * 1440,
        max_retries=0,
    )
    session.settings.disabled = True
    for scheme in ("https://", "http://"):
        session.mount(scheme, WebAdapter(web))
    return session
