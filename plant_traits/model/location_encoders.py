"""Location encoders: frozen networks that turn a place into features, beside or instead of its covariates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from plant_traits.errors import ModelError
from plant_traits.model.climplicit import Climplicit, load_climplicit
from plant_traits.model.geoclip import LICENCE, GeoClip, load_geoclip
from plant_traits.model.identity import JOIN, FrozenEncoder, weights_identity

COVARIATES = "covariates"
"""The name under which the covariates themselves stand among location encoders."""

LOCATION_ENCODERS = ("geoclip", "climplicit")
FROM_A_HUB = ("climplicit",)
"""Location encoders that need a location of their own: a local folder or a hub id."""

_CODE_VERSION = 1  # raise when the same weights come to give other features


class LocationEncoder(FrozenEncoder, Protocol):
    """What turns places into features."""

    def encode(self, latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the features of places in degrees, (n, dimension) float32, NaN where a coordinate is not known."""
        ...


@dataclass(frozen=True)
class TorchLocationEncoder:
    """A location encoder whose network runs in PyTorch; see ``FrozenEncoder`` for the first three attributes.

    Attributes:
        network: maps its own projected coordinates (n, 2) to (n, dimension).
        batch: places per forward pass.
    """

    name: str
    identity: str
    licence: str
    network: GeoClip | Climplicit = field(repr=False)
    batch: int = 1024

    @property
    def dimension(self) -> int:
        """Length of a place's feature vector."""
        return self.network.dimension

    def encode(self, latitude: npt.ArrayLike, longitude: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the features of places in degrees, (n, dimension) float32, NaN where a coordinate is not known.

        Raises:
            ModelError: a coordinate lies outside ±90 or ±180.
        """
        latitude, longitude = np.asarray(latitude, dtype=np.float64), np.asarray(longitude, dtype=np.float64)
        known = np.flatnonzero(np.isfinite(latitude) & np.isfinite(longitude))
        outside = int(((np.abs(latitude[known]) > 90) | (np.abs(longitude[known]) > 180)).sum())
        if outside:
            raise ModelError(
                f"location encoder {self.name}: expected degrees within ±90 and ±180, found {outside} places outside; "
                "reject them where the records are cleaned"
            )
        features = np.full((len(latitude), self.dimension), np.nan, dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(known), self.batch):
                rows = known[start : start + self.batch]
                places = torch.from_numpy(self.network.coordinates(latitude[rows], longitude[rows]))
                features[rows] = self.network(places).numpy()
        return features


@dataclass(frozen=True)
class PlaceFeatures:
    """What a model reads of a place: the covariates or not, and the features of location encoders.

    Attributes:
        covariates: whether the covariates are among it.
        encoders: what stands beside them, in order.
    """

    covariates: bool = True
    encoders: tuple[LocationEncoder, ...] = ()

    @property
    def identity(self) -> str:
        """What tells one choice from another: names and identities in order."""
        return JOIN.join(
            [COVARIATES] * self.covariates + [f"{encoder.name}:{encoder.identity}" for encoder in self.encoders]
        )

    def append(
        self,
        matrix: npt.NDArray[np.float32],
        names: tuple[str, ...],
        latitude: npt.ArrayLike,
        longitude: npt.ArrayLike,
    ) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
        """Put the location encoders' features behind the columns of a covariate matrix.

        The new columns are named after the encoder and its identity, so that a model never reads the features of other
        weights. Places at scale go through this in batches: a column costs 4 bytes a place.

        Args:
            matrix: (n, c) covariates as the model reads them.
            names: of the c columns.
            latitude: degrees north, (n,).
            longitude: degrees east, (n,).

        Returns:
            (n, c + d) float32 and its names; without the covariates where they are not asked for.
        """
        if not self.encoders and self.covariates:
            return matrix, names
        blocks = [matrix] if self.covariates else []
        blocks += [encoder.encode(latitude, longitude) for encoder in self.encoders]
        return np.concatenate(blocks, axis=1), self.names_behind(names)

    def names_behind(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names that ``append`` gives to the columns of covariates of these names."""
        labels = list(names) if self.covariates else []
        for encoder in self.encoders:
            labels += [f"{encoder.name}.{encoder.identity[:8]}.{column}" for column in range(encoder.dimension)]
        return tuple(labels)


def load_place_features(
    name: str = COVARIATES, location: str | Mapping[str, str] | None = None, *, local_files_only: bool = True
) -> PlaceFeatures:
    """Load what a model reads of a place.

    ``geoclip`` gives 512 features and needs no download; ``climplicit`` four times the outputs of the model at its
    location, 1,024 as published.

    Args:
        name: ``covariates``, a location encoder, or several of these joined by ``+`` such as ``covariates+geoclip``.
        location: a local folder or hub id such as ``Jobedo/climplicit``, for the encoder that needs one.
        local_files_only: never download; a hub id must then be in the local cache.

    Raises:
        ModelError: a name is unknown or repeated, or weights are missing or damaged.
    """
    names = name.split(JOIN)
    unknown = [part for part in names if part not in (COVARIATES, *LOCATION_ENCODERS)]
    if unknown or len(set(names)) < len(names):
        raise ModelError(
            f"unknown location encoder {name!r}; expected {COVARIATES}, {', '.join(LOCATION_ENCODERS)}, or different "
            f"ones joined by {JOIN!r}"
        )
    needed = {part for part in names if part in FROM_A_HUB}
    locations = dict.fromkeys(needed, location) if isinstance(location, str) else dict(location or {})
    if set(locations) != needed or (isinstance(location, str) and not needed):
        raise ModelError(
            f"location encoder {name!r}: expected a location for {sorted(needed) or 'none of its parts'}, found "
            f"{location!r}; set model.location_encoder_location in the profile"
        )
    encoders = tuple(_load(part, locations.get(part), local_files_only) for part in names if part != COVARIATES)
    return PlaceFeatures(COVARIATES in names, encoders)


def _load(name: str, location: str | None, local_files_only: bool) -> TorchLocationEncoder:
    network: GeoClip | Climplicit
    if location is None:
        network, licence = load_geoclip(), LICENCE
    else:
        network, licence = load_climplicit(location, local_files_only)
    network = network.requires_grad_(False)
    identity = weights_identity(network, f"{_CODE_VERSION} {type(network).__name__}")
    return TorchLocationEncoder(name, identity, licence, network)
