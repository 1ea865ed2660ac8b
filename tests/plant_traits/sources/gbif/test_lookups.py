"""pygbif's look-ups go through our client, and pygbif itself stays as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Protocol

import pytest
import requests
from pygbif import gbifutils, institution, occurrences, species

from plant_traits.errors import WebError
from plant_traits.sources.gbif import lookups
from plant_traits.sources.web.client import Web


class Asked(Protocol):
    url: str


class Server(Protocol):
    answer: Callable[[Asked], tuple[int, dict[str, str], bytes]]
    asked: list[Asked]


@pytest.fixture(autouse=True)
def no_bare_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pygbif asked by itself")

    monkeypatch.setattr(requests, "get", refuse)


def test_each_look_up_asks_its_address(loopback: Server, open_web: Callable[..., Web]) -> None:
    loopback.answer = lambda _: (200, {"content-type": "application/json;charset=utf-8"}, json.dumps({"a": 1}).encode())
    web = open_web(lookups.HOST)
    assert lookups.occurrence_search(web)(taxonKey="TP", checklistKey="c", limit=5, offset=10) == {"a": 1}
    assert lookups.species_match(web)(scientificName="Poa annua", checklistKey="c") == {"a": 1}
    assert lookups.institution_search(web)(limit=2, offset=4) == {"a": 1}
    assert [x.url for x in loopback.asked] == [
        "https://api.gbif.org/v1/occurrence/search?taxonKey=TP&checklistKey=c&limit=5&offset=10",
        "https://api.gbif.org/v2/species/match?scientificName=Poa+annua&checklistKey=c",
        "https://api.gbif.org/v1/grscicoll/institution?offset=4&limit=2",
    ]


def test_passing_failures_are_asked_again(loopback: Server, open_web: Callable[..., Web]) -> None:
    replies = iter([(429, {"retry-after": "0"}, b""), (503, {}, b""), (200, {}, b'{"a": 1}')])
    loopback.answer = lambda _: next(replies)
    assert lookups.species_match(open_web(lookups.HOST))(scientificName="Poa annua", checklistKey="c") == {"a": 1}
    assert len(loopback.asked) == 3


def test_only_hosts_of_the_catalogue_are_asked(open_web: Callable[..., Web]) -> None:
    with pytest.raises(WebError, match="not among the catalogue's hosts"):
        lookups.species_match(open_web("example.org"))(scientificName="Poa annua", checklistKey="c")


def test_pygbif_itself_is_unchanged(open_web: Callable[..., Web]) -> None:
    web = open_web(lookups.HOST)
    for bind, original in (
        (lookups.occurrence_search, occurrences.search),
        (lookups.species_match, species.name_backbone),
        (lookups.institution_search, institution.search),
    ):
        assert bind(web) is not original
        assert original.__globals__["gbif_GET"] is gbifutils.gbif_GET


def test_logging_is_left_alone() -> None:
    code = """
import logging, sys
import plant_traits.sources.gbif.lookups as lookups
print("pygbif" in sys.modules)
lookups.species_match(None)
print("pygbif" in sys.modules, logging.getLogger().handlers, logging.getLogger().level == logging.WARNING)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["False", "True [] True"]
