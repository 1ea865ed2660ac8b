from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from plant_traits.errors import ArchiveError, PhotoError
from plant_traits.sources.photos import open_photos


def bucket(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("photos/7/medium.jpg", b"medium")
        out.writestr("photos/7/original.jpg", b"original of seven")
        out.writestr("photos/8/original.jpeg", b"original of eight")
        out.writestr("photos/9/original.jpg", b"")
        out.writestr("photos/10/original.txt", b"text")
    return path


def test_the_largest_size_of_a_photo_is_read(tmp_path: Path) -> None:
    with open_photos("bucket-zip", bucket(tmp_path / "p.zip")) as photos:
        assert photos.read("7") == b"original of seven"
        assert photos.read("8") == b"original of eight"
        assert "10" not in photos


def test_one_bad_photo_costs_that_photo(tmp_path: Path) -> None:
    path = bucket(tmp_path / "p.zip")
    path.write_bytes(path.read_bytes().replace(b"original of eight", b"originel of eight"))
    with open_photos("bucket-zip", path) as photos:
        for photo_id, reason in (("8", "unreadable"), ("9", "unreadable"), ("10", "missing")):
            with pytest.raises(PhotoError) as caught:
                photos.read(photo_id)
            assert caught.value.reason == reason
        assert photos.read("7") == b"original of seven"


def test_a_photo_that_declares_too_much_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_STORED) as out:
        out.writestr("photos/7/original.jpg", bytes(26 * 1024**2))
    with open_photos("bucket-zip", tmp_path / "p.zip") as photos, pytest.raises(PhotoError) as caught:
        photos.read("7")
    assert caught.value.reason == "too_large"


def test_a_truncated_bucket_stops_its_source(tmp_path: Path) -> None:
    data = bucket(tmp_path / "p.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(data[:-40])
    with pytest.raises(ArchiveError), open_photos("bucket-zip", tmp_path / "cut.zip"):
        pass
