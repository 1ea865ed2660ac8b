"""The places a model was fitted to, kept with it, so that whoever uses it can tell where it applies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors import safe_open
from safetensors.numpy import save as save_arrays

from plant_traits.errors import ModelError
from plant_traits.model.training_set import TrainingSet

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

PLACES = "training_places.safetensors"

_PARTS = ("covariates", "block", "labelled")
_COLUMNS_OF_BLOCKS = 1 << 20  # more than there are around the globe


@dataclass(frozen=True)
class TrainingPlaces:
    """What a model read of the places it was fitted to, each once.

    Attributes:
        covariates: (n, c) float32 in the order and units that the model reads, NaN where missing.
        block: (n,) number of the spatial block that holds the place: those of which training holds some out.
        labelled: (n, traits) whether a record there had a label of the trait.
    """

    covariates: npt.NDArray[np.float32]
    block: IntArray
    labelled: BoolArray


def places_of(training: TrainingSet, fitted: BoolArray, block_degrees: float) -> TrainingPlaces:
    """Gather the places of records; those without coordinates or any covariate are left out.

    Args:
        training: n records.
        fitted: (n,) the records that the model was fitted to.
        block_degrees: side of the spatial blocks.
    """
    located = np.isfinite(training.latitude) & np.isfinite(training.longitude)
    chosen = np.flatnonzero(fitted & located & np.isfinite(training.covariates).any(axis=1))
    place = (training.latitude[chosen], training.longitude[chosen])
    row, column = (np.floor(degrees / block_degrees).astype(np.int64) for degrees in place)
    block = row * _COLUMNS_OF_BLOCKS + column
    covariates = np.asarray(training.covariates[chosen], dtype=np.float32)
    # Equal numbers get equal bytes: one kind of NaN, one zero.
    covariates = np.where(np.isnan(covariates), np.float32(np.nan), covariates + np.float32(0))
    content = np.concatenate([covariates.view(np.uint8), block[:, None].view(np.uint8)], axis=1)
    rows = np.ascontiguousarray(content).view(np.dtype((np.void, content.shape[1]))).ravel()
    _, first, number = np.unique(rows, return_index=True, return_inverse=True)
    labelled = np.zeros((len(first), training.measured.shape[1]), dtype=bool)
    np.logical_or.at(labelled, number.ravel(), np.isfinite(training.centres()[chosen]))
    return TrainingPlaces(covariates[first], block[first], labelled)


def write_training_places(places: TrainingPlaces, folder: Path, model_id: str) -> None:
    """Write the places into the folder of the model they belong to; the same places give the same bytes."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "covariates": np.ascontiguousarray(places.covariates),
        "block": np.ascontiguousarray(places.block),
        "labelled": np.ascontiguousarray(places.labelled, dtype=np.uint8),
    }
    (folder / PLACES).write_bytes(save_arrays(arrays, {"model_id": model_id}))


def read_training_places(folder: Path, model_id: str) -> TrainingPlaces:
    """Read what ``write_training_places`` wrote.

    Args:
        folder: a model's folder.
        model_id: of the model.

    Raises:
        ModelError: the file is missing, damaged or of another model.
    """
    path = folder / PLACES
    if not path.is_file():
        raise ModelError(
            f"model {folder}: expected {PLACES}, which tells where it was trained and so where it applies, found none; "
            "copy the file with the model, or train it again"
        )
    try:
        with safe_open(path, framework="np") as file:
            found = (file.metadata() or {}).get("model_id")
            covariates, block, labelled = (file.get_tensor(name) for name in _PARTS)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {error}; copy the model again or train it") from error
    shapes = [array.shape for array in (covariates, block, labelled)]
    if found != model_id or [len(shape) for shape in shapes] != [2, 1, 2] or len({shape[0] for shape in shapes}) > 1:
        raise ModelError(
            f"{path}: expected covariates, blocks and labels of as many places of model {model_id}, found {shapes} of "
            f"model {found}; copy the model's folder whole"
        )
    return TrainingPlaces(covariates, block, labelled.astype(bool))
