"""The body of an answer, unpacked within bounds: its length, its coding and its end are the server's word only."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import httpx

from plant_traits.errors import WebError
from plant_traits.sources.web.patience import Passing

_GZIP = zlib.MAX_WBITS | 16


def declared_length(response: httpx.Response) -> int | None:
    """Return the Content-Length of an answer, where it states one."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def decoded_body(url: str, response: httpx.Response, limit: int) -> Iterator[bytes]:
    """Yield a body, unpacked where it came as gzip; of a gzip bomb, no more than the limit.

    Raises:
        WebError: ``unexpected_answer``, another coding than was asked for.
        Passing: the gzip stream is damaged or ends early.
    """
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        yield from response.iter_raw()
    elif coding in ("gzip", "x-gzip"):
        yield from _unpacked(url, response.iter_raw(), limit)
    else:
        raise WebError("unexpected_answer", f"{url}: content coding {coding[:40]!r} was not asked for")


def _unpacked(url: str, parts: Iterator[bytes], limit: int) -> Iterator[bytes]:
    unpacker = None
    try:
        for part in parts:
            packed = part
            while packed:
                if unpacker is None or unpacker.eof:  # a stream may be of several members
                    unpacker = zlib.decompressobj(_GZIP)
                unpacked = unpacker.decompress(packed, limit)
                packed = unpacker.unused_data or unpacker.unconsumed_tail
                limit -= len(unpacked)
                yield unpacked
                if limit <= 0:
                    return
    except zlib.error as error:
        raise Passing(WebError("incomplete", f"{url}: the gzip stream is damaged ({error})")) from error
    if unpacker is not None and not unpacker.eof:
        raise Passing(WebError("incomplete", f"{url}: the gzip stream ends early"))
