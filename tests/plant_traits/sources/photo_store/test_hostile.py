from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from plant_traits.errors import PhotoError, WorkspaceError
from plant_traits.sources.photo_store.source import PhotoSource
from plant_traits.sources.photo_store.store import PhotoStore
from plant_traits.sources.photos import open_photos
from plant_traits.sources.protocol import Request
from plant_traits.sources.web.client import Web

if TYPE_CHECKING:
    from tests.plant_traits.sources.photo_store.conftest import PhotoServer, Reply

HOST = "https://photos.example.org"
URL = f"{HOST}/1.jpg"


@pytest.fixture
def lost(
    tmp_path: Path, web_of: Callable[..., Web], request_of: Callable[..., Request]
) -> Callable[..., dict[str, int]]:
    """Fetch photo 1 of the server, and photo 2 after it, in one connection; return what was lost."""

    def fetch(**settings: object) -> dict[str, int]:
        request = request_of([("1", URL), ("2", f"{HOST}/2.jpg")], **settings)
        source, web = PhotoSource(), web_of(connections=1, attempts=2)
        fetched = source.fetch(request, source.plan(request), web)
        source.verify(request, fetched)
        with open_photos("photo-store", request.folder) as photos:
            photos.read("2")  # whatever became of 1
            for reason in fetched.lost:
                with pytest.raises(PhotoError) as caught:
                    photos.read("1")
                assert caught.value.reason == reason
        return dict(fetched.lost)

    return fetch


@pytest.fixture(autouse=True)
def second(server: PhotoServer, reply: type[Reply], photo: Callable[..., bytes]) -> None:
    server.serve(f"{HOST}/2.jpg", reply(photo(2)))


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/photos.example.org/inner.jpg",
        "https://127.0.0.1:{port}/photos.example.org/inner.jpg",
        "https://127.0.0.1/inner.jpg",
        "//127.0.0.1:{port}/photos.example.org/inner.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:169.254.169.254]/latest/meta-data/",
        "https://[::1]/inner.jpg",
        "https://0.0.0.0/inner.jpg",
        "https://2130706433/inner.jpg",
        "https://localhost/inner.jpg",
        "https://evil.example.com/inner.jpg",
        "http://photos.example.org/inner.jpg",
        "https://photos.example.org:8443/inner.jpg",
        "https://photos.example.org@evil.example.com/inner.jpg",
        "https://evil.example.com\\@photos.example.org/inner.jpg",
        "file:///etc/passwd",
        "ftp://photos.example.org/inner.jpg",
        "https://[bad/inner.jpg",
    ],
)
def test_a_redirect_to_where_nobody_may_ask_is_refused(
    target: str,
    server: PhotoServer,
    reply: type[Reply],
    photo: Callable[..., bytes],
    lost: Callable[..., dict[str, int]],
) -> None:
    port = server.base.rpartition(":")[2]
    server.serve(URL, reply(status=302, headers={"Location": target.format(port=port)}))
    server.serve(f"{HOST}/inner.jpg", reply(photo(9)))
    assert lost() == {"refused_address": 1}
    assert server.times(f"{HOST}/inner.jpg") == 0
    assert server.times(URL) == 1


def test_a_redirect_within_the_catalogue_is_followed(
    server: PhotoServer, reply: type[Reply], photo: Callable[..., bytes], lost: Callable[..., dict[str, int]]
) -> None:
    target = "https://inaturalist-open-data.s3.amazonaws.com/photos/1/medium.jpg"
    server.serve(URL, reply(status=301, headers={"Location": target}))
    server.serve(target, reply(photo(1)))
    assert lost() == {}


def test_redirects_without_end_are_ended(
    server: PhotoServer, reply: type[Reply], lost: Callable[..., dict[str, int]]
) -> None:
    server.serve(URL, reply(status=302, headers={"Location": "/1.jpg"}))
    assert lost() == {"unexpected_answer": 1}
    assert server.times(URL) == 6


def test_a_jpeg_that_claims_gigapixels_is_refused(
    server: PhotoServer, reply: type[Reply], photo: Callable[..., bytes], lost: Callable[..., dict[str, int]]
) -> None:
    data = photo(1)
    at = data.index(b"\xff\xc0") + 5
    server.serve(URL, reply(data[:at] + struct.pack(">HH", 65_535, 65_535) + data[at + 4 :]))
    assert lost() == {"too_many_pixels": 1}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda reply, data: reply(b"<html>not found</html>"), "not_a_photo"),
        (lambda reply, data: reply(data[: len(data) // 2]), "corrupt"),
        (lambda reply, data: reply(data, length=len(data) - 200), "corrupt"),  # more comes than is announced
        (lambda reply, data: reply(data, length=len(data) + 200), "incomplete"),  # less comes
        (lambda reply, data: reply(data, length=10**12), "too_large"),
        (lambda reply, data: reply(b"", status=204), "not_a_photo"),
        (lambda reply, data: reply(b""), "not_a_photo"),
        (lambda reply, data: reply(data, headers={"Content-Encoding": "br"}), "unexpected_answer"),
        (lambda reply, data: reply(data, headers={"Content-Encoding": "gzip"}), "incomplete"),
        (lambda reply, data: reply(b"no", status=418), "unexpected_answer"),
    ],
)
def test_answers_that_are_no_photo(
    make: Callable[..., Reply],
    reason: str,
    server: PhotoServer,
    reply: type[Reply],
    photo: Callable[..., bytes],
    lost: Callable[..., dict[str, int]],
) -> None:
    server.serve(URL, make(reply, photo(1)))
    assert lost() == {reason: 1}


def test_a_photo_over_the_bound_on_bytes_is_refused(
    server: PhotoServer, reply: type[Reply], photo: Callable[..., bytes], lost: Callable[..., dict[str, int]]
) -> None:
    server.serve(URL, reply(photo(1, 800, 600)))
    assert lost(maximum_bytes=len(photo(2))) == {"too_large": 1}


def test_a_broken_answer_is_asked_for_again_at_once(
    server: PhotoServer, reply: type[Reply], photo: Callable[..., bytes], lost: Callable[..., dict[str, int]]
) -> None:
    server.serve(URL, reply(photo(1), cut=200), reply(photo(1)))
    assert lost() == {}
    assert server.times(URL) == 2


def test_two_processes_do_not_fill_one_store(tmp_path: Path) -> None:
    store, again = PhotoStore(tmp_path / "store", 1000), PhotoStore(tmp_path / "store", 1000)
    with store, pytest.raises(WorkspaceError, match="another process"), again:
        pass
    with PhotoStore(tmp_path / "store", 1000):
        pass
