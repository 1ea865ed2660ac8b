"""Stage: the training table put together from shards, taxa and measurements, and the heads trained on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from data_catalog import ModelSettings, Trait
from plant_traits.covariates.cube import LayerFolder, model_matrix, sample_covariates
from plant_traits.errors import InputError
from plant_traits.grid import Grid
from plant_traits.model.checkpoint import save_model
from plant_traits.model.location_encoders import PlaceFeatures
from plant_traits.model.training import train
from plant_traits.model.training_set import TrainingSet
from plant_traits.schemas import MEASUREMENT, SHARD_ROW, SPECIES_TRAIT, read_table
from plant_traits.stages.covariates import read_points
from plant_traits.stages.places import place_features
from plant_traits.stages.plant_scores import score_plants
from plant_traits.stages.prediction import features_of
from plant_traits.steps import Summary
from plant_traits.taxa.growth_forms import growth_form_of
from plant_traits.taxa.labels import labels_for
from plant_traits.taxa.names import genus
from plant_traits.traits import to_working

FloatArray = npt.NDArray[np.float64]

# A record without a photo teaches the geospatial branch what its species' label says of its place; one per species
# and cell of this grid says that as well as a hundred do, and keeps well-recorded species from drowning the rest.
THINNING = Grid.parse("1deg")
ENOUGH_PLACES = 1000

# Fixed, because sums of floats depend on how they are divided among threads; one, because the networks are so small
# that threads cost more than they bring.
THREADS = 1


@dataclass(frozen=True)
class ShardFolders:
    """The local folders that belong to one shard."""

    shard: Path
    features: Path
    points: Path


@dataclass(frozen=True)
class _Rows:
    """Rows of the training table from one origin: who and where, what the photo and the place look like."""

    table: pd.DataFrame  # species, genus, family, growth_form, latitude, longitude
    image: npt.NDArray[np.float32]
    covariates: npt.NDArray[np.float32]
    measured: FloatArray


def train_model(
    destination: Path,
    *,
    shards: Sequence[ShardFolders],
    taxa: Path,
    rasters: Sequence[LayerFolder],
    traits: Sequence[Trait],
    settings: ModelSettings,
    encoder_identity: str,
    device: str,
    truth: Path | None = None,
    progress: Callable[[int, int], None],
) -> Summary:
    """Train the heads on labelled photos and on measurements, and on thinned records without a photo where asked.

    Writes the model folder of ``plant_traits.model.checkpoint``.

    Args:
        destination: an empty folder.
        shards: the run's shards.
        taxa: output of ``summarise_taxa``.
        rasters: the run's raster sources, read at the measurements.
        traits: the model's outputs, in order.
        settings: encoder, network and training.
        encoder_identity: identity of the encoder that made the features.
        device: ``cpu`` or ``cuda``.
        truth: the true values of photographed plants, known in a virtual world alone, see ``score_plants``. They score
            held-out predictions once the model is finished, and bear on nothing else.
        progress: called with (epochs done, epochs planned).

    Returns:
        Counts of rows by origin, rows without any label, and the held-out metrics.

    Raises:
        InputError: nothing is labelled.
        TableError: the true values cannot be read.
    """
    labels = read_table(taxa / "species_traits.parquet", SPECIES_TRAIT)
    records = _records(shards, len(traits), photos_only=not settings.train_on_records)
    encoders = place_features(settings.location_encoder, settings.location_encoder_location)
    names, measurements = _measurements(taxa, rasters, encoders, traits, records.image.shape[1])
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
    training = TrainingSet(
        image_features=rows.image[keep],
        covariates=rows.covariates[keep],
        covariate_names=names,
        latitude=rows.table["latitude"].to_numpy()[keep],
        longitude=rows.table["longitude"].to_numpy()[keep],
        measured=rows.measured[keep],
        label_median=weak["median"][keep],
        label_sd=weak["sd"][keep],
        label_low=weak["low"][keep],
        label_high=weak["high"][keep],
        growth_form=rows.table["growth_form"].to_numpy(dtype=object)[keep].tolist(),
    )
    model = train(
        training,
        traits,
        settings,
        encoder_identity=encoder_identity,
        device=device,
        threads=THREADS,
        progress=lambda finished, total, _: progress(finished, total),
    )
    model = replace(model, metrics=model.metrics | score_plants(model, rows.table[keep], truth))
    save_model(model, destination)
    return {
        "in": {"records": len(records.table), "places with a measurement": len(measurements.table)},
        "out": {
            "training rows with a photo": int((keep & with_photo).sum()),
            "training rows without a photo": int((keep & ~with_photo).sum()),
        },
        "lost": {
            "row without any label": int((~labelled).sum()),
            "row without photo and covariates": int((labelled & ~usable).sum()),
        },
        "metrics": model.metrics,
        "model_id": model.model_id,
    }


def _weak_labels(
    rows: _Rows, labels: pd.DataFrame, traits: Sequence[Trait], with_photo: npt.NDArray[np.bool_]
) -> dict[str, FloatArray]:
    """Return median, sd, low and high of every row's taxon, each (rows, traits).

    A label of a taxon repeats itself wherever the taxon grows, so it tells a row without a photo little about its
    place. Such rows carry labels only for traits that are measured at fewer than ``ENOUGH_PLACES`` places.
    """
    wide = labels_for(rows.table, labels, traits)
    weak = {
        part: np.column_stack([wide[f"{trait.id}_{part}"] for trait in traits])
        for part in ("median", "sd", "low", "high")
    }
    well_measured = np.isfinite(rows.measured).sum(axis=0) >= ENOUGH_PLACES
    for values in weak.values():
        values[~with_photo[:, None] & well_measured[None, :]] = np.nan
    return weak


def _records(shards: Sequence[ShardFolders], n_traits: int, *, photos_only: bool) -> _Rows:
    columns = ["species", "genus", "family", "growth_form", "latitude", "longitude", "photo_id"]
    parts = []
    for folders in shards:
        table = read_table(folders.shard / "observations.parquet", SHARD_ROW, columns)
        image = features_of(folders.features, table["photo_id"])
        covariates, _ = read_points(folders.points)
        parts.append(_Rows(table, image, covariates, np.full((len(table), n_traits), np.nan)))
    rows = _concatenate(parts)
    has_photo = _has_photo(rows)
    place = pd.DataFrame(
        {
            "species": rows.table["species"],
            "cell": THINNING.cell_of(rows.table["latitude"], rows.table["longitude"]),
            "photo": has_photo,
        }
    )
    return _take(rows, has_photo if photos_only else has_photo | ~place.duplicated().to_numpy())


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
