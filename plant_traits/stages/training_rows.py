"""The rows that a training table is made of: a run's photographed and thinned records, and measurements at places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from data_catalog import Trait
from plant_traits.covariates.cube import LayerFolder, model_matrix, sample_covariates
from plant_traits.errors import InputError, TableError
from plant_traits.grid import FloatArray, Grid
from plant_traits.model.location_encoders import PlaceFeatures
from plant_traits.observations.live_rows import KEY, are_live
from plant_traits.observations.shards import OBSERVATIONS_FILE, PHOTOS_FILE
from plant_traits.schemas import MEASUREMENT, PHOTO, SHARD_ROW, read_table
from plant_traits.stages.covariates import read_points
from plant_traits.stages.prediction import features_of
from plant_traits.taxa.growth_forms import growth_form_of, read_growth_forms
from plant_traits.taxa.names import genus
from plant_traits.traits import to_working

_TAXA = ["species", "genus", "family", "growth_form"]

# A record without a photo teaches the geospatial branch what its species' label says of its place; one per species
# and cell of this grid says that as well as a hundred do, and keeps well-recorded species from drowning the rest.
THINNING = Grid.parse("1deg")


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
class TrainingRows:
    """Rows from one origin.

    Attributes:
        table: who, where and when: observation_id, photo_id, names, coordinates and, of records, observer, observed_on
            and photo_sha256.
        image: what the photo looks like, float32 (rows, features); NaN where there is none.
        covariates: what the place looks like, float32 (rows, covariates); NaN where unknown.
        measured: working space (rows, traits); NaN where nobody measured.
    """

    table: pd.DataFrame
    image: npt.NDArray[np.float32]
    covariates: npt.NDArray[np.float32]
    measured: FloatArray

    @property
    def has_photo(self) -> npt.NDArray[np.bool_]:
        """(rows,) where a photo has features."""
        return np.asarray(np.isfinite(self.image).any(axis=1))

    def take(self, keep: npt.NDArray[np.bool_]) -> Self:
        """Return the rows to keep."""
        table = self.table[keep].reset_index(drop=True)
        return type(self)(table, self.image[keep], self.covariates[keep], self.measured[keep])

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Put parts one after the other."""
        return cls(
            pd.concat([part.table for part in parts], ignore_index=True),
            np.concatenate([part.image for part in parts]),
            np.concatenate([part.covariates for part in parts]),
            np.concatenate([part.measured for part in parts]),
        )


def rows_of_shards(
    shards: Sequence[ShardFolders], n_traits: int, *, photos_only: bool
) -> tuple[TrainingRows, tuple[str, ...], int]:
    """Read the records of all shards that take part.

    Args:
        shards: the run's shards.
        n_traits: number of traits; none is measured of these rows.
        photos_only: leave out records without a photo; else one of each species and cell takes part.

    Returns:
        The rows, the names of their covariates, and the number of records left out.

    Raises:
        InputError: there is no shard.
        TableError: a file cannot be read, or the shards' covariates differ.
    """
    if not shards:
        raise InputError("training table: expected the shards of a run's records, found none; widen region or month")
    columns = [*KEY, *_TAXA, "latitude", "longitude", "observer", "observed_on"]
    parts, seen, names = [], 0, None
    for folders in shards:
        table = read_table(folders.shard / OBSERVATIONS_FILE, SHARD_ROW, columns)
        photos = read_table(folders.shard / PHOTOS_FILE, PHOTO, ["photo_id", "sha256"])
        table["photo_sha256"] = table["photo_id"].map(photos.set_index("photo_id")["sha256"])
        image = features_of(folders.features, table["photo_id"])
        covariates, found = read_points(folders.points)
        names = names or found
        check_covariate_names(found, names)
        own = TrainingRows(table, image, covariates, np.full((len(table), n_traits), np.nan))
        if folders.live is not None and folders.live != folders.shard:
            live = read_table(folders.live / OBSERVATIONS_FILE, SHARD_ROW, [*KEY, *_TAXA])
            own = own.take(are_live(table, live))
            own.table[_TAXA] = _names_of(own.table["observation_id"], live)
        seen += len(own.table)
        # A shard is thinned before the next is read: rows without a photo are as wide as those with one.
        parts.append(_thinned(own, photos_only))
    rows = _thinned(TrainingRows.concatenate(parts), photos_only)
    return rows, names or (), seen - len(rows.table)


def rows_of_measurements(
    taxa: Path, rasters: Sequence[LayerFolder], encoders: PlaceFeatures, traits: Sequence[Trait], image_dimension: int
) -> tuple[TrainingRows, tuple[str, ...]]:
    """Make one row per species and place of the measurements, traits averaged in working space.

    Args:
        taxa: output of ``summarise_taxa``.
        rasters: the run's raster sources, read at the measurements.
        encoders: what is read of a place.
        traits: the model's outputs, in order.
        image_dimension: number of photo features, of which these rows have none.

    Returns:
        The rows, and the names of their covariates.

    Raises:
        TableError: a table cannot be read.
    """
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
    table["growth_form"] = growth_form_of(table, read_growth_forms(taxa))
    sampled = model_matrix(sample_covariates(rasters, table["latitude"], table["longitude"]), rasters)
    matrix, names = encoders.append(*sampled, table["latitude"], table["longitude"])
    image = np.full((len(table), image_dimension), np.nan, dtype=np.float32)
    return TrainingRows(table, image, matrix, wide.to_numpy(dtype=np.float64)), names


def check_covariate_names(found: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Check that rows of several origins have the same covariates in the same order.

    Raises:
        TableError: they have not.
    """
    if found != expected:
        raise TableError(
            f"training table: expected the covariates {expected[:40]} in this order at all records and measurements, "
            f"found {found[:40]}; sample them again from the same rasters"
        )


def _names_of(observations: pd.Series, live: pd.DataFrame) -> pd.DataFrame:
    """Return the names that observations have in a live view, index as given."""
    named = live.drop_duplicates("observation_id").set_index("observation_id")[_TAXA].reindex(observations)
    named.index = observations.index
    return named


def _thinned(rows: TrainingRows, photos_only: bool) -> TrainingRows:
    """Keep rows with a photo and, unless they alone are wanted, one without of each species and cell."""
    has_photo = rows.has_photo
    place = pd.DataFrame(
        {
            "species": rows.table["species"],
            "cell": THINNING.cell_of(rows.table["latitude"], rows.table["longitude"]),
            "photo": has_photo,
        }
    )
    return rows.take(has_photo if photos_only else has_photo | ~place.duplicated().to_numpy())
