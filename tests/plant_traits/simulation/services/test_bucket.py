"""Buckets: lists in pages, objects whole and in part, refusals; also through an S3 library."""

from __future__ import annotations

import hashlib
import io
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import s3fs
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from plant_traits.errors import ArchiveError
from plant_traits.simulation.services.bucket import Bucket
from plant_traits.simulation.services.folder_objects import FolderObjects
from plant_traits.simulation.services.photo_objects import PhotoObjects
from plant_traits.simulation.services.stored_zip import StoredZip

KEYS = ("a.txt", "day/1/part/0", "day/1/part/1", "day/2/part/0", "day/note.txt", "z & co.txt")


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    for key in KEYS:
        path = tmp_path / "bucket" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {key}")
    return Bucket(
        "open", lambda: FolderObjects(tmp_path / "bucket"), absent=lambda key: 403 if key == "secret" else 404
    )


@pytest.fixture
def client(bucket: Bucket) -> TestClient:
    return TestClient(Starlette(routes=bucket.routes()))


def listed(client: TestClient, **query: str | int) -> tuple[list[str], list[str], str | None]:
    answer = client.get("/", params={"list-type": 2, **query})
    tree = ET.fromstring(answer.text)
    keys = [x.text or "" for x in tree.findall("{*}Contents/{*}Key")]
    folders = [x.text or "" for x in tree.findall("{*}CommonPrefixes/{*}Prefix")]
    return keys, folders, tree.findtext("{*}NextContinuationToken")


def test_lists_keys_under_a_prefix(client: TestClient) -> None:
    assert listed(client) == (list(KEYS), [], None)
    assert listed(client, prefix="day/1/") == (["day/1/part/0", "day/1/part/1"], [], None)
    assert listed(client, prefix="none/") == ([], [], None)


def test_folds_folders(client: TestClient) -> None:
    assert listed(client, delimiter="/") == (["a.txt", "z & co.txt"], ["day/"], None)
    assert listed(client, delimiter="/", prefix="day/") == (["day/note.txt"], ["day/1/", "day/2/"], None)


@pytest.mark.parametrize("delimiter", ["", "/"])
def test_pages_hold_each_entry_once(client: TestClient, delimiter: str) -> None:
    whole_keys, whole_folders, _ = listed(client, prefix="day/", delimiter=delimiter)
    keys: list[str] = []
    folders: list[str] = []
    token: str | None = ""
    pages = 0
    while token is not None:
        more = {"continuation-token": token} if token else {}
        page_keys, page_folders, token = listed(
            client, **{"prefix": "day/", "delimiter": delimiter, "max-keys": 1, **more}
        )
        assert len(page_keys) + len(page_folders) == 1
        keys, folders, pages = keys + page_keys, folders + page_folders, pages + 1
    assert (keys, folders, pages) == (whole_keys, whole_folders, len(whole_keys) + len(whole_folders))


def test_gives_an_object_whole_and_in_part(client: TestClient) -> None:
    content = b"content of a.txt"
    whole = client.get("/a.txt")
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["etag"] == f'"{hashlib.md5(content).hexdigest()}"'
    head = client.head("/a.txt")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(content)), b"")
    for asked, expected in (("bytes=3-6", content[3:7]), ("bytes=11-", content[11:]), ("bytes=-5", content[-5:])):
        part = client.get("/a.txt", headers={"Range": asked})
        assert (part.status_code, part.content) == (206, expected)
    assert client.get("/a.txt", headers={"Range": "bytes=3-6"}).headers["content-range"] == "bytes 3-6/16"
    assert client.get("/a.txt", headers={"Range": "bytes=16-"}).status_code == 416
    assert client.get("/a.txt", headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    stale = client.get("/a.txt", headers={"Range": "bytes=3-6", "If-Range": '"old"'})
    assert (stale.status_code, stale.content) == (200, content)


def test_absent_keys(client: TestClient) -> None:
    assert (client.get("/nothing").status_code, client.get("/secret").status_code) == (404, 403)
    assert "NoSuchKey" in client.get("/nothing").text
    assert "AccessDenied" in client.get("/secret").text
    assert client.get("/../bucket/a.txt").status_code == 404


def test_an_s3_library_reads_it(bucket: Bucket, running: Callable[[ASGIApp], Any]) -> None:
    with running(Starlette(routes=bucket.routes())) as port:
        store = s3fs.S3FileSystem(
            anon=True, endpoint_url=f"http://127.0.0.1:{port}", config_kwargs={"s3": {"addressing_style": "path"}},
            skip_instance_cache=True,
        )  # fmt: skip
        assert store.ls("open/day") == ["open/day/1", "open/day/2", "open/day/note.txt"]
        assert store.cat("open/z & co.txt") == b"content of z & co.txt"
        with store.open("open/a.txt", block_size=8) as stream:
            stream.seek(11)
            assert stream.read() == b"a.txt"


def photo(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (10, 200, 30)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photos/1/original.jpg", photo(800, 400))
        archive.writestr("photos/2/original.jpg", photo(90, 60))
        archive.writestr("photos/3/original.jpg", b"\xff\xd8 broken")
    return tmp_path / "photos.zip"


def test_photos_come_in_sizes(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "taxa.csv.gz").write_bytes(b"taxa")
    store = PhotoObjects(StoredZip(photos), FolderObjects(tmp_path / "tables"))

    def size(key: str) -> tuple[int, int]:
        found = store.read(f"photos/{key}.jpg")
        assert found is not None
        assert found.etag == hashlib.md5(found.content).hexdigest()
        with Image.open(io.BytesIO(found.content)) as image:
            return image.size

    assert size("1/original") == (800, 400)
    assert (size("1/large"), size("1/medium"), size("1/small")) == ((800, 400), (500, 250), (240, 120))
    assert (size("1/thumb"), size("1/square")) == ((100, 50), (75, 75))
    assert size("2/medium") == (90, 60)
    broken = store.read("photos/3/medium.jpg")
    assert broken is not None
    assert broken.content == b"\xff\xd8 broken"
    for key in ("photos/4/medium.jpg", "photos/1/huge.jpg", "photos/1/medium.png", "nothing"):
        assert store.read(key) is None
    assert store.keys() == [*(f"photos/{k}/original.jpg" for k in (1, 2, 3)), "taxa.csv.gz"]
    assert (store.size("taxa.csv.gz"), store.size("photos/3/original.jpg")) == (4, 9)


def test_members_must_be_stored(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("photos/1/original.jpg", b"0" * 100)
    with pytest.raises(ArchiveError, match="compressed"):
        StoredZip(tmp_path / "z.zip")
