"""Stage: the training table, every labelled record with what a model reads of it, from shards and trait tables."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from data_catalog import ModelSettings, Trait
from plant_traits.covariates.biomes import biomes_of_matrix
from plant_traits.covariates.cube import LayerFolder
from plant_traits.errors import InputError, TableError
from plant_traits.grid import FloatArray
from plant_traits.model.splits import occasions
from plant_traits.model.training_set import TrainingSet
from plant_traits.schemas import SPECIES_RECORD, SPECIES_TRAIT, read_table
from plant_traits.stages.places import place_features
from plant_traits.stages.training_rows import (
    ShardFolders,
    TrainingRows,
    check_covariate_names,
    rows_of_measurements,
    rows_of_shards,
)
from plant_traits.steps import Summary
from plant_traits.taxa.labels import labels_for, records_for

ROWS, IMAGES, COVARIATES, NAMES = "rows.parquet", "image.npy", "covariates.npy", "covariates.json"
RECORDS = "species_records.parquet"
# Of every training. Fixed, because sums of floats depend on how they are divided among threads; one, because the
# networks are so small that threads cost more than they bring.
THREADS = 1
PARTS = ("median", "sd", "low", "high")
ENOUGH_PLACES = 1000


@dataclass(frozen=True)
class TrainingTable:
    """What a model is trained on, and which records it is.

    Attributes:
        rows: observation_id, photo_id, species, growth_form and more of each record, in the order of the set.
        training: the same records as a model reads them.
    """

    rows: pd.DataFrame
    training: TrainingSet


def build_training_table(
    destination: Path,
    *,
    shards: Sequence[ShardFolders],
    taxa: Path,
    rasters: Sequence[LayerFolder],
    traits: Sequence[Trait],
    settings: ModelSettings,
) -> Summary:
    """Put labelled photos and measurements, and thinned records without a photo where asked, side by side.

    Writes ``rows.parquet``, ``image.npy`` and ``covariates.npy`` (float32), ``covariates.json``, the names, and
    ``species_records.parquet``, the single values that labels may be drawn from.

    Args:
        destination: an empty folder.
        shards: the run's shards.
        taxa: output of ``summarise_taxa``.
        rasters: the run's raster sources, read at the measurements.
        traits: the model's outputs, in order.
        settings: which records take part, and what is read of a place.

    Returns:
        Counts of rows by origin, and of those without any label or input.

    Raises:
        InputError: there is no shard, or nothing is labelled.
        TableError: a file cannot be read, or the shards' covariates are others than those of the measurements.
    """
    labels = read_table(taxa / "species_traits.parquet", SPECIES_TRAIT)
    records, names, left_out = rows_of_shards(shards, len(traits), photos_only=not settings.train_on_records)
    encoders = place_features(settings.location_encoder, settings.location_encoder_location)
    measurements, found = rows_of_measurements(taxa, rasters, encoders, traits, records.image.shape[1])
    check_covariate_names(found, names)
    rows = TrainingRows.concatenate([records, measurements])
    with_photo = rows.has_photo
    weak = _weak_labels(rows, labels, traits, with_photo)
    labelled = np.isfinite(weak["median"]).any(axis=1) | np.isfinite(rows.measured).any(axis=1)
    if not labelled.any():
        raise InputError(
            f"none of {len(rows.table)} records has a label for {[t.id for t in traits]}: expected species names "
            "shared by the occurrences and the trait tables; check both"
        )
    usable = with_photo | np.isfinite(rows.covariates).any(axis=1)
    keep = labelled & usable
    table = rows.table.drop(columns=["observer", "observed_on", "photo_sha256"])
    table["occasion"] = _occasions(rows.table)
    table["biome"] = biomes_of_matrix(rows.covariates, names)
    for column, trait in enumerate(traits):
        table[f"measured_{trait.id}"] = rows.measured[:, column]
        for part in PARTS:
            table[f"label_{trait.id}_{part}"] = weak[part][:, column]
    table[keep].reset_index(drop=True).to_parquet(destination / ROWS)
    shutil.copyfile(taxa / RECORDS, destination / RECORDS)
    np.save(destination / IMAGES, rows.image[keep], allow_pickle=False)
    np.save(destination / COVARIATES, rows.covariates[keep], allow_pickle=False)
    (destination / NAMES).write_text(json.dumps(names), encoding="utf-8")
    return {
        "in": {
            "records": len(records.table) + left_out,
            "places with a measurement": len(measurements.table),
        },
        "out": {
            "training rows with a photo": int((keep & with_photo).sum()),
            "training rows without a photo": int((keep & ~with_photo).sum()),
        },
        "lost": {
            "record without a photo" + ", species and cell seen already" * settings.train_on_records: left_out,
            "row without any label": int((~labelled).sum()),
            "row without photo and covariates": int((labelled & ~usable).sum()),
        },
    }


def read_training_table(
    folder: Path, traits: Sequence[Trait], labels: Literal["species_normal", "species_records"] = "species_normal"
) -> TrainingTable:
    """Read what ``build_training_table`` wrote, for some or all of its traits.

    Args:
        folder: where it lies.
        traits: the traits to read the labels of.
        labels: what weak labels are drawn from, see ``ModelSettings.labels``.

    Raises:
        TableError: a file cannot be read, or lacks a trait.
    """
    try:
        rows = pd.read_parquet(folder / ROWS)
        image = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
        covariates = np.load(folder / COVARIATES, allow_pickle=False)
        names = tuple(json.loads((folder / NAMES).read_text(encoding="utf-8")))
        records = read_table(folder / RECORDS, SPECIES_RECORD)
    except (OSError, ValueError) as error:
        raise TableError(f"training table {folder} cannot be read: {error}; build it again") from error
    missing = [trait.id for trait in traits if f"measured_{trait.id}" not in rows.columns]
    if missing:
        raise TableError(f"training table {folder} has no labels of {missing}; build it for these traits")

    def columns(pattern: str) -> FloatArray:
        return rows[[pattern.format(trait.id) for trait in traits]].to_numpy(dtype=np.float64)

    training = TrainingSet(
        image_features=image,
        covariates=covariates,
        covariate_names=names,
        latitude=rows["latitude"].to_numpy(dtype=np.float64),
        longitude=rows["longitude"].to_numpy(dtype=np.float64),
        measured=columns("measured_{}"),
        label_median=columns("label_{}_median"),
        label_sd=columns("label_{}_sd"),
        label_low=columns("label_{}_low"),
        label_high=columns("label_{}_high"),
        growth_form=_texts(rows["growth_form"]),
        species=_texts(rows["species"]),
        occasion=rows["occasion"].to_numpy(dtype=np.int64),
        biome=_texts(rows["biome"]),
        label_records=None if labels == "species_normal" else records_for(rows, records, traits),
    )
    return TrainingTable(rows, training)


def _texts(column: pd.Series) -> list[str | None]:
    return [value if isinstance(value, str) else None for value in column]


def _occasions(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Join records of one observation, one photo, one picture under several ids, or one observer's day."""
    places = (
        table["species"].astype("str") + " " + table["latitude"].astype("str") + " " + table["longitude"].astype("str")
    )
    known = table["observer"].notna() & table["observed_on"].notna()
    day = (table["observer"].astype("str") + " " + table["observed_on"].astype("str")).where(known)
    return occasions(table["observation_id"].fillna(places), table["photo_id"], table["photo_sha256"], day)


def _weak_labels(
    rows: TrainingRows, labels: pd.DataFrame, traits: Sequence[Trait], with_photo: npt.NDArray[np.bool_]
) -> dict[str, FloatArray]:
    """Return median, sd, low and high of every row's taxon, each (rows, traits).

    A label of a taxon repeats itself wherever the taxon grows, so it tells a row without a photo little about its
    place. Such rows carry labels only for traits that are measured at fewer than ``ENOUGH_PLACES`` places.
    """
    wide = labels_for(rows.table, labels, traits)
    weak = {part: np.column_stack([wide[f"{trait.id}_{part}"] for trait in traits]) for part in PARTS}
    well_measured = np.isfinite(rows.measured).sum(axis=0) >= ENOUGH_PLACES
    for values in weak.values():
        values[~with_photo[:, None] & well_measured[None, :]] = np.nan
    return weak
