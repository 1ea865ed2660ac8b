from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from plant_traits.errors import InputError, MissingInputError, WebError
from plant_traits.sources.gbif.derived_dataset import (
    DerivedDataset,
    post_derived_dataset,
    write_derived_dataset,
)
from plant_traits.sources.web.client import Web

if TYPE_CHECKING:
    from tests.plant_traits.sources.gbif.conftest import Asked, Loopback

A, B = "3ea36590-9b79-46a8-9300-c9ef0bfed7b8", "630eb55d-5169-4473-99d6-a93396aeae38"
HOST = "api.gbif.org"
ACCOUNT = {HOST: ("ann", "s3cret")}
WHAT = {"title": "Traits 2026-10", "description": "Filtered.", "source_url": "https://example.org/map"}
OpenWeb = Callable[..., Web]


def test_the_body_is_what_gbif_expects() -> None:
    derived = DerivedDataset(**WHAT, datasets={B: 1, A: 2}, download_doi="10.15468/dl.np3k7j")
    assert derived.body() == {
        "title": "Traits 2026-10",
        "description": "Filtered.",
        "sourceUrl": "https://example.org/map",
        "originalDownloadDOI": "10.15468/dl.np3k7j",
        "relatedDatasets": {A: 2, B: 1},
    }
    assert "originalDownloadDOI" not in DerivedDataset(**WHAT, datasets={A: 3}).body()


@pytest.mark.parametrize(
    "changed",
    [
        {"datasets": {}},
        {"datasets": {"inaturalist": 3}},
        {"datasets": {A: 0}},
        {"source_url": "example.org"},
        {"download_doi": "https://doi.org/10.15468/dl.x"},
    ],
)
def test_what_cannot_be_cited_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        DerivedDataset(**{**WHAT, "datasets": {A: 1}, **changed})


def test_the_files_say_the_same_as_the_body(tmp_path: Path) -> None:
    derived = DerivedDataset("Tïtle", "d", "https://example.org", {B: 1, A: 20})
    body, table = write_derived_dataset(derived, tmp_path / "release" / "gbif_derived_dataset")
    assert (body.name, table.name) == ("gbif_derived_dataset.json", "gbif_derived_dataset.tsv")
    assert json.loads(body.read_text(encoding="utf-8")) == derived.body()
    assert table.read_text(encoding="utf-8") == f"datasetKey\toccurrences\n{A}\t20\n{B}\t1\n"


class Registry:
    """A small registry of derived data sets."""

    def __init__(self) -> None:
        self.registered: list[dict[str, Any]] = []
        self.status = 201
        self.lose_answer = False

    def __call__(self, asked: Asked) -> tuple[int, dict[str, str], bytes]:
        if "authorization" not in asked.headers:
            return 401, {}, b""
        if asked.method == "GET":
            assert asked.url.startswith("https://api.gbif.org/v1/derivedDataset/user/ann?")
            told = [{k: v for k, v in x.items() if k != "relatedDatasets"} for x in reversed(self.registered)]
            return 200, {}, json.dumps({"results": told}).encode()
        if self.status != 201:
            return self.status, {}, b"Dataset not found"
        doi = f"10.15468/dd.{len(self.registered)}"
        self.registered.append({**json.loads(asked.body), "doi": doi})
        content = json.dumps(self.registered[-1]).encode()
        return 201, ({"x-cut": "0"} if self.lose_answer else {}), content


def written(tmp_path: Path, title: str = "t", name: str = "dd") -> Path:
    return write_derived_dataset(DerivedDataset(title, "d", "https://example.org", {A: 2}), tmp_path / name)[0]


def test_it_is_registered_once(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    registry = loopback.answer = Registry()
    web, path = open_web(HOST, credentials=ACCOUNT), written(tmp_path)
    assert post_derived_dataset(web, path) == "10.15468/dd.0"
    assert loopback.asked[0].url == "https://api.gbif.org/v1/derivedDataset"
    assert json.loads(loopback.asked[0].body) == json.loads(path.read_text(encoding="utf-8"))
    assert post_derived_dataset(web, written(tmp_path)) == "10.15468/dd.0"
    assert len(loopback.asked) == 1
    with pytest.raises(InputError, match=r"another body was registered as 10\.15468/dd\.0"):
        post_derived_dataset(web, written(tmp_path, "other"))
    assert post_derived_dataset(web, written(tmp_path, "other", "dd2")) == "10.15468/dd.1"
    assert len(registry.registered) == 2


def test_a_lost_answer_does_not_register_it_twice(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    registry = loopback.answer = Registry()
    web, path = open_web(HOST, credentials=ACCOUNT), written(tmp_path)
    post_derived_dataset(web, written(tmp_path, "another", "dd0"))
    registry.lose_answer = True
    with pytest.raises(WebError):
        post_derived_dataset(web, path)
    registry.lose_answer = False
    assert post_derived_dataset(web, path) == "10.15468/dd.1"
    assert len(registry.registered) == 2


def test_a_request_that_never_came_through_is_sent_again(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    registry = loopback.answer = Registry()
    web, path = open_web(HOST, credentials=ACCOUNT), written(tmp_path)
    registry.status = 500
    with pytest.raises(WebError, match="answers 500"):
        post_derived_dataset(web, path)
    registry.status = 201
    assert post_derived_dataset(web, path) == "10.15468/dd.0"
    assert [x.method for x in loopback.asked] == ["POST", "GET", "POST"]


@pytest.mark.parametrize(
    ("status", "told"), [(400, "does not accept the derived data set.*Dataset not found"), (403, "may not register")]
)
def test_refusals_are_told(loopback: Loopback, open_web: OpenWeb, tmp_path: Path, status: int, told: str) -> None:
    registry = loopback.answer = Registry()
    registry.status = status
    with pytest.raises(WebError, match=told) as raised:
        post_derived_dataset(open_web(HOST, credentials=ACCOUNT), written(tmp_path))
    assert raised.value.status == status


def test_the_account_is_needed(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    loopback.answer = lambda asked: (401, {}, b"")
    with pytest.raises(WebError, match="needs an account"):
        post_derived_dataset(open_web(HOST), written(tmp_path))
    with pytest.raises(WebError, match="does not accept the user name and password") as raised:
        post_derived_dataset(open_web(HOST, credentials=ACCOUNT), written(tmp_path, name="b"))
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("answer", [b"[]", b"{}", b'{"doi": "soon"}', b"<html>"])
def test_an_answer_without_a_doi_is_refused(
    loopback: Loopback, open_web: OpenWeb, tmp_path: Path, answer: bytes
) -> None:
    loopback.answer = lambda asked: (201, {}, answer)
    with pytest.raises(WebError, match="expected"):
        post_derived_dataset(open_web(HOST, credentials=ACCOUNT), written(tmp_path))


def test_files_that_are_no_body_are_refused(loopback: Loopback, open_web: OpenWeb, tmp_path: Path) -> None:
    web = open_web(HOST, credentials=ACCOUNT)
    with pytest.raises(MissingInputError):
        post_derived_dataset(web, tmp_path / "none.json")
    for text in ("{", "[]", "{}", '{"relatedDatasets": {}}'):
        (tmp_path / "x.json").write_text(text, encoding="utf-8")
        with pytest.raises(InputError):
            post_derived_dataset(web, tmp_path / "x.json")
    assert not loopback.asked


@pytest.mark.real
def test_the_recorded_registration(loopback: Loopback, open_web: OpenWeb, tmp_path: Path, real_data: Path) -> None:
    path = real_data / "api_payloads" / "gbif" / "rgbif_derived_dataset_1.yml"
    (tape,) = yaml.safe_load(path.read_text(encoding="utf-8"))["http_interactions"]
    asked, answer = tape["request"], tape["response"]
    recorded = json.loads(asked["body"]["string"])
    derived = DerivedDataset(
        datasets=recorded["relatedDatasets"],
        title=recorded["title"],
        description=recorded["description"],
        source_url=recorded["sourceUrl"],
    )
    loopback.answer = lambda _: (answer["status"], {}, answer["body"]["string"].encode())
    body, _ = write_derived_dataset(derived, tmp_path / "dd")
    assert post_derived_dataset(open_web(HOST, credentials=ACCOUNT), body) == "10.15468/dd.cam6mk"
    (sent,) = loopback.asked
    assert (sent.method, sent.url) == (asked["method"], asked["uri"])
    assert json.loads(sent.body) == recorded
