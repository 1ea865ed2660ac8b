"""What a virtual world was made from: its settings and species, beside its files, for the services that stand on it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from data_catalog import WorldSettings
from plant_traits.errors import InputError

WORLD_FILE = "world.json"
_COLUMNS = ["species", "author", "genus", "family", "order", "taxon_key", "genus_key", "family_key"]


def write_world_file(settings: WorldSettings, species: pd.DataFrame, folder: Path) -> None:
    """Write ``world.json``.

    Args:
        settings: of the world.
        species: the flora's table.
        folder: the world's.
    """
    told = {"settings": settings.model_dump(mode="json"), "species": species[_COLUMNS].to_dict("list")}
    (folder / WORLD_FILE).write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_world_file(folder: Path) -> tuple[WorldSettings, pd.DataFrame]:
    """Read a world's settings and species.

    Raises:
        InputError: the folder holds no virtual world.
    """
    path = folder / WORLD_FILE
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return WorldSettings.model_validate(told["settings"]), pd.DataFrame(told["species"])[_COLUMNS]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: expected the description of a virtual world ({error}); build the world anew"
        ) from error
