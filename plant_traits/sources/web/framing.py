"""Connections that are not used again where more came than the last answer announced.

What a server sends behind the end of one answer would be read as the answer to the next request.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

_HEAD_BYTES = 256 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_EMPTY = re.compile(rb"HTTP/1\.\d (?:204|304)")
_LAST_CHUNK = b"0\r\n\r\n"


class FramedStream(httpcore.NetworkStream):
    """A connection that counts what comes for one request and refuses the next one where that was too much."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner
        self._head = bytearray()
        self._body = -1  # offset of the body in what came; unknown yet
        self._came = 0
        self._tail = b""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what comes."""
        data = self._inner.read(max_bytes, timeout)
        self._came += len(data)
        self._tail = (self._tail + data[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]
        if self._body < 0 and len(self._head) < _HEAD_BYTES:
            self._head += data
            self._body = self._head.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in self._head else -1
            if self._body >= 0:
                del self._head[self._body :]
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send.

        Raises:
            httpcore.ConnectError: more came than the last answer announced; nothing was sent.
        """
        if self._came and self._too_much_came():
            self.close()
            raise httpcore.ConnectError("the last answer on this connection was longer than it announced")
        self._head.clear()
        self._body, self._came, self._tail = -1, 0, b""
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Go on in secret."""
        return FramedStream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as declared by the library
        """Return what the connection below knows."""
        return self._inner.get_extra_info(info)

    def _too_much_came(self) -> bool:
        head = bytes(self._head)
        if _EMPTY.match(head):
            return self._came > self._body
        if _CHUNKED.search(head):
            return self._tail != _LAST_CHUNK
        length = _LENGTH.search(head)
        return length is not None and self._came > self._body + int(length[1])


class FramedBackend(httpcore.SyncBackend):
    """Makes such connections."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect."""
        return FramedStream(super().connect_tcp(host, port, timeout, local_address, socket_options))
