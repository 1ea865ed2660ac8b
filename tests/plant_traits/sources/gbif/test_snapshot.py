from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import JsonValue

from data_catalog import Source
from plant_traits.errors import InputError, TableError, WebError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.gbif.snapshot import GbifSnapshot
from plant_traits.sources.gbif.snapshot_store import bucket_host
from plant_traits.sources.protocol import Fetched, Request
from plant_traits.sources.raw_occurrence import read_raw_occurrences
from plant_traits.sources.web.client import Web

if TYPE_CHECKING:
    from tests.plant_traits.sources.gbif.conftest import Asked, Loopback

SOURCE = Source(id="gbif", title="GBIF", kind="occurrences", licence="CC BY-NC 4.0", citation="GBIF.org")
HOST = "gbif-open-data-eu-central-1.s3.eu-central-1.amazonaws.com"
REGION = Region("box", 5, 40, 15, 50)
OpenWeb = Callable[..., Web]

# id, phylum, latitude, longitude, basis, status, media: only 1, 2 and 9 are what is asked for, 2 and 9 with a photo.
RECORDS: list[tuple[int, str, float | None, float | None, str, str, list[str]]] = [
    (1, "Tracheophyta", 41.0, 6.0, "HUMAN_OBSERVATION", "PRESENT", ["Sound"]),
    (2, "Tracheophyta", 42.0, 7.0, "HUMAN_OBSERVATION", "PRESENT", ["Sound", "StillImage", "StillImage"]),
    (3, "Chordata", 42.0, 7.0, "HUMAN_OBSERVATION", "PRESENT", ["StillImage"]),
    (4, "Tracheophyta", None, None, "HUMAN_OBSERVATION", "PRESENT", ["StillImage"]),
    (5, "Tracheophyta", 42.0, 7.0, "PRESERVED_SPECIMEN", "PRESENT", ["StillImage"]),
    (6, "Tracheophyta", 42.0, 7.0, "HUMAN_OBSERVATION", "ABSENT", ["StillImage"]),
    (7, "Tracheophyta", 42.0, 16.0, "HUMAN_OBSERVATION", "PRESENT", ["StillImage"]),
    (8, "Tracheophyta", 39.0, 7.0, "HUMAN_OBSERVATION", "PRESENT", []),
    (9, "Tracheophyta", 50.0, 15.0, "HUMAN_OBSERVATION", "PRESENT", ["StillImage"]),
]


def columns_of(year: int, records: list[Any] | None = None) -> dict[str, pa.Array]:
    """Columns as the snapshots of that year have them."""
    rows = RECORDS if records is None else records
    ids = [r[0] for r in rows]
    words = [r[6] for r in rows]
    if year < 2022:
        media = pa.array([";".join(w) for w in words])
    elif year < 2024:
        media = pa.array(
            [[{"array_element": x} for x in w] for w in words], pa.list_(pa.struct([("array_element", pa.string())]))
        )
    else:
        media = pa.array(words, pa.list_(pa.string()))
    people = [[f"Ann {k}", "Bob"] for k in ids]
    return {
        "gbifid": pa.array(ids, pa.int64()) if year < 2023 else pa.array([str(k) for k in ids]),
        "datasetkey": pa.array(["d"] * len(rows)),
        "occurrenceid": pa.array([f"urn:{k}" if k != 9 else None for k in ids], pa.string()),
        "kingdom": pa.array(["Plantae"] * len(rows)),
        "phylum": pa.array([r[1] for r in rows], pa.string()),
        "species": pa.array(["Ulex minor"] * len(rows)),
        "scientificname": pa.array(["Ulex minor Roth"] * len(rows)),
        "decimallatitude": pa.array([r[2] for r in rows], pa.float64()),
        "decimallongitude": pa.array([r[3] for r in rows], pa.float64()),
        "eventdate": pa.array(["2021-05-03T10:00:00"] * len(rows)),
        "year": pa.array([2021] * len(rows), pa.int32()),
        "taxonkey": pa.array(ids, pa.int32()) if year < 2025 else pa.array([f"K{k}" for k in ids]),
        "basisofrecord": pa.array([r[4] for r in rows], pa.string()),
        "occurrencestatus": pa.array([r[5] for r in rows], pa.string()),
        "license": pa.array(["CC_BY_4_0"] * len(rows)),
        "recordedby": pa.array([";".join(p) for p in people] if year < 2022 else people),
        "mediatype": media,
    }  # fmt: skip


def parquet(columns: dict[str, pa.Array], **options: Any) -> bytes:  # noqa: ANN401
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def request_in(folder: Path, month: str = "2026-10", region: Region = REGION, **settings: JsonValue) -> Request:
    return Request(SOURCE, Month.parse(month), region, settings, folder)


class PublicBucket:
    """Lists and gives the objects of a bucket, two keys a page."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.fails: dict[str, tuple[int, int]] = {}  # status and how often, by key
        self.lock = threading.Lock()

    def __call__(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(asked.url)
        assert parts.netloc == HOST
        key = unquote(parts.path.lstrip("/"))
        if not key:
            return 200, {}, self.listing({k: v[0] for k, v in parse_qs(parts.query).items()})
        with self.lock:
            status, times = self.fails.get(key, (0, 0))
            if times:
                self.fails[key] = (status, times - 1)
                return status, {}, b""
        if key not in self.objects:
            return 404, {}, b"<Error/>"
        content = self.objects[key]
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("range", ""))
        if span is None:
            return 200, {}, content
        first, last = int(span[1]), min(int(span[2]), len(content) - 1)
        return 206, {"content-range": f"bytes {first}-{last}/{len(content)}"}, content[first : last + 1]

    def listing(self, asked: dict[str, str]) -> bytes:
        assert asked["list-type"] == "2"
        assert asked["delimiter"] == "/"
        prefix = asked.get("prefix", "")
        entries: dict[str, str] = {}
        for key in sorted(self.objects):
            if key.startswith(prefix):
                head, slash, _ = key.removeprefix(prefix).partition("/")
                folder = prefix + head + slash
                entries[folder] = (
                    f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
                    if slash
                    else f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key])}</Size></Contents>"
                )
        names = [x for x in sorted(entries) if x > asked.get("continuation-token", "")]
        more = len(names) > 2
        told = f"<NextContinuationToken>{escape(names[1])}</NextContinuationToken>" if more else ""
        body = "".join(entries[x] for x in names[:2])
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{told}{body}</ListBucketResult>"
        ).encode()


def month_of_files(day: str = "2026-10-01", year: int = 2026, n: int = 3) -> dict[str, bytes]:
    files = {f"occurrence/{day}/occurrence.parquet/{k:06d}": parquet(columns_of(year)) for k in range(n)}
    return {
        **files,
        f"occurrence/{day}/citation.txt": b"GBIF.org (1 October 2026) GBIF Occurrence Data 10.15468/dl.x\n",
    }


def fetch(request: Request, web: Web) -> Fetched:
    plugin = GbifSnapshot()
    return plugin.fetch(request, plugin.plan(request), web)


def normalised(request: Request, fetched: Fetched, tmp_path: Path) -> tuple[Any, dict[str, int]]:
    destination = tmp_path / "normalised"
    destination.mkdir()
    GbifSnapshot().verify(request, fetched)
    counts = dict(GbifSnapshot().normalise(request, fetched, destination))
    return read_raw_occurrences(destination / "occurrences.parquet"), counts


def test_the_snapshot_of_the_month_is_read_from_a_public_bucket(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path
) -> None:
    files = {**month_of_files("2026-09-01"), **month_of_files(), **month_of_files("2026-11-01"), "occurrence/x/y": b""}
    loopback.answer = PublicBucket(files)
    web, request = open_web(HOST), request_in(tmp_path / "m")
    fetched = fetch(request, web)
    assert fetched.facts == {
        "snapshot": "2026-10-01",
        "location": "s3://gbif-open-data-eu-central-1/occurrence",
        "citation": "GBIF.org (1 October 2026) GBIF Occurrence Data 10.15468/dl.x",
        "files": 3,
        "rows_read": 27,
        "rows_kept": 9,
        "rows_filtered": 18,
    }
    frame, counts = normalised(request, fetched, tmp_path)
    assert counts == {"rows": 9, "filtered": 18}
    assert frame["occurrence_id"].tolist() == ["urn:1", "urn:2", "9"] * 3
    assert frame["taxon_key"].tolist() == ["K1", "K2", "K9"] * 3
    assert frame["recorded_by"].tolist() == ["Ann 1;Bob", "Ann 2;Bob", "Ann 9;Bob"] * 3
    assert frame["photo_url"].isna().all()
    assert set(frame["licence"]) == {"CC-BY-4.0"}
    assert not loopback.calls("GET", "2026-11-01/occurrence")


@pytest.mark.parametrize("year", [2021, 2022, 2023, 2025, 2026])
def test_all_schemas_of_the_years_say_the_same(year: int, tmp_path: Path, open_web: OpenWeb) -> None:
    part = tmp_path / "snapshots" / "2026-10-01" / "occurrence.parquet"
    part.mkdir(parents=True)
    (part / "000000").write_bytes(parquet(columns_of(year)))
    (part / "_SUCCESS").write_bytes(b"")
    location = f"file://{tmp_path / 'snapshots'}"
    request = request_in(tmp_path / "m", location=location, media_type="StillImage")
    frame, counts = normalised(request, fetch(request, open_web()), tmp_path)
    assert counts == {"rows": 2, "filtered": 7}
    assert frame["occurrence_id"].tolist() == ["urn:2", "9"]
    assert frame["taxon_key"].tolist() == (["2", "9"] if year < 2025 else ["K2", "K9"])
    assert frame["recorded_by"].tolist() == ["Ann 2;Bob", "Ann 9;Bob"]
    assert frame["year"].tolist() == [2021.0, 2021.0]
    assert frame["longitude"].tolist() == [7.0, 15.0]


def test_the_phylum_may_be_a_key_and_names_in_camel_case(tmp_path: Path, open_web: OpenWeb) -> None:
    store = fsspec.filesystem("memory")
    renamed = {"gbifid": "gbifID", "decimallatitude": "decimalLatitude", "basisofrecord": "basisOfRecord"}
    for k, keys in enumerate(
        [pa.array([7707728, 7707728, 44] + [7707728] * 6), pa.array(["TP", "TP", "CH"] + ["TP"] * 6)]
    ):
        columns = {renamed.get(name, name): values for name, values in columns_of(2026).items() if name != "phylum"}
        store.pipe(f"/snapshots{k}/2026-10-01/occurrence.parquet/000000", parquet({**columns, "phylumKey": keys}))
        request = request_in(tmp_path / str(k), location=f"memory://snapshots{k}")
        assert fetch(request, open_web()).facts["rows_kept"] == 3
    store.rm("/", recursive=True)


def test_a_region_across_the_antimeridian_and_the_globe(tmp_path: Path, open_web: OpenWeb) -> None:
    rows = [
        (k, "Tracheophyta", -20.0, lon, "HUMAN_OBSERVATION", "PRESENT", [])
        for k, lon in enumerate([175.0, -175.0, 0.0])
    ]
    rows += [(7, "Tracheophyta", None, None, "HUMAN_OBSERVATION", "PRESENT", [])]
    rows += [(8, "Tracheophyta", float("nan"), float("nan"), "HUMAN_OBSERVATION", "PRESENT", [])]
    part = tmp_path / "s" / "2026-10-01" / "occurrence.parquet"
    part.mkdir(parents=True)
    (part / "000000").write_bytes(parquet(columns_of(2026, rows)))
    location = f"file://{tmp_path / 's'}"
    fiji = request_in(tmp_path / "fiji", region=Region("fiji", 170, -30, -170, -10), location=location)
    frame, _ = normalised(fiji, fetch(fiji, open_web()), tmp_path)
    assert frame["longitude"].tolist() == [175.0, -175.0]
    world = request_in(tmp_path / "world", region=Region("world", -180, -90, 180, 90), location=location)
    assert fetch(world, open_web()).facts["rows_kept"] == 3


def test_only_the_columns_and_row_groups_needed_are_read(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    far = [(k, "Tracheophyta", -60.0 - k / 1000, 100.0, "HUMAN_OBSERVATION", "PRESENT", []) for k in range(20_000)]
    near = [(k, "Tracheophyta", 45.0, 10.0, "HUMAN_OBSERVATION", "PRESENT", []) for k in range(100)]
    columns = columns_of(2026, [*near, *far])
    ballast = pa.array([f"{k * 7919 % 999983:040d}{k}" for k in range(20_100)])
    content = parquet({**columns, "locality": ballast}, row_group_size=1000, compression="none", use_dictionary=False)
    loopback.answer = PublicBucket({"occurrence/2026-10-01/occurrence.parquet/000000": content})
    web, request = open_web(HOST), request_in(tmp_path / "m")
    assert fetch(request, web).facts["rows_kept"] == 100
    assert web.tally.bytes < len(content) / 5
    assert len(loopback.calls("GET", "parquet/000000")) < 12


def test_a_killed_run_goes_on_with_the_next_file_of_the_same_snapshot(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path
) -> None:
    bucket = loopback.answer = PublicBucket(month_of_files())
    bucket.fails["occurrence/2026-10-01/occurrence.parquet/000001"] = (404, 1)
    web, request = open_web(HOST), request_in(tmp_path / "m")
    with pytest.raises(WebError, match=r"file 2026-10-01/occurrence\.parquet/000001 of the snapshot") as raised:
        fetch(request, web)
    assert raised.value.reason == "gone"
    bucket.objects |= month_of_files("2026-10-15")  # published meanwhile: the run keeps to its own
    loopback.asked.clear()
    fetched = fetch(request, web)
    assert fetched.facts["snapshot"] == "2026-10-01"
    assert fetched.facts["rows_kept"] == 9
    assert not loopback.calls("GET", "parquet/000000")
    assert loopback.calls("GET", "parquet/000001")
    loopback.asked.clear()
    assert fetch(request, web).facts == fetched.facts
    assert not loopback.calls("GET", "parquet/0")


def test_a_file_of_another_size_is_read_again(tmp_path: Path, open_web: OpenWeb) -> None:
    part = tmp_path / "s" / "2026-10-01" / "occurrence.parquet"
    part.mkdir(parents=True)
    (part / "000000").write_bytes(parquet(columns_of(2026)))
    request = request_in(tmp_path / "m", location=f"file://{tmp_path / 's'}")
    assert fetch(request, open_web()).facts["rows_kept"] == 3
    (part / "000000").write_bytes(parquet(columns_of(2026, RECORDS[:2])))
    assert fetch(request, open_web()).facts["rows_kept"] == 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failing_bucket_is_asked_again_and_then_told(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path, status: int
) -> None:
    bucket = loopback.answer = PublicBucket(month_of_files())
    bucket.fails["occurrence/2026-10-01/occurrence.parquet/000001"] = (status, 2)
    web, request = open_web(HOST), request_in(tmp_path / "m")
    assert fetch(request, web).facts["rows_kept"] == 9
    assert web.tally.retries == 2
    bucket.fails["occurrence/2026-10-01/occurrence.parquet/000001"] = (status, 99)
    with pytest.raises(WebError, match=f"000001.*answers {status}.*run again later") as raised:
        fetch(request_in(tmp_path / "other"), web)
    assert raised.value.reason == "unavailable"
    assert raised.value.status == status


def test_a_file_that_changes_while_it_is_read_is_refused(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    class Changing(PublicBucket):
        def listing(self, asked: dict[str, str]) -> bytes:
            return re.sub(rb"<Size>(\d+)", lambda m: b"<Size>%d" % (int(m[1]) + 5), super().listing(asked))

    loopback.answer = Changing(month_of_files())
    with pytest.raises(WebError, match="the file has changed, or it knows no ranges"):
        fetch(request_in(tmp_path / "m"), open_web(HOST))


def test_a_server_without_ranges_is_understood_where_the_file_is_small(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path
) -> None:
    class Whole(PublicBucket):
        def __call__(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
            asked.headers.pop("range", None)
            return super().__call__(asked)

    loopback.answer = Whole(month_of_files())
    assert fetch(request_in(tmp_path / "m"), open_web(HOST)).facts["rows_kept"] == 9


def test_a_month_without_a_snapshot_is_told(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    loopback.answer = PublicBucket(month_of_files("2021-04-13"))
    with pytest.raises(WebError, match=r"no snapshot up to 2021-03-31; the earliest is of 2021-04-13"):
        fetch(request_in(tmp_path / "m", "2021-03"), open_web(HOST))
    assert fetch(request_in(tmp_path / "n", "2021-04"), open_web(HOST)).facts["snapshot"] == "2021-04-13"
    loopback.answer = PublicBucket({"other/x": b""})
    with pytest.raises(WebError, match="correct `location`"):
        fetch(request_in(tmp_path / "o"), open_web(HOST))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<html>busy</html>" * 9, "not a readable Parquet table"),
        (parquet({"gbifid": pa.array([1])}), "are missing"),
        (parquet({k: v for k, v in columns_of(2026).items() if k != "phylum"}), "'phylum'"),
        (parquet(columns_of(2026))[:-2000], "not a readable Parquet table"),
    ],
)
def test_a_file_that_is_no_table_of_occurrences_is_told(
    tmp_path: Path, open_web: OpenWeb, content: bytes, told: str
) -> None:
    part = tmp_path / "s" / "2026-10-01" / "occurrence.parquet"
    part.mkdir(parents=True)
    (part / "000000").write_bytes(content)
    with pytest.raises(TableError, match=told):
        fetch(request_in(tmp_path / "m", location=f"file://{tmp_path / 's'}"), open_web())


def test_wrong_settings_and_locations_are_told(tmp_path: Path, open_web: OpenWeb) -> None:
    with pytest.raises(InputError, match="settings of `gbif-snapshot`"):
        GbifSnapshot().plan(request_in(tmp_path, where="x"))
    for location in ("http://example.org/x", "/data/x", "nosuchthing://x"):
        with pytest.raises(InputError, match="location"):
            fetch(request_in(tmp_path / "m", location=location), open_web())
    with pytest.raises(WebError, match="cannot be listed"):
        fetch(request_in(tmp_path / "m", location=f"file://{tmp_path}/none"), open_web())
    with pytest.raises(WebError, match="not among the catalogue's hosts"):
        fetch(request_in(tmp_path / "m", location="s3://elsewhere/x"), open_web())


def test_a_listing_that_is_none_is_refused(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    for content, told in ((b"{}", "listing in XML"), (b'<!DOCTYPE a [<!ENTITY b "c">]><a/>', "document type")):
        loopback.answer = lambda asked, content=content: (200, {}, content)
        with pytest.raises(WebError, match=told):
            fetch(request_in(tmp_path / "m"), open_web(HOST))


def test_verify_misses_kept_rows(tmp_path: Path, open_web: OpenWeb) -> None:
    part = tmp_path / "s" / "2026-10-01" / "occurrence.parquet"
    part.mkdir(parents=True)
    (part / "000000").write_bytes(parquet(columns_of(2026)))
    request = request_in(tmp_path / "m", location=f"file://{tmp_path / 's'}")
    fetched = fetch(request, open_web())
    GbifSnapshot().verify(request, fetched)
    fewer = Fetched((), fetched.facts)
    with pytest.raises(TableError, match="3 rows were kept, 0 are there"):
        GbifSnapshot().verify(request, fewer)
    (request.folder / fetched.files[0]).write_bytes(b"PAR1")
    with pytest.raises(TableError, match="not a readable table"):
        GbifSnapshot().verify(request, fetched)


def test_hosts_of_buckets() -> None:
    assert bucket_host("gbif-open-data-us-east-1") == "gbif-open-data-us-east-1.s3.us-east-1.amazonaws.com"
    assert bucket_host("my-bucket") == "my-bucket.s3.amazonaws.com"
