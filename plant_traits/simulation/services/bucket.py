"""A bucket of S3 that anyone may read: lists its keys and gives its objects."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote
from xml.sax.saxutils import escape

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from plant_traits.simulation.services.bytes_response import bytes_response

_MOST_KEYS = 1000
_MODIFIED = "Sun, 01 Nov 2026 03:00:00 GMT"
_MODIFIED_ISO = "2026-11-01T03:00:00.000Z"


@dataclass(frozen=True)
class StoredObject:
    """An object of a bucket."""

    content: bytes
    etag: str
    media_type: str = "application/octet-stream"


class Objects(Protocol):
    """What a bucket holds."""

    def keys(self) -> Sequence[str]:
        """Return all keys in order."""

    def size(self, key: str) -> int:
        """Return the bytes of an object."""

    def read(self, key: str) -> StoredObject | None:
        """Return an object, or None where there is none."""


class Bucket:
    """Answers for a bucket at its own host, and also with its name as the first part of the path."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Objects],
        *,
        absent: Callable[[str], int] = lambda _: 404,
        quick: bool = False,
    ) -> None:
        """Open a bucket.

        Args:
            name: of the bucket.
            make: makes what it holds; called when first asked.
            absent: the status for a key that it does not have: 404, or 403 where it does not say.
            quick: objects are read so fast that no thread is needed.
        """
        self._name = name
        self._make = make
        self._absent = absent
        self._quick = quick
        self._objects: Objects | None = None

    def routes(self) -> list[Route]:
        """Return the routes at the bucket's host."""
        return [Route("/{key:path}", self.answer, methods=["GET", "HEAD"])]

    async def answer(self, request: Request) -> Response:
        """List keys, or send an object."""
        key = request.path_params["key"]
        if key == self._name or key.startswith(f"{self._name}/"):
            key = key.removeprefix(self._name).removeprefix("/")
        if self._objects is None:
            self._objects = await run_in_threadpool(self._make)
        if self._quick:
            return self._answer(request, key, self._objects)
        return await run_in_threadpool(self._answer, request, key, self._objects)

    def _answer(self, request: Request, key: str, objects: Objects) -> Response:
        if not key:
            return _listing(self._name, objects, request)
        found = objects.read(key)
        if found is None:
            return _refusal(self._absent(key), key)
        return bytes_response(request, found.content, found.media_type, found.etag, _MODIFIED)


def _refusal(status: int, key: str) -> Response:
    code, text = ("AccessDenied", "Access Denied") if status == 403 else ("NoSuchKey", "No such key.")
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{text}</Message>'
    return Response(f"{body}<Key>{escape(key)}</Key></Error>", status, media_type="application/xml")


def _listing(name: str, objects: Objects, request: Request) -> Response:
    """Answer ListObjectsV2: keys under a prefix, folders folded where a delimiter is given, a page at a time."""
    asked = request.query_params
    prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
    most = min(int(asked.get("max-keys", _MOST_KEYS)), _MOST_KEYS)
    after = max(asked.get("continuation-token", ""), asked.get("start-after", ""))
    keys = objects.keys()
    place = max(bisect.bisect_left(keys, prefix), bisect.bisect_right(keys, after) if after else 0)
    contents: list[str] = []
    folders: list[str] = []
    last = ""
    while place < len(keys) and keys[place].startswith(prefix) and len(contents) + len(folders) < most:
        key = keys[place]
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        if cut >= 0:
            folder = key[: cut + len(delimiter)]
            place = bisect.bisect_left(keys, folder + "\U0010ffff")
            last = folder + "\U0010ffff"
            folders.append(folder)
            continue
        contents.append(key)
        last = key
        place += 1
    more = place < len(keys) and keys[place].startswith(prefix)
    coded = quote if asked.get("encoding-type") == "url" else escape
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
        f"<Name>{name}</Name><Prefix>{coded(prefix)}</Prefix><KeyCount>{len(contents) + len(folders)}</KeyCount>",
        f"<MaxKeys>{most}</MaxKeys><IsTruncated>{'true' if more else 'false'}</IsTruncated>",
        f"<Delimiter>{coded(delimiter)}</Delimiter>" if delimiter else "",
        f"<EncodingType>{asked['encoding-type']}</EncodingType>" if "encoding-type" in asked else "",
        f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if more else "",
        *(
            f"<Contents><Key>{coded(key)}</Key><LastModified>{_MODIFIED_ISO}</LastModified>"
            f"<Size>{objects.size(key)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for key in contents
        ),
        *(f"<CommonPrefixes><Prefix>{coded(folder)}</Prefix></CommonPrefixes>" for folder in folders),
        "</ListBucketResult>",
    ]
    return Response("".join(parts), media_type="application/xml")
