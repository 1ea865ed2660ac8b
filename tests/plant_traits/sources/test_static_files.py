"""Files at fixed addresses: fetched from a loopback server through the real client, checked and unpacked."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from data_catalog import HostLimits, load_catalog
from plant_traits.errors import ArchiveError, InputError, WebError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.acquire import acquire_source
from plant_traits.sources.protocol import Request
from plant_traits.sources.static_files import StaticFiles
from plant_traits.sources.web.client import Patience, Web

HOST = "idata.idiv.de"


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


class Shelf(BaseHTTPRequestHandler):
    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        content = self.files.get(self.path.removeprefix(f"/{HOST}"))
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def shelf() -> Iterator[tuple[type[Shelf], str]]:
    handler = type("OwnShelf", (Shelf,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{server.server_port}/{HOST}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def web(shelf: tuple[type[Shelf], str], tmp_path: Path) -> Iterator[Web]:
    limits = {HOST: HostLimits(host=HOST, requests_per_minute=60_000)}
    patience = Patience(attempts=2, first_wait_s=0.01, timeout_s=5)
    with Web(limits, tmp_path / "account.sqlite", routes={HOST: shelf[1]}, patience=patience) as client:
        yield client


def request_for(folder: Path, *files: dict[str, object]) -> Request:
    source = load_catalog().source("splotopen")
    settings = {"files": [{"url": f"https://{HOST}/{x['name']}", **x} for x in files]}
    return Request(source, Month(2026, 10), Region("world", -180, -90, 180, 90), settings, folder)


def test_zip_is_fetched_and_unpacked(shelf: tuple[type[Shelf], str], web: Web, tmp_path: Path) -> None:
    shelf[0].files["/plots.zip"] = zipped({"data/header.txt": b"PlotObservationID\n1\n", "data/DT.txt": b"x"})
    acquired = acquire_source(StaticFiles(), request_for(tmp_path / "m", {"name": "plots.zip", "unpack": True}), web)
    assert (tmp_path / "m" / "header.txt").read_bytes() == b"PlotObservationID\n1\n"
    assert set(acquired.files) == {"plots.zip", "header.txt", "DT.txt"}
    assert acquired.counts == {"files unpacked": 2}


def test_same_file_is_asked_for_once_and_another_address_anew(
    shelf: tuple[type[Shelf], str], web: Web, tmp_path: Path
) -> None:
    shelf[0].files |= {"/a.tif": b"first", "/b.tif": b"second!"}
    acquire_source(StaticFiles(), request_for(tmp_path / "m", {"name": "a.tif"}), web)
    acquire_source(StaticFiles(), request_for(tmp_path / "m", {"name": "a.tif"}), web)
    assert shelf[0].asked == [f"/{HOST}/a.tif"]
    moved = request_for(tmp_path / "m", {"name": "a.tif", "url": f"https://{HOST}/b.tif"})
    acquire_source(StaticFiles(), moved, web)
    assert (tmp_path / "m" / "a.tif").read_bytes() == b"second!"


def test_wrong_hash_and_wrong_size_are_refused(shelf: tuple[type[Shelf], str], web: Web, tmp_path: Path) -> None:
    shelf[0].files["/a.tif"] = b"other content"
    expected = hashlib.sha256(b"the content").hexdigest()
    for wrong in ({"sha256": expected}, {"size": 11}):
        with pytest.raises(WebError, match="expected"):
            acquire_source(StaticFiles(), request_for(tmp_path / "m", {"name": "a.tif", **wrong}), web)
        assert not (tmp_path / "m" / "a.tif").exists()


def test_page_instead_of_zip_is_refused(shelf: tuple[type[Shelf], str], web: Web, tmp_path: Path) -> None:
    shelf[0].files["/plots.zip"] = b"<!doctype html><title>Log in</title>"
    request = request_for(tmp_path / "m", {"name": "plots.zip", "unpack": True})
    with pytest.raises(ArchiveError, match="HTML page"):
        acquire_source(StaticFiles(), request, web)
    shelf[0].files["/plots.zip"] = zipped({"header.txt": b"mended"})
    assert acquire_source(StaticFiles(), request, web).counts == {"files unpacked": 1}


def test_member_that_leaves_the_folder_is_refused(shelf: tuple[type[Shelf], str], web: Web, tmp_path: Path) -> None:
    shelf[0].files["/plots.zip"] = zipped({"../../evil.txt": b"x"})
    with pytest.raises(ArchiveError, match="outside"):
        acquire_source(StaticFiles(), request_for(tmp_path / "m", {"name": "plots.zip", "unpack": True}), web)
    assert not list(tmp_path.rglob("evil.txt"))


def test_members_of_one_name_are_refused(shelf: tuple[type[Shelf], str], web: Web, tmp_path: Path) -> None:
    shelf[0].files["/plots.zip"] = zipped({"a/x.txt": b"1", "b/x.txt": b"2"})
    with pytest.raises(ArchiveError, match="two members"):
        acquire_source(StaticFiles(), request_for(tmp_path / "m", {"name": "plots.zip", "unpack": True}), web)


@pytest.mark.parametrize("name", ["../a.tif", "/etc/passwd"])
def test_name_that_leaves_the_folder_is_refused(web: Web, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="stay inside"):
        StaticFiles().plan(request_for(tmp_path / "m", {"name": name}))


def test_missing_file_says_so(web: Web, tmp_path: Path) -> None:
    with pytest.raises(WebError, match="404") as caught:
        acquire_source(StaticFiles(), request_for(tmp_path / "m", {"name": "gone.tif"}), web)
    assert caught.value.reason == "gone"


def test_what_an_earlier_version_left_is_not_read_with_the_new_one(
    shelf: tuple[type[Shelf], str], web: Web, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    shelf[0].files["/1"] = zipped({"data/header(3).txt": b"old", "data/DT.txt": b"old"})
    shelf[0].files["/2"] = zipped({"data/header(4).txt": b"new", "data/DT.txt": b"new"})
    shelf[0].files["/beside.csv"] = b"a,b"
    plots = {"name": "plots.zip", "unpack": True}
    first = request_for(folder, {**plots, "url": f"https://{HOST}/1"}, {"name": "beside.csv"})
    acquire_source(StaticFiles(), first, web)
    (folder / "other").mkdir()
    (folder / "other" / ".table.csv.json").write_text('{"month": "2026-10"}')  # another plug-in's note
    acquired = acquire_source(StaticFiles(), request_for(folder, {**plots, "url": f"https://{HOST}/2"}), web)
    assert set(acquired.files) == {"plots.zip", "header(4).txt", "DT.txt"}
    left = {x.relative_to(folder).as_posix() for x in folder.rglob("*") if x.is_file()}
    assert left == {*acquired.files, ".plots.zip.json", "acquired.json", "other/.table.csv.json"}
    assert (folder / "DT.txt").read_bytes() == b"new"


def test_settings_that_only_grow_fetch_only_what_is_new(
    shelf: tuple[type[Shelf], str], web: Web, tmp_path: Path
) -> None:
    shelf[0].files |= {"/a.csv": b"a", "/b.csv": b"b"}
    acquire_source(StaticFiles(), request_for(tmp_path / "m", {"name": "a.csv"}), web)
    acquire_source(StaticFiles(), request_for(tmp_path / "m", {"name": "a.csv"}, {"name": "b.csv"}), web)
    assert [x.rpartition("/")[2] for x in shelf[0].asked] == ["a.csv", "b.csv"]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    request = request_for(tmp_path, {"name": "a.csv"}, {"name": "a.csv", "url": f"https://{HOST}/other"})
    with pytest.raises(InputError, match=r"different names, found \['a.csv'\]"):
        StaticFiles().plan(request)
