"""A loopback server of photos, and what a request for photos needs."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_catalog import HostLimits, Source
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.protocol import Request
from plant_traits.sources.web.client import Patience, Web

BUCKET = "inaturalist-open-data.s3.amazonaws.com"
OTHER = "photos.example.org"


@dataclass(frozen=True)
class Reply:
    """One answer of the server.

    Attributes:
        body: what is sent.
        status: HTTP status.
        length: Content-Length where it is not the body's.
        headers: further ones.
        cut: bytes after which the connection is closed.
    """

    body: bytes = b""
    status: int = 200
    length: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


class PhotoServer:
    """Serves replies by path ``/<host>/<path>``; the last reply of a path is repeated.

    Attributes:
        replies: by path.
        asked: how often each path was asked for.
    """

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.asked: Counter[str] = Counter()
        self.on_request: Callable[[str], None] = lambda _: None
        outer = self
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_GET(self) -> None:
                outer.on_request(self.path)
                with lock:
                    outer.asked[self.path] += 1
                    replies = outer.replies.get(self.path, [Reply(status=404)])
                    reply = replies.pop(0) if len(replies) > 1 else replies[0]
                self.send_response(reply.status)
                self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
                if reply.cut is not None or reply.length not in (None, len(reply.body)):
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, url: str, *replies: Reply) -> None:
        self.replies[url.removeprefix("https:/")] = list(replies)

    def times(self, url: str) -> int:
        return self.asked[url.removeprefix("https:/")]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[PhotoServer]:
    found = PhotoServer()
    yield found
    found.close()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def photo() -> Callable[..., bytes]:
    def make(seed: int = 0, width: int = 96, height: int = 72, kind: str = "JPEG") -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).resize((width, height)).save(out, kind)
        return out.getvalue()

    return make


def limits_of(hosts: Sequence[str], connections: int) -> dict[str, HostLimits]:
    return {x: HostLimits(host=x, requests_per_minute=6_000_000, connections=connections) for x in hosts}


@pytest.fixture
def web_of(tmp_path: Path, server: PhotoServer) -> Iterator[Callable[..., Web]]:
    """Make a client whose hosts are all led to the loopback server."""
    opened: list[Web] = []

    def make(*, connections: int = 4, hosts: Sequence[str] = (BUCKET, OTHER), attempts: int = 1) -> Web:
        web = Web(
            limits_of(hosts, connections),
            tmp_path / "account.sqlite",
            routes={host: f"{server.base}/{host}" for host in hosts},
            patience=Patience(attempts=attempts, first_wait_s=0.001, longest_wait_s=0.01, timeout_s=10.0),
        )
        opened.append(web)
        return web

    yield make
    for web in opened:
        web.__exit__(None, None, None)


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., Request]:
    """Make a request for the photos of rows (photo_id, url[, licence[, attribution]])."""

    def make(rows: Sequence[tuple[str | None, ...]], *, folder: str = "store", **settings: object) -> Request:
        filled = [(*row, *("CC-BY-4.0", "someone")[len(row) - 2 :]) for row in rows]
        frame = pd.DataFrame(filled, columns=["photo_id", "photo_url", "licence", "attribution"])
        table = tmp_path / "observations.parquet"
        frame.astype("str").where(frame.notna()).to_parquet(table, index=False)
        source = Source(
            id="inaturalist",
            title="photos",
            kind="photos",
            licence="by photo",
            citation="observers",
            hosts=tuple(limits_of((BUCKET, OTHER), 4).values()),
        )
        return Request(
            source=source,
            month=Month.parse("2026-10"),
            region=Region("world", -180.0, -90.0, 180.0, 90.0),
            settings=settings,
            folder=tmp_path / folder,
            tables={"observations": table},
        )

    return make
