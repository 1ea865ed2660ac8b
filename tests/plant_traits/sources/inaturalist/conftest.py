"""A web server on loopback that answers as a test says, and a client that is led to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_catalog import HostLimits
from plant_traits.sources.web.client import Patience, Web

HOSTS = ("api.inaturalist.org", "inaturalist-open-data.s3.amazonaws.com")


@dataclass
class Loopback:
    """The server: ``answer`` tells status, headers and body for an address; ``asked`` remembers the addresses."""

    answer: Callable[[str], tuple[int, dict[str, str], bytes]] = lambda _: (404, {}, b"")
    asked: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    address: str = ""


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    server = Loopback()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = f"https:/{self.path}"
            server.asked.append(url)
            server.agents.add(self.headers["user-agent"])
            status, headers, content = server.answer(url)
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        server.address = f"http://127.0.0.1:{http.server_address[1]}"
        yield server
        http.shutdown()
        thread.join()


@pytest.fixture
def web(loopback: Loopback, tmp_path: Path) -> Iterator[Web]:
    with Web(
        {host: HostLimits(host=host, requests_per_minute=6_000_000) for host in HOSTS},
        tmp_path / "account.sqlite",
        routes={host: f"{loopback.address}/{host}" for host in HOSTS},
        patience=Patience(attempts=3, first_wait_s=0.001, longest_wait_s=0.002, timeout_s=5),
    ) as client:
        yield client
