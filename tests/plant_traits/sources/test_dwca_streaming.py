"""Archives of any size and order, packed or not, and hostile ones: through the streamed reader."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

from plant_traits.errors import ArchiveError, InputError, MissingInputError, TableError
from plant_traits.sources import delimited_text, dwca
from plant_traits.sources.dwca import read_dwca, write_dwca_occurrences
from plant_traits.sources.licences import stricter_licence, stricter_of_two
from plant_traits.sources.photo_ids import photo_id_column, photo_ids
from plant_traits.sources.raw_occurrence import RAW_OCCURRENCE, read_raw_occurrences, rejected_rows

RECORD = ("gbifID", "scientificName", "decimalLatitude", "decimalLongitude", "basisOfRecord", "eventDate", "year",
          "month", "day", "license", "issue")  # fmt: skip
MEDIA = ("gbifID", "type", "format", "identifier", "license")


def write_archive(
    folder: Path,
    records: bytes | list[tuple[str, ...]],
    media: bytes | list[tuple[str, ...]],
    *,
    quote: str = "",
    delimiter: str = "\\t",
    encoding: str = "UTF-8",
) -> Path:
    folder.mkdir(exist_ok=True)
    tables = []
    for tag, key, name, row_type, terms, rows in (
        ("core", "id", "occurrence.txt", "Occurrence", RECORD, records),
        ("extension", "coreid", "multimedia.txt", "Multimedia", MEDIA, media),
    ):
        fields = "".join(f'<field index="{k}" term="http://t/{term}"/>' for k, term in enumerate(terms))
        tables.append(
            f'<{tag} encoding="{encoding}" fieldsTerminatedBy="{delimiter}" fieldsEnclosedBy="{quote}" '
            f'ignoreHeaderLines="1" rowType="http://t/{row_type}"><files><location>{name}</location></files>'
            f'<{key} index="0"/>{fields}</{tag}>'
        )
        between = "\t" if delimiter == "\\t" else delimiter
        lines = [] if isinstance(rows, bytes) else [between.join(row) + "\n" for row in [terms, *rows]]
        (folder / name).write_bytes(rows if isinstance(rows, bytes) else "".join(lines).encode(encoding))
    (folder / "meta.xml").write_text(f'<archive xmlns="http://rs.tdwg.org/dwc/text/">{"".join(tables)}</archive>')
    return folder


def packed(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    return path


def record(number: int | str, date: str = "2021-05-03", **given: str) -> tuple[str, ...]:
    row = {"gbifID": str(number), "scientificName": f"Bellis perennis {number}", "decimalLatitude": "48.5",
           "decimalLongitude": "8.25", "basisOfRecord": "HUMAN_OBSERVATION", "eventDate": date,
           "license": "CC_BY_4_0"} | given  # fmt: skip
    return tuple(row.get(term, "") for term in RECORD)


def photo(number: int | str, photo_id: int, licence: str = "CC_BY_NC_4_0") -> tuple[str, ...]:
    return (str(number), "StillImage", "image/jpeg", f"https://x/photos/{photo_id}/original.jpg", licence)


def pairs(frame: pd.DataFrame) -> list[tuple[str, str | None]]:
    return [(a, None if b != b else b) for a, b in zip(frame["occurrence_id"], frame["photo_id"], strict=True)]  # noqa: PLR0124


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited_text, "_BLOCK_BYTES", 2048)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("pack", [packed, lambda folder: folder], ids=["zip", "folder"])
def test_a_long_archive_is_joined_whatever_the_blocks(tmp_path: Path, pack: Callable[[Path], Path]) -> None:
    records = [record(10 * k) for k in range(1, 301)]
    # none, one or two photos in turn, one of them twice; and photos of records 5, 15 and 99999, which are not there
    media = [photo(5, 1), photo(10, 2), photo(15, 3)]
    for k in range(2, 301):
        media += [photo(10 * k, 1000 * k + n) for n in range(k % 3)]
    media += [photo(3000 - 10, 1000 * 299 + 1), photo(99999, 4)]
    media.sort(key=lambda row: int(row[0]))
    path = pack(write_archive(tmp_path / "a", records, media))
    (tmp_path / "out").mkdir()
    counts = write_dwca_occurrences(path, "gbif", tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["occurrences.parquet"]
    found = read_raw_occurrences(tmp_path / "out" / "occurrences.parquet")
    expected: list[tuple[str, str | None]] = [("10", "2")]
    for k in range(2, 301):
        expected += [(str(10 * k), str(1000 * k + n)) for n in range(k % 3)] or [(str(10 * k), None)]
    assert pairs(found) == expected
    assert counts == {
        "rows": len(expected),
        "rejected: media_of_unknown_record": 3,
        "rejected: media_repeated_within_record": 1,
    }
    assert set(found["licence"]) == {"CC-BY-4.0", "CC-BY-NC-4.0"}
    assert list(found.columns) == RAW_OCCURRENCE.names


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("part_bytes", [2000, 10**9])
@pytest.mark.parametrize("which", ["records", "media", "both", "not numbers"])
def test_the_order_of_the_tables_does_not_matter(
    tmp_path: Path, which: str, part_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dwca, "_PART_BYTES", part_bytes)
    name = (lambda k: f"o-{k:05d}") if which == "not numbers" else str
    records = [record(name(k)) for k in range(100, 300)]
    media = [photo(name(k), 10 * k + n) for k in range(100, 310) for n in range(k % 3)] + [photo(name(299), 2991)]
    in_order = read_dwca(write_archive(tmp_path / "a", records, media), "gbif")
    shuffle = random.Random(1).shuffle
    if which in ("records", "both", "not numbers"):
        shuffle(records)
    if which in ("media", "both", "not numbers"):
        shuffle(media)
    found = read_dwca(write_archive(tmp_path / "b", records, media), "gbif")
    order = ["occurrence_id", "photo_id"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True), in_order.sort_values(order, ignore_index=True)
    )
    if part_bytes == 10**9:
        assert list(dict.fromkeys(found["occurrence_id"])) == [row[0] for row in records]
    assert rejected_rows(found) == {"media_of_unknown_record": 9, "media_repeated_within_record": 1}


@pytest.mark.parametrize("numbers", [["1", "01"], ["2", "1"], ["1", "1"], ["1", ""], ["+1", "2"], ["1.0", "2"]])
def test_ids_that_only_look_like_rising_numbers_are_told_apart(tmp_path: Path, numbers: list[str]) -> None:
    path = write_archive(tmp_path / "a", [record(n) for n in numbers], [photo("1", 7)])
    found = read_dwca(path, "gbif")
    assert found["photo_id"].notna().tolist() == [n == "1" for n in numbers]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("last", ["x", ""])
@pytest.mark.parametrize("at", [0, 20, 58])
def test_lines_of_another_width_are_counted_and_left_out(tmp_path: Path, last: str, at: int) -> None:
    # one field too many and one too few on neighbouring lines: the sum is right and the lines are not
    for change in ([(1, 1), (0, -1)], [(0, -1), (1, 1)], [(0, -5), (0, -1)], [(1, 3), (1, 1)]):
        rows = [record(k, issue=last) for k in range(1, 61)]
        for k, (longer, by) in enumerate(change, at):
            rows[k] = (*rows[k], *["more"] * by) if longer else rows[k][:by]
        text = "".join("\t".join(row) + "\n" for row in [RECORD, *rows]) + "\n\r\n"
        found = read_dwca(write_archive(tmp_path / "a", text.encode(), []), "gbif")
        assert rejected_rows(found) == {"malformed_row_of_occurrence.txt": 2}
        assert found["occurrence_id"].tolist() == [str(k + 1) for k in range(60) if k not in (at, at + 1)]


def test_quotes_mean_nothing_unless_declared(tmp_path: Path) -> None:
    plain = read_dwca(write_archive(tmp_path / "a", [record(1, scientificName='"Bellis')], []), "gbif")
    assert plain["scientific_name"].tolist() == ['"Bellis']
    rows = [record(1, scientificName='"Bellis, ""L."""'), record(2)[:4]]
    quoted = write_archive(tmp_path / "b", rows, [photo(1, 5)], quote="&quot;", delimiter=",")
    found = read_dwca(quoted, "gbif")
    assert found["scientific_name"].tolist() == ['Bellis, "L."']
    assert found["photo_id"].tolist() == ["5"]
    assert rejected_rows(found) == {"malformed_row_of_occurrence.txt": 1}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    rows = [record(k, scientificName=f"Iris \xe9{k}") for k in range(1, 50)]
    found = read_dwca(write_archive(tmp_path / "a", rows, [], encoding=encoding), "gbif")
    assert found["scientific_name"].tolist() == [f"Iris \xe9{k}" for k in range(1, 50)]


@pytest.mark.parametrize(
    ("date", "parts", "expected"),
    [
        ("2021-05-03T10:11:12Z", ("", "", ""), "2021-05-03"),
        (" 2021-05-03/2021-05-09 ", ("", "", ""), "2021-05-03"),
        ("2021-05-031", ("", "", ""), None),
        ("2021-5-03", ("2020", "2", "29"), "2020-02-29"),
        ("2021-02-30", ("2021", "2", "30"), None),
        ("2021", ("2021", "7.0", "4"), "2021-07-04"),
        ("2021", ("2021", "7.5", "4"), None),
        ("03/05/2021", ("2021", "", "4"), None),
        ("", ("1899", "12", "31"), "1899-12-31"),
    ],
)
def test_days(tmp_path: Path, date: str, parts: tuple[str, str, str], expected: str | None) -> None:
    year, month, day = parts
    path = write_archive(tmp_path / "a", [record(1, date, year=year, month=month, day=day)], [])
    found = read_dwca(path, "gbif")["observed_on"].iloc[0]
    assert (None if pd.isna(found) else f"{found:%Y-%m-%d}") == expected


def test_spaces_around_fields_go_and_numbers_that_are_none_are_missing(tmp_path: Path) -> None:
    rows = [record(1, scientificName="  Iris ", decimalLatitude=" 5 ", decimalLongitude="nan", license="  ")]
    first = read_dwca(write_archive(tmp_path / "a", rows, []), "gbif").iloc[0]
    assert (first["scientific_name"], first["latitude"]) == ("Iris", 5.0)
    assert pd.isna(first["longitude"])
    assert pd.isna(first["licence"])


@pytest.mark.parametrize("slice_bytes", [7, 2**18])
@pytest.mark.parametrize("name", [" Iris", "Iris ", "Iris", '"Iris', "#Iris", "鸢尾", "é è"])
def test_spaces_are_found_wherever_they_stand_and_nothing_else_is(
    tmp_path: Path, name: str, slice_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited_text, "_SLICE_BYTES", slice_bytes)
    for at in range(7):  # so that the space comes to lie on either side of a slice's end
        rows = [record(1, scientificName="x" * (at + 1)), record(2, scientificName=name)]
        found = read_dwca(write_archive(tmp_path / "a", rows, []), "gbif")
        assert found["scientific_name"].tolist() == ["x" * (at + 1), name.strip(" ")]


ADDRESSES = [
    "https://inaturalist-open-data.s3.amazonaws.com/photos/7/original.jpg",
    "https://inaturalist-open-data.s3.amazonaws.com/photos/007/original.jpeg",
    "https://inaturalist-open-data.s3.amazonaws.com/photos/123456789012345678901234567890/original.jpg",
    "https://inaturalist-open-data.s3.amazonaws.com/photos/8/original.png",
    "https://inaturalist-open-data.s3.amazonaws.com/photos/9/original.jpg?1",
    "https://inaturalist-open-data.s3.amazonaws.com/photos/+9/original.jpg",
    "https://inaturalist-open-data.s3.amazonaws.com/photos/-9/original.jpg",
    "https://inaturalist-open-data.s3.amazonaws.com/photos//original.jpg",
    "https://inaturalist-open-data.s3.amazonaws.com/photos/original.jpg",
    "https://inaturalist-open-data.s3.amazonaws.com/photos/5",
    "https://static.inaturalist.org/photos/10/medium.jpg",
    "http://x/photos/a/photos/11/y",
    "12/original.jpg",
    "13",
    "",
    "https://bs.plantnet.org/image/o/8f14e45fceea167a5a36dedd4bea2543",
    "https://x/\u00e9",
]


@pytest.mark.parametrize("chosen", [ADDRESSES, ADDRESSES[:2], ADDRESSES[-2:], ADDRESSES[3:5], []])
def test_a_column_of_photo_ids_is_that_of_single_addresses(chosen: list[str]) -> None:
    expected = photo_ids(pd.Series(chosen, dtype="str")).tolist()
    assert photo_id_column(pl.Series(chosen, dtype=pl.String)).to_list() == expected


def test_one_pair_of_licences_is_judged_as_in_a_column() -> None:
    given = [None, "CC0_1_0", "CC_BY_4_0", "http://creativecommons.org/licenses/by-nc/4.0/", "CC-BY-NC-4.0", "all mine"]
    pairs = pd.DataFrame([(a, b) for a in given for b in given], columns=["record", "photo"], dtype="str")
    expected = [None if pd.isna(text) else text for text in stricter_licence(pairs["record"], pairs["photo"])]
    assert [stricter_of_two(a, b) for a in given for b in given] == expected


@pytest.mark.parametrize("several", [3, 400])
def test_many_licences_are_told_apart(tmp_path: Path, several: int) -> None:
    """More than fit into the table of all pairs, too."""
    records = [record(k, license=f"terms {k % several}") for k in range(1, 501)]
    media = [photo(k, k, "CC_BY_4_0" if k % 2 else f"mine {k % several}") for k in range(1, 501)]
    found = read_dwca(write_archive(tmp_path / "a", records, media), "gbif")
    # neither is recognised, so that the record's stands
    assert found["licence"].tolist() == [f"terms {k % several}" for k in range(1, 501)]


HOSTILE = {
    "NUL bytes": (b"1\tIris\x00\t1\t1\tX\t2021-01-01\t\t\t\t\t\n", "NUL bytes"),
    "a field of 10 MB": (b"1\t" + b"I" * 10_000_000 + b"\t1\t1\tX\t2021-01-01\t\t\t\t\t\n", "more than"),
    "a field of 5 MB inside": (b"1\t" + b"I" * 5_000_000 + b"\t1\t1\tX\t\t\t\t\t\t\n" * 3, "more than"),
    "invalid UTF-8": (b"1\tIris \xff\t1\t1\tX\t2021-01-01\t\t\t\t\t\n", "UTF-8"),
    "a field of 10 MB without an end": (b"1\t" + b"I" * 10_000_000, "more than"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("pack", [packed, lambda folder: folder], ids=["zip", "folder"])
def test_hostile_text_is_a_clear_error(tmp_path: Path, case: str, pack: Callable[[Path], Path]) -> None:
    line, match = HOSTILE[case]
    if pack is packed:  # so that it compresses like text, not like a bomb
        line = line.replace(b"I" * 1000, random.Random(2).randbytes(500).hex().encode())
    path = pack(write_archive(tmp_path / "a", "\t".join(RECORD).encode() + b"\n" + line, []))
    (tmp_path / "out").mkdir()
    with pytest.raises(TableError, match=match):
        write_dwca_occurrences(path, "gbif", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.usefixtures("small_blocks")
def test_an_error_late_in_the_file_leaves_nothing_behind(tmp_path: Path) -> None:
    rows = [record(k) for k in range(1, 400)] + [record(400, issue="Iris")]
    text = "".join("\t".join(row) + "\n" for row in [RECORD, *rows]).encode().replace(b"\tIris", b"\tIr\xff")
    (tmp_path / "out").mkdir()
    path = write_archive(tmp_path / "a", text.replace(b"perennis 400", b"perennis \xff"), [])
    with pytest.raises(TableError, match="UTF-8"):
        write_dwca_occurrences(path, "gbif", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("encoding", ["klingon", "zlib", "rot13"])
def test_an_unknown_encoding_is_a_clear_error(tmp_path: Path, encoding: str) -> None:
    path = write_archive(tmp_path / "a", [record(1)], [])
    declared = (path / "meta.xml").read_text().replace("UTF-8", encoding)
    (path / "meta.xml").write_text(declared)
    with pytest.raises(TableError, match=encoding):
        write_dwca_occurrences(path, "gbif", tmp_path)


def test_text_that_contradicts_a_foreign_encoding_is_a_clear_error(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a", b"\xff\xfe\x00\xd8\x00\xd8\n\x00", [], encoding="utf-16")
    with pytest.raises(TableError, match="utf-16"):
        write_dwca_occurrences(path, "gbif", tmp_path)


def lying_sizes(path: Path) -> None:
    """Declare a tenth of the real size of every member."""
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        sizes = [info.file_size for info in archive.infolist() if info.filename == "occurrence.txt"]
    for size in sizes:
        data = data.replace(size.to_bytes(4, "little"), (size // 10).to_bytes(4, "little"))
    path.write_bytes(data)


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.txt", bytes(8 * 1024**2))


def nested_bomb(path: Path) -> None:
    inner = path.with_name("inner.zip")
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(2000):
            archive.writestr(f"{k}.zip", bytes(4096))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inner, "occurrence.txt")
        archive.writestr("meta.xml", "<archive/>")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def page(path: Path) -> None:
    path.write_text("<!doctype html><title>503 Service Unavailable</title>")


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("occurrence.txt").header_offset + 300
    data[at : at + 8] = bytes(8)
    path.write_bytes(bytes(data))


def escaping(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../occurrence.txt", "x")


def link(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("passwd")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")


@pytest.mark.parametrize("spoil", [lying_sizes, bomb, nested_bomb, cut, page, damaged, escaping, link])
def test_hostile_archives_are_refused(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    names = random.Random(3)
    path = packed(write_archive(tmp_path / "a", [record(k, issue=names.randbytes(9).hex()) for k in range(2000)], []))
    spoil(path)
    with pytest.raises(ArchiveError):
        write_dwca_occurrences(path, "gbif", tmp_path)


def test_a_folder_cannot_lead_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("x")
    path = write_archive(tmp_path / "a", [record(1)], [])
    declared = (path / "meta.xml").read_text()
    (path / "meta.xml").write_text(declared.replace("multimedia.txt", "../secret.txt"))
    with pytest.raises(ArchiveError, match="not inside"):
        write_dwca_occurrences(path, "gbif", tmp_path)
    (path / "meta.xml").write_text(declared)
    (path / "multimedia.txt").unlink()
    (path / "multimedia.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(ArchiveError, match="not inside"):
        write_dwca_occurrences(path, "gbif", tmp_path)


def test_an_absent_archive_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        write_dwca_occurrences(tmp_path / "a.zip", "gbif", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"meta\.xml"):
        write_dwca_occurrences(tmp_path / "empty", "gbif", tmp_path)
