"""Name matching: what is found, what is only nearly found, and what is not."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from plant_traits.simulation.services.gbif_species import SpeciesMatch

NAMES = ("Querella montana", "Rosella montana", "Rosella pratensis")


@pytest.fixture
def client() -> TestClient:
    count = len(NAMES)
    species = pd.DataFrame(
        {
            "species": NAMES,
            "author": ["L."] * count,
            "genus": [name.split()[0] for name in NAMES],
            "family": ["Fagaceae", "Rosaceae", "Rosaceae"],
            "order": ["Fagales", "Rosales", "Rosales"],
            "taxon_key": [101, 102, 103],
            "genus_key": [11, 12, 12],
            "family_key": [21, 22, 22],
        }
    )
    return TestClient(Starlette(routes=SpeciesMatch(species).routes()))


def match(client: TestClient, name: str, **more: str) -> dict[str, Any]:
    answer = client.get("/v2/species/match", params={"scientificName": name, **more})
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    return told


@pytest.mark.parametrize(
    "name", ["Rosella pratensis", "Rosella pratensis L.", "rosella PRATENSIS", "Rosella_pratensis"]
)
def test_an_accepted_name_is_found_exactly(client: TestClient, name: str) -> None:
    told = match(client, name)
    assert (told["usage"]["key"], told["usage"]["canonicalName"], told["usage"]["rank"]) == (
        "103",
        "Rosella pratensis",
        "SPECIES",
    )
    assert told["diagnostics"]["matchType"] == "EXACT"
    assert "acceptedUsage" not in told
    assert [(x["rank"], x["name"]) for x in told["classification"]] == [
        ("KINGDOM", "Plantae"), ("PHYLUM", "Tracheophyta"), ("CLASS", "Magnoliopsida"), ("ORDER", "Rosales"),
        ("FAMILY", "Rosaceae"), ("GENUS", "Rosella"), ("SPECIES", "Rosella pratensis"),
    ]  # fmt: skip


def test_a_misspelling_is_a_variant(client: TestClient) -> None:
    told = match(client, "Rosella pratensiss")
    assert (told["usage"]["key"], told["diagnostics"]["matchType"]) == ("103", "VARIANT")


def test_an_unknown_species_is_matched_to_its_genus(client: TestClient) -> None:
    told = match(client, "Rosella ignota")
    assert (told["usage"]["key"], told["usage"]["rank"]) == ("12", "GENUS")
    assert told["diagnostics"]["matchType"] == "HIGHERRANK"
    assert match(client, "Rosella")["diagnostics"]["matchType"] == "EXACT"


@pytest.mark.parametrize("name", ["Felis catus", "", "x"])
def test_nothing_is_sure_to_be_nothing(client: TestClient, name: str) -> None:
    told = match(client, name)
    assert "usage" not in told
    assert (told["diagnostics"]["matchType"], told["diagnostics"]["confidence"]) == ("NONE", 100)


def test_another_kingdom_has_none_of_them(client: TestClient) -> None:
    assert match(client, "Rosella pratensis", kingdom="Animalia")["diagnostics"]["matchType"] == "NONE"
    assert match(client, "Rosella pratensis", kingdom="Plantae")["diagnostics"]["matchType"] == "EXACT"


def test_a_synonym_leads_to_the_accepted_species() -> None:
    species = pd.DataFrame(
        {"species": ["Aus bus", "Cus dus"], "author": "L.", "genus": ["Aus", "Cus"], "family": "F", "order": "Rosales",
         "taxon_key": [1, 2], "genus_key": [3, 4], "family_key": 5}
    )  # fmt: skip
    told = SpeciesMatch(species).match("Cus bus")
    assert (told["synonym"], told["usage"]["status"], told["usage"]["canonicalName"]) == (True, "SYNONYM", "Cus bus")
    assert (told["acceptedUsage"]["key"], told["acceptedUsage"]["canonicalName"]) == ("1", "Aus bus")
    assert told["diagnostics"]["matchType"] == "EXACT"


def test_an_unknown_checklist_is_refused(client: TestClient) -> None:
    answer = client.get("/v2/species/match", params={"scientificName": "Rosella", "checklistKey": "0"})
    assert answer.status_code == 400
