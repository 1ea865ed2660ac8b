"""A file on a server that is read piece by piece, each piece asked for once and kept on disk."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import httpx

from plant_traits.errors import WebError, WorkspaceError
from plant_traits.sources.web.client import Web
from plant_traits.sources.web.patience import Passing

PIECE_BYTES = 256 * 1024
_LONGEST_REQUEST = 32  # pieces
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class RangedFile:
    """A file over http range requests, through the client's allow-list, pace, budget and retries.

    Pieces that came lie in ``<cache>.pieces``, a sparse file, and their numbers in ``<cache>.have``; a killed run goes
    on with them as long as the server holds the same state of the file.

    Attributes:
        size: bytes of the whole file.
        etag: the server's name for this state of it, where it gave one.
    """

    def __init__(self, web: Web, url: str, cache: Path, *, limit_bytes: int) -> None:
        """Ask for the first piece, which tells the size, unless an earlier run did.

        Args:
            web: the client.
            url: the file's address.
            cache: where to keep what came; suffixes are added to its name.
            limit_bytes: refuse a larger file.

        Raises:
            WebError: it cannot be had, is too large, or the server does not serve ranges.
            WorkspaceError: the pieces cannot be written.
        """
        self._web, self._url = web, url
        self._limit = limit_bytes
        self._pieces = cache.with_name(f"{cache.name}.pieces")
        self._have_path = cache.with_name(f"{cache.name}.have")
        self._state = cache.with_name(f"{cache.name}.state.json")
        self._failure: BaseException | None = None
        self.size = 0
        self.etag: str | None = None
        self._validator: str | None = None
        self._have: set[int] = set()
        cache.parent.mkdir(parents=True, exist_ok=True)
        if not self._resume():
            self.forget()
            self._pieces.touch()
            self._fetch(0, 0)

    def forget(self) -> None:
        """Delete what was kept."""
        for path in (self._state, self._have_path, self._pieces):
            path.unlink(missing_ok=True)
        self._have = set()

    def raise_failure(self) -> None:
        """Raise what made a read come back short, if anything did."""
        if self._failure is not None:
            raise self._failure

    def open(self) -> RangedStream:
        """Return a stream at the file's start."""
        return RangedStream(self)

    def read_at(self, start: int, size: int) -> bytes:
        """Read bytes; short at the end of the file, and after a failure, which must not pass through GDAL."""
        stop = min(start + size, self.size)
        if stop <= start or self._failure is not None:
            return b""
        try:
            self._ensure(start // PIECE_BYTES, (stop - 1) // PIECE_BYTES)
            return self._stored(start, stop)
        except BaseException as failure:
            # GDAL's callbacks would print and drop it, an interrupt too: it is raised when GDAL has returned.
            self._failure = failure
        return b""

    def _stored(self, start: int, stop: int) -> bytes:
        try:
            with self._pieces.open("rb") as stream:
                stream.seek(start)
                return stream.read(stop - start)
        except OSError as error:
            raise WorkspaceError(f"{self._pieces} cannot be read: {error}; run again") from error

    def _resume(self) -> bool:
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            lines = self._have_path.read_text(encoding="ascii").splitlines(keepends=True)
            have = {int(line) for line in lines if line.endswith("\n")}
        except (FileNotFoundError, ValueError):
            return False
        if state["url"] != self._url or not self._pieces.is_file():
            return False
        self.size, self.etag, self._validator = state["size"], state["etag"], state["validator"]
        self._have = have
        return True

    def _ensure(self, first: int, last: int) -> None:
        missing = [piece for piece in range(first, last + 1) if piece not in self._have]
        while missing:
            run = 1
            while run < min(len(missing), _LONGEST_REQUEST) and missing[run] == missing[0] + run:
                run += 1
            self._fetch(missing[0], missing[run - 1])
            missing = missing[run:]

    def _fetch(self, first: int, last: int) -> None:
        start, stop = first * PIECE_BYTES, (last + 1) * PIECE_BYTES
        if self.size:
            stop = min(stop, self.size)

        def once() -> bytes:
            # Content codings would make offsets ambiguous.
            headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
            if self._validator is not None:
                headers["If-Range"] = self._validator
            with self._web.stream("GET", self._url, headers=headers) as (final, response):
                end = self._accept(response, start, stop)
                content = self._web.read(final, response, end - start)
            if len(content) != end - start:
                raise Passing(WebError("incomplete", f"{self._url}: {len(content)} bytes came of {end - start}"))
            return content

        content = self._web.attempts()(once)
        try:
            with self._pieces.open("r+b") as stream:
                stream.seek(start)
                stream.write(content)
            with self._have_path.open("a", encoding="ascii") as journal:
                journal.writelines(f"{piece}\n" for piece in range(first, last + 1))
        except OSError as error:
            raise WorkspaceError(f"{self._pieces} cannot be written: {error}; free space and run again") from error
        self._have.update(range(first, last + 1))

    def _accept(self, response: httpx.Response, start: int, stop: int) -> int:
        """Check that the answer is the range asked for, of the file known; return its end."""
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            if self.size:
                self.forget()
                raise WebError("incomplete", f"{self._url}: the file changed while it was read; run again")
            raise WebError("unexpected_answer", f"{self._url}: the server does not serve ranges; set `whole: true`")
        text = response.headers.get("content-range", "")
        matched = _CONTENT_RANGE.fullmatch(text)
        if matched is None:
            raise WebError("unexpected_answer", f"{self._url}: expected a Content-Range, found {text[:80]!r}")
        begin, end, size = (int(part) for part in matched.groups())
        end += 1
        if not self.size:
            if size > self._limit:
                raise WebError("too_large", f"{self._url}: {size} bytes, at most {self._limit} are accepted")
            self._remember(response, size)
        elif size != self.size:
            self.forget()
            raise WebError("incomplete", f"{self._url}: the file changed while it was read; run again")
        if begin != start or end != min(stop, size):
            raise Passing(WebError("incomplete", f"{self._url}: the server sent {text!r} for {start}-{stop - 1}"))
        return end

    def _remember(self, response: httpx.Response, size: int) -> None:
        etag = response.headers.get("etag")
        strong = etag if etag is not None and not etag.startswith("W/") else None
        self.size, self.etag = size, etag
        self._validator = strong or response.headers.get("last-modified")
        state = {"url": self._url, "size": size, "etag": etag, "validator": self._validator}
        self._state.write_text(json.dumps(state), encoding="utf-8")


class RangedStream(io.RawIOBase):
    """A position in a :class:`RangedFile`, as GDAL wants a file to be."""

    def __init__(self, file: RangedFile) -> None:
        super().__init__()
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be positioned."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read from the position."""
        found = self._file.read_at(self._position, self._file.size if size < 0 else size)
        self._position += len(found)
        return found
