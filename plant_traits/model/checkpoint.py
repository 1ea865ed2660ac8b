"""Keep a trained model as a folder of two files, ``weights.safetensors`` and ``card.yaml``, and load it strictly."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic
import safetensors
import torch
import yaml
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from data_catalog import ModelSettings, Trait
from plant_traits.errors import ModelError
from plant_traits.model.calibration import Calibration
from plant_traits.model.network import NetworkConfig
from plant_traits.model.network_presets import Network, build_network
from plant_traits.model.standardisation import Standardisation
from plant_traits.model.trained_model import MODALITIES, TrainedModel

try:  # what `safe_load` does, seven times as fast where libyaml is there: a card holds all scores of its model
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

WEIGHTS = "weights.safetensors"
CARD = "card.yaml"
_FORMAT = 2
_MAXIMUM_CARD_BYTES = 10_000_000
_PARTS = ("centre", "scale", "low", "high")


def save_model(model: TrainedModel, folder: Path) -> None:
    """Write a model into an existing empty folder; the same model gives the same bytes.

    The card repeats the scalings and the calibration for readers; the numbers that count are in the weights file.
    """
    (folder / WEIGHTS).write_bytes(save_arrays({k: np.ascontiguousarray(v) for k, v in model.arrays().items()}))
    card = {
        "format": _FORMAT,
        "model_id": model.model_id,
        "traits": [trait.model_dump(mode="json") for trait in model.traits],
        "covariates": list(model.covariate_names),
        "encoder_identity": model.encoder_identity,
        "network": asdict(model.config),
        "settings": model.settings.model_dump(mode="json"),
        "standardisation": {
            "covariates": {
                name: [float(centre), float(scale)]
                for name, centre, scale in zip(
                    model.covariate_names,
                    model.covariate_standardisation.centre,
                    model.covariate_standardisation.scale,
                    strict=True,
                )
            },
            "targets": {
                trait.id: [float(centre), float(scale)]
                for trait, centre, scale in zip(model.traits, model.target_centre, model.target_scale, strict=True)
            },
        },
        "calibration": {
            "networks_id": model.networks_id,
            "traits": list(model.calibration.traits),
            "groups": list(model.calibration.groups),
            "levels": list(model.calibration.levels),
            "table": _calibration_table(model.calibration),
        },
        "metrics": model.metrics,
    }
    (folder / CARD).write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _calibration_table(calibration: Calibration) -> dict[str, Any]:
    """Return modalities -> group -> trait -> n, variance factor and quantile of each level, for readers."""
    return {
        modalities: {
            group: {
                trait: {
                    "n": int(calibration.n[kind, row, column]),
                    "variance_factor": float(calibration.variance_factor[kind, row, column]),
                    "quantiles": [float(value) for value in calibration.quantile[kind, row, column]],
                }
                for column, trait in enumerate(calibration.traits)
            }
            for row, group in enumerate(calibration.groups)
        }
        for kind, modalities in enumerate(MODALITIES)
    }


def load_model(folder: Path, traits: tuple[str, ...] | None = None) -> TrainedModel:
    """Load a model and check that it is exactly what was saved.

    Args:
        folder: what ``save_model`` wrote.
        traits: where given, the trait ids the model must predict, in this order.

    Raises:
        ModelError: a file is missing or damaged, a tensor is missing, left over or of another shape, the traits differ,
            the calibration is of other traits or networks, or the content does not hash to the card's ``model_id``.
    """
    card = _read_card(folder / CARD)
    arrays = _read_arrays(folder / WEIGHTS)
    try:
        described = tuple(Trait.model_validate(entry) for entry in card["traits"])
        settings = ModelSettings.model_validate(card["settings"])
        config = NetworkConfig(**card["network"])
        covariates, identity = tuple(card["covariates"]), str(card["encoder_identity"])
        model_id, metrics = str(card["model_id"]), dict(card["metrics"])
        calibrated = card["calibration"]
        calibrated_networks = str(calibrated["networks_id"])
        calibrated_traits, groups = tuple(map(str, calibrated["traits"])), tuple(map(str, calibrated["groups"]))
        levels = tuple(float(level) for level in calibrated["levels"])
    except (KeyError, TypeError, ValueError, pydantic.ValidationError) as error:
        raise ModelError(f"model {folder}: {CARD} lacks or garbles an entry: {error}; train it again") from error
    found = tuple(trait.id for trait in described)
    if traits is not None and found != traits:
        raise ModelError(
            f"model {folder}: expected the traits {traits} in this order, found {found}; train it for them"
        )
    networks = tuple(_load_network(folder, config, arrays, member) for member in range(settings.ensemble))
    n_image, n_place, n_traits = config.image_dimension, config.covariates, config.traits
    shapes: dict[str, tuple[int, ...]] = {f"image.{part}": (n_image,) for part in _PARTS}
    shapes |= {f"covariate.{part}": (n_place,) for part in _PARTS}
    shapes |= {"target.centre": (n_traits,), "target.scale": (n_traits,)}
    per_group = (len(MODALITIES), len(groups), len(calibrated_traits))
    shapes |= {f"calibration.{part}": per_group for part in ("n", "variance_factor")}
    shapes["calibration.quantile"] = (*per_group, len(levels))
    missing, extra = sorted(shapes.keys() - arrays.keys()), sorted(arrays.keys() - shapes.keys())
    wrong = sorted(name for name in shapes.keys() & arrays.keys() if arrays[name].shape != shapes[name])
    if missing or extra or wrong or len(described) != n_traits or len(covariates) != n_place:
        raise ModelError(
            f"model {folder}: {WEIGHTS} does not fit {CARD}: missing {missing[:5]}, left over {extra[:5]}, of another "
            f"shape {wrong[:5]}, {len(described)} traits and {len(covariates)} covariates described; train it again"
        )
    model = TrainedModel(
        traits=described,
        covariate_names=covariates,
        encoder_identity=identity,
        config=config,
        networks=networks,
        image_standardisation=Standardisation(*(arrays[f"image.{part}"] for part in _PARTS)),
        covariate_standardisation=Standardisation(*(arrays[f"covariate.{part}"] for part in _PARTS)),
        target_centre=arrays["target.centre"],
        target_scale=arrays["target.scale"],
        calibration=Calibration(
            calibrated_traits,
            groups,
            levels,
            n=arrays["calibration.n"],
            variance_factor=arrays["calibration.variance_factor"],
            quantile=arrays["calibration.quantile"],
        ),
        metrics=metrics,
        settings=settings,
    )
    model.calibration.check(found, len(MODALITIES))
    if model.networks_id != calibrated_networks:
        raise ModelError(
            f"model {folder}: its calibration belongs to the networks {calibrated_networks}, found the networks "
            f"{model.networks_id}; copy the folder again from where it was trained"
        )
    if model.model_id != model_id:
        raise ModelError(
            f"model {folder}: expected the content of model {model_id}, found {model.model_id}; a file was changed, "
            "copy the folder again from where it was trained"
        )
    return model


def _read_card(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAXIMUM_CARD_BYTES:
            raise ModelError(f"model card {path}: expected at most {_MAXIMUM_CARD_BYTES} bytes")
        card = yaml.load(path.read_text(encoding="utf-8"), Loader=SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"model card {path} cannot be read: {error}; expected a folder made by save_model") from error
    if not isinstance(card, dict) or card.get("format") != _FORMAT:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise ModelError(f"model card {path}: expected format {_FORMAT}, found {found}; train the model again")
    return card


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        return dict(load_arrays(path.read_bytes()))
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"model weights {path} cannot be read: {error}; copy the model again or train it") from error


def _load_network(folder: Path, config: NetworkConfig, arrays: dict[str, npt.NDArray[Any]], member: int) -> Network:
    """Build one member and take its tensors out of ``arrays``."""
    prefix = f"member.{member}."
    names = [name for name in arrays if name.startswith(prefix)]
    state = {name.removeprefix(prefix): torch.from_numpy(arrays.pop(name).copy()) for name in names}
    with torch.random.fork_rng(devices=[]):
        network = build_network(config)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(f"model {folder}: member {member}: {str(error)[:400]}; train it again") from error
    return network.eval().requires_grad_(False)
