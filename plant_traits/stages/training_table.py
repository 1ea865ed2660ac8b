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
from plant_traits.covariates.cube import LayerFolder, model_matrix, sample_covariates
from plant_traits.errors import InputError, TableError
from plant_traits.grid import Grid
from plant_traits.model.location_encoders import PlaceFeatures
from plant_traits.model.splits import occasions
from plant_traits.model.training_set import TrainingSet
from plant_traits.observations.live_rows import KEY, are_live
from plant_traits.observations.shards import OBSERVATIONS_FILE, PHOTOS_FILE
from plant_traits.schemas import MEASUREMENT, PHOTO, SHARD_ROW, SPECIES_RECORD, SPECIES_TRAIT, read_table
from plant_traits.stages.covariates import read_points
from plant_traits.stages.places import place_features
from plant_traits.stages.prediction import features_of
from plant_traits.steps import Summary
from plant_traits.taxa.growth_forms import growth_form_of
from plant_traits.taxa.labels import labels_for, records_for
from plant_traits.taxa.names import genus
from plant_traits.traits import to_working

FloatArray = npt.NDArray[np.float64]

ROWS, IMAGES, COVARIATES, NAMES = "rows.parquet", "image.npy", "covariates.npy", "covariates.json"
RECORDS = "species_records.parquet"
# Of every training. Fixed, because sums of floats depend on how they are divided among threads; one, because the
# networks are so small that threads cost more than they bring.
THREADS = 1
PARTS = ("median", "sd", "low", "high")
_TAXA = ["species", "genus", "family", "growth_form"]

# A record without a photo teaches the geospatial branch what its species' label says of its place; one per species
# and cell of this grid says that as well as a hundred do, and keeps well-recorded species from drowning the rest.
THINNING = Grid.parse("1deg")
ENOUGH_PLACES = 1000


@dataclass(frozen=True)
class ShardFolders:
    """The local folders that belong to one shard.

    Attributes:
        shard: the shard.
        features: output of ``encode_shard`` for it.
        points: output of ``sample_places`` for it.
        live: its live view, whose rows alone take part, under the names that they have there; None where all of it is
            live.
    """

    shard: Path
    features: Path
    points: Path
    live: Path | None = None


@dataclass(frozen=True)
class TrainingTable:
    """What a model is trained on, and which records it is.

    Attributes:
        rows: observation_id, photo_id, species, growth_form and more of each record, in the order of the set.
        training: the same records as a model reads them.
    """

    rows: pd.DataFrame
    training: TrainingSet


@dataclass(frozen=True)
class _Rows:
    """Rows from one origin: who, where and when, what the photo and the place look like, and what was measured."""

    table: pd.DataFrame
    image: npt.NDArray[np.float32]
    covariates: npt.NDArray[np.float32]
    measured: FloatArray


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
    records, names, left_out = _records(shards, len(traits), photos_only=not settings.train_on_records)
    encoders = place_features(settings.location_encoder, settings.location_encoder_location)
    read, measurements = _measurements(taxa, rasters, encoders, traits, records.image.shape[1])
    _check_names(read, names)
    rows = _concatenate([records, measurements])
    with_photo = _has_photo(rows)
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
    rows: _Rows, labels: pd.DataFrame, traits: Sequence[Trait], with_photo: npt.NDArray[np.bool_]
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


def _records(shards: Sequence[ShardFolders], n_traits: int, *, photos_only: bool) -> tuple[_Rows, tuple[str, ...], int]:
    """Return the records of all shards that take part, the names of their covariates, and how many others there are."""
    if not shards:
        raise InputError("training table: expected the shards of a run's records, found none; widen region or month")
    columns = [*KEY, *_TAXA]
    columns += ["latitude", "longitude", "observer", "observed_on"]
    parts, seen, names = [], 0, None
    for folders in shards:
        table = read_table(folders.shard / OBSERVATIONS_FILE, SHARD_ROW, columns)
        photos = read_table(folders.shard / PHOTOS_FILE, PHOTO, ["photo_id", "sha256"])
        table["photo_sha256"] = table["photo_id"].map(photos.set_index("photo_id")["sha256"])
        image = features_of(folders.features, table["photo_id"])
        covariates, found = read_points(folders.points)
        names = names or found
        _check_names(found, names)
        own = _Rows(table, image, covariates, np.full((len(table), n_traits), np.nan))
        if folders.live is not None and folders.live != folders.shard:
            live = read_table(folders.live / OBSERVATIONS_FILE, SHARD_ROW, [*KEY, *_TAXA])
            own = _take(own, are_live(table, live))
            own.table[_TAXA] = _names_of(own.table["observation_id"], live)
        seen += len(own.table)
        # A shard is thinned before the next is read: rows without a photo are as wide as those with one.
        parts.append(_thinned(own, photos_only))
    rows = _thinned(_concatenate(parts), photos_only)
    return rows, names or (), seen - len(rows.table)


def _names_of(observations: pd.Series, live: pd.DataFrame) -> pd.DataFrame:
    """Return the names that observations have in a live view, index as given."""
    named = live.drop_duplicates("observation_id").set_index("observation_id")[_TAXA].reindex(observations)
    named.index = observations.index
    return named


def _thinned(rows: _Rows, photos_only: bool) -> _Rows:
    """Keep rows with a photo and, unless they alone are wanted, one without of each species and cell."""
    has_photo = _has_photo(rows)
    place = pd.DataFrame(
        {
            "species": rows.table["species"],
            "cell": THINNING.cell_of(rows.table["latitude"], rows.table["longitude"]),
            "photo": has_photo,
        }
    )
    return _take(rows, has_photo if photos_only else has_photo | ~place.duplicated().to_numpy())


def _check_names(found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    if found != expected:
        raise TableError(
            f"training table: expected the covariates {expected[:40]} in this order at all records and measurements, "
            f"found {found[:40]}; sample them again from the same rasters"
        )


def _measurements(
    taxa: Path, rasters: Sequence[LayerFolder], encoders: PlaceFeatures, traits: Sequence[Trait], image_dimension: int
) -> tuple[tuple[str, ...], _Rows]:
    """Return covariate names and one row per species and place, measured traits averaged in working space."""
    long = read_table(taxa / "measurements.parquet", MEASUREMENT)
    position = {trait.id: index for index, trait in enumerate(traits)}
    by_trait = {trait.id: trait for trait in traits}
    long = long[long["trait"].isin(list(position))]
    working = np.empty(len(long))
    for trait_id, trait in by_trait.items():
        of_trait = (long["trait"] == trait_id).to_numpy()
        working[of_trait] = to_working(trait, long.loc[of_trait, "value"])
    keys = ["species", "growth_form", "latitude", "longitude"]
    mean = long.assign(working=working).groupby([*keys, "trait"], dropna=False, sort=True)["working"].mean()
    wide = mean.unstack("trait").reindex(columns=list(position))
    table = wide.index.to_frame(index=False)
    table["genus"] = genus(table["species"])
    table["family"] = pd.Series(pd.NA, index=table.index, dtype="str")
    forms = pd.read_parquet(taxa / "growth_forms.parquet").set_index("taxon")["growth_form"]
    table["growth_form"] = growth_form_of(table, forms)
    sampled = model_matrix(sample_covariates(rasters, table["latitude"], table["longitude"]), rasters)
    matrix, names = encoders.append(*sampled, table["latitude"], table["longitude"])
    image = np.full((len(table), image_dimension), np.nan, dtype=np.float32)
    return names, _Rows(table, image, matrix, wide.to_numpy(dtype=np.float64))


def _has_photo(rows: _Rows) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(rows.image).any(axis=1))


def _concatenate(parts: Sequence[_Rows]) -> _Rows:
    return _Rows(
        pd.concat([part.table for part in parts], ignore_index=True),
        np.concatenate([part.image for part in parts]),
        np.concatenate([part.covariates for part in parts]),
        np.concatenate([part.measured for part in parts]),
    )


def _take(rows: _Rows, keep: npt.NDArray[np.bool_]) -> _Rows:
    return _Rows(rows.table[keep].reset_index(drop=True), rows.image[keep], rows.covariates[keep], rows.measured[keep])
