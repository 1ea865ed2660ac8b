"""Registering a release's records: never those of a virtual world with the real service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plant_traits.errors import InputError, MissingInputError
from tasks import citation
from tasks.citation import Citation, post_citation

KEY = "7a3679ef-5582-4aaa-81f0-8c2545cafc81"


def body(folder: Path, address: str) -> Path:
    path = folder / "derived_dataset.json"
    path.write_text(json.dumps({"title": "t", "description": "d", "sourceUrl": address, "relatedDatasets": {KEY: 3}}))
    return path


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GBIF_USER", "ada")
    monkeypatch.setenv("GBIF_PWD", "secret")
    monkeypatch.delenv("PLANT_TRAITS_ROUTES", raising=False)
    monkeypatch.setattr(citation, "post_derived_dataset", lambda web, path: f"posted {path.name}")


def test_nothing_to_post(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="published_at"):
        post_citation(Citation((), None), tmp_path)


def test_maps_at_an_example_address_are_not_registered(tmp_path: Path) -> None:
    found = Citation((), body(tmp_path, "https://plant-traits.example/demo"))
    with pytest.raises(InputError, match="is an example"):
        post_citation(found, tmp_path / "workspace")
    assert not (tmp_path / "workspace").exists()


def test_published_maps_are_registered(tmp_path: Path) -> None:
    found = Citation((), body(tmp_path, "https://maps.example.org/traits"))
    assert post_citation(found, tmp_path / "workspace") == "posted derived_dataset.json"


def test_a_stand_in_may_register_an_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANT_TRAITS_ROUTES", '{"api.gbif.org": "http://127.0.0.1:9/api.gbif.org"}')
    found = Citation((), body(tmp_path, "https://plant-traits.example/demo"))
    assert post_citation(found, tmp_path / "workspace") == "posted derived_dataset.json"
