"""A loopback server that answers as scripted, and clients that are led to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_catalog import HostLimits
from plant_traits.sources.web.client import Patience, Web

HOSTS = ("one.example.org", "two.example.org")


@dataclass(frozen=True)
class Reply:
    """One answer: ``length`` and ``cut`` make it a lie; ``raw`` is sent as it is and the connection closed."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    cut: int | None = None
    raw: bytes | None = None
    after: bytes = b""  # sent behind the body
    stall: threading.Event | None = None  # awaited once what is sent has been sent


@dataclass(frozen=True)
class Asked:
    """A request as the server saw it; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    port: int  # the client's


class ScriptedServer:
    """Answers each path with its replies in turn, the last one again and again; a reply may be made from a request."""

    def __init__(self) -> None:
        self.script: dict[str, list[Reply | Callable[[Asked], Reply]]] = {}
        self.asked: list[Asked] = []
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body, self.client_address[1])
                with lock:
                    outer.asked.append(asked)
                    replies = outer.script.get(self.path.partition("?")[0], [Reply(status=404)])
                    reply = replies.pop(0) if len(replies) > 1 else replies[0]
                if callable(reply):
                    reply = reply(asked)
                if reply.raw is not None:
                    self.wfile.write(reply.raw)
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                if reply.status != 304:
                    self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write((reply.body if reply.cut is None else reply.body[: reply.cut]) + reply.after)
                if reply.stall is not None:
                    self.wfile.flush()
                    reply.stall.wait(60)
                if reply.cut is not None or (reply.length or 0) > len(reply.body):
                    self.close_connection = True

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def serve(self, url: str, *replies: Reply | Callable[[Asked], Reply]) -> None:
        self.script[url.removeprefix("https:/")] = list(replies)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    found = ScriptedServer()
    yield found
    found.close()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@dataclass
class Clock:
    """A clock that sleeping moves."""

    time: float = 1_000_000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def web_of(tmp_path: Path, server: ScriptedServer, clock: Clock) -> Iterator[Callable[..., Web]]:
    """Make a client of two hosts that are led to the server; its pauses move the clock and take no time."""
    opened: list[Web] = []

    def make(
        *,
        attempts: int = 4,
        longest_wait_s: float = 300.0,
        connections: int = 2,
        hosts: Sequence[str] = HOSTS,
        credentials: dict[str, tuple[str, str]] | None = None,
        **limits: float,
    ) -> Web:
        from plant_traits.sources.web.pace import Pace

        settings = {"requests_per_minute": 60_000, "connections": connections, **limits}
        by_host = {x: HostLimits.model_validate({"host": x, **settings}) for x in hosts}
        account = tmp_path / "account.sqlite"
        web = Web(
            by_host,
            account,
            routes={x: f"http://127.0.0.1:{server.port}/{x}" for x in hosts},
            credentials=credentials,
            patience=Patience(attempts=attempts, first_wait_s=1.0, longest_wait_s=longest_wait_s, timeout_s=5.0),
            pace=Pace(account, by_host, now=clock.now, sleep=clock.sleep),
            sleep=clock.sleep,
        )
        opened.append(web)
        return web

    yield make
    for web in opened:
        web.__exit__(None, None, None)
