"""Each fault as a client sees it on the wire."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from plant_traits.simulation.services.front import Front
from plant_traits.simulation.services.rates import Rates
from plant_traits.simulation.services.recorded import Recorded
from plant_traits.simulation.services.request_log import Asked, LogWriter, RequestLog

BODY = bytes(range(256)) * 8
Running = Callable[[ASGIApp], Any]
Door = Callable[..., Front]


class Always:
    """Gives every first request of an address the same fault."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def decide(self, *_: str) -> str:
        kind, self.kind = self.kind, ""
        return kind


@pytest.fixture
def door(tmp_path: Path) -> Door:
    def make(kind: str, **more: Any) -> Front:  # noqa: ANN401
        hosts = {"files.example": Response(BODY, headers={"x-kept": "yes"})}
        more = {"rates": Rates({}), **more}
        return Front(hosts, Always(kind), log=LogWriter(tmp_path / "log"), **more)  # type: ignore[arg-type]

    return make


def ask(port: int, path: str = "/files.example/a?b=1", method: str = "GET") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers={"Range": "bytes=0-"})
    return connection.getresponse()


def logged(tmp_path: Path) -> Asked:
    return list(RequestLog(tmp_path / "log").entries())[-1]


def test_without_fault_the_answer_is_whole_and_logged(door: Door, running: Running, tmp_path: Path) -> None:
    with running(door("")) as port:
        answer = ask(port)
        assert (answer.status, answer.read(), answer.headers["x-kept"]) == (200, BODY, "yes")
    told = logged(tmp_path)
    assert (told.url, told.method, told.range) == ("https://files.example/a?b=1", "GET", "bytes=0-")
    assert (told.status, told.fault, told.size, told.whole, told.over_rate) == (200, "", 2048, True, False)


@pytest.mark.parametrize("kind", ["429", "500", "502", "503", "504"])
def test_plain_refusals(door: Door, running: Running, tmp_path: Path, kind: str) -> None:
    with running(door(kind)) as port:
        answer = ask(port)
        assert (answer.status, answer.headers["retry-after"]) == (int(kind), None)
    assert (logged(tmp_path).fault, logged(tmp_path).status) == (kind, int(kind))


def test_a_refusal_says_when_to_come_back(door: Door, running: Running) -> None:
    with running(door("429-seconds")) as port:
        assert ask(port).headers["retry-after"] == "1"
    with running(door("429-date", now=lambda: 1_700_000_000.5)) as port:
        answer = ask(port)
        assert answer.status == 429
        assert parsedate_to_datetime(answer.headers["retry-after"]).timestamp() == 1_700_000_001
        assert len(answer.headers.get_all("date")) == 1


def test_a_redirect_leads_to_the_same_real_address(door: Door, running: Running) -> None:
    with running(door("redirect")) as port:
        answer = ask(port)
        assert (answer.status, answer.headers["location"]) == (302, "https://files.example/a?b=1")
        assert ask(port).read() == BODY


def test_reset(door: Door, running: Running, tmp_path: Path) -> None:
    with running(door("reset")) as port:
        with pytest.raises(ConnectionResetError):
            ask(port)
        assert ask(port).read() == BODY
    first = next(RequestLog(tmp_path / "log").entries())
    assert (first.fault, first.status, first.whole) == ("reset", 0, False)


def test_lost_is_taken_but_not_answered(running: Running, tmp_path: Path) -> None:
    taken: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
        taken.append(scope["method"])
        await Response("key", 201)(scope, receive, send)

    front = Front({"h": app}, Always("lost"), Rates({}), LogWriter(tmp_path / "log"))  # type: ignore[arg-type]
    with running(front) as port, pytest.raises(ConnectionResetError):
        ask(port, "/h/x", "POST")
    assert taken == ["POST"]


def test_slow_is_whole_in_the_end(door: Door, running: Running, tmp_path: Path) -> None:
    with running(door("slow")) as port:
        assert ask(port).read() == BODY
    assert (logged(tmp_path).fault, logged(tmp_path).whole, logged(tmp_path).size) == ("slow", True, 2048)


@pytest.mark.parametrize(("kind", "stated", "sent"), [("cut", 2048, 1024), ("long", 2560, 2048)])
def test_bodies_that_end_before_their_length(
    door: Door,
    running: Running,
    tmp_path: Path,
    kind: str,
    stated: int,
    sent: int,
) -> None:
    with running(door(kind)) as port:
        answer = ask(port)
        assert (answer.status, answer.headers["content-length"], answer.headers["x-kept"]) == (200, str(stated), "yes")
        with pytest.raises(http.client.IncompleteRead) as cut:
            answer.read()
        assert cut.value.partial == BODY[:sent]
        assert ask(port).read() == BODY
    first = next(RequestLog(tmp_path / "log").entries())
    assert (first.fault, first.size, first.whole) == (kind, sent, False)


def test_a_length_that_is_too_small_hides_the_rest(door: Door, running: Running) -> None:
    with running(door("short")) as port, socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(b"GET /files.example/a HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b"".join(iter(lambda: raw.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"content-length: 1844\r\n" in head + b"\r\n"
    assert body == BODY


def test_unknown_hosts_are_404_and_a_rate_is_enforced(door: Door, running: Running, tmp_path: Path) -> None:
    with running(door("", rates=Rates({"files.example": 6.0}))) as port:
        assert ask(port, "/other.example/a").status == 404
        statuses = [ask(port).status for _ in range(8)]
    # 5 seconds hold half a request, five more are forgiven
    assert statuses == [200] * 5 + [429] * 3
    assert len(RequestLog(tmp_path / "log").over_rate()) == 3


def test_recorded_exchanges_answer_first(door: Door, running: Running, tmp_path: Path) -> None:
    tape = {"interactions": [{"request": {"method": "GET", "uri": "https://files.example/a?b=1"},
                              "response": {"status": {"code": 418}, "body": {"string": "taped"}}}]}  # fmt: skip
    (tmp_path / "tape.yaml").write_text(json.dumps(tape))
    with running(door("", recorded=Recorded.read(tmp_path))) as port:
        answer = ask(port)
        assert (answer.status, answer.read()) == (418, b"taped")
        assert ask(port, "/files.example/a?b=2").read() == BODY


def test_an_error_of_a_service_is_a_logged_500(running: Running, tmp_path: Path) -> None:
    async def broken(_: Request) -> Response:
        raise ValueError("on purpose")

    hosts = {"h": Starlette(routes=[Route("/x", broken)])}
    with running(Front(hosts, Always(""), Rates({}), LogWriter(tmp_path / "log"))) as port:  # type: ignore[arg-type]
        assert ask(port, "/h/x").status == 500
    assert (logged(tmp_path).url, logged(tmp_path).status) == ("https://h/x", 500)
