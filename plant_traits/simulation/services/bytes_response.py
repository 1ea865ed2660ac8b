"""Sends bytes as a store of files does: with an ETag, and the range that is asked for."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

_RANGE = re.compile(r"bytes=(\d*)-(\d*)$")


def bytes_response(request: Request, content: bytes, media_type: str, etag: str, modified: str) -> Response:
    """Answer a GET or HEAD for content that is at hand: 200, 206, 304 or 416.

    Args:
        request: its headers Range, If-Range and If-None-Match are kept to; several ranges at once are not offered.
        content: the whole.
        media_type: of the content.
        etag: without quotes.
        modified: as HTTP writes dates.
    """
    quoted = f'"{etag}"'
    headers = {"etag": quoted, "last-modified": modified, "accept-ranges": "bytes", "content-type": media_type}
    if request.headers.get("if-none-match") in (quoted, "*"):
        return Response(status_code=304, headers=headers)
    asked = _RANGE.match(request.headers.get("range", ""))
    if asked is None or request.headers.get("if-range", quoted) not in (quoted, modified):
        return Response(content, headers=headers)
    first, last = asked.groups()
    if first:
        start, stop = int(first), min(int(last) + 1 if last else len(content), len(content))
    else:
        start, stop = max(0, len(content) - int(last or 0)), len(content)
    if start >= stop:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{len(content)}"})
    span = {"content-range": f"bytes {start}-{stop - 1}/{len(content)}"}
    return Response(content[start:stop], 206, {**headers, **span})
