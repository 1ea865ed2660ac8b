from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from plant_traits.errors import WebError, WorkspaceError
from plant_traits.sources.web.client import Web
from plant_traits.sources.web.download import download

if TYPE_CHECKING:
    from tests.plant_traits.sources.web.conftest import Asked, Reply, ScriptedServer

    Ranged = Callable[..., Callable[[Asked], Reply]]

URL = "https://one.example.org/file"
BODY = bytes(range(256)) * 40
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def ranged(reply: type[Reply]) -> Callable[..., Callable[[Asked], Reply]]:
    """Make an answer of a server that knows ranges: of this body, under this validator, cut after so many bytes."""

    def make(
        body: bytes = BODY,
        etag: str | None = '"v1"',
        cut: int | None = None,
        stall: threading.Event | None = None,
    ) -> Callable[[Asked], Reply]:
        headers = {} if etag is None else {"ETag": etag}

        def answer(asked: Asked) -> Reply:
            if "range" in asked.headers and asked.headers.get("if-range") == etag:
                start = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
                if start >= len(body):
                    return reply(status=416, headers={"Content-Range": f"bytes */{len(body)}"})
                where = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
                return reply(body[start:], status=206, headers={**headers, **where}, cut=cut, stall=stall)
            return reply(body, headers=headers, cut=cut, stall=stall)

        return answer

    return make


def ranges(server: ScriptedServer) -> list[str | None]:
    return [x.headers.get("range") for x in server.asked]


def test_a_file_is_fetched_whole(
    tmp_path: Path, server: ScriptedServer, ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    server.serve(URL, ranged())
    web = web_of()
    got = download(web, URL, tmp_path / "deep" / "file", expected_size=len(BODY), expected_sha256=SHA256)
    assert (got.size, got.sha256, got.etag, got.url) == (len(BODY), SHA256, '"v1"', URL)
    assert got.path.read_bytes() == BODY
    assert list(got.path.parent.iterdir()) == [got.path]
    assert server.asked[0].headers["accept-encoding"] == "identity"
    assert web.tally.bytes == len(BODY)


def test_a_cut_off_file_is_gone_on_with(
    tmp_path: Path, server: ScriptedServer, ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    server.serve(URL, ranged(cut=4000), ranged(cut=3000), ranged())
    web = web_of()
    got = download(web, URL, tmp_path / "file", expected_sha256=SHA256)
    assert got.sha256 == SHA256
    assert ranges(server) == [None, "bytes=3999-", "bytes=6998-"]
    assert web.tally.bytes == len(BODY) + 2  # at each start, the last byte comes again


def test_what_an_earlier_call_left_is_gone_on_with(
    tmp_path: Path, server: ScriptedServer, ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    server.serve(URL, ranged(cut=4000))
    with pytest.raises(WebError):
        download(web_of(attempts=1), URL, tmp_path / "file")
    assert not (tmp_path / "file").exists()
    server.serve(URL, ranged())
    got = download(web_of(), URL, tmp_path / "file")
    assert got.sha256 == SHA256
    assert ranges(server)[1:] == ["bytes=3999-"]


def test_a_part_that_is_whole_already_becomes_the_file(
    tmp_path: Path, server: ScriptedServer, ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    """As after a kill between the last byte and the file's name."""
    server.serve(URL, ranged(cut=4000), ranged())
    with pytest.raises(WebError):
        download(web_of(attempts=1), URL, tmp_path / "file")
    (tmp_path / "file.part").write_bytes(BODY)
    web = web_of()
    assert download(web, URL, tmp_path / "file").sha256 == SHA256
    assert web.tally.bytes == 1


@pytest.mark.parametrize("left", [1, 5000, len(BODY)])
def test_a_file_that_changed_meanwhile_is_fetched_anew(
    left: int, tmp_path: Path, server: ScriptedServer, ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    server.serve(URL, ranged(cut=4000), ranged(BODY[::-1], etag='"v2"'))
    with pytest.raises(WebError):
        download(web_of(attempts=1), URL, tmp_path / "file")
    (tmp_path / "file.part").write_bytes(BODY[:left])
    assert download(web_of(), URL, tmp_path / "file").path.read_bytes() == BODY[::-1]


def test_a_kill_while_a_new_state_begins_mixes_nothing(
    tmp_path: Path, server: ScriptedServer, ranged: Ranged, web_of: Callable[..., Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part of the old state must be gone by the time that the new validator is noted."""
    server.serve(URL, ranged(cut=4000), ranged(BODY[::-1], etag='"v2"'))
    web = web_of(attempts=1)
    with pytest.raises(WebError):
        download(web, URL, tmp_path / "file")
    write = Path.write_text

    class Killed(BaseException):
        pass

    def killed(path: Path, *rest: str, **options: str) -> int:
        n = write(path, *rest, **options)
        if path.name == "file.part.json":
            raise Killed
        return n

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Path, "write_text", killed)
        download(web, URL, tmp_path / "file")
    assert download(web, URL, tmp_path / "file").path.read_bytes() == BODY[::-1]


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_a_strong_validator_it_is_fetched_anew(
    etag: str | None, tmp_path: Path, server: ScriptedServer, ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    server.serve(URL, ranged(etag=etag, cut=4000), ranged(etag=etag))
    assert download(web_of(), URL, tmp_path / "file").sha256 == SHA256
    assert ranges(server) == [None, None]


def test_a_part_of_another_address_is_not_gone_on_with(
    tmp_path: Path, server: ScriptedServer, ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    server.serve(URL, ranged(cut=4000))
    server.serve(f"{URL}2", ranged(BODY[::-1]))  # the same validator
    with pytest.raises(WebError):
        download(web_of(attempts=1), URL, tmp_path / "file")
    assert download(web_of(), f"{URL}2", tmp_path / "file").path.read_bytes() == BODY[::-1]


@pytest.mark.parametrize("state", ["", "{", "null", "[]", '{"validator": "x"}'])
def test_a_damaged_note_is_no_reason_to_stop(
    state: str, tmp_path: Path, server: ScriptedServer, ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    server.serve(URL, ranged())
    (tmp_path / "file.part").write_bytes(b"old")
    (tmp_path / "file.part.json").write_text(state, encoding="utf-8")
    assert download(web_of(), URL, tmp_path / "file").sha256 == SHA256


def test_a_range_that_the_server_does_not_have_is_fetched_from_the_start(
    tmp_path: Path, server: ScriptedServer, reply: type[Reply], ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    server.serve(URL, ranged(cut=4000), reply(status=416), ranged())
    web = web_of()
    assert download(web, URL, tmp_path / "file").sha256 == SHA256
    assert ranges(server) == [None, "bytes=3999-", None]


def test_another_range_than_was_asked_for_is_not_taken(
    tmp_path: Path, server: ScriptedServer, reply: type[Reply], ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    wrong = reply(BODY[100:], status=206, headers={"Content-Range": f"bytes 100-{len(BODY) - 1}/{len(BODY)}"})
    server.serve(URL, ranged(cut=4000), wrong, ranged())
    assert download(web_of(), URL, tmp_path / "file").sha256 == SHA256


@pytest.mark.parametrize("expected", [{"expected_size": 5}, {"expected_sha256": "0" * 64}])
def test_a_file_that_is_not_what_was_expected_is_discarded(
    expected: dict[str, object], tmp_path: Path, server: ScriptedServer, ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    server.serve(URL, *[ranged() for _ in range(20)])
    with pytest.raises(WebError) as caught:
        download(web_of(), URL, tmp_path / "file", **expected)
    assert caught.value.reason == "incomplete"
    assert list(tmp_path.glob("file")) + list(tmp_path.glob("file.part")) == []


def test_a_size_that_the_server_states_wrongly_is_asked_for_anew(
    tmp_path: Path, server: ScriptedServer, reply: type[Reply], ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    server.serve(URL, reply(BODY[:4000]), ranged())
    assert download(web_of(), URL, tmp_path / "file", expected_size=len(BODY)).sha256 == SHA256


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_over_the_limit_is_refused_and_leaves_nothing(
    announced: bool, tmp_path: Path, server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    raw = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY
    server.serve(URL, reply(BODY) if announced else reply(raw=raw))
    with pytest.raises(WebError) as caught:
        download(web_of(), URL, tmp_path / "file", limit_bytes=5000)
    assert caught.value.reason == "too_large"
    assert len(server.asked) == 1
    assert [x for x in tmp_path.glob("file*") if x.suffix != ".json"] == []


def test_an_old_file_stays_until_the_new_one_is_whole(
    tmp_path: Path, server: ScriptedServer, ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    server.serve(URL, ranged(cut=4000))
    with pytest.raises(WebError):
        download(web_of(attempts=2), URL, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_signature_of_a_redirect_is_not_kept(
    tmp_path: Path, server: ScriptedServer, reply: type[Reply], ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    target = "https://two.example.org/file"
    server.serve(URL, reply(status=302, headers={"Location": f"{target}?X-Signature=secret"}))
    server.serve(target, ranged(cut=4000))
    with pytest.raises(WebError) as caught:
        download(web_of(attempts=1), URL, tmp_path / "file")
    assert "secret" not in str(caught.value)
    assert "secret" not in json.dumps((tmp_path / "file.part.json").read_text(encoding="utf-8"))
    server.serve(target, ranged())
    assert download(web_of(), URL, tmp_path / "file").url == target


def test_a_disk_that_cannot_be_written_says_so(
    tmp_path: Path, server: ScriptedServer, ranged: Ranged, web_of: Callable[..., Web]
) -> None:
    server.serve(URL, ranged())
    (tmp_path / "file.part").mkdir()
    with pytest.raises(WorkspaceError, match="cannot be written"):
        download(web_of(), URL, tmp_path / "file")


FETCH = """
import sys
from pathlib import Path
from data_catalog import HostLimits
from plant_traits.sources.web.client import Patience, Web
from plant_traits.sources.web.download import download

base, folder = sys.argv[1:]
limits = HostLimits(host="one.example.org", requests_per_minute=60_000)
routes = {"one.example.org": f"{base}/one.example.org"}
with Web({limits.host: limits}, Path(folder) / "account.sqlite", routes=routes) as web:
    download(web, "https://one.example.org/file", Path(folder) / "file")
"""


def test_kills_lose_nothing_that_came(tmp_path: Path, server: ScriptedServer, ranged: Ranged) -> None:
    """The server hands out some bytes and then holds the connection until the client has been killed."""
    part = tmp_path / "file.part"
    command = [sys.executable, "-c", FETCH, f"http://127.0.0.1:{server.port}", str(tmp_path)]
    for cut, length in ((1, 1), (3000, 3000), (4000, 6999)):
        killed = threading.Event()
        server.serve(URL, ranged(cut=cut, stall=killed))
        process = subprocess.Popen(command)
        while process.poll() is None and not (part.exists() and part.stat().st_size >= length):
            pass
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        killed.set()
        assert part.stat().st_size == length
    server.serve(URL, ranged())
    assert subprocess.run(command, check=False).returncode == 0
    assert (tmp_path / "file").read_bytes() == BODY
    assert ranges(server) == [None, "bytes=0-", "bytes=2999-", "bytes=6998-"]
