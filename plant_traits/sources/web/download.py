"""Fetch a large file over http into a folder, and go on where a kill or a cut-off left it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import httpx

from plant_traits.errors import WebError, WorkspaceError
from plant_traits.sources.web.client import Passing, Web

_CHUNK_BYTES = 1024**2
FILE_LIMIT_BYTES = 400 * 1024**3


@dataclass(frozen=True)
class FetchedFile:
    """A file that was fetched whole.

    Attributes:
        path: where it lies.
        url: where it came from, after redirects.
        size: bytes.
        sha256: of its content.
        etag: the server's name for this state of it, where it gave one.
    """

    path: Path
    url: str
    size: int
    sha256: str
    etag: str | None


def download(
    web: Web,
    url: str,
    path: Path,
    *,
    authenticate: bool = False,
    expected_size: int | None = None,
    expected_sha256: str | None = None,
    limit_bytes: int = FILE_LIMIT_BYTES,
) -> FetchedFile:
    """Fetch a file; bytes that a killed run left in ``<path>.part`` are not fetched again.

    A part is continued only while the server still holds the same state of the file (its ETag or Last-Modified). The
    file gets its name when it is whole.

    Args:
        web: the client.
        url: its address.
        path: its place; the folder is made where absent.
        authenticate: send the host's credentials.
        expected_size: bytes it must have, where known.
        expected_sha256: hash it must have, where known.
        limit_bytes: refuse a larger one.

    Raises:
        WebError: it cannot be had, is too large, or is not what was expected.
        WorkspaceError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, state = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")

    def once() -> tuple[str, str | None, int | None]:
        have, known = _resumable(part, state)
        asked = {"Range": f"bytes={have}-", "If-Range": str(known)} if have and known else {}
        # Content codings would make offsets ambiguous.
        with web.stream("GET", url, headers={**asked, "Accept-Encoding": "identity"}, authenticate=authenticate) as (
            final,
            response,
        ):
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT and bool(asked)
            if resumed and not response.headers.get("content-range", "").startswith(f"bytes {have}-"):
                part.unlink(missing_ok=True)
                raise Passing(WebError("incomplete", f"{url}: the server sent another range than was asked for"))
            start = have if resumed else 0
            declared = response.headers.get("content-length")
            whole = None if declared is None else start + int(declared)
            if max(whole or 0, start) > limit_bytes:
                raise WebError("too_large", f"{url}: {whole} bytes are announced, at most {limit_bytes} are accepted")
            validator = response.headers.get("etag") or response.headers.get("last-modified")
            weak = validator is not None and validator.startswith("W/")
            state.write_text(json.dumps(None if weak else validator), encoding="utf-8")
            size = _append(web, final, response, part, start, limit_bytes)
            if whole is not None and size != whole:
                raise Passing(WebError("incomplete", f"{url}: {size} bytes came of {whole} announced"))
            return final, response.headers.get("etag"), whole

    try:
        final, etag, _ = web.attempts()(once)
        size = part.stat().st_size
        with part.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        problem = None
        if expected_size is not None and size != expected_size:
            problem = f"{size} bytes, {expected_size} were expected"
        elif expected_sha256 is not None and digest != expected_sha256:
            problem = f"sha256 {digest}, {expected_sha256} was expected"
        state.unlink(missing_ok=True)
        if problem is not None:
            part.unlink()
            raise WebError("incomplete", f"{url}: the file has {problem}; it was discarded, run again")
        part.replace(path)
    except OSError as error:
        raise WorkspaceError(
            f"{path} cannot be written: {error}; free space and run again, what came is kept"
        ) from error
    return FetchedFile(path, final, size, digest, etag)


def _resumable(part: Path, state: Path) -> tuple[int, str | None]:
    """Return the bytes at hand and the validator under which they may be continued."""
    try:
        known = json.loads(state.read_text(encoding="utf-8"))
        return part.stat().st_size, known
    except (FileNotFoundError, ValueError):
        return 0, None


def _append(web: Web, url: str, response: httpx.Response, part: Path, start: int, limit: int) -> int:
    size = start
    with part.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        for chunk in response.iter_raw(_CHUNK_BYTES):
            stream.write(chunk)
            stream.flush()
            size += len(chunk)
            web.received(url, len(chunk))
            if size > limit:
                raise WebError("too_large", f"{url}: more than {limit} bytes came")
    return size
