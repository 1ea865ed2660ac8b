"""Recorded exchanges of both kinds of tape are given back."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

import pytest
import yaml

from plant_traits.errors import InputError
from plant_traits.simulation.services.recorded import Recorded

URL = "https://api.example/v1/thing?b=2&a=1"


def tape(path: Path, kind: str, *answers: dict[str, object]) -> None:
    exchanges = [{"request": {"method": "GET", "uri": URL}, "response": answer} for answer in answers]
    path.write_text(yaml.safe_dump({kind: exchanges}))


def test_answers_come_in_turn_and_the_last_one_stays(tmp_path: Path) -> None:
    tape(
        tmp_path / "python.yaml",
        "interactions",
        {"status": {"code": 200}, "headers": {"Content-Type": ["text/plain"], "Via": ["x"]}, "body": {"string": "one"}},
        {"status": {"code": 503}, "headers": {"Retry-After": ["5"]}, "body": {"string": ""}},
    )
    recorded = Recorded.read(tmp_path)
    found = [recorded.answer("GET", "api.example", "/v1/thing?a=1&b=2") for _ in range(3)]
    assert [x.status_code for x in found if x is not None] == [200, 503, 503]
    assert found[0] is not None
    assert (found[0].body, found[0].headers["content-type"], "via" in found[0].headers) == (b"one", "text/plain", False)
    assert found[1] is not None
    assert found[1].headers["retry-after"] == "5"
    assert recorded.answer("POST", "api.example", "/v1/thing?a=1&b=2") is None
    assert recorded.answer("GET", "api.example", "/v1/thing?a=1") is None


def test_ruby_tapes_with_packed_bodies(tmp_path: Path) -> None:
    packed = base64.b64encode(gzip.compress(b"Authorization required")).decode()
    tape(tmp_path / "ruby.yml", "http_interactions", {"status": 401, "body": {"raw_gzip": packed}})
    found = Recorded.read(tmp_path).answer("GET", "api.example", "/v1/thing?a=1&b=2")
    assert found is not None
    assert (found.status_code, found.body) == (401, b"Authorization required")


@pytest.mark.parametrize("text", ["[1, 2]", "a: b", "{", "interactions: [{}]"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match="cassette"):
        Recorded.read(tmp_path)


@pytest.mark.real
def test_a_recorded_life_of_a_download(real_data: Path, tmp_path: Path) -> None:
    name = "rgbif_occ_download_wait_request.yml"
    (tmp_path / name).write_bytes((real_data / "api_payloads" / "gbif" / name).read_bytes())
    recorded = Recorded.read(tmp_path)
    asked = recorded.answer("POST", "api.gbif.org", "/v1/occurrence/download/request")
    assert asked is not None
    assert (asked.status_code, asked.body) == (201, b"0026011-250827131500795")
    states = []
    for _ in range(60):
        told = recorded.answer("GET", "api.gbif.org", "/v1/occurrence/download/0026011-250827131500795")
        assert told is not None
        states.append(next(x for x in (b"PREPARING", b"RUNNING", b"SUCCEEDED") if b'"status":"' + x in told.body))
    assert list(dict.fromkeys(states)) == [b"PREPARING", b"RUNNING", b"SUCCEEDED"]
