"""Fetch a large file over http into a folder, and go on where a kill or a cut-off left it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import httpx

from plant_traits.errors import WebError, WorkspaceError
from plant_traits.sources.web.body import declared_length
from plant_traits.sources.web.client import Passing, Web

_COUNTED_BYTES = 4 * 1024**2  # entries of the account cost time
FILE_LIMIT_BYTES = 400 * 1024**3


@dataclass(frozen=True)
class FetchedFile:
    """A file that was fetched whole.

    Attributes:
        path: where it lies.
        url: where it came from, after redirects, without what follows a question mark.
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

    def once() -> tuple[str, str | None]:
        start, known = _resumable(part, state, url)
        # Content codings would make offsets ambiguous.
        asked = {"Accept-Encoding": "identity"}
        if known:
            asked |= {"Range": f"bytes={start}-", "If-Range": known}
        try:
            with web.stream("GET", url, headers=asked, authenticate=authenticate) as (final, response):
                if not (known and response.status_code == httpx.codes.PARTIAL_CONTENT):
                    # The old bytes go before the new state is known: a kill in between must not mix them.
                    part.unlink(missing_ok=True)
                    start = 0
                    _note(state, url, response)
                elif not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
                    part.unlink(missing_ok=True)
                    raise Passing(WebError("incomplete", f"{final}: the server sent another range than was asked for"))
                _append(web, final, response, part, start, limit_bytes)
                _check_size(part, final, expected_size)
                return final, response.headers.get("etag")
        except WebError as error:
            if known and error.status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink(missing_ok=True)
                raise Passing(WebError("incomplete", f"{error}; it is fetched from its start")) from error
            if error.reason == "too_large":
                part.unlink(missing_ok=True)
            raise

    try:
        final, etag = web.attempts()(once)
        size = part.stat().st_size
        with part.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            os.fsync(stream.fileno())
        if expected_sha256 is not None and digest != expected_sha256:
            part.unlink()
            state.unlink(missing_ok=True)
            raise WebError(
                "incomplete",
                f"{final}: the file has sha256 {digest}, {expected_sha256} was expected; it was discarded, run again",
            )
        part.replace(path)
        state.unlink(missing_ok=True)
    except OSError as error:
        raise WorkspaceError(
            f"{path} cannot be written: {error}; free space and run again, what came is kept"
        ) from error
    return FetchedFile(path, final, size, digest, etag)


def _check_size(part: Path, url: str, expected: int | None) -> None:
    """Discard a part that is whole as the server states it, but not of the size that was expected: it is asked anew."""
    size = part.stat().st_size
    if expected is not None and size != expected:
        part.unlink()
        raise Passing(WebError("incomplete", f"{url}: the file has {size} bytes, {expected} were expected"))


def _note(state: Path, url: str, response: httpx.Response) -> None:
    """Note under which validator, and of which address, the part may be continued."""
    validator = response.headers.get("etag") or response.headers.get("last-modified")
    if validator is None or validator.startswith("W/"):
        state.unlink(missing_ok=True)
        return
    named = {"address": hashlib.sha256(url.encode()).hexdigest(), "validator": validator}
    state.write_text(json.dumps(named), encoding="utf-8")


def _resumable(part: Path, state: Path, url: str) -> tuple[int, str | None]:
    """Return where to go on and the validator under which that is right.

    The last byte at hand is asked for again: of a part that is whole already there would be nothing to ask.
    """
    try:
        noted = json.loads(state.read_text(encoding="utf-8"))
        have = part.stat().st_size
        validator, address = str(noted["validator"]), noted["address"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, None
    if have == 0 or address != hashlib.sha256(url.encode()).hexdigest():
        return 0, None
    return have - 1, validator


def _append(web: Web, url: str, response: httpx.Response, part: Path, start: int, limit: int) -> None:
    declared = declared_length(response)
    whole = None if declared is None else start + declared
    if whole is not None and whole > limit:
        raise WebError("too_large", f"{url}: {whole} bytes are announced, at most {limit} are accepted")
    size = counted = start
    with part.open("r+b" if start else "wb") as stream:
        stream.seek(start)
        try:
            for chunk in response.iter_raw():
                size += len(chunk)
                if size > limit:
                    raise WebError("too_large", f"{url}: more than {limit} bytes came")
                stream.write(chunk)
                stream.flush()
                if size - counted >= _COUNTED_BYTES:
                    web.received(url, size - counted)
                    counted = size
        finally:
            web.received(url, size - counted)
    if whole is not None and size != whole:
        raise Passing(WebError("incomplete", f"{url}: {size} bytes came of {whole} announced"))
