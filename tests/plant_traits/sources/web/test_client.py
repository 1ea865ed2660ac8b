from __future__ import annotations

import base64
import gzip
import json
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from data_catalog import HostLimits
from plant_traits.errors import WebError
from plant_traits.sources.web.client import Web
from plant_traits.sources.web.patience import retry_after_s

if TYPE_CHECKING:
    from tests.plant_traits.sources.web.conftest import Clock, Reply, ScriptedServer

ONE, TWO = "https://one.example.org", "https://two.example.org"


def failure(web: Web, url: str, **options: object) -> WebError:
    with pytest.raises(WebError) as caught:
        web.get(url, **options)
    return caught.value


def test_an_answer_is_read_whole(server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]) -> None:
    server.serve(f"{ONE}/a", reply(b'{"x": [1, 2]}', headers={"X-Count": "2"}))
    web = web_of()
    answer = web.get(f"{ONE}/a", params={"q": "Quercus robur", "id": ["1", "2"], "n": 3})
    assert (answer.status, answer.url, answer.json()) == (200, f"{ONE}/a", {"x": [1, 2]})
    assert answer.headers["x-count"] == "2"
    asked = server.asked[0]
    assert asked.path == "/one.example.org/a?q=Quercus+robur&id=1&id=2&n=3"
    assert asked.headers["user-agent"].startswith("plant-traits/")
    assert "authorization" not in asked.headers
    assert (web.tally.requests, web.tally.retries, web.tally.bytes) == (1, 0, 13)
    assert web.pace.used("one.example.org") == (1, 13)


def test_parameters_join_those_of_the_address(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(b"x"))
    web_of().get(f"{ONE}/a?kept=1", params={"added": 2})
    assert server.asked[0].path == "/one.example.org/a?kept=1&added=2"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(
    status: int, server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(status=status), reply(status=status), reply(b"at last"))
    web = web_of()
    assert web.get(f"{ONE}/a").content == b"at last"
    assert (web.tally.requests, web.tally.retries) == (3, 2)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "gone"),
        (410, "gone"),
        (401, "forbidden"),
        (403, "forbidden"),
        (451, "forbidden"),
        (400, "unexpected_answer"),
        (418, "unexpected_answer"),
        (300, "unexpected_answer"),
        (501, "unexpected_answer"),
    ],
)
def test_what_will_not_pass_is_not_asked_again(
    status: int, reason: str, server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(b"because", status=status))
    error = failure(web_of(), f"{ONE}/a")
    assert (error.reason, error.status, len(server.asked)) == (reason, status, 1)
    if reason == "unexpected_answer":
        assert "because" in str(error)


def test_patience_ends(server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web], clock: Clock) -> None:
    server.serve(f"{ONE}/a", reply(status=500))
    web = web_of(attempts=4)
    error = failure(web, f"{ONE}/a")
    assert (error.reason, error.status) == ("unavailable", 500)
    assert "4 times" in str(error)
    assert (len(server.asked), web.tally.retries) == (4, 3)
    pauses = [x for x in clock.slept if x > 0.01]
    assert all(pause <= most for pause, most in zip(pauses, [1.0, 2.0, 4.0], strict=False))


@pytest.mark.parametrize("status", [429, 503, 500])
@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "120"},
        {"Retry-After": "Sun, 01 Nov 2026 10:02:00 GMT", "Date": "Sun, 01 Nov 2026 10:00:00 GMT"},
    ],
    ids=["seconds", "date"],
)
def test_retry_after_is_waited_for(
    status: int,
    headers: dict[str, str],
    server: ScriptedServer,
    reply: type[Reply],
    web_of: Callable[..., Web],
    clock: Clock,
) -> None:
    times: list[float] = []

    def second(_: object) -> object:
        times.append(clock.time)
        return reply(b"x")

    start = clock.time
    # The standard library sends a Date of its own; the server's own comes last in a raw answer.
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    raw = f"HTTP/1.1 {status} Wait\r\n{lines}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
    server.serve(f"{ONE}/a", reply(raw=raw), second)
    web_of().get(f"{ONE}/a")
    assert times[0] - start == pytest.approx(120, abs=1.1)


def test_a_retry_after_keeps_every_other_request_from_the_host(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web], clock: Clock
) -> None:
    server.serve(f"{ONE}/a", reply(status=429, headers={"Retry-After": "90"}))
    server.serve(f"{ONE}/b", reply(b"x"))
    web = web_of(attempts=1)
    start = clock.time
    failure(web, f"{ONE}/a")
    assert clock.time - start < 1
    web.get(f"{ONE}/b")
    assert clock.time - start == pytest.approx(90, abs=0.01)


def test_a_retry_after_longer_than_our_patience_is_still_kept(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web], clock: Clock
) -> None:
    server.serve(f"{ONE}/a", reply(status=503, headers={"Retry-After": "7200"}), reply(b"x"))
    start = clock.time
    assert web_of(longest_wait_s=5.0).get(f"{ONE}/a").content == b"x"
    assert clock.time - start == pytest.approx(7200, abs=0.01)


@pytest.mark.parametrize("after", ["", "soon", "-5", "nan", "inf", "1e999", "Sun, 99 Nov 2026 10:02:00 GMT"])
def test_a_429_without_a_usable_retry_after_is_waited_for_all_the_same(
    after: str, server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web], clock: Clock
) -> None:
    server.serve(f"{ONE}/a", reply(status=429, headers={"Retry-After": after} if after else {}), reply(b"x"))
    start = clock.time
    web_of().get(f"{ONE}/a")
    assert 1.0 <= clock.time - start <= 3.0


@pytest.mark.parametrize(
    ("text", "date", "seconds"),
    [
        (None, None, None),
        ("7", None, 7.0),
        (" 7 ", None, 7.0),
        ("0", None, 0.0),
        ("1.5", None, 1.5),
        ("Sun, 01 Nov 2026 10:00:30 GMT", "Sun, 01 Nov 2026 10:00:00 GMT", 30.0),
        ("Sun, 01 Nov 2026 09:59:00 GMT", "Sun, 01 Nov 2026 10:00:00 GMT", 0.0),
        ("Sun, 01 Nov 2026 10:00:30 GMT", None, None),
        ("Sun, 01 Nov 2026 10:00:30", "Sun, 01 Nov 2026 10:00:00 GMT", None),
        ("²", None, None),
    ],
)
def test_both_forms_of_retry_after(text: str | None, date: str | None, seconds: float | None) -> None:
    assert retry_after_s(text, date) == seconds


@pytest.mark.parametrize(
    "first",
    [
        {"body": b"0123456789", "cut": 4},
        {"body": b"0123456789", "length": 20},
        {"raw": b""},
        {"raw": b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n0123456789"},
        {"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 10\r\n\r\n0123456789"},
        {"raw": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n"},
        {"raw": b"nonsense\r\n\r\n"},
    ],
    ids=["cut", "long-length", "nothing", "no-number", "two-lengths", "chunks-end-early", "no-http"],
)
def test_a_broken_answer_is_asked_for_again(
    first: dict[str, object], server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(**first), reply(b"0123456789"))
    web = web_of()
    assert web.get(f"{ONE}/a").content == b"0123456789"
    assert web.tally.requests == 2


def test_an_answer_that_stays_broken_is_incomplete(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(b"0123456789", cut=4))
    assert failure(web_of(), f"{ONE}/a").reason == "incomplete"


def test_bytes_behind_the_announced_end_are_no_answer_to_the_next_request(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    server.serve(f"{ONE}/a", reply(b"01234", after=b"56789 and more"), reply(b"0123456789"))
    server.serve(f"{ONE}/b", reply(b"honest"))
    server.serve(f"{ONE}/c", reply(b"01234", after=forged))
    web = web_of(connections=1)
    assert web.get(f"{ONE}/a").content == b"01234"
    assert web.get(f"{ONE}/b").content == b"honest"
    assert web.get(f"{ONE}/c").content == b"01234"
    assert web.get(f"{ONE}/b").content == b"honest"


def test_connections_are_kept_and_survive_errors(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(b"x"))
    server.serve(f"{ONE}/gone", reply(b"y" * 100_000, status=404))
    web = web_of(connections=1)
    for _ in range(3):
        web.get(f"{ONE}/a")
    assert len({x.port for x in server.asked}) == 1
    for _ in range(5):  # an unread body must not keep the only connection
        failure(web, f"{ONE}/gone")
        assert web.get(f"{ONE}/a").content == b"x"


def test_threads_share_a_client_within_the_connections_of_a_host(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    inside, most, lock = [0], [0], threading.Lock()
    both, met = threading.Barrier(2), threading.Event()

    def count(asked: object) -> object:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        if not met.is_set():  # the first two are inside together
            both.wait(10)
            met.set()
        with lock:
            inside[0] -= 1
        return reply(asked.path.encode())

    server.serve(f"{ONE}/a", count)
    web = web_of(connections=2)
    came: list[bytes] = []

    def work(k: int) -> None:
        came.extend(web.get(f"{ONE}/a", params={"k": f"{k}-{n}"}).content for n in range(10))

    workers = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert sorted(came) == sorted(f"/one.example.org/a?k={k}-{n}".encode() for k in range(6) for n in range(10))
    assert most[0] == 2
    assert web.tally.requests == 60


def test_gzip_is_asked_for_and_unpacked(server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]) -> None:
    packed = gzip.compress(b"first ") + gzip.compress(b"second")  # a stream may have several members
    server.serve(f"{ONE}/a", reply(packed, headers={"Content-Encoding": "gzip"}))
    web = web_of()
    assert web.get(f"{ONE}/a").content == b"first second"
    assert server.asked[0].headers["accept-encoding"] == "gzip"
    assert web.tally.bytes == len(packed)
    web.get(f"{ONE}/a", headers={"Range": "bytes=0-9"})
    assert server.asked[1].headers["accept-encoding"] == "identity"


def test_a_gzip_bomb_is_bounded(server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join([packer.compress(bytes(2**20)) for _ in range(300)]) + packer.flush()  # 300 MiB in 300 kB
    server.serve(f"{ONE}/a", reply(bomb, headers={"Content-Encoding": "gzip"}))
    web = web_of()
    tracemalloc.start()
    try:
        error = failure(web, f"{ONE}/a", limit_bytes=2**20)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.reason == "too_large"
    assert most < 8 * 2**20
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(b"x" * 1000)[:-12], b"not gzip at all", gzip.compress(b"x" * 1000) + b"tail"],
    ids=["short", "no-gzip", "tail"],
)
def test_a_damaged_gzip_stream_is_asked_for_again(
    packed: bytes, server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    coded = {"Content-Encoding": "gzip"}
    server.serve(f"{ONE}/a", reply(packed, headers=coded), reply(gzip.compress(b"whole"), headers=coded))
    assert web_of().get(f"{ONE}/a").content == b"whole"


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip"])
def test_a_coding_that_was_not_asked_for_is_refused(
    coding: str, server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(b"x", headers={"Content-Encoding": coding}))
    assert failure(web_of(), f"{ONE}/a").reason == "unexpected_answer"


@pytest.mark.parametrize("options", [{"body": b"x" * 101}, {"body": b"x", "length": 10**15}])
def test_a_long_body_is_too_large(
    options: dict[str, object], server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(**options))
    assert failure(web_of(), f"{ONE}/a", limit_bytes=100).reason == "too_large"
    assert len(server.asked) == 1


def test_a_long_body_without_a_length_is_too_large(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(raw=b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 101))
    web = web_of()
    assert failure(web, f"{ONE}/a", limit_bytes=100).reason == "too_large"
    assert web.get(f"{ONE}/a", limit_bytes=101).content == b"x" * 101
    assert web.tally.bytes == 202  # what came of a refused answer came, too


def test_an_endless_complaint_is_not_read(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(b"<" * 10_000_000, status=400))
    web = web_of()
    error = failure(web, f"{ONE}/a")
    assert len(str(error)) < 1000


def test_json_that_is_none_says_so(server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]) -> None:
    server.serve(f"{ONE}/a", reply(b"<html>"))
    server.serve(f"{ONE}/deep", reply(b"[" * 200_000))
    for path in ("a", "deep"):
        with pytest.raises(WebError) as caught:
            web_of().get(f"{ONE}/{path}").json()
        assert caught.value.reason == "unexpected_answer"


def test_redirects_are_followed_and_checked_anew(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(status=302, headers={"Location": f"{TWO}/b?signature=secret"}))
    server.serve(f"{TWO}/b", reply(status=307, headers={"Location": "../c"}))
    server.serve(f"{TWO}/c", reply(b"x"))
    answer = web_of().get(f"{ONE}/a", params={"q": 1})
    assert (answer.content, answer.url) == (b"x", f"{TWO}/c")
    assert [x.path for x in server.asked] == [
        "/one.example.org/a?q=1",
        "/two.example.org/b?signature=secret",
        "/two.example.org/c",
    ]


@pytest.mark.parametrize(
    "target",
    [
        "http://one.example.org/b",
        "https://evil.example.org/b",
        "http://127.0.0.1:{port}/one.example.org/b",
        "https://127.0.0.1:{port}/one.example.org/b",
        "//127.0.0.1:{port}/one.example.org/b",
        "http://169.254.169.254/latest/meta-data/",
        "https://user:word@one.example.org/b",
        "file:///etc/passwd",
        "https://[half/b",
    ],
)
def test_a_redirect_to_where_nobody_may_ask_is_refused(
    target: str, server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(status=302, headers={"Location": target.format(port=server.port)}))
    server.serve(f"{ONE}/b", reply(b"inner"))
    error = failure(web_of(), f"{ONE}/a")
    assert error.reason == "refused_address"
    assert len(server.asked) == 1
    assert "word" not in str(error)


def test_an_address_in_data_that_names_a_route_is_refused(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(b"inner"))
    web = web_of()
    web.get(f"{ONE}/a")
    for url in (f"http://127.0.0.1:{server.port}/one.example.org/a", "https://127.0.0.1/one.example.org/a"):
        assert failure(web, url).reason == "refused_address"
    assert len(server.asked) == 1


def test_a_host_that_is_also_where_a_route_leads_is_guarded_itself(
    tmp_path: Path, server: ScriptedServer, reply: type[Reply]
) -> None:
    """Only requests for the routed host may reach a private address, not those for the host its route names."""
    limits = {x: HostLimits(host=x, requests_per_minute=60_000) for x in ("one.example.org", "localhost")}
    routes = {"one.example.org": f"http://localhost:{server.port}/one.example.org"}
    server.serve(f"{ONE}/a", reply(b"x"))
    with Web(limits, tmp_path / "a.sqlite", routes=routes) as web:
        assert web.get(f"{ONE}/a").content == b"x"
        assert failure(web, "https://localhost/one.example.org/a").reason == "refused_address"


def test_redirects_without_end_or_target_end(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(status=301, headers={"Location": f"{ONE}/a"}))
    server.serve(f"{ONE}/b", reply(status=301))
    web = web_of()
    assert failure(web, f"{ONE}/a").reason == "unexpected_answer"
    assert len(server.asked) == 6
    assert failure(web, f"{ONE}/b").reason == "unexpected_answer"
    assert len(server.asked) == 7


def test_credentials_go_to_their_host_and_nowhere_else(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(status=302, headers={"Location": f"{ONE}/b"}))
    server.serve(f"{ONE}/b", reply(status=302, headers={"Location": f"{TWO}/c"}))
    server.serve(f"{TWO}/c", reply(b"x"))
    both = {"one.example.org": ("me", "secret-one"), "two.example.org": ("me", "secret-two")}
    web = web_of(credentials=both)
    web.get(f"{ONE}/a", authenticate=True, headers={"Cookie": "private"})
    expected = "Basic " + base64.b64encode(b"me:secret-one").decode()
    assert [x.headers.get("authorization") for x in server.asked] == [expected, expected, None]
    assert [x.headers.get("cookie") for x in server.asked] == ["private", "private", None]
    web.get(f"{ONE}/a")
    assert "authorization" not in server.asked[3].headers


def test_an_account_that_is_missing_is_told_before_anything_is_sent(
    server: ScriptedServer, web_of: Callable[..., Web]
) -> None:
    assert failure(web_of(), f"{ONE}/a", authenticate=True).reason == "forbidden"
    assert server.asked == []


@pytest.mark.parametrize("status", [200, 400, 403, 404, 429, 500])
def test_no_secret_is_in_a_message(
    status: int, server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(status=302, headers={"Location": f"{TWO}/b?X-Signature=secret"}))
    server.serve(f"{TWO}/b", reply(b"x" * 200, status=status))
    web = web_of(credentials={"one.example.org": ("me", "secret")}, attempts=2)
    error: BaseException | None = failure(
        web, f"{ONE}/a?token=secret", authenticate=True, params={"key": "secret"}, limit_bytes=10
    )
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__


def test_cookies_are_not_kept(server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]) -> None:
    server.serve(f"{ONE}/a", reply(b"x", headers={"Set-Cookie": "follow=me; Path=/"}))
    web = web_of()
    web.get(f"{ONE}/a")
    web.get(f"{ONE}/a")
    assert "cookie" not in server.asked[1].headers


@pytest.mark.parametrize(("status", "times"), [(429, 3), (503, 3), (500, 1), (502, 1), (504, 1)])
def test_what_is_posted_is_sent_again_only_where_it_was_not_taken(
    status: int, times: int, server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(status=status), reply(status=status), reply(b"key", status=201))
    web = web_of()
    if times == 1:
        with pytest.raises(WebError) as caught:
            web.post(f"{ONE}/a", {"x": 1})
        assert caught.value.reason == "unavailable"
    else:
        assert web.post(f"{ONE}/a", {"x": 1}).content == b"key"
    assert len(server.asked) == times
    assert all((x.method, json.loads(x.body)) == ("POST", {"x": 1}) for x in server.asked)


def test_what_is_posted_and_cut_off_is_not_sent_again(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(b"0123456789", cut=3), reply(b"key"))
    with pytest.raises(WebError) as caught:
        web_of().post(f"{ONE}/a", {})
    assert (caught.value.reason, len(server.asked)) == ("incomplete", 1)


def test_what_never_reached_a_server_is_posted_again(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve(f"{ONE}/a", reply(b"key"))
    send, failures = httpx.Client.send, [httpx.ConnectError("refused"), httpx.ConnectTimeout("late")]

    def flaky(client: httpx.Client, request: httpx.Request, **options: bool) -> httpx.Response:
        if failures:
            raise failures.pop()
        return send(client, request, **options)

    monkeypatch.setattr(httpx.Client, "send", flaky)
    assert web_of().post(f"{ONE}/a", {}).content == b"key"


def test_a_post_is_not_sent_on_to_another_host(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]
) -> None:
    server.serve(f"{ONE}/a", reply(status=307, headers={"Location": f"{TWO}/b"}))
    server.serve(f"{ONE}/c", reply(status=303, headers={"Location": f"{TWO}/b"}))
    server.serve(f"{TWO}/b", reply(b"x"))
    web = web_of()
    with pytest.raises(WebError) as caught:
        web.post(f"{ONE}/a", {"mail": "me@example.org"})
    assert caught.value.reason == "unexpected_answer"
    assert web.post(f"{ONE}/c", {"mail": "me@example.org"}).content == b"x"
    assert [(x.method, x.body) for x in server.asked[2:]] == [("GET", b"")]


def test_a_body_that_drips_is_given_up(
    server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.serve(f"{ONE}/a", reply(b"x" * 1000))
    ticks = iter(range(0, 10**9, 500))
    monkeypatch.setattr("plant_traits.sources.web.client.time.monotonic", lambda: float(next(ticks)))
    web = web_of(attempts=1)
    object.__setattr__(web.patience, "longest_answer_s", 400.0)
    assert failure(web, f"{ONE}/a").reason == "incomplete"


def test_nothing_is_asked_over_budget(server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]) -> None:
    server.serve(f"{ONE}/a", reply(b"x"))
    web = web_of(requests_per_day=2)
    web.pace._longest_wait = 10.0
    web.get(f"{ONE}/a")
    web.get(f"{ONE}/a")
    assert failure(web, f"{ONE}/a").reason == "over_budget"
    assert len(server.asked) == 2
    server.serve(f"{TWO}/a", reply(b"y"))
    assert web.get(f"{TWO}/a").content == b"y"


def test_not_modified_is_an_answer(server: ScriptedServer, reply: type[Reply], web_of: Callable[..., Web]) -> None:
    server.serve(f"{ONE}/a", reply(status=304, headers={"Content-Encoding": "gzip"}))
    answer = web_of().get(f"{ONE}/a", headers={"If-None-Match": '"1"'})
    assert (answer.status, answer.content) == (304, b"")
