"""Stages: a names model trained on the photos of a run's observations, or on a set of labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from data_catalog import ImageLayout
from plant_traits.errors import InputError
from plant_traits.model.encoders import load_encoder
from plant_traits.model.features import encode_photos
from plant_traits.name_schemas import VOTED_NAME, VOTES
from plant_traits.observations.shards import OBSERVATIONS_FILE
from plant_traits.schemas import SHARD_ROW, read_table
from plant_traits.sources.inaturalist2019 import read_inaturalist2019
from plant_traits.sources.labelled_images import LabelledImages
from plant_traits.sources.plantnet300k import read_plantnet300k
from plant_traits.stages.prediction import features_of
from plant_traits.steps import Summary
from plant_traits.taxa.gate.cross_fitted import save_cross_fitted
from plant_traits.taxa.gate.fitting import CrossFitting, Progress, fit_cross_fitted
from plant_traits.taxa.gate.voted import with_votes
from plant_traits.taxa.growth_forms import growth_form_of, read_growth_forms

READERS: Mapping[ImageLayout, Callable[[Path], LabelledImages]] = {
    "plantnet300k": read_plantnet300k,
    "inaturalist2019": read_inaturalist2019,
}
LARGEST_IMAGE = 64 * 2**20
_TAXA = ["species", "genus", "family", "growth_form"]
_ROW = ["observation_id", "photo_id", *_TAXA, "observer", "latitude", "longitude"]
_HASH_KEY = "plant-traits-nam"  # of the hash; any 16 characters


@dataclass(frozen=True)
class NamedShard:
    """The local folders of a shard that names are learned from.

    Attributes:
        shard: the shard.
        live: its live view; the shard where all of it is live.
        features: output of ``encode_shard`` for it.
    """

    shard: Path
    live: Path
    features: Path


def train_names_on_shards(
    destination: Path,
    *,
    shards: Sequence[NamedShard],
    votes: Path | None,
    how: CrossFitting,
    photos_per_species: int,
    encoder_identity: str,
    progress: Progress | None = None,
) -> Summary:
    """Train a names model on live photos under the names that votes confirm, else the stated ones.

    Of a species with many photos some are taken, by a hash of their ids, so that memory is bounded by the number of
    species. Observations whose votes agree on no name are left out.

    Args:
        destination: an empty folder.
        shards: the run's shards.
        votes: output of ``name_by_votes``; None where there are no votes.
        how: settings of the training.
        photos_per_species: most photos of a species.
        encoder_identity: of the run's photo encoder.
        progress: called with (epochs done, epochs planned, how it goes).

    Returns:
        Counts of photos, figures on held-out observers, and ``model_id``.

    Raises:
        InputError: no photo has a name.
        ModelError: there is too little to train on, or the features are of another encoder.
        TableError: a table is not what it should be.
    """
    voted = None if votes is None else read_table(votes / VOTES, VOTED_NAME)
    parts = [_rows(folders).assign(shard=number) for number, folders in enumerate(shards)]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*_ROW, "shard"])
    seen = len(rows)
    rows = with_votes(rows, voted)
    named = rows["species"].notna()
    chosen = _capped(rows[named].reset_index(drop=True), photos_per_species)
    features = _features(shards, chosen, encoder_identity)
    usable = np.asarray(np.isfinite(features).all(axis=1))
    if not usable.any():
        raise InputError(f"names model: expected named photos with features, found none of {seen}; check the shards")
    lost = {
        "photo whose votes agree on no name": int((~named).sum()),
        "photo beyond the most of a species": int(named.sum()) - len(chosen),
        "photo without features": int((~usable).sum()),
    }
    learned = _Learned(chosen.loc[usable].reset_index(drop=True), features[usable], {"photos": seen}, lost)
    return _fit(destination, learned, how, encoder_identity, progress)


def train_names_on_images(
    destination: Path,
    *,
    images: Path,
    layout: ImageLayout,
    encoder: str,
    location: str | dict[str, str] | None,
    growth_forms: Path | None,
    how: CrossFitting,
    photos_per_species: int,
    device: str,
    progress: Progress | None = None,
) -> Summary:
    """Train a names model on a set of labelled images, encoded here.

    Args:
        destination: an empty folder.
        images: the unpacked set.
        layout: which set it is.
        encoder: name of the run's photo encoder.
        location: its hub id or local folder, where it needs one.
        growth_forms: output of ``summarise_taxa``, from which growth forms are taken; None leaves them unknown.
        how: settings of the training.
        photos_per_species: most photos of a species.
        device: ``cpu`` or ``cuda``.
        progress: called with (steps done, steps planned, how it goes).

    Returns:
        As ``train_names_on_shards``.

    Raises:
        InputError: the set cannot be read, or no image of it can.
        ModelError: there is too little to train on.
    """
    if layout not in READERS:
        raise InputError(f"labelled images: expected a layout of {', '.join(READERS)}, found {layout!r}; name one")
    read = READERS[layout](images)
    model = load_encoder(encoder, location, device=device)
    rows = _capped(_image_rows(read, growth_forms), photos_per_species)
    told = (lambda done, planned: progress(done, planned, "encoding")) if progress is not None else None
    paths = [images / path for path in rows["path"]]
    made = encode_photos(rows["photo_id"].tolist(), _read_images(paths, told), model)
    usable = np.asarray(np.isfinite(made.features).all(axis=1))
    if not usable.any():
        raise InputError(f"{images}: none of {len(rows)} images can be read; unpack the set again")
    lost = {
        **{f"image: {reason.replace('_', ' ')}": n for reason, n in read.losses.items()},
        "image beyond the most of a species": len(read.images) - len(rows),
        "image that cannot be encoded": int((~usable).sum()),
    }
    given = {"images": len(read.images) + sum(read.losses.values())}
    learned = _Learned(rows.loc[usable].reset_index(drop=True), made.features[usable], given, lost)
    return _fit(destination, learned, how, model.identity, progress)


@dataclass(frozen=True)
class _Learned:
    """The photos that names are learned from, and counts of those given and lost."""

    rows: pd.DataFrame
    features: npt.NDArray[np.float32]
    given: dict[str, int]
    lost: dict[str, int]


def _fit(
    destination: Path, learned: _Learned, how: CrossFitting, encoder_identity: str, progress: Progress | None
) -> Summary:
    """Fit a names model, keep it and tell of it."""
    rows, features = learned.rows, learned.features
    fitted = fit_cross_fitted(rows, features, how, encoder_identity=encoder_identity, progress=progress)
    save_cross_fitted(fitted.names, destination)
    return {
        "in": learned.given,
        "out": {"photos that names are learned from": len(rows), "species": int(fitted.figures["species"])},
        "lost": learned.lost,
        "metrics": dict(fitted.figures),
        "model_id": fitted.names.model_id,
        "encoder_identity": encoder_identity,
    }


def _rows(folders: NamedShard) -> pd.DataFrame:
    """Return the live rows of a shard that have a photo."""
    rows = read_table(folders.live / OBSERVATIONS_FILE, SHARD_ROW, _ROW)
    return rows[rows["photo_id"].notna()]


def _capped(rows: pd.DataFrame, photos_per_species: int) -> pd.DataFrame:
    """Keep at most so many photos of each species, by a hash of their ids, in the order given."""
    text = (rows["observation_id"].astype("str") + " " + rows["photo_id"].astype("str")).to_numpy(dtype=object)
    places = pd.util.hash_array(text, hash_key=_HASH_KEY, categorize=False)
    order = rows.assign(place=places).sort_values(["species", "place"])
    number = order.groupby("species").cumcount()
    kept = number.index[number < photos_per_species]
    return rows.loc[sorted(kept)].reset_index(drop=True)


def _features(shards: Sequence[NamedShard], rows: pd.DataFrame, encoder_identity: str) -> npt.NDArray[np.float32]:
    """Return the features of chosen rows, a shard in memory at a time."""
    out: npt.NDArray[np.float32] | None = None
    for number, folders in enumerate(shards):
        own = np.flatnonzero(rows["shard"] == number)
        if not own.size:
            continue
        found = features_of(folders.features, rows["photo_id"].iloc[own], encoder_identity)
        out = np.full((len(rows), found.shape[1]), np.nan, dtype=np.float32) if out is None else out
        out[own] = found
    return np.full((len(rows), 1), np.nan, dtype=np.float32) if out is None else out


def _image_rows(read: LabelledImages, growth_forms: Path | None) -> pd.DataFrame:
    """Return labelled images as rows of observations: an image without an observation is one of its own."""
    images = read.images
    rows = pd.DataFrame(
        {
            "observation_id": images["observation_id"].fillna(images["image_id"]),
            "photo_id": images["image_id"],
            "path": images["path"],
            "species": images["species"],
            "genus": images["genus"],
            "family": images["family"],
            "growth_form": pd.Series(None, index=images.index, dtype="str"),
            # Kept together: what one person photographed; images by nobody known are each on their own.
            "observer": images["author"].fillna(images["observation_id"]).fillna(images["image_id"]),
            "latitude": 0.0,
            "longitude": 0.0,
        }
    )
    if growth_forms is not None:
        rows["growth_form"] = growth_form_of(rows, read_growth_forms(growth_forms))
    return rows


def _read_images(paths: Sequence[Path], told: Callable[[int, int], None] | None) -> Iterator[bytes | None]:
    """Yield the bytes of each image, None where it cannot be read or is too large."""
    for number, path in enumerate(paths):
        if told is not None and number % 100 == 0:
            told(number, len(paths))
        try:
            yield path.read_bytes() if path.stat().st_size <= LARGEST_IMAGE else None
        except OSError:
            yield None
