"""Where the monthly snapshots lie: a public bucket asked over https by our own client, or any fsspec location.

Buckets are asked through ``Web`` and not through an S3 library, so that the allow-list, the pace, the retries, the
operator's routes and the account of requests hold for them as for every other host. Listing and ranged reading of a
public bucket are two plain GET requests.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import fsspec

from plant_traits.errors import InputError, WebError
from plant_traits.sources.web.client import Web

_PAGES = 10_000
_TEXT_BYTES = 1024**2


class SnapshotStore(Protocol):
    """A tree of folders and files; paths are relative to the location, without a slash at either end."""

    def folders(self, path: str) -> list[str]:
        """Return the names of the folders in a folder."""
        ...

    def files(self, path: str) -> dict[str, int]:
        """Return the sizes of the files in a folder, by name."""
        ...

    def open(self, path: str, size: int) -> io.IOBase:
        """Open a file of that many bytes for reading anywhere in it."""
        ...


def snapshot_store(location: str, web: Web) -> SnapshotStore:
    """Choose the store for a location.

    Args:
        location: ``s3://<bucket>/<prefix>``, ``https://<host of a bucket>/<prefix>``, or another fsspec address such
            as ``file:///data/gbif/occurrence``.
        web: the client, for buckets.

    Raises:
        InputError: the location is of no known kind.
    """
    parts = urlsplit(location)
    if parts.scheme == "s3":
        return BucketStore(web, bucket_host(parts.netloc), parts.path.strip("/"))
    if parts.scheme == "https":
        return BucketStore(web, parts.netloc, parts.path.strip("/"))
    if parts.scheme in ("http", ""):
        raise InputError(f"location {location!r}: expected s3://, https://, file:// or another fsspec address")
    try:
        filesystem, root = fsspec.core.url_to_fs(location)
    except (ValueError, ImportError) as error:
        raise InputError(f"location {location!r} cannot be used: {error}; correct `location`") from error
    return FilesystemStore(filesystem, str(root).rstrip("/"))


def bucket_host(bucket: str) -> str:
    """Return the host of a public bucket: GBIF's are named after their region."""
    region = bucket.removeprefix("gbif-open-data-")
    return f"{bucket}.s3.amazonaws.com" if region == bucket else f"{bucket}.s3.{region}.amazonaws.com"


@dataclass(frozen=True)
class BucketStore:
    """A public bucket over https."""

    web: Web
    host: str
    prefix: str

    def folders(self, path: str) -> list[str]:
        """Return the names of the folders in a folder."""
        found = [x.text or "" for page in self._pages(path) for x in page.findall("{*}CommonPrefixes/{*}Prefix")]
        return [text.rstrip("/").rsplit("/", 1)[-1] for text in found]

    def files(self, path: str) -> dict[str, int]:
        """Return the sizes of the files in a folder, by name."""
        found: dict[str, int] = {}
        for page in self._pages(path):
            for entry in page.findall("{*}Contents"):
                name = (entry.findtext("{*}Key") or "").rsplit("/", 1)[-1]
                size = entry.findtext("{*}Size") or ""
                if not size.isdigit():
                    raise WebError("unexpected_answer", f"{self.host}: the listing of {path} states the size {size!r}")
                if name:
                    found[name] = int(size)
        return found

    def open(self, path: str, size: int) -> io.IOBase:
        """Open a file for ranged reading."""
        whole = "/".join(x for x in (self.prefix, path) if x)
        return RangedFile(self.web, f"https://{self.host}/{quote(whole)}", size)

    def _pages(self, path: str) -> Iterator[ET.Element]:
        prefix = "/".join(x for x in (self.prefix, path) if x)
        params: dict[str, str | int | float | list[str]] = {"list-type": 2, "delimiter": "/"}
        if prefix:
            params["prefix"] = f"{prefix}/"
        for _ in range(_PAGES):
            answer = self.web.get(f"https://{self.host}/", params=params)
            if b"<!DOCTYPE" in answer.content.upper() or b"<!ENTITY" in answer.content.upper():
                raise WebError("unexpected_answer", f"{self.host}: the listing declares a document type; refused")
            try:
                page = ET.fromstring(answer.content)  # noqa: S314 - bounded, no document type, so no entities
            except ET.ParseError as error:
                raise WebError(
                    "unexpected_answer", f"{self.host}: expected a bucket's listing in XML, found other ({error})"
                ) from error
            yield page
            token = page.findtext("{*}NextContinuationToken")
            if page.findtext("{*}IsTruncated") != "true" or not token:
                return
            params = {**params, "continuation-token": token}
        raise WebError("unexpected_answer", f"{self.host}: the listing of {prefix} has no end")


class RangedFile(io.RawIOBase):
    """A file on a server, read by ranges."""

    def __init__(self, web: Web, url: str, size: int) -> None:
        super().__init__()
        self._web = web
        self._url = url
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read anywhere."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Ask for the bytes from here on.

        Raises:
            WebError: the server failed, or sent something else.
        """
        end = self._size if size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        asked = {"Range": f"bytes={self._at}-{end - 1}", "Accept-Encoding": "identity"}
        answer = self._web.get(self._url, headers=asked, limit_bytes=max(end - self._at, 64 * 1024))
        stated = answer.headers.get("content-range", "")
        whole_of_it = answer.status == 200 and len(answer.content) == self._size
        content = answer.content[self._at : end] if whole_of_it else answer.content
        right = whole_of_it or re.fullmatch(rf"bytes {self._at}-{end - 1}/({self._size}|\*)", stated)
        if not right or len(content) != end - self._at:
            raise WebError(
                "unexpected_answer",
                f"{self._url}: asked for bytes {self._at} to {end - 1} of {self._size}, the server answers "
                f"{answer.status} {stated!r} with {len(content)} bytes; the file has changed, or it knows no ranges",
                answer.status,
            )
        self._at = end
        return content


@dataclass(frozen=True)
class FilesystemStore:
    """Any location that fsspec knows."""

    filesystem: Any
    root: str

    def folders(self, path: str) -> list[str]:
        """Return the names of the folders in a folder."""
        return [name for name, entry in self._entries(path) if entry["type"] == "directory"]

    def files(self, path: str) -> dict[str, int]:
        """Return the sizes of the files in a folder, by name."""
        return {name: int(entry["size"]) for name, entry in self._entries(path) if entry["type"] == "file"}

    def open(self, path: str, size: int) -> io.IOBase:
        """Open a file."""
        try:
            opened: io.IOBase = self.filesystem.open(f"{self.root}/{path}", "rb")
        except OSError as error:
            raise WebError("gone", f"{self.root}/{path} cannot be opened ({error})") from error
        return opened

    def _entries(self, path: str) -> list[tuple[str, dict[str, Any]]]:
        where = f"{self.root}/{path}".rstrip("/")
        try:
            found = self.filesystem.ls(where, detail=True)
        except OSError as error:
            raise WebError("gone", f"{where} cannot be listed ({error}); correct `location`") from error
        return [(entry["name"].rstrip("/").rsplit("/", 1)[-1], entry) for entry in found]


def read_short_text(store: SnapshotStore, path: str, size: int) -> str:
    """Read a text file of at most 1 MiB.

    Raises:
        WebError: it is larger, or cannot be had.
    """
    if size > _TEXT_BYTES:
        raise WebError("too_large", f"{path}: {size} bytes, at most {_TEXT_BYTES} are accepted")
    with store.open(path, size) as stream:
        content: bytes = stream.read()
    return content.decode("utf-8", "replace").strip()
