from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from plant_traits.errors import ArchiveError, MissingInputError
from plant_traits.sources.archives import ArchiveLimits, open_archive


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return path


def refused(path: Path, match: str, limits: ArchiveLimits | None = None) -> None:
    with pytest.raises(ArchiveError, match=match), open_archive(path, limits):
        pass


def test_an_honest_archive_opens(tmp_path: Path) -> None:
    with open_archive(archive(tmp_path / "a.zip", {"x.txt": b"hello"})) as opened:
        assert opened.read("x.txt") == b"hello"


def test_an_absent_archive_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"a\.zip"), open_archive(tmp_path / "a.zip"):
        pass


def test_an_html_page_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"\n<!doctype html><html><body>502 Bad Gateway</body></html>")
    refused(tmp_path / "a.zip", "HTML page")


def test_another_file_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"gbifID\tspecies\n")
    refused(tmp_path / "a.zip", "expected a zip archive")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_archive_is_refused(tmp_path: Path, share: float) -> None:
    data = archive(tmp_path / "a.zip", {"x.txt": bytes(range(256)) * 40}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(data[: int(len(data) * share)])
    refused(tmp_path / "cut.zip", "truncated or damaged")


def test_damage_met_while_reading_is_an_archive_error(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"x.txt": b"hello " * 100})
    data = bytearray(path.read_bytes())
    data[45] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match="damaged"), open_archive(path) as opened:
        opened.read("x.txt")


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/etc/passwd", "C:/evil.txt", "a\\..\\evil.txt"])
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    refused(archive(tmp_path / "a.zip", {name: b"x"}), "points outside")


def test_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        out.writestr(link, "/etc/passwd")
    refused(tmp_path / "a.zip", "is a link")


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    refused(archive(tmp_path / "a.zip", {"x.txt": bytes(4 * 1024**2)}), "bomb")


def test_too_much_in_all_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"x.txt": b"12345", "y.txt": b"12345"})
    refused(path, "declare 10 bytes, at most 9", ArchiveLimits(total_bytes=9))
    refused(path, "2 members, at most 1", ArchiveLimits(members=1))


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {f"{k}.txt": bytes(range(256)) for k in range(3)})
    data = path.read_bytes()
    # declare more compressed bytes in the directory than the file holds
    at = data.index(b"PK\x01\x02") + 20
    (tmp_path / "b.zip").write_bytes(data[:at] + (900_000).to_bytes(4, "little") + data[at + 4 :])
    refused(tmp_path / "b.zip", "overlap")
