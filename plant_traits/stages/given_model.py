"""Stage: a model that was trained elsewhere, taken over into the workspace."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import fsspec

from data_catalog import Trait
from plant_traits.errors import MissingInputError, ModelError
from plant_traits.model.checkpoint import CARD, WEIGHTS, load_model
from plant_traits.model.held_out_places import HELD_OUT_PLACES, read_held_out_places
from plant_traits.model.training_places import PLACES, read_training_places
from plant_traits.steps import Summary

FILES = (WEIGHTS, CARD, PLACES)
BESIDE = (HELD_OUT_PLACES, "curves.csv", "history.csv", "dropped.csv", "dropped.parquet")  # taken where they are there
LARGEST_BYTES = 4 * 1024**3

_SHOWN = 10  # names in an error message


def fetch_model(address: str, destination: Path) -> str:
    """Copy a model's files from a folder or fsspec address into a local folder and return a hash of them.

    Args:
        address: a folder with a model's weights and card, such as the ``model`` of a release.
        destination: an empty local folder.

    Raises:
        MissingInputError: there is no model.
        ModelError: a file is too large to be one.
    """
    filesystem, root = fsspec.url_to_fs(address)
    digest = hashlib.sha256()
    for name in (*FILES, *BESIDE):
        path = f"{root.rstrip('/')}/{name}"
        if not filesystem.exists(path):
            if name in FILES:
                raise MissingInputError(
                    f"{address} holds no {name}: expected the folder of a model, such as `model` of a release; give "
                    "its address, or one of the words kept and new"
                )
            continue
        size = filesystem.size(path)
        if size > LARGEST_BYTES:
            raise ModelError(f"{address}: {name} has {size} bytes, expected at most {LARGEST_BYTES}; give a model")
        filesystem.get_file(path, str(destination / name))
        with (destination / name).open("rb") as stream:
            digest.update(name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]


def take_model(
    destination: Path,
    *,
    given: Path,
    traits: Sequence[Trait],
    encoder_identity: str,
    location_encoder: str,
    covariate_names: Sequence[str],
) -> Summary:
    """Keep a given model as ``train_model`` keeps one.

    Args:
        destination: an empty folder.
        given: what ``fetch_model`` fetched.
        traits: the traits that the run maps, in order.
        encoder_identity: the photo encoder of the run.
        location_encoder: name of the run's location encoder.
        covariate_names: what the run reads of a place, in order.

    Returns:
        What ``train_model`` returns, as far as the model's card tells it.

    Raises:
        ModelError: it or its training places cannot be loaded, or it is of other traits, units, encoders or covariates.
    """
    model = load_model(given, tuple(trait.id for trait in traits))
    for own, wanted in zip(model.traits, traits, strict=True):
        if (own.unit, own.working_space) != (wanted.unit, wanted.working_space):
            raise ModelError(
                f"the given model predicts {own.id} in {own.unit}, {own.working_space}; the run maps it in "
                f"{wanted.unit}, {wanted.working_space}: give a model of these, or train a new one"
            )
    if model.settings.location_encoder != location_encoder:
        raise ModelError(
            f"the given model reads places with the encoder {model.settings.location_encoder}, the run with "
            f"{location_encoder}: set the profile's location encoder to the model's, or train a new one"
        )
    if model.covariate_names != tuple(covariate_names):
        raise ModelError(
            f"the given model reads {_said(model.covariate_names)} of a place, the run reads {_said(covariate_names)}, "
            f"{_difference(model.covariate_names, covariate_names)}: list the rasters that the model was trained with "
            "in the profile, in their order, or train a new one"
        )
    read_training_places(given, model.model_id)
    read_held_out_places(given, model.model_id)
    if model.encoder_identity != encoder_identity:
        raise ModelError(
            f"the given model reads photos with the encoder {model.encoder_identity}, the run with {encoder_identity}: "
            "set the profile's encoder to the model's, or train a new one"
        )
    for file in sorted(given.iterdir()):
        (destination / file.name).write_bytes(file.read_bytes())
    counts = model.metrics.get("counts", {})
    return {
        "in": {"training rows": counts["records"]} if "records" in counts else {},
        "out": {"rows fitted": counts["records_fitted"]} if "records_fitted" in counts else {},
        "metrics": model.metrics,
        "model_id": model.model_id,
    }


def _said(names: Sequence[str]) -> str:
    return f"{len(names)} columns, {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"


def _difference(own: Sequence[str], other: Sequence[str]) -> str:
    """Say in words how two lists of names differ."""
    lacking, more = ([x for x in some if x not in set(rest)] for some, rest in ((own, other), (other, own)))
    if not lacking and not more:
        return "the same in another order"
    parts = [f"{what} {', '.join(x[:_SHOWN])}" for what, x in (("the run lacks", lacking), ("it has also", more)) if x]
    return " and ".join(parts)
