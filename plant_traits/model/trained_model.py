"""A trained predictor: an ensemble of networks with everything needed to use and to describe it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from data_catalog import ModelSettings, Trait
from plant_traits.model.calibration import Calibration
from plant_traits.model.network import NetworkConfig
from plant_traits.model.network_presets import Network
from plant_traits.model.standardisation import Standardisation

MODALITIES = ("image+geospatial", "image", "geospatial")
"""What a prediction may rest on, in the order of the rows of a calibration."""


@dataclass(frozen=True)
class TrainedModel:
    """An ensemble on shared frozen features.

    Attributes:
        traits: what it predicts, in the order of its outputs.
        covariate_names: the covariates it reads, in order.
        encoder_identity: the photo encoder whose features it was trained on.
        config: shape of the networks.
        networks: the members, in evaluation mode on the CPU.
        image_standardisation: of the photo features.
        covariate_standardisation: of the covariates.
        target_centre: (traits,) working-space centre of the network's targets.
        target_scale: (traits,) working-space scale of them.
        calibration: what multiplies every predicted variance and how far intervals reach, by modalities in the order
            of ``MODALITIES``, growth form and trait.
        metrics: held-out scores, plain numbers and strings only.
        settings: how it was trained.
    """

    traits: tuple[Trait, ...]
    covariate_names: tuple[str, ...]
    encoder_identity: str
    config: NetworkConfig
    networks: tuple[Network, ...] = field(repr=False)
    image_standardisation: Standardisation = field(repr=False)
    covariate_standardisation: Standardisation = field(repr=False)
    target_centre: npt.NDArray[np.float64]
    target_scale: npt.NDArray[np.float64]
    calibration: Calibration
    metrics: dict[str, Any]
    settings: ModelSettings

    @property
    def model_id(self) -> str:
        """Hash of everything that bears on a prediction: equal ids give equal predictions."""
        description = {
            "traits": [[t.id, t.unit, t.working_space, t.likelihood] for t in self.traits],
            "covariates": list(self.covariate_names),
            "encoder": self.encoder_identity,
            "photo_weight": self.settings.photo_weight,
            "calibrated": [self.calibration.traits, self.calibration.groups, self.calibration.levels],
        }
        return _hash(description, self.arrays())

    @property
    def networks_id(self) -> str:
        """Hash of the members' weights alone: what a calibration belongs to."""
        return _hash({}, self._members())

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return every number a prediction needs, by name: the members' weights, the scalings and the calibration."""
        found: dict[str, npt.NDArray[Any]] = {
            "target.centre": self.target_centre,
            "target.scale": self.target_scale,
            "calibration.n": self.calibration.n,
            "calibration.variance_factor": self.calibration.variance_factor,
            "calibration.quantile": self.calibration.quantile,
        }
        for prefix, scaling in (("image", self.image_standardisation), ("covariate", self.covariate_standardisation)):
            found |= {f"{prefix}.{key}": getattr(scaling, key) for key in ("centre", "scale", "low", "high")}
        return found | self._members()

    def _members(self) -> dict[str, npt.NDArray[Any]]:
        return {
            f"member.{number}.{key}": value.cpu().numpy()
            for number, network in enumerate(self.networks)
            for key, value in network.state_dict().items()
        }


def _hash(description: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
