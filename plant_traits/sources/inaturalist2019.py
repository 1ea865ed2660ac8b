"""iNaturalist 2019: 268,243 images of 1,010 species of 72 genera, of which the plants are read.

The folder, as unpacked from the competition's files::

    train_val2019/<super category>/<category>/<image>.jpg
    train2019.json, val2019.json    {"images": [{"id", "file_name", "license", "rights_holder"}],
                                     "annotations": [{"image_id", "category_id"}],
                                     "categories": [{"id", "name", "kingdom", ..., "family", "genus"}],
                                     "licenses": [{"id", "name", "url"}]}
    categories.json                 where it is there, the categories with their real names

The names in the first release of the annotations are obfuscated; ``categories.json`` was published later to take the
place of their categories. Whether that file is a list or an object with a list is not documented: both are read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from plant_traits.errors import InputError
from plant_traits.sources.image_folders import check_relative_paths
from plant_traits.sources.json_objects import read_json_object
from plant_traits.sources.labelled_images import LabelledImages, labelled_images
from plant_traits.taxa.names import canonical_binomial, genus

SPLITS = {"train": "train2019.json", "val": "val2019.json"}
CATEGORIES = "categories.json"

_MOST_BYTES = 512 * 2**20


def read_inaturalist2019(folder: Path) -> LabelledImages:
    """Read the plants among the set's images, with their species, split, licence and rights holder.

    Images of other kingdoms, ones that are not there and ones whose name is not a binomial are counted and left out.

    Raises:
        MissingInputError: an annotation file is not there, or no image of a plant is.
        InputError: an annotation file is damaged, too large, or names a path outside the folder.
    """
    losses: dict[str, int] = {}
    parts = []
    for split, file in SPLITS.items():
        content = read_json_object(folder / file, _MOST_BYTES)
        named = _real_categories(folder) if (folder / CATEGORIES).exists() else content.get("categories")
        categories = _frame(named, file, "categories", ("id", "name", "kingdom"))
        part = _split(content, file, categories)
        plants = part["kingdom"] == "Plantae"
        losses["other_kingdoms"] = losses.get("other_kingdoms", 0) + int((~plants).sum())
        parts.append(part[plants].assign(split=split))
    rows = pd.concat(parts, ignore_index=True)
    text = {name: rows[name].astype("str") for name in ("image_id", "category_id", "name")}
    table = pd.DataFrame(
        {
            "image_id": text["image_id"],
            "path": rows["file_name"],
            "class_id": text["category_id"],
            "species": canonical_binomial(text["name"]),
            "genus": genus(text["name"]),
            "family": rows["family"],
            "split": rows["split"],
            "licence": rows["licence"],
            "author": rows["rights_holder"],
            "observation_id": pd.Series(None, index=rows.index, dtype="str"),
        }
    )
    if table["image_id"].duplicated().any():
        twice = table["image_id"][table["image_id"].duplicated()].iloc[0]
        raise InputError(f"{', '.join(SPLITS.values())}: image {twice} is annotated twice; fetch the files again")
    return labelled_images(table, folder, losses)


def _split(content: dict[str, Any], file: str, categories: pd.DataFrame) -> pd.DataFrame:
    """Join the tables of one annotation file: one row per image."""
    images = _frame(content.get("images"), file, "images", ("id", "file_name"))
    annotations = _frame(content.get("annotations"), file, "annotations", ("image_id", "category_id"))
    licences = _frame(content.get("licenses"), file, "licenses", ("id", "url"))
    check_relative_paths(images["file_name"], file)
    for name, frame in (("images", images), ("categories", categories), ("licenses", licences)):
        if frame["id"].duplicated().any():
            raise InputError(f"{file}: an id occurs twice in {name}; fetch the file again")
    images = images.reindex(columns=["id", "file_name", "license", "rights_holder"])
    categories = categories.reindex(columns=["id", "name", "kingdom", "family"])
    joined = annotations[["image_id", "category_id"]].merge(
        images.rename(columns={"id": "image_id"}), on="image_id", how="left"
    )
    joined = joined.merge(categories.rename(columns={"id": "category_id"}), on="category_id", how="left")
    dangling = joined["file_name"].isna() | joined["name"].isna()
    if dangling.any() or len(joined) != len(images):
        raise InputError(
            f"{file}: expected one annotation of a known category per image, found {len(joined)} of {len(images)} "
            f"images and {int(dangling.sum())} that lead nowhere; fetch the file again"
        )
    joined["licence"] = joined["license"].map(licences.set_index("id")["url"])
    return joined


def _frame(records: object, file: str, part: str, columns: tuple[str, ...]) -> pd.DataFrame:
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise InputError(f"{file}: expected a list of objects under {part!r}; fetch the file again")
    frame = pd.DataFrame.from_records(records)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InputError(f"{file}: {part} lack {missing}; found {list(frame.columns)}; fetch the file again")
    return frame


def _real_categories(folder: Path) -> object:
    path = folder / CATEGORIES
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise InputError(f"{CATEGORIES}: expected at most {_MOST_BYTES} bytes, found {size}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{CATEGORIES}: not readable as JSON: {error}; fetch the file again") from error
    return content.get("categories") if isinstance(content, dict) else content
