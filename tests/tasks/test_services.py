"""Whom a run asks: routes and credentials, read at the edge and told nowhere."""

from __future__ import annotations

import httpx
import pytest
from prefect.blocks.system import Secret

from plant_traits.errors import InputError
from tasks import services
from tasks.services import find_credentials, operator_routes


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
