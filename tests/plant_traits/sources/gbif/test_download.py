from __future__ import annotations

import base64
import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import JsonValue

from data_catalog import Source
from plant_traits.errors import ArchiveError, InputError, MissingInputError, WebError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.gbif.download import DownloadEndedError, GbifDownload, download_citation
from plant_traits.sources.protocol import Fetched, Request
from plant_traits.sources.raw_occurrence import read_raw_occurrences
from plant_traits.sources.web.client import Web

if TYPE_CHECKING:
    from tests.plant_traits.sources.gbif.conftest import Asked, Loopback

SOURCE = Source(id="gbif", title="GBIF", kind="occurrences", licence="CC BY-NC 4.0", citation="GBIF.org")
HOSTS = ("api.gbif.org", "occurrence-download.gbif.org")
ACCOUNT = {"api.gbif.org": ("ann", "s3cret")}
KEY = "0026011-250827131500795"
HEADER = [
    "gbifID", "datasetKey", "occurrenceID", "species", "scientificName", "decimalLatitude", "decimalLongitude",
    "eventDate", "taxonKey", "basisOfRecord", "license",
]  # fmt: skip
OpenWeb = Callable[..., Web]


def request_in(folder: Path, month: str = "2026-10", **settings: JsonValue) -> Request:
    region = Region("box", 5, 40, 15, 50)
    return Request(SOURCE, Month.parse(month), region, {"format": "SIMPLE_CSV", **settings}, folder)


def csv_zip(rows: int = 3, name: str = f"{KEY}.csv") -> bytes:
    lines = ["\t".join(HEADER)]
    for k in range(rows):
        lines.append(
            f"{k}\td\turn:{k}\tUlex minor\tUlex minor Roth\t41.5\t7\t2026-05-03\tX{k}\tHUMAN_OBSERVATION\tCC0_1_0"
        )
    return zipped({name: "\n".join(lines) + "\n"})


def zipped(members: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


class Service:
    """A small download service: takes requests, and goes through the given states, one at a look."""

    def __init__(self, content: bytes, states: list[str] | None = None, records: int = 3) -> None:
        self.content = content
        self.states = states or ["PREPARING", "RUNNING", "SUSPENDED", "SUCCEEDED"]
        self.records = records
        self.created = "2026-11-03T12:11:34.648+00:00"
        self.downloads: dict[str, dict[str, Any]] = {}
        self.looks: dict[str, int] = {}
        self.post: tuple[int, bytes] | None = None
        self.lose_answer = False
        self.remembers = False
        self.erased: set[str] = set()
        self.cut: int | None = None
        self.etag = '"v1"'

    def __call__(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:  # noqa: PLR0911
        where = asked.url.split("?")[0].removeprefix("https://api.gbif.org/v1/occurrence/download")
        authorised = asked.headers.get("authorization") == "Basic " + base64.b64encode(b"ann:s3cret").decode()
        if asked.method == "POST":
            if not authorised:
                return 401, {}, b""
            if self.post is not None:
                return self.post[0], {"retry-after": "0"}, self.post[1]
            same = [key for key, body in self.downloads.items() if body == json.loads(asked.body)]
            if self.remembers and same:
                return 200, {}, same[-1].encode()
            key = f"{len(self.downloads) + 1:07d}-250827131500795"
            self.downloads[key] = json.loads(asked.body)
            return (201, {"x-cut": "0"}, key.encode()) if self.lose_answer else (201, {}, key.encode())
        if where.startswith("/user/"):
            if not authorised or where != "/user/ann":
                return 401, {}, b""
            listed = [self.described(key) for key in reversed(self.downloads)]
            return 200, {}, json.dumps({"results": listed}).encode()
        found = re.search(r"([0-9]{7}-[0-9]+)(\.zip)?$", where)
        if found is None or found[1] not in self.downloads:
            return 404, {}, b""
        key = found[1]
        if found[2] is None:
            self.looks[key] = self.looks.get(key, -1) + 1
            return 200, {}, json.dumps(self.described(key)).encode()
        if key in self.erased:
            return 410, {}, b""
        if asked.url.startswith("https://api.gbif.org"):
            there = f"https://occurrence-download.gbif.org/occurrence/download/request/{key}.zip"
            return 302, {"location": there}, b""
        assert "authorization" not in asked.headers
        return self.file(asked)

    def file(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        range_ = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        headers = {"etag": self.etag}
        if range_ and asked.headers.get("if-range") == self.etag:
            start = int(range_[1])
            headers["content-range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
            return 206, headers, self.content[start:]
        if self.cut is not None:
            headers["x-cut"], self.cut = str(self.cut), None
        return 200, headers, self.content

    def described(self, key: str) -> dict[str, Any]:
        state = self.states[min(self.looks.get(key, 0), len(self.states) - 1)]
        if key in self.erased:
            state = "SUCCEEDED"  # told as there, but its file is gone
        # The service adds matchCase to every comparison.
        asked = json.loads(json.dumps(self.downloads[key]).replace('"value":', '"matchCase": false, "value":'))
        return {
            "key": key, "status": state, "created": self.created, "request": asked,
            "downloadLink": f"https://api.gbif.org/v1/occurrence/download/request/{key}.zip",
            "size": len(self.content), "totalRecords": self.records, "doi": "10.15468/dl.np3k7j",
            "license": "http://creativecommons.org/licenses/by-nc/4.0/legalcode", "numberDatasets": 1,
        }  # fmt: skip


class Sleeps:
    def __init__(self, kill_after: int | None = None) -> None:
        self.slept: list[float] = []
        self.kill_after = kill_after

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.kill_after is not None and len(self.slept) >= self.kill_after:
            raise KeyboardInterrupt


def fetch(request: Request, web: Web, sleep: Callable[[float], None] | None = None) -> Fetched:
    plugin = GbifDownload(sleep or Sleeps())
    return plugin.fetch(request, plugin.plan(request), web)


def test_a_download_is_asked_for_waited_for_fetched_checked_and_normalised(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path
) -> None:
    loopback.answer = Service(csv_zip())
    web = open_web(*HOSTS, credentials=ACCOUNT)
    request, sleeps = request_in(tmp_path / "gbif", poll_seconds=7), Sleeps()
    plugin = GbifDownload(sleeps)
    plan = plugin.plan(request)
    fetched = plugin.fetch(request, plan, web)
    assert sleeps.slept == [7, 7, 7]
    assert fetched.files == ("0000001-250827131500795.zip",)
    assert (request.folder / fetched.files[0]).read_bytes() == loopback.answer.content
    assert {name: fetched.facts[name] for name in ("key", "doi", "totalRecords", "created", "asked_anew")} == {
        "key": "0000001-250827131500795",
        "doi": "10.15468/dl.np3k7j",
        "totalRecords": 3,
        "created": "2026-11-03T12:11:34.648+00:00",
        "asked_anew": 0,
    }
    citation = "GBIF.org (3 November 2026) GBIF Occurrence Download https://doi.org/10.15468/dl.np3k7j"
    assert fetched.facts["citation"] == citation
    assert fetched.facts["checklistKey"] == "7ddf754f-d193-4cc9-b351-99906754a03b"
    (posted,) = loopback.calls("POST")
    assert posted.url == "https://api.gbif.org/v1/occurrence/download/request"
    body = json.loads(posted.body)
    assert body["machineDescription"]["plan"] == plan.key
    assert body["predicate"]["predicates"][-1]["type"] == "within"
    plugin.verify(request, fetched)
    (tmp_path / "out").mkdir()
    assert plugin.normalise(request, fetched, tmp_path / "out") == {"rows": 3}
    frame = read_raw_occurrences(tmp_path / "out" / "occurrences.parquet")
    assert frame["occurrence_id"].tolist() == ["urn:0", "urn:1", "urn:2"]
    assert frame["photo_url"].isna().all()
    assert not [x for x in tmp_path.rglob("*") if x.is_file() and b"s3cret" in x.read_bytes()]


def test_a_second_call_asks_for_nothing_but_the_state(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    loopback.answer = Service(csv_zip())
    web, request = open_web(*HOSTS, credentials=ACCOUNT), request_in(tmp_path / "gbif")
    first = fetch(request, web)
    loopback.asked.clear()
    again = fetch(request, web)
    assert [x.url for x in loopback.asked] == ["https://api.gbif.org/v1/occurrence/download/0000001-250827131500795"]
    assert again.files == first.files
    assert again.facts["found"] == "journal"


def test_a_kill_between_the_request_and_its_journal_does_not_ask_twice(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path
) -> None:
    loopback.answer = Service(csv_zip())
    web, request = open_web(*HOSTS, credentials=ACCOUNT), request_in(tmp_path / "gbif")
    with pytest.raises(KeyboardInterrupt):
        fetch(request, web, Sleeps(kill_after=1))
    (request.folder / "download.json").unlink()  # as if the kill had come before it was written
    fetched = fetch(request, web)
    assert len(loopback.calls("POST")) == 1
    assert fetched.facts["found"] == "list"
    assert fetched.facts["key"] == "0000001-250827131500795"


def test_a_lost_answer_to_the_request_is_looked_up(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    loopback.answer = Service(csv_zip())
    loopback.answer.lose_answer = True
    fetched = fetch(request_in(tmp_path / "gbif"), open_web(*HOSTS, credentials=ACCOUNT))
    assert len(loopback.calls("POST")) == 1
    assert fetched.facts["key"] == "0000001-250827131500795"


def test_our_request_is_known_by_its_predicate_where_the_description_is_not_told(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path
) -> None:
    service = loopback.answer = Service(csv_zip())
    web, request = open_web(*HOSTS, credentials=ACCOUNT), request_in(tmp_path / "gbif")
    fetch(request, web)
    del service.downloads["0000001-250827131500795"]["machineDescription"]
    assert fetch(request_in(tmp_path / "other"), web).facts["found"] == "list"
    assert fetch(request_in(tmp_path / "third", taxon_key="TPX"), web).facts["found"] == "asked"
    assert len(loopback.calls("POST")) == 2


@pytest.mark.parametrize(("created", "posts"), [("2026-10-31T23:59:59+00:00", 2), ("2026-11-01T00:00:00+00:00", 1)])
def test_a_download_made_before_the_month_ended_is_not_taken_for_the_month(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path, created: str, posts: int
) -> None:
    loopback.answer = Service(csv_zip())
    loopback.answer.created = created
    web = open_web(*HOSTS, credentials=ACCOUNT)
    fetch(request_in(tmp_path / "gbif"), web)
    fetch(request_in(tmp_path / "elsewhere"), web)
    assert len(loopback.calls("POST")) == posts


def test_the_service_may_answer_with_the_key_of_the_same_request(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path
) -> None:
    loopback.answer = Service(csv_zip())
    loopback.answer.remembers, loopback.answer.created = True, "2026-10-20T10:00:00+00:00"
    web = open_web(*HOSTS, credentials=ACCOUNT)
    first = fetch(request_in(tmp_path / "gbif"), web)
    again = fetch(request_in(tmp_path / "elsewhere"), web)
    assert len(loopback.calls("POST")) == 2
    assert again.facts["key"] == first.facts["key"] == "0000001-250827131500795"


@pytest.mark.parametrize("state", ["CANCELLED", "KILLED", "FAILED"])
def test_a_download_that_ends_badly_says_so_and_the_next_run_asks_anew(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path, state: str
) -> None:
    service = loopback.answer = Service(csv_zip(), ["RUNNING", state])
    web, request = open_web(*HOSTS, credentials=ACCOUNT), request_in(tmp_path / "gbif")
    with pytest.raises(DownloadEndedError, match=f"0000001-250827131500795 ended as {state}") as raised:
        fetch(request, web)
    assert raised.value.state == state
    assert [x.name for x in request.folder.iterdir()] == [f"download.0000001-250827131500795.{state}.json"]
    service.states = ["SUCCEEDED"]  # even one that GBIF now calls good was given up here
    assert fetch(request, web).facts["key"] == "0000002-250827131500795"
    assert len(loopback.calls("POST")) == 2


def test_an_erased_file_is_asked_for_anew_once(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    service = loopback.answer = Service(csv_zip())
    service.erased = {"0000001-250827131500795"}
    web, request = open_web(*HOSTS, credentials=ACCOUNT), request_in(tmp_path / "gbif")
    fetched = fetch(request, web)
    assert fetched.files == ("0000002-250827131500795.zip",)
    assert fetched.facts["asked_anew"] == 1
    service.erased |= {"0000002-250827131500795", "0000003-250827131500795"}
    (request.folder / fetched.files[0]).unlink()
    with pytest.raises(WebError, match="0000003-250827131500795 is erased, though it was asked for anew") as raised:
        fetch(request, web)
    assert raised.value.reason == "gone"
    assert len(loopback.calls("POST")) == 3


@pytest.mark.parametrize("states", [["FILE_ERASED"], ["RUNNING", "FILE_ERASED"]])
def test_a_download_told_as_erased_is_asked_for_anew(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path, states: list[str]
) -> None:
    service = loopback.answer = Service(csv_zip(), states)
    web, request = open_web(*HOSTS, credentials=ACCOUNT), request_in(tmp_path / "gbif")
    with pytest.raises(WebError, match="asked for anew just now"):
        fetch(request, web)
    assert len(loopback.calls("POST")) == 2
    service.states = ["SUCCEEDED"]
    assert fetch(request, web).facts["key"] == "0000003-250827131500795"


def test_a_cut_off_body_is_continued(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    service = loopback.answer = Service(bytes(range(251)) * 12_000)
    service.cut = 2_500_000
    web, request = open_web(*HOSTS, credentials=ACCOUNT), request_in(tmp_path / "gbif")
    fetched = fetch(request, web)
    assert (request.folder / fetched.files[0]).read_bytes() == service.content
    first, second = (x.headers.get("range") for x in loopback.calls("GET", "occurrence-download.gbif.org"))
    assert first is None
    assert int(second.removeprefix("bytes=").removesuffix("-")) > 2_000_000


def test_a_file_of_another_size_than_stated_is_refused(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    class Short(Service):
        def file(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
            return 200, {}, self.content[:-9]

    loopback.answer = Short(csv_zip())
    with pytest.raises(WebError, match=r"bytes, \d+ were expected"):
        fetch(request_in(tmp_path / "gbif"), open_web(*HOSTS, credentials=ACCOUNT))
    assert not list((tmp_path / "gbif").glob("*.zip"))


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (400, "does not accept the request: .*Unknown predicate"),
        (401, "does not accept the user name and password"),
        (403, "confirm its e-mail address"),
        (429, "too many downloads in the making"),
    ],
)
def test_a_refused_request_says_what_to_do(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path, status: int, told: str
) -> None:
    loopback.answer = Service(csv_zip())
    loopback.answer.post = (status, b"Unknown predicate")
    with pytest.raises(WebError, match=told) as raised:
        fetch(request_in(tmp_path / "gbif"), open_web(*HOSTS, credentials=ACCOUNT))
    assert raised.value.status == status
    assert "s3cret" not in str(raised.value)
    assert not (tmp_path / "gbif" / "download.json").exists()
    assert len(loopback.calls("POST")) == (3 if status == 429 else 1)


def test_wrong_or_missing_credentials_are_told_without_the_name(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path
) -> None:
    loopback.answer = Service(csv_zip())
    with pytest.raises(WebError, match="needs an account"):
        fetch(request_in(tmp_path / "gbif"), open_web(*HOSTS))
    assert not loopback.asked
    with pytest.raises(WebError, match="does not accept the user name and password") as raised:
        fetch(request_in(tmp_path / "gbif"), open_web(*HOSTS, credentials={"api.gbif.org": ("bob", "wr0ng")}))
    assert "bob" not in str(raised.value)
    assert "wr0ng" not in str(raised.value)


def test_waiting_ends(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    loopback.answer = Service(csv_zip(), ["RUNNING"])
    web, sleeps = open_web(*HOSTS, credentials=ACCOUNT), Sleeps()
    request = request_in(tmp_path / "gbif", poll_seconds=1800, max_wait_hours=2)
    with pytest.raises(WebError, match=r"still RUNNING after 2\.0 hours"):
        fetch(request, web, sleeps)
    assert sleeps.slept == [1800] * 4
    loopback.answer.states = ["SUCCEEDED"]
    assert fetch(request, web).facts["found"] == "journal"


@pytest.mark.parametrize("answer", [b"<html>", b"", b"../../etc", b"x" * 100])
def test_an_answer_that_is_no_key_is_refused(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path, answer: bytes
) -> None:
    loopback.answer = Service(csv_zip())
    loopback.answer.post = (200, answer)
    with pytest.raises(WebError, match="expected the key of a download"):
        fetch(request_in(tmp_path / "gbif"), open_web(*HOSTS, credentials=ACCOUNT))


def test_an_unknown_state_and_a_foreign_link_are_refused(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    loopback.answer = Service(csv_zip(), ["MELTED"])
    with pytest.raises(WebError, match="'MELTED'"):
        fetch(request_in(tmp_path / "a"), open_web(*HOSTS, credentials=ACCOUNT))

    class Elsewhere(Service):
        def described(self, key: str) -> dict[str, Any]:
            return {**super().described(key), "downloadLink": "https://169.254.169.254/latest/x.zip"}

    loopback.answer = Elsewhere(csv_zip(), ["SUCCEEDED"])
    with pytest.raises(WebError, match="not among the catalogue's hosts"):
        fetch(request_in(tmp_path / "b"), open_web(*HOSTS, credentials=ACCOUNT))


def fetched_from(folder: Path, content: bytes, **facts: JsonValue) -> Fetched:
    folder.mkdir(exist_ok=True)
    (folder / "x.zip").write_bytes(content)
    return Fetched(("x.zip",), {"key": KEY, "totalRecords": 3, **facts})


def test_verify_counts_the_records_of_each_format(tmp_path: Path) -> None:
    plugin = GbifDownload()
    sink = io.BytesIO()
    pq.write_table(pa.table({"gbifid": ["1", "2"]}), sink)
    parquet = zipped({"occurrence.parquet/000000": sink.getvalue(), "occurrence.parquet/000001": sink.getvalue()})
    table = "\t".join(HEADER) + "\n" + "a\n" * 4
    dwca = zipped({"meta.xml": "<archive/>", "occurrence.txt": table.strip(), "multimedia.txt": ""})
    for form, content, n in (
        ("SIMPLE_CSV", csv_zip(5), 5),
        ("SIMPLE_CSV", csv_zip(0), 0),
        ("SIMPLE_PARQUET", parquet, 4),
        ("DWCA", dwca, 4),
    ):
        request = request_in(tmp_path / "f", format=form)
        plugin.verify(request, fetched_from(tmp_path / "f", content, totalRecords=n))
        with pytest.raises(ArchiveError, match=f"GBIF states {n + 1} records, the archive holds {n}"):
            plugin.verify(request, fetched_from(tmp_path / "f", content, totalRecords=n + 1))
    some = request_in(tmp_path / "f", count_tolerance=0.5)
    plugin.verify(some, fetched_from(tmp_path / "f", csv_zip(5), totalRecords=6))


@pytest.mark.parametrize(
    ("form", "content", "told"),
    [
        ("SIMPLE_CSV", b"<html>busy</html>", "an HTML page"),
        ("SIMPLE_CSV", csv_zip()[:-30], "truncated or damaged"),
        ("SIMPLE_CSV", zipped({"a.txt": "x"}), "expected one table"),
        ("SIMPLE_CSV", zipped({"a.csv": "x", "b.csv": "x"}), "expected one table"),
        ("SIMPLE_CSV", zipped({"../a.csv": "x"}), "points outside"),
        ("DWCA", csv_zip(), "'meta.xml', 'occurrence.txt', 'multimedia.txt'. are not inside"),
        ("SIMPLE_PARQUET", csv_zip(), "expected Parquet files"),
        ("SIMPLE_PARQUET", zipped({"occurrence.parquet/0": "PAR"}), "is not Parquet"),
    ],
)
def test_verify_refuses_what_is_not_the_format(tmp_path: Path, form: str, content: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told):
        GbifDownload().verify(request_in(tmp_path / "f", format=form), fetched_from(tmp_path / "f", content))


@pytest.mark.parametrize("place", [60, 200, 900])
def test_verify_refuses_a_damaged_table(tmp_path: Path, place: int) -> None:
    content = bytearray(csv_zip(300))
    content[place] ^= 0xFF
    with pytest.raises(ArchiveError, match="damaged"):
        GbifDownload().verify(
            request_in(tmp_path / "f"), fetched_from(tmp_path / "f", bytes(content), totalRecords=300)
        )


def test_a_refused_archive_is_kept_aside_and_fetched_anew(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path
) -> None:
    service = loopback.answer = Service(csv_zip()[:-9] + b"x" * 9)
    web, request = open_web(*HOSTS, credentials=ACCOUNT), request_in(tmp_path / "gbif")
    fetched = fetch(request, web)
    with pytest.raises(ArchiveError):
        GbifDownload().verify(request, fetched)
    assert (request.folder / f"{fetched.files[0]}.refused").is_file()
    service.content = csv_zip()
    again = fetch(request, web)
    GbifDownload().verify(request, again)
    assert again.files == fetched.files
    assert len(loopback.calls("POST")) == 1
    with pytest.raises(MissingInputError):
        GbifDownload().verify(request, Fetched(("none.zip",)))


def test_verify_refuses_another_checklist(tmp_path: Path) -> None:
    fetched = fetched_from(tmp_path / "f", csv_zip(), checklistKey="d7dddbf4-2cf0-4f39-9b2a-bb099caae36c")
    with pytest.raises(InputError, match="GBIF used d7dddbf4"):
        GbifDownload().verify(request_in(tmp_path / "f"), fetched)


def test_wrong_settings_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="poll_second"):
        GbifDownload().plan(request_in(tmp_path, poll_second=3))


def test_the_plan_follows_what_is_asked_and_not_how_it_is_waited_for(tmp_path: Path) -> None:
    plugin = GbifDownload()
    key = plugin.plan(request_in(tmp_path)).key
    assert plugin.plan(request_in(tmp_path / "x", poll_seconds=5)).key == key
    assert plugin.plan(request_in(tmp_path, month="2026-09")).key != key
    assert plugin.plan(request_in(tmp_path, format="DWCA")).key != key


def recorded(path: Path) -> list[tuple[str, str, int, dict[str, str], bytes]]:
    """Read a cassette of either kind: (method, address, status, headers, body) of each answer."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    answers = []
    for entry in content.get("http_interactions") or content["interactions"]:
        status, body = entry["response"]["status"], entry["response"]["body"]
        code = status["code"] if isinstance(status, dict) else status
        if "raw_gzip" in body:
            text = zlib.decompress(base64.b64decode(body["raw_gzip"]))
        else:
            text = str(body["string"]).encode()
        answers.append((entry["request"]["method"], entry["request"]["uri"], code, {}, text))
    return answers


@pytest.mark.real
def test_the_recorded_life_of_a_download(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path, real_data: Path
) -> None:
    tape = recorded(real_data / "api_payloads" / "gbif" / "rgbif_occ_download_wait_request.yml")
    content = csv_zip()
    posted, looks = tape[0], tape[1:]
    assert posted[0] == "POST"

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        if asked.method == "POST":
            return posted[2], {}, posted[4]
        if "/user/" in asked.url:
            return 200, {}, b'{"offset":0,"limit":100,"endOfRecords":true,"count":0,"results":[]}'
        if asked.url.endswith(".zip"):
            return 200, {}, content
        _, address, status, headers, body = looks.pop(0)
        assert asked.url == address
        if not looks:  # the recorded file is not at hand: state the size of ours
            body = body.replace(b'"size":8329717', b'"size":%d' % len(content))
        return status, headers, body

    loopback.answer = answer
    sleeps = Sleeps()
    request = request_in(tmp_path / "gbif", month="2025-08", poll_seconds=20)
    fetched = fetch(request, open_web(*HOSTS, credentials=ACCOUNT), sleeps)
    assert len(sleeps.slept) == 55  # 23 times PREPARING and 32 times RUNNING before SUCCEEDED
    assert fetched.files == (f"{KEY}.zip",)
    assert fetched.facts["totalRecords"] == 22235
    assert fetched.facts["citation"] == (
        "GBIF.org (4 September 2025) GBIF Occurrence Download https://doi.org/10.15468/dl.np3k7j"
    )
    with pytest.raises(ArchiveError, match="GBIF states 22235 records, the archive holds 3"):
        GbifDownload().verify(request, fetched)


@pytest.mark.real
def test_the_recorded_end_of_a_cancelled_download(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path, real_data: Path
) -> None:
    folder = real_data / "api_payloads" / "gbif"
    ((_, address, status, _, body),) = recorded(folder / "occ_download_meta.yml")
    cancelled = recorded(folder / "test_download_cancel.yaml")
    assert [x[2] for x in cancelled] == [201, 204]
    key = json.loads(body)["key"]

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        if asked.method == "POST":
            return 201, {}, key.encode()
        return (status, {}, body) if asked.url == address else (200, {}, b'{"results": []}')

    loopback.answer = answer
    with pytest.raises(DownloadEndedError, match=f"{key} ended as CANCELLED"):
        fetch(request_in(tmp_path / "gbif"), open_web(*HOSTS, credentials=ACCOUNT))


@pytest.mark.real
def test_the_recorded_refusal_of_an_account(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path, real_data: Path
) -> None:
    tape = recorded(real_data / "api_payloads" / "gbif" / "rgbif_occ_download_list_unauthorized.yml")
    ((_, address, status, _, body),) = tape
    assert address.startswith("https://api.gbif.org/v1/occurrence/download/user/")
    assert body.strip() == b"Failed to authenticate user foobar"
    loopback.answer = lambda asked: (status, {}, body)
    with pytest.raises(WebError, match="does not accept the user name") as raised:
        fetch(request_in(tmp_path / "gbif"), open_web(*HOSTS, credentials={"api.gbif.org": ("foobar", "x")}))
    assert raised.value.reason == "forbidden"


@pytest.mark.real
def test_the_citation_is_the_recorded_one(real_data: Path) -> None:
    ((_, _, _, _, body),) = recorded(real_data / "api_payloads" / "gbif" / "test-occurrences-download_citation.yaml")
    assert download_citation("10.15468/dl.29wbtx", "2023-01-02T10:00:00.000+00:00") == body.decode().strip()


def test_a_citation_needs_a_date() -> None:
    assert download_citation("10.1/x", "2023-01-02").startswith("GBIF.org (2 January 2023) ")
    with pytest.raises(WebError, match="is no date"):
        download_citation("10.1/x", "yesterday")
