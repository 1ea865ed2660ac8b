"""The door of all stand-ins: leads a request to its host's application, spoils some answers, and logs every one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plant_traits.simulation.services.faults import Faults
from plant_traits.simulation.services.rates import Rates
from plant_traits.simulation.services.recorded import Recorded
from plant_traits.simulation.services.request_log import Asked, LogWriter

_RETRY_AFTER_S = 1
_DRIBBLE_STEPS = 12
_DRIBBLE_PAUSE_S = 0.12
_PAST_THE_END = 512
_FLUSH_PAUSE_S = 0.005
_LONGEST_FLUSH_STEPS = 4000


class _CutOffError(Exception):
    """The answer ends here, on purpose."""


@dataclass
class Front:
    """An ASGI application that serves ``/<real host>/<real path>``.

    Attributes:
        hosts: application by real host.
        faults: decides what goes wrong.
        rates: watches rates.
        log: receives every request.
        recorded: exchanges that answer first.
        now: the clock.
    """

    hosts: Mapping[str, ASGIApp]
    faults: Faults
    rates: Rates
    log: LogWriter
    recorded: Recorded | None = None
    now: Callable[[], float] = time.time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        host, _, rest = scope["path"].removeprefix("/").partition("/")
        query = scope["query_string"].decode("latin-1")
        raw = scope["raw_path"].decode("latin-1").removeprefix(f"/{host}") or "/"
        path = raw + (f"?{query}" if query else "")
        headers = dict(scope["headers"])
        sought = headers.get(b"range", b"").decode("latin-1")
        asked = Asked(at=self.now(), host=host, method=scope["method"], path=path, range=sought)
        inner = {**scope, "path": f"/{rest}", "raw_path": raw.encode("latin-1"), "root_path": ""}
        answer = _Answer(send)
        taped = None if self.recorded is None else self.recorded.answer(scope["method"], host, path)
        app = taped or self.hosts.get(host)
        over_rate = app is not None and self.rates.exceeded(host, asked.at)
        fault = "" if app is None or over_rate else self.faults.decide(asked.method, host, path)
        asked = replace(asked, over_rate=over_rate, fault=fault)
        try:
            if app is None:
                await PlainTextResponse("no such host here", 404)(inner, receive, answer.send)
            elif over_rate:
                wait = {"retry-after": str(_RETRY_AFTER_S)}
                await PlainTextResponse("too many requests", 429, wait)(inner, receive, answer.send)
            else:
                await self._answer(app, inner, receive, answer, asked)
        finally:
            self.log.write(replace(asked, status=answer.status, size=answer.size, whole=answer.whole))

    async def _answer(self, app: ASGIApp, scope: Scope, receive: Receive, answer: _Answer, asked: Asked) -> None:
        fault = asked.fault
        refusal = _refusal(fault, asked, self.now())
        if refusal is not None:
            await refusal(scope, receive, answer.send)
        elif fault == "reset":
            await answer.reset()
        elif fault == "lost":
            await app(scope, receive, _nowhere)
            await answer.reset()
        elif fault == "slow":
            await app(scope, receive, answer.dribble)
        elif fault in ("cut", "long", "short"):
            answer.spoil = fault
            with contextlib.suppress(_CutOffError):
                await app(scope, receive, answer.send_raw)
            await answer.hang_up()
        else:
            await app(scope, receive, answer.send)


def _refusal(fault: str, asked: Asked, now: float) -> Response | None:
    if fault == "redirect":
        return Response(status_code=302, headers={"location": asked.url})
    code = fault[:3]
    if not code.isdigit():
        return None
    headers = {}
    if fault == "429-seconds":
        headers["retry-after"] = str(_RETRY_AFTER_S)
    elif fault == "429-date":
        headers["retry-after"] = formatdate(now + _RETRY_AFTER_S, usegmt=True)
    return PlainTextResponse(HTTPStatus(int(code)).phrase, int(code), headers)


async def _nowhere(_: Message) -> None:
    """Take an answer that never goes out."""


class _Answer:
    """Counts what goes out, and sends it as it should be or spoiled."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._transport: asyncio.Transport = send.__self__.transport  # type: ignore[attr-defined]  # uvicorn's
        self.status = 0
        self.size = 0
        self.spoil = ""
        self.whole = False  # it reached its end, unspoiled, and the client was there to take it
        self._until = 0
        self._steps = _DRIBBLE_STEPS

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body" and not self._transport.is_closing():
            self.size += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
        await self._send(message)

    async def dribble(self, message: Message) -> None:
        """Send a body in pieces with pauses, all of it within two seconds."""
        body = message.get("body", b"") if message["type"] == "http.response.body" else b""
        if not body:
            await self.send(message)
            return
        pieces = max(1, min(self._steps, len(body)))
        step = -(-len(body) // pieces)
        for start in range(0, len(body), step):
            last = start + step >= len(body)
            more = message.get("more_body", False) or not last
            if self._steps > 0:
                self._steps -= 1
                await asyncio.sleep(_DRIBBLE_PAUSE_S)
            await self.send({**message, "body": body[start : start + step], "more_body": more})

    async def send_raw(self, message: Message) -> None:
        """Write to the connection past the server's own care for lengths."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = {name.lower(): value for name, value in message["headers"]}
            length = int(headers.get(b"content-length", b"0"))
            if length == 0:
                self.status = 0
                await self.reset()
                raise _CutOffError
            stated, self._until = {
                "cut": (length, length // 2),
                "long": (length + _PAST_THE_END, length),
                "short": (max(1, length - max(1, length // 10)), length),
            }[self.spoil]
            headers |= {b"content-length": str(stated).encode(), b"connection": b"close"}
            lines = [b"HTTP/1.1 %d %s" % (self.status, HTTPStatus(self.status).phrase.encode())]
            lines += [name + b": " + value for name, value in headers.items()]
            self._transport.write(b"\r\n".join(lines) + b"\r\n\r\n")
            return
        body = message.get("body", b"")[: self._until - self.size]
        self._transport.write(body)
        self.size += len(body)
        if self.size >= self._until:
            raise _CutOffError

    async def reset(self) -> None:
        """Break the connection off so that the client sees a reset."""
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
        await asyncio.sleep(0)

    async def hang_up(self) -> None:
        """Close the connection once what was written has gone out; nothing may follow it."""
        for _ in range(_LONGEST_FLUSH_STEPS):
            if self._transport.is_closing() or self._transport.get_write_buffer_size() == 0:
                break
            await asyncio.sleep(_FLUSH_PAUSE_S)
        else:
            self._transport.abort()
        self._transport.close()
        await asyncio.sleep(0)
