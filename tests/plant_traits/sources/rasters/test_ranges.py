from __future__ import annotations

import io
from pathlib import Path
from typing import Protocol

import pytest

from plant_traits.errors import WebError
from plant_traits.sources.rasters import ranges
from plant_traits.sources.rasters.ranges import RangedFile
from plant_traits.sources.web.client import Web

CONTENT = bytes(range(256)) * 10


class Served(Protocol):
    files: dict[str, bytes]
    asked: list[tuple[str, str | None]]
    state: str

    def url(self, path: str) -> str: ...


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
    monkeypatch.setattr(ranges, "PIECE_BYTES", 100)
    served.files["a.bin"] = CONTENT


def opened(served: Served, web: Web, folder: Path, limit_bytes: int = 10_000) -> RangedFile:
    return RangedFile(web, served.url("a.bin"), folder / "kept", limit_bytes=limit_bytes)


def test_it_reads_as_a_file_does(served: Served, web: Web, tmp_path: Path) -> None:
    stream, plain = opened(served, web, tmp_path).open(), io.BytesIO(CONTENT)
    for offset, whence, size in [(5, 0, 10), (90, 0, 20), (-30, 2, 100), (0, 0, -1), (-7, 1, 7), (3000, 0, 5)]:
        assert stream.seek(offset, whence) == plain.seek(offset, whence)
        assert stream.read(size) == plain.read(size)
        assert stream.tell() == plain.tell()
    assert stream.readable() and stream.seekable()


def test_neighbouring_pieces_come_in_one_request_and_none_twice(served: Served, web: Web, tmp_path: Path) -> None:
    file = opened(served, web, tmp_path)
    assert file.read_at(250, 300) == CONTENT[250:550]
    assert file.read_at(0, 700) == CONTENT[:700]
    assert [asked for _, asked in served.asked] == [
        "bytes=0-99",
        "bytes=200-599",
        "bytes=100-199",
        "bytes=600-699",
    ]
    again = opened(served, web, tmp_path)
    assert again.read_at(0, 700) == CONTENT[:700]
    assert len(served.asked) == 4


def test_a_torn_journal_line_only_costs_its_piece(served: Served, web: Web, tmp_path: Path) -> None:
    opened(served, web, tmp_path).read_at(0, 300)
    journal = tmp_path / "kept.have"
    journal.write_text(journal.read_text() + "2", encoding="ascii")  # killed while writing "20" or the line's end
    again = opened(served, web, tmp_path)
    assert again.read_at(2000, 10) == CONTENT[2000:2010]
    assert served.asked[-1] == ("a.bin", "bytes=2000-2099")


def test_a_file_that_changes_between_pieces_is_not_mixed(served: Served, web: Web, tmp_path: Path) -> None:
    file = opened(served, web, tmp_path)
    served.files["a.bin"], served.state = CONTENT[::-1], '"two"'
    assert file.read_at(500, 10) == b""
    with pytest.raises(WebError, match="changed while it was read"):
        file.raise_failure()
    assert opened(served, web, tmp_path).read_at(500, 10) == CONTENT[::-1][500:510]


def test_a_larger_file_than_accepted_is_refused(served: Served, web: Web, tmp_path: Path) -> None:
    with pytest.raises(WebError) as refused:
        opened(served, web, tmp_path, limit_bytes=2000)
    assert refused.value.reason == "too_large"


def test_a_host_that_is_not_allowed_is_not_asked(served: Served, web: Web, tmp_path: Path) -> None:
    with pytest.raises(WebError) as refused:
        RangedFile(web, "https://169.254.169.254/latest", tmp_path / "kept", limit_bytes=1000)
    assert refused.value.reason == "refused_address"
    assert served.asked == []
