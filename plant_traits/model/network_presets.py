"""Networks by preset: which one a profile asks for, of what shape, and how its inputs and targets are scaled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data_catalog import ModelSettings
from plant_traits.errors import ModelError
from plant_traits.model.location_encoders import LOCATION_ENCODERS
from plant_traits.model.network import NetworkConfig, TraitNetwork
from plant_traits.model.published_network import (
    BLOCKS,
    DROPOUT,
    ENCODER,
    HIDDEN,
    PublishedNetwork,
    load_published_checkpoint,
)
from plant_traits.model.standardisation import Standardisation, fit_standardisation

Network = TraitNetwork | PublishedNetwork


def network_config(settings: ModelSettings, image_dimension: int, covariates: int, traits: int) -> NetworkConfig:
    """Return the shape of the network that the settings ask for; the published preset has its own sizes.

    Raises:
        ModelError: the published preset is asked for with other encoders than its own.
    """
    if settings.network == "default":
        return NetworkConfig(image_dimension, covariates, traits, settings.hidden, settings.blocks, settings.dropout)
    if settings.encoder != ENCODER:
        raise ModelError(
            f"network {settings.network}: expected the encoder {ENCODER}, found {settings.encoder!r}; set "
            "model.encoder and model.encoder_location in the profile"
        )
    return NetworkConfig(image_dimension, covariates, traits, HIDDEN, BLOCKS, DROPOUT, settings.network)


def build_network(config: NetworkConfig, start: Path | None = None) -> Network:
    """Build a network of a shape, with random weights or those of a published checkpoint.

    Args:
        config: its shape.
        start: converted checkpoint to start the published preset from.

    Raises:
        ModelError: the shape is not that of the preset, or the checkpoint does not fit.
    """
    if config.preset == "planttraitnet-published":
        network = PublishedNetwork(config)
        return network if start is None else load_published_checkpoint(network, start)
    if start is not None:
        raise ModelError(
            f"network {config.preset}: a published checkpoint is for planttraitnet-published, found {start}; set "
            "model.network in the profile, or leave model.network_start out"
        )
    return TraitNetwork(config)


def fit_scalings(
    config: NetworkConfig,
    image: npt.NDArray[np.floating],
    covariates: npt.NDArray[np.floating],
    covariate_names: tuple[str, ...],
    targets: npt.NDArray[np.floating],
    weight: npt.NDArray[np.float64],
) -> tuple[Standardisation, Standardisation, Standardisation]:
    """Fit the scalings of photo features, covariates and targets that a network expects.

    The default network has all of them standardised. The published one reads the features of frozen encoders as they
    are, its covariates standardised, and its targets, in working space, from 0 at the smallest to 1 at the largest.

    Args:
        config: the network's shape.
        image: (n, image_dimension).
        covariates: (n, covariates).
        covariate_names: of the covariates; features of location encoders are known by their names.
        targets: (n, traits), NaN where unknown.
        weight: (n,) how often each row is drawn.
    """
    place, target = fit_standardisation(covariates), fit_standardisation(targets, weight)
    if config.preset == "default":
        return fit_standardisation(image), place, target
    encoded = np.array([name.partition(".")[0] in LOCATION_ENCODERS for name in covariate_names])
    unscaled = _unscaled(len(encoded))
    place = Standardisation(
        *(np.where(encoded, getattr(unscaled, x), getattr(place, x)) for x in ("centre", "scale", "low", "high"))
    )
    low, span = target.invert(target.low), (target.high - target.low) * target.scale
    return _unscaled(image.shape[1]), place, replace(target, centre=low, scale=np.where(span > 0, span, 1.0))


def _unscaled(columns: int) -> Standardisation:
    """Return the scaling that changes nothing."""
    bounds = np.full(columns, np.inf)
    return Standardisation(np.zeros(columns), np.ones(columns), -bounds, bounds)
