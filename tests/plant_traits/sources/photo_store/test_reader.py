from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from plant_traits.errors import MissingInputError, PhotoError, WorkspaceError
from plant_traits.sources.photo_store.bounds import Picture
from plant_traits.sources.photo_store.pack import pack_path
from plant_traits.sources.photo_store.store import PhotoStore, WantedPhoto
from plant_traits.sources.photos import open_photos

Put = Callable[[dict[str, bytes | str]], None]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Put photos (bytes) and failures (their reasons) into the store."""

    def into(states: dict[str, bytes | str]) -> None:
        with PhotoStore(tmp_path / "store", 10**6) as store:
            for photo_id, state in states.items():
                wanted = WantedPhoto(photo_id, f"https://photos.example.org/{photo_id}", "CC0", None)
                if isinstance(state, bytes):
                    store.keep(wanted, state, Picture(100, 80, "JPEG"), 1)
                else:
                    store.fail(wanted, state, 404, 1)

    return into


def identity(path: Path, *ids: str, reader: str = "photo-store") -> str:
    with open_photos(reader, path) as photos:
        return photos.identity(ids)


def test_photos_and_reasons_are_read(tmp_path: Path, put: Put) -> None:
    put({"1": b"one", "2": "gone", "3": b"three" * 500})
    with open_photos("photo-store", tmp_path / "store") as photos:
        assert [x in photos for x in ("1", "2", "3", "4", None, 1)] == [True, True, True, False, False, False]
        assert (photos.read("1"), photos.read("3")) == (b"one", b"three" * 500)
        for photo_id, reason in (("2", "gone"), ("4", "missing")):
            with pytest.raises(PhotoError) as caught:
                photos.read(photo_id)
            assert caught.value.reason == reason


def test_bytes_that_changed_on_the_disk_are_unreadable(tmp_path: Path, put: Put) -> None:
    put({"1": b"one", "2": b"two"})
    pack = pack_path(tmp_path / "store", 1)
    pack.write_bytes(pack.read_bytes().replace(b"one\0", b"eno\0"))
    with open_photos("photo-store", tmp_path / "store") as photos:
        assert photos.read("2") == b"two"
        with pytest.raises(PhotoError) as caught:
            photos.read("1")
        assert caught.value.reason == "unreadable"
        pack.unlink()
        with pytest.raises(PhotoError) as caught:
            photos.read("2")
        assert caught.value.reason == "unreadable"


def test_a_store_is_read_while_it_is_filled_and_without_the_right_to_write(tmp_path: Path, put: Put) -> None:
    put({"1": b"one"})
    with PhotoStore(tmp_path / "store", 10**6) as store, open_photos("photo-store", tmp_path / "store") as photos:
        store.keep(WantedPhoto("2", "u", None, None), b"two", Picture(100, 80, "JPEG"), 1)
        assert (photos.read("1"), photos.read("2")) == (b"one", b"two")
    for path in sorted((tmp_path / "store").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (tmp_path / "store").chmod(0o555)
    try:
        with open_photos("photo-store", tmp_path / "store") as photos:
            assert photos.read("2") == b"two"
    finally:
        (tmp_path / "store").chmod(0o755)
        (tmp_path / "store" / "packs").chmod(0o755)


def test_a_folder_that_is_no_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError), open_photos("photo-store", tmp_path):
        pass
    (tmp_path / "index.sqlite").write_bytes(b"no database " * 200)
    with pytest.raises(WorkspaceError), open_photos("photo-store", tmp_path):
        pass


def test_the_identity_is_of_exactly_these_photos(tmp_path: Path, put: Put) -> None:
    store = tmp_path / "store"
    put({"1": b"one", "2": "unavailable", "3": b"three"})
    before = identity(store, "1", "2", "4")
    assert identity(store, "4", "2", "1", "1") == before  # in any order
    put({"3": b"another three", "5": b"five"})
    assert identity(store, "1", "2", "4") == before  # others do not matter
    seen = {before}
    for change in ({"2": "gone"}, {"2": b"two"}, {"4": "gone"}, {"4": b"four"}, {"1": b"another one"}):
        put(change)
        seen.add(identity(store, "1", "2", "4"))
    assert len(seen) == 6
    assert identity(store, "1", "2") not in seen


def test_the_identity_of_many_photos(tmp_path: Path, put: Put) -> None:
    ids = [str(k) for k in range(1201)]
    put({k: b"x" + k.encode() for k in ids})
    before = identity(tmp_path / "store", *ids)
    put({"1200": b"y"})
    assert identity(tmp_path / "store", *ids) != before


def zipped(path: Path, photos: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as out:
        for photo_id, data in photos.items():
            out.writestr(f"photos/{photo_id}/original.jpg", data)
    return path


def test_the_identity_of_photos_in_a_zip(tmp_path: Path) -> None:
    first = zipped(tmp_path / "a.zip", {"1": b"one", "2": b"two"})
    same = zipped(tmp_path / "b.zip", {"3": b"three", "2": b"two", "1": b"one"}, zipfile.ZIP_DEFLATED)
    other = zipped(tmp_path / "c.zip", {"1": b"one", "2": b"owt"})
    before = identity(first, "1", "2", "9", reader="bucket-zip")
    assert identity(same, "9", "2", "1", reader="bucket-zip") == before
    assert identity(other, "1", "2", "9", reader="bucket-zip") != before
    assert identity(other, "1", "9", reader="bucket-zip") == identity(first, "1", "9", reader="bucket-zip")
    assert identity(same, "1", "2", "3", reader="bucket-zip") != identity(first, "1", "2", "3", reader="bucket-zip")


def test_the_identity_of_photos_in_a_folder(tmp_path: Path) -> None:
    header = "img_name,scientific_name,observed_on,observation_url,image_url,taxon_family_name,taxon_genus_name"
    rows = [f"{k}.jpg,Aus bus,2020-01-01,u,https://x.org/photos/{k}/large.jpg,F,Aus" for k in (1, 2, 3)]
    rows.append("../4.jpg,Aus bus,2020-01-01,u,https://x.org/photos/4/large.jpg,F,Aus")
    (tmp_path / "p.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    folder = tmp_path / "p"
    folder.mkdir()
    for k in (1, 2):
        (folder / f"{k}.jpg").write_bytes(b"same")
        os.utime(folder / f"{k}.jpg", ns=(0, 1_000))
    before = identity(folder, "1", "3", "4", "9", reader="folder")
    (folder / "2.jpg").write_bytes(b"other")
    (tmp_path / "4.jpg").write_bytes(b"outside")
    assert identity(folder, "9", "4", "3", "1", reader="folder") == before
    os.utime(folder / "1.jpg", ns=(0, 2_000))
    touched = identity(folder, "1", "3", "4", "9", reader="folder")
    (folder / "3.jpg").write_bytes(b"new")
    assert len({before, touched, identity(folder, "1", "3", "4", "9", reader="folder")}) == 3
