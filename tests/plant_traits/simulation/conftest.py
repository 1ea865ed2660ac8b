"""A virtual world of the `tiny` profile, built once, with a trait that the catalogue does not have."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_catalog import Catalog, Profile, Trait
from plant_traits.simulation.world import build_world

WOOD_DENSITY = Trait(
    id="wood_density",
    name="Wood density",
    definition="Dry mass per fresh volume of the stem.",
    unit="g cm-3",
    try_ids=(4,),
    valid_range=(0.05, 1.5),
    unit_factors={"g cm-3": 1.0},
)


@pytest.fixture(scope="session")
def tiny(catalog: Catalog) -> Profile:
    return catalog.profile("tiny")


@pytest.fixture(scope="session")
def five_traits(catalog: Catalog, tiny: Profile) -> list[Trait]:
    return [*(catalog.trait(name) for name in tiny.traits), WOOD_DENSITY]


@pytest.fixture(scope="session")
def tiny_world(tiny: Profile, five_traits: list[Trait], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    assert tiny.inputs.world is not None
    build_world(tiny.inputs.world, five_traits, folder)
    return folder
