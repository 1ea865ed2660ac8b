"""Stage: a trained model as people see and download it - weights, card, learning curves, scores and a page."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml

from maps.report.model_facts import Ingredient, ModelPage, cleaning_tables
from maps.report.model_page import write_model_files
from plant_traits.errors import TableError
from plant_traits.model.checkpoint import CARD, WEIGHTS, load_model
from plant_traits.model.held_out_places import HELD_OUT_PLACES
from plant_traits.model.training_places import PLACES
from plant_traits.steps import Summary

CURVES_FILES = ("curves.csv", "history.csv")
DROPPED_FILES = ("dropped.csv", "dropped.parquet")
NOT_RECORDED = "not recorded with the model"

_EPOCH = ("member", "round", "epoch", "loss", "held_out_loss")


def write_model_page(
    destination: Path,
    *,
    model: Path,
    cleaning: Path | None,
    name: str,
    licences: Mapping[str, str] | None = None,
) -> Summary:
    """Gather a model's files and write ``model.html`` with its figures.

    Copies weights, card, training places and the course of the training as they are. The model is loaded once, so that
    a damaged one is not handed on.

    Args:
        destination: an empty folder.
        model: output of ``train_model``.
        cleaning: output of ``clean_labels``, None where there were no cleaning rounds.
        name: of the run, for the heading.
        licences: terms of the encoders' weights by their name in the settings, as the encoders state them.

    Returns:
        Counts of epochs, of files, and of photos that cleaning rounds left out.

    Raises:
        ModelError: the model cannot be loaded.
        TableError: the course of the training or the list of dropped records is not what it should be.
    """
    trained = load_model(model)
    card: dict[str, Any] = yaml.safe_load((model / CARD).read_text(encoding="utf-8"))
    curves = _first_of(model, CURVES_FILES)
    places = [name for name in (PLACES, HELD_OUT_PLACES) if (model / name).is_file()]
    copied = [WEIGHTS, CARD, *places, *([] if curves is None else [curves.name])]
    for file in copied:
        shutil.copyfile(model / file, destination / file)
    dropped = _dropped(cleaning if cleaning is not None else model)
    page = ModelPage(
        title=f"Trait model of the run {name}",
        card=card,
        traits=trained.traits,
        ingredients=_ingredients(card, licences or {}),
        curves=None if curves is None else read_curves(curves),
        dropped=dropped,
        files={file: hashlib.sha256((destination / file).read_bytes()).hexdigest() for file in copied},
    )
    written = write_model_files(page, destination)
    return {
        "in": {"epochs": 0 if page.curves is None else len(page.curves.drop_duplicates(["member", "round", "epoch"]))},
        "out": {"files": len(copied) + len(written)},
        "lost": {f"photo left out of {table['words']}": table["n"] for table in cleaning_tables(dropped) or []},
    }


def read_curves(path: Path) -> pd.DataFrame:
    """Return the course of a training, one row per member, round, epoch and trait.

    Args:
        path: a CSV file with ``member``, ``round``, ``epoch``, ``loss`` and ``held_out_loss``, and either ``trait`` and
            ``pearson_r``, or a column ``r_<trait>`` for each trait.

    Raises:
        TableError: the file cannot be read or lacks a column.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: expected the course of a training as CSV: {error}; train the model again") from error
    wide = [column for column in table.columns if str(column).startswith("r_")]
    missing = [column for column in _EPOCH if column not in table.columns]
    if not wide:
        missing += [column for column in ("trait", "pearson_r") if column not in table.columns]
    if missing:
        raise TableError(
            f"{path}: the course of the training lacks the columns {missing}; found {list(table.columns)}; "
            "train the model again"
        )
    if wide and "trait" not in table.columns:
        table = table.melt(id_vars=list(_EPOCH), value_vars=wide, var_name="trait", value_name="pearson_r")
        table["trait"] = table["trait"].str.removeprefix("r_")
    return table.replace([np.inf, -np.inf], np.nan)


def _dropped(folder: Path) -> pd.DataFrame | None:
    path = _first_of(folder, DROPPED_FILES)
    if path is None:
        return None
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        raise TableError(f"{path}: expected the records that cleaning dropped: {error}; clean them again") from error
    missing = [column for column in ("round", "reason") if column not in table.columns]
    if missing:
        raise TableError(f"{path}: the list of dropped records lacks the columns {missing}; clean them again")
    return table


def _ingredients(card: Mapping[str, Any], licences: Mapping[str, str]) -> list[Ingredient]:
    settings = card["settings"]
    photo, place = str(settings["encoder"]), str(settings.get("location_encoder", "covariates"))
    found = [Ingredient("photos", photo, str(card.get("encoder_identity", "")), licences.get(photo, NOT_RECORDED))]
    for name in place.split("+"):
        plain = name == "covariates"
        terms = "none: climate and soil values as they are" if plain else licences.get(name, NOT_RECORDED)
        found.append(Ingredient("places", "climate and soil" if plain else name, "", terms))
    return found


def _first_of(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)
