"""Whom a run asks: routes and credentials, read at the edge and told nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from prefect.blocks.system import Secret

from plant_traits.errors import InputError, WorkspaceError
from plant_traits.simulation.services import StandIns
from plant_traits.simulation.services.request_log import RequestLog
from tasks import services
from tasks.services import STAND_INS, asking, find_credentials, operator_routes


def test_routes_are_a_json_object_of_texts() -> None:
    variable = '{"api.gbif.org": "https://mirror.example.org/gbif"}'
    assert operator_routes({"PLANT_TRAITS_ROUTES": variable}) == {"api.gbif.org": "https://mirror.example.org/gbif"}
    assert operator_routes({}) == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"api.gbif.org": 3}'])
def test_other_routes_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="PLANT_TRAITS_ROUTES"):
        operator_routes({"PLANT_TRAITS_ROUTES": text})


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Secret, "load", lambda name: pytest.fail("the block was read"))
    found = find_credentials({"GBIF_USER": "ada", "GBIF_PWD": "secret"})
    assert found == {"api.gbif.org": ("ada", "secret")}


def test_then_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str) -> Secret:
        asked.append(name)
        return Secret(value={"user": "ada", "password": "secret"})

    monkeypatch.setattr(Secret, "load", load)
    assert find_credentials({"GBIF_USER": "ada"}) == {"api.gbif.org": ("ada", "secret")}
    assert asked == [services.GBIF_BLOCK]


def test_a_block_of_another_shape_is_refused_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Secret, "load", lambda name: Secret(value="hunter2"))
    with pytest.raises(InputError, match="expected an object") as caught:
        find_credentials({})
    assert "hunter2" not in str(caught.value)


def test_no_block_is_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Secret:
        raise ValueError(f"Unable to find block document named {name}")

    monkeypatch.setattr(Secret, "load", load)
    assert find_credentials({}) == {}


def test_a_server_that_is_down_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> Secret:
        raise httpx.ConnectError("Connection refused")

    monkeypatch.setattr(Secret, "load", load)
    with pytest.raises(InputError, match="set GBIF_USER and GBIF_PWD"):
        find_credentials({})


@pytest.fixture
def lives(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return when stand-ins, which answer nothing here, start and end; those of 2026-13 do not start."""
    events: list[str] = []

    @contextmanager
    def serve(world: Path, *, state: Path, month: str, **words: object) -> Iterator[StandIns]:
        if month == "2026-13":
            raise WorkspaceError("the stand-ins did not start")
        events.append(f"{month} starts")
        yield StandIns({"api.gbif.org": f"http://127.0.0.1/{month}"}, {}, RequestLog(state / "log"), 1)
        events.append(f"{month} ends")

    monkeypatch.setattr(services, "serve", serve)
    return events


def ask(folder: Path, month: str) -> None:
    run = SimpleNamespace(
        spec=SimpleNamespace(hosts={}, faults=0.0, month=month),
        store=SimpleNamespace(fetch=lambda world: folder),
        data_root=lambda world: folder,
    )
    with asking(run, SimpleNamespace()):
        pass


def test_stand_ins_live_as_long_as_a_stage(lives: list[str], tmp_path: Path) -> None:
    ask(tmp_path, "2026-10")
    ask(tmp_path, "2026-10")
    assert lives == ["2026-10 starts", "2026-10 ends"] * 2


def test_kept_stand_ins_live_as_long_as_the_run_or_its_month(lives: list[str], tmp_path: Path) -> None:
    with STAND_INS.keeping():
        ask(tmp_path, "2026-10")
        ask(tmp_path, "2026-10")
        assert lives == ["2026-10 starts"]
        ask(tmp_path, "2026-11")
        assert lives == ["2026-10 starts", "2026-10 ends", "2026-11 starts"]
    assert lives[3:] == ["2026-11 ends"]
    ask(tmp_path, "2026-12")
    assert lives[4:] == ["2026-12 starts", "2026-12 ends"]


def test_stand_ins_that_do_not_start_leave_none_behind(lives: list[str], tmp_path: Path) -> None:
    with STAND_INS.keeping():
        ask(tmp_path, "2026-10")
        with pytest.raises(WorkspaceError):
            ask(tmp_path, "2026-13")
        ask(tmp_path, "2026-10")
    assert lives == ["2026-10 starts", "2026-10 ends"] * 2
