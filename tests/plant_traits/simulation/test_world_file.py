"""The description of a world says its seed and species, and what is no world is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_catalog import Profile
from plant_traits.errors import InputError
from plant_traits.simulation.flora import build_flora
from plant_traits.simulation.planet import build_planet
from plant_traits.simulation.world_file import read_world_file


def test_tells_settings_and_species(tiny_world: Path, tiny: Profile) -> None:
    settings, species = read_world_file(tiny_world)
    assert settings == tiny.inputs.world
    flora = build_flora(settings.seed, build_planet(settings.seed), settings.species).species
    for name in species:
        assert species[name].tolist() == flora[name].tolist()
    assert len(species) == 40


@pytest.mark.parametrize("text", [None, "{", "{}", '{"settings": {"seed": "x"}, "species": {}}'])
def test_anything_else_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "world.json").write_text(text)
    with pytest.raises(InputError, match="build the world anew"):
        read_world_file(tmp_path)
