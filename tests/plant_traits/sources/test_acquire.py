"""The driver: a source is fetched once, its manifest comes last, and a failed try leaves no manifest."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from data_catalog import load_catalog
from plant_traits.errors import ArchiveError, WebError, WorkspaceError
from plant_traits.month import Month
from plant_traits.regions import Region
from plant_traits.sources.acquire import MANIFEST, acquire_source
from plant_traits.sources.protocol import Fetched, Plan, Request
from plant_traits.sources.web.client import Web

NO_WEB = cast(Web, None)  # the plug-in of these tests asks nobody


@dataclass
class Orchard:
    """A plug-in whose service is a list of fruit."""

    fruit: tuple[str, ...] = ("apple", "pear")
    broken: bool = False
    failing: bool = False
    calls: list[str] = field(default_factory=list)

    def plan(self, request: Request) -> Plan:
        return Plan({"fruit": list(self.fruit), "month": str(request.month)})

    def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
        self.calls.append("fetch")
        for name in self.fruit:
            if not (request.folder / name).exists():
                (request.folder / name).write_text(name)
                if self.failing:
                    raise WebError("unavailable", "the orchard is closed")
        return Fetched(self.fruit, {"doi": "10.1/fruit"}, {"windfall": 3})

    def verify(self, request: Request, fetched: Fetched) -> None:
        self.calls.append("verify")
        if self.broken:
            raise ArchiveError("a worm")

    def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
        self.calls.append("normalise")
        text = " ".join((request.folder / name).read_text() for name in fetched.files)
        (destination / "basket.txt").write_text(text)
        return {"rows": len(fetched.files)}


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    source = load_catalog().source("gbif")
    return Request(source, Month(2026, 10), Region("world", -180.0, -90.0, 180.0, 90.0), {}, tmp_path / "orchard")


def test_manifest_tells_what_came(request_: Request) -> None:
    acquired = acquire_source(Orchard(), request_, NO_WEB)
    assert acquired.files == {"apple": 5, "basket.txt": 10, "pear": 4}
    assert acquired.facts == {"doi": "10.1/fruit"}
    assert (acquired.counts, acquired.lost, acquired.reused) == ({"rows": 2}, {"windfall": 3}, False)
    assert (request_.folder / "basket.txt").read_text() == "apple pear"


def test_same_plan_is_not_fetched_again(request_: Request) -> None:
    first = acquire_source(Orchard(), request_, NO_WEB)
    again = Orchard()
    assert acquire_source(again, request_, NO_WEB) == first
    assert again.calls == []


def test_another_month_is_fetched(request_: Request) -> None:
    acquire_source(Orchard(), request_, NO_WEB)
    later = Orchard()
    assert not acquire_source(later, replace(request_, month=Month(2026, 11)), NO_WEB).reused
    assert later.calls == ["fetch", "verify", "normalise"]


@pytest.mark.parametrize(("name", "content"), [("pear", None), ("pear", "pea"), ("basket.txt", "app")])
def test_missing_or_cut_file_is_made_again(request_: Request, name: str, content: str | None) -> None:
    acquire_source(Orchard(), request_, NO_WEB)
    if content is None:
        (request_.folder / name).unlink()
    else:
        (request_.folder / name).write_text(content)
    again = acquire_source(Orchard(), request_, NO_WEB)
    assert not again.reused
    assert again.files == {"apple": 5, "basket.txt": 10, "pear": 4}


def test_what_does_not_verify_leaves_no_manifest(request_: Request) -> None:
    with pytest.raises(ArchiveError, match="worm"):
        acquire_source(Orchard(broken=True), request_, NO_WEB)
    assert not (request_.folder / MANIFEST).exists()
    assert not (request_.folder / "basket.txt").exists()


def test_next_try_goes_on_with_what_came(request_: Request) -> None:
    with pytest.raises(WebError, match="closed"):
        acquire_source(Orchard(failing=True), request_, NO_WEB)
    assert (request_.folder / "apple").exists()
    assert acquire_source(Orchard(), request_, NO_WEB).counts == {"rows": 2}


def test_failed_change_of_plan_does_not_pass_for_the_old_one(request_: Request) -> None:
    acquire_source(Orchard(), request_, NO_WEB)
    with pytest.raises(WebError):
        acquire_source(Orchard(("quince",), failing=True), request_, NO_WEB)
    assert not (request_.folder / MANIFEST).exists()


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), sqlite3.OperationalError("database or disk is full")]
)
def test_full_disk_is_told_with_what_to_do(request_: Request, failure: Exception) -> None:
    class FullDisk(Orchard):
        def normalise(self, request: Request, fetched: Fetched, destination: Path) -> Mapping[str, int]:
            raise failure

    with pytest.raises(WorkspaceError, match=r"source 'gbif': .* free space .* run again"):
        acquire_source(FullDisk(), request_, NO_WEB)
    assert {x.name for x in request_.folder.iterdir()} == {"apple", "pear"}


def test_files_that_the_plug_in_mends_are_not_removed(request_: Request) -> None:
    class Press(Orchard):
        def fetch(self, request: Request, plan: Plan, web: Web) -> Fetched:
            return replace(super().fetch(request, plan, web), mended=True)

    acquire_source(Press(), request_, NO_WEB)
    (request_.folder / "pear").write_text("pear and more")
    again = Press()
    assert not acquire_source(again, request_, NO_WEB).reused
    assert again.calls == ["fetch", "verify", "normalise"]
    assert (request_.folder / "pear").read_text() == "pear and more"
