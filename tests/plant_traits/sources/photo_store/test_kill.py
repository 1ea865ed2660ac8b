from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from plant_traits.sources.photo_store.source import PhotoSource
from plant_traits.sources.photos import open_photos
from plant_traits.sources.protocol import Request
from plant_traits.sources.web.client import Web

if TYPE_CHECKING:
    from tests.plant_traits.sources.photo_store.conftest import PhotoServer, Reply

HOST = "inaturalist-open-data.s3.amazonaws.com"
CONNECTIONS = 4
N = 120
FETCH = """
import sys
from pathlib import Path
from data_catalog import HostLimits, Source
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.photo_store.source import PhotoSource
from plant_traits.sources.protocol import Request
from plant_traits.sources.web.client import Web

host, base, work, connections = sys.argv[1:]
work = Path(work)
limits = HostLimits(host=host, requests_per_minute=6_000_000, connections=int(connections))
source = Source(id="p", title="p", kind="photos", licence="by photo", citation="p", hosts=(limits,))
request = Request(source, Month(2026, 10), Region("world", -180.0, -90.0, 180.0, 90.0), {"pack_bytes": 20000},
                  work / "store", {"observations": work / "observations.parquet"})
plugin = PhotoSource()
plan = plugin.plan(request)
with Web({host: limits}, work / "account.sqlite", routes={host: f"{base}/{host}"}) as web:
    fetched = plugin.fetch(request, plan, web)
plugin.verify(request, fetched)
plugin.normalise(request, fetched, work)
"""


def start(work: Path, base: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", FETCH, HOST, base, str(work), str(CONNECTIONS)])


def state_of(work: Path) -> tuple[pd.DataFrame, dict[str, bytes]]:
    states = pd.read_parquet(work / "photos.parquet")
    with open_photos("photo-store", work / "store") as photos:
        held = states.loc[states["status"] == "ok", "photo_id"]
        return states, {photo_id: photos.read(photo_id) for photo_id in held}


def test_kills_cost_no_photo_and_next_to_no_request(
    tmp_path: Path, server: PhotoServer, reply: type[Reply], photo: Callable[..., bytes]
) -> None:
    rows = []
    for k in range(N):
        url = f"https://{HOST}/photos/{k}/medium.jpg"
        if k % 10 != 3:  # some are gone
            server.serve(url, reply(photo(k // 2)))  # and some are the same picture
        rows.append({"photo_id": str(k), "photo_url": url, "licence": "CC0", "attribution": f"observer {k}"})
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for work in (whole, killed):
        work.mkdir()
        pd.DataFrame(rows).to_parquet(work / "observations.parquet", index=False)
    assert start(whole, server.base).wait(60) == 0
    server.asked.clear()

    draw = random.Random(5)
    kills = 0
    for _ in range(5):
        after = draw.randint(3, 25)
        process = start(killed, server.base)
        seen = threading.Semaphore(0)
        server.on_request = lambda _, seen=seen: seen.release()
        reached = all(seen.acquire(timeout=60) for _ in range(after))
        assert reached
        os.kill(process.pid, signal.SIGKILL)
        kills += process.wait(60) == -signal.SIGKILL
    server.on_request = lambda _: None
    assert kills == 5
    assert 0 < sum(server.asked.values()) < N + kills * CONNECTIONS  # it was killed on its way
    assert start(killed, server.base).wait(60) == 0

    states, held = state_of(killed)
    expected_states, expected_held = state_of(whole)
    pd.testing.assert_frame_equal(states, expected_states)
    assert held == expected_held
    assert len(held) == N - N // 10
    assert len(server.asked) == N
    assert sum(server.asked.values()) - N <= kills * CONNECTIONS


def test_a_pack_torn_anywhere_is_mended(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    """Every state that a kill can leave: the index before a photo, the pack with any part of that photo."""
    for k in (1, 2):
        server.serve(f"https://{HOST}/photos/{k}/medium.jpg", reply(photo(k)))
    web = web_of(connections=1)
    store, pack = tmp_path / "store", tmp_path / "store" / "packs" / "photos-000001.tar"

    def fetch(*ids: int) -> None:
        request = request_of([(str(k), f"https://{HOST}/photos/{k}/original.jpg") for k in ids])
        source = PhotoSource()
        fetched = source.fetch(request, source.plan(request), web)
        source.verify(request, fetched)
        assert fetched.lost == {}

    fetch(1)
    before = (store / "index.sqlite").read_bytes()
    known = pack.stat().st_size - 1024  # without the mark of the end
    fetch(1, 2)
    after = pack.read_bytes()
    index_after = (store / "index.sqlite").read_bytes()
    with tarfile.open(pack) as archive:
        second = archive.getmember("2.jpg")
    last = second.offset_data + second.size
    lengths = [*range(known, len(after) + 1, 293), last - 1, last, len(after) - 1024, len(after)]
    for length in lengths:
        (store / "index.sqlite").write_bytes(before)
        pack.write_bytes(after[:length])
        server.asked.clear()
        fetch(1, 2)
        # Where all of the photo was written, it is not asked for again.
        assert sum(server.asked.values()) == (0 if length >= last else 1), length
        assert pack.read_bytes() == after
        with open_photos("photo-store", store) as photos:
            assert (photos.read("1"), photos.read("2")) == (photo(1), photo(2))
    # A longer torn photo than the one that comes after it.
    (store / "index.sqlite").write_bytes(before)
    pack.write_bytes(after[:known] + b"\xff\xd8 torn" * 10_000)
    fetch(1, 2)
    assert pack.read_bytes() == after
    # And what a power cut may leave: an index that knows more than the pack holds.
    (store / "index.sqlite").write_bytes(index_after)
    pack.write_bytes(after[: known + 700])
    server.asked.clear()
    fetch(1, 2)
    assert dict(server.asked) == {f"/{HOST}/photos/2/medium.jpg": 1}
    assert pack.read_bytes() == after


def test_a_lost_or_damaged_index_is_made_anew_from_the_packs(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    for k in range(1, 7):
        server.serve(f"https://{HOST}/photos/{k}/medium.jpg", reply(photo(k)))
    request = request_of([(str(k), f"https://{HOST}/photos/{k}/original.jpg") for k in range(1, 7)], pack_bytes=6000)
    source, web = PhotoSource(), web_of()
    source.fetch(request, source.plan(request), web)
    out = tmp_path / "out"
    out.mkdir()
    index = request.folder / "index.sqlite"
    damages = {
        "lost": None,
        "empty": b"",
        "text": b"no database at all " * 500,
        "zeros": index.read_bytes()[:4096] + bytes(index.stat().st_size - 4096),
    }
    for damage, content in damages.items():
        index.unlink()
        if content is not None:
            index.write_bytes(content)
        fetched = source.fetch(request, source.plan(request), web)
        source.verify(request, fetched)
        assert source.normalise(request, fetched, out) == {"rows": 6}, damage
        states = pd.read_parquet(out / "photos.parquet")
        assert states["attribution"].tolist() == ["someone"] * 6
        assert states["width"].tolist() == [96] * 6
    assert set(server.asked.values()) == {1}


def test_what_failed_before_a_stop_is_not_asked_for_again_after_it(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    urls = [f"https://{HOST}/photos/{k}/medium.jpg" for k in range(1, 5)]
    server.serve(urls[0], reply(status=503))
    for k in (1, 2, 3):
        server.serve(urls[k], reply(photo(k)))

    class Stopped(Exception):
        pass

    def stop(finished: int, total: int) -> None:
        assert total == 4
        if finished == 3:  # one failed, two were kept
            raise Stopped

    request = request_of([(str(k + 1), url) for k, url in enumerate(urls)])
    web = web_of(connections=1, attempts=1)
    plan = PhotoSource().plan(request)
    with pytest.raises(Stopped):
        PhotoSource().fetch(replace(request, progress=stop), plan, web)
    assert [server.times(url) for url in urls] == [1, 1, 1, 0]
    assert PhotoSource().plan(request) == plan
    fetched = PhotoSource().fetch(request, plan, web)
    assert [server.times(url) for url in urls] == [1, 1, 1, 1]
    assert fetched.lost == {"unavailable": 1}
    PhotoSource().fetch(request, PhotoSource().plan(request), web)  # the next run
    assert [server.times(url) for url in urls] == [2, 1, 1, 1]


def test_a_large_pack_that_is_damaged_is_left_to_be_mended(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    server.serve(f"https://{HOST}/photos/1/medium.jpg", reply(photo(1)))
    packs = tmp_path / "store" / "packs"
    packs.mkdir(parents=True)
    damaged = packs / "photos-000003.tar"
    with damaged.open("wb") as stream:
        stream.write(b"damaged header")
        stream.truncate(33 * 1024**2)
    request = request_of([("1", f"https://{HOST}/photos/1/original.jpg")])
    source = PhotoSource()
    source.fetch(request, source.plan(request), web_of())
    assert damaged.stat().st_size == 33 * 1024**2
    with tarfile.open(packs / "photos-000004.tar") as archive:
        assert archive.getnames() == ["1.jpg"]


HALF = """
import os, signal, sqlite3, sys
index = sqlite3.connect(sys.argv[1], isolation_level=None)
index.execute("PRAGMA cache_size = 1")
index.execute("PRAGMA journal_mode = PERSIST")
index.execute("BEGIN IMMEDIATE")
index.execute("UPDATE photo SET status = 'failed', reason = 'half'")
index.execute("UPDATE picture SET offset = 0")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_reader_rolls_back_what_a_kill_left_half_written(
    tmp_path: Path,
    server: PhotoServer,
    web_of: Callable[..., Web],
    request_of: Callable[..., Request],
    reply: type[Reply],
    photo: Callable[..., bytes],
) -> None:
    urls = {str(k): f"https://{HOST}/photos/{k}/medium.jpg" for k in range(60)}
    for k, url in urls.items():
        server.serve(url, reply(photo(int(k))))
    request = request_of(list(urls.items()))
    source = PhotoSource()
    source.fetch(request, source.plan(request), web_of())
    index = request.folder / "index.sqlite"
    before = index.read_bytes()
    assert subprocess.run([sys.executable, "-c", HALF, str(index)], check=False).returncode == -signal.SIGKILL
    assert index.read_bytes() != before
    with open_photos("photo-store", request.folder) as photos:
        assert all(photos.read(k) == photo(int(k)) for k in urls)
