"""Images made for classification, each with its species: what every reader of such a set returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pandas as pd

from data_catalog import ImageLayout
from plant_traits.errors import InputError, MissingInputError
from plant_traits.schemas import LABELLED_IMAGE
from plant_traits.sources.image_folders import present
from plant_traits.sources.licences import normalise_licence


@dataclass(frozen=True)
class LabelledImages:
    """The images of a set.

    Attributes:
        images: columns ``LABELLED_IMAGE``, in order of image id.
        losses: images that the metadata name and that are left out, by reason.
    """

    images: pd.DataFrame
    losses: Mapping[str, int]


def check_choice(images: object, layout: object) -> None:
    """Check that a set of labelled images and what it is are said together.

    Raises:
        InputError: one of them is missing.
    """
    if (images is None) != (layout is None):
        raise InputError(
            f"labelled images: expected a folder and its layout ({', '.join(get_args(ImageLayout))}), found {images} "
            f"and {layout}; give both or neither"
        )


def labelled_images(rows: pd.DataFrame, folder: Path, losses: Mapping[str, int]) -> LabelledImages:
    """Keep the images that are there and whose species is known.

    Args:
        rows: columns ``LABELLED_IMAGE``, paths already checked.
        folder: the set's folder.
        losses: images left out before.

    Raises:
        MissingInputError: none of the images is there.
    """
    here = present(folder, rows["path"])
    if len(rows) and not here.any():
        raise MissingInputError(
            f"{folder}: none of the {len(rows)} images that the metadata name is there, such as "
            f"{rows['path'].iloc[0]}; unpack the set's images there"
        )
    named = rows["species"].notna()
    kept = rows[here & named].sort_values("image_id", ignore_index=True)
    spelled = {text: normalise_licence(text) for text in kept["licence"].dropna().unique()}
    kept["licence"] = kept["licence"].map(spelled)
    counted = dict(losses) | {"no_image": int((~here).sum()), "no_species": int((here & ~named).sum())}
    return LabelledImages(kept[LABELLED_IMAGE.names], {reason: n for reason, n in counted.items() if n})
