"""A web server on loopback that answers as a test says, and a client that is led to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_catalog import HostLimits
from plant_traits.sources.web.client import Patience, Web

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Asked:
    """One request that came."""

    method: str
    url: str  # as the client meant it
    headers: dict[str, str]
    body: bytes


@dataclass
class Loopback:
    """The server: ``answer`` decides, ``asked`` remembers."""

    answer: Callable[[Asked], Reply] = lambda _: (404, {}, b"")
    asked: list[Asked] = field(default_factory=list)
    address: str = ""

    def calls(self, method: str, part: str = "") -> list[Asked]:
        return [x for x in self.asked if x.method == method and part in x.url]


def _handler(server: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            asked = Asked(self.command, f"https:/{self.path}", {k.lower(): v for k, v in self.headers.items()}, body)
            server.asked.append(asked)
            status, headers, content = server.answer(asked)
            cut = int(headers.pop("x-cut", len(content)))
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content[:cut])
            if cut < len(content):
                self.close_connection = True

        do_GET = do_POST = do_DELETE = _any

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    server = Loopback()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(server)) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        server.address = f"http://127.0.0.1:{http.server_address[1]}"
        yield server
        http.shutdown()
        thread.join()


@pytest.fixture
def open_web(loopback: Loopback, tmp_path: Path) -> Iterator[Callable[..., Web]]:
    with ExitStack() as stack:

        def make(*hosts: str, credentials: dict[str, tuple[str, str]] | None = None, attempts: int = 3) -> Web:
            limits = {host: HostLimits(host=host, requests_per_minute=6_000_000) for host in hosts}
            return stack.enter_context(
                Web(
                    limits,
                    tmp_path / "account.sqlite",
                    routes={host: f"{loopback.address}/{host}" for host in hosts},
                    credentials=credentials,
                    patience=Patience(attempts=attempts, first_wait_s=0.001, longest_wait_s=0.002, timeout_s=5),
                )
            )

        yield make
