"""Pl@ntNet-300K: 306,146 images of 1,081 species, with long tails and look-alikes [Garcin et al. 2021].

The folder, as unpacked from version 1.1 (Zenodo record 5645731)::

    images/{train,val,test}/<species id>/<image id>.jpg
    plantnet300K_metadata.json              {"<image id>": {"species_id", "obs_id", "organ", "is_shareable", "v1_id",
                                                            "author", "license", "split"}}
    plantnet300K_species_id_2_name.json     {"<species id>": "<name with authors>"}

Version 1.0 named its files otherwise and is not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from plant_traits.errors import InputError
from plant_traits.sources.image_folders import check_relative_paths
from plant_traits.sources.json_objects import read_json_object
from plant_traits.sources.labelled_images import LabelledImages, labelled_images
from plant_traits.taxa.names import canonical_binomial, genus

METADATA = "plantnet300K_metadata.json"
NAMES = "plantnet300K_species_id_2_name.json"
SPLITS = ("train", "val", "test")

_METADATA_BYTES, _NAMES_BYTES = 512 * 2**20, 16 * 2**20
_FIELDS = ("species_id", "obs_id", "author", "license", "split")


def read_plantnet300k(folder: Path) -> LabelledImages:
    """Read the set's images with their species, split, licence and author.

    An image that is not there, or whose name is not a binomial, is counted and left out.

    Raises:
        MissingInputError: a metadata file is not there, or no image is.
        InputError: a metadata file is damaged, too large, or names a path outside the folder.
    """
    metadata = read_json_object(folder / METADATA, _METADATA_BYTES)
    names = read_json_object(folder / NAMES, _NAMES_BYTES)
    if not all(isinstance(name, str) for name in names.values()):
        raise InputError(f"{NAMES}: expected a name per species id; fetch the file again")
    entries = pd.DataFrame.from_records(_records(metadata), columns=_FIELDS).astype("str")
    image = pd.Series(list(metadata), dtype="str")
    odd = sorted(set(entries["split"].unique()) - set(SPLITS))
    if odd:
        raise InputError(f"{METADATA}: expected the splits {', '.join(SPLITS)}, found {odd[0][:40]!r}")
    path = "images/" + entries["split"] + "/" + entries["species_id"] + "/" + image + ".jpg"
    check_relative_paths(path, METADATA)
    full_name = entries["species_id"].map(pd.Series(names, dtype="str"))
    rows = pd.DataFrame(
        {
            "image_id": image,
            "path": path,
            "class_id": entries["species_id"],
            "species": canonical_binomial(full_name),
            "genus": genus(full_name),
            "family": pd.Series(None, index=image.index, dtype="str"),
            "split": entries["split"],
            "licence": entries["license"],
            "author": entries["author"],
            "observation_id": entries["obs_id"],
        }
    )
    return labelled_images(rows, folder, {})


def _records(metadata: dict[str, Any]) -> list[tuple[Any, ...]]:
    try:
        return [tuple(entry[field] for field in _FIELDS) for entry in metadata.values()]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{METADATA}: expected the fields {', '.join(_FIELDS)} of each image, missing {error}; "
            "fetch version 1.1 of the set"
        ) from error
