"""What a plant's trait is: its species, its environment, a history nobody maps, and itself."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_catalog import Trait
from plant_traits.simulation.flora import Flora
from plant_traits.simulation.planet import HIDDEN, Planet, bilinear
from plant_traits.simulation.seeds import stream
from plant_traits.traits import to_working

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_DRIVERS = ("bio1", "bio12", "bio15", "phh2o", "nitrogen")
_LOGGED = ("bio12", "nitrogen")


@dataclass(frozen=True)
class Recipe:
    """How a trait comes about, in its working space.

    Attributes:
        form_means: mean of trees, shrubs and herbs.
        species_sd: among species of a growth form; family, genus and species each carry part of it.
        environment: weight of each driver; only their proportions matter.
        environment_sd: of the response to the environment, over land.
        hidden: loadings on the hidden fields, each of unit variance over land.
        individual_sd: among plants of a species at a place.
    """

    form_means: tuple[float, float, float]
    species_sd: float
    environment: Mapping[str, float]
    environment_sd: float
    hidden: tuple[float, float]
    individual_sd: float


_TUNED = {
    "height": Recipe(
        form_means=(2.3, 0.35, -0.9),
        species_sd=0.45,
        environment={"bio1": 0.5, "bio12": 1.0, "bio15": -0.4, "nitrogen": 0.4},
        environment_sd=0.5,
        hidden=(0.42, -0.32),
        individual_sd=0.25,
    ),
    "leaf_area": Recipe(
        form_means=(7.6, 6.3, 6.6),
        species_sd=0.95,
        environment={"bio1": 0.6, "bio12": 1.0, "phh2o": -0.3},
        environment_sd=0.55,
        hidden=(0.36, 0.40),
        individual_sd=0.3,
    ),
    "sla": Recipe(
        form_means=(2.55, 2.35, 3.05),
        species_sd=0.28,
        environment={"bio1": -0.6, "bio12": 0.9, "nitrogen": 0.5},
        environment_sd=0.22,
        hidden=(-0.14, 0.16),
        individual_sd=0.14,
    ),
    "leaf_n": Recipe(
        form_means=(2.95, 2.85, 3.1),
        species_sd=0.24,
        environment={"bio1": -0.5, "bio15": 0.3, "nitrogen": 1.0, "phh2o": 0.4},
        environment_sd=0.18,
        hidden=(0.17, 0.10),
        individual_sd=0.12,
    ),
}


@dataclass(frozen=True)
class TraitModel:
    """A trait on the virtual planet, in its working space.

    Attributes:
        trait: the catalogue's entry.
        species_mean: (species,).
        plasticity: (species,) factor on the response to the environment, about 1.
        environment: (360, 720) response to climate and soil.
        hidden: (360, 720) response to the hidden fields.
        individual_sd: among plants of a species at a place.
        bounds: credible range.
    """

    trait: Trait
    species_mean: FloatArray
    plasticity: FloatArray
    environment: FloatArray
    hidden: FloatArray
    individual_sd: float
    bounds: tuple[float, float]

    def expected(self, species: IntArray, latitude: FloatArray, longitude: FloatArray) -> FloatArray:
        """Return the mean of a species' plants at places, (n,)."""
        place = bilinear(self.environment, latitude, longitude) * self.plasticity[species]
        value = self.species_mean[species] + place + bilinear(self.hidden, latitude, longitude)
        return np.clip(value, *self.bounds)

    def draw(
        self, rng: np.random.Generator, species: IntArray, latitude: FloatArray, longitude: FloatArray
    ) -> FloatArray:
        """Draw single plants of species at places, (n,), inside the credible range."""
        noise = rng.normal(0.0, self.individual_sd, len(species))
        return np.clip(self.expected(species, latitude, longitude) + noise, *self.bounds)

    def community(self, planet: Planet, flora: Flora) -> FloatArray:
        """Return the true community mean of every half-degree cell, (360, 720), NaN where nothing grows."""
        out = np.full(planet.land.size, np.nan)
        share = flora.share.astype(np.float64)
        mean = share @ self.species_mean
        plasticity = share @ self.plasticity
        cells = flora.cells
        out[cells] = mean + self.environment.ravel()[cells] * plasticity + self.hidden.ravel()[cells]
        return np.asarray(np.clip(out, *self.bounds).reshape(planet.land.shape))


def build_trait(seed: int, trait: Trait, planet: Planet, flora: Flora) -> TraitModel:
    """Make the model of a trait: tuned where the trait is well known, from its range and id otherwise."""
    low, high = (float(x) for x in to_working(trait, np.array(trait.valid_range)))
    recipe = _TUNED.get(trait.id) or _generic(trait.id, low, high)
    rng = stream(seed, "trait", trait.id)
    table = flora.species
    family, genus = table["family_index"].to_numpy(), table["genus_index"].to_numpy()
    conserved = (
        0.55 * rng.normal(size=family.max() + 1)[family]
        + 0.55 * rng.normal(size=genus.max() + 1)[genus]
        + 0.63 * rng.normal(size=len(table))
    )
    margin = 0.01 * (high - low)
    bounds = (low + margin, high - margin)
    mean = np.array(recipe.form_means)[table["form"].to_numpy()] + recipe.species_sd * conserved
    living = planet.land
    response = sum(weight * _standardised(planet, name) for name, weight in recipe.environment.items())
    response = np.asarray(response)
    response = (response - response[living].mean()) / response[living].std() * recipe.environment_sd
    hidden = sum(a * planet.layers[name] for a, name in zip(recipe.hidden, HIDDEN, strict=True))
    return TraitModel(
        trait=trait,
        species_mean=np.clip(mean, *bounds),
        plasticity=np.clip(rng.normal(1.0, 0.2, len(table)), 0.3, 1.7),
        environment=response,
        hidden=np.asarray(hidden),
        individual_sd=recipe.individual_sd,
        bounds=bounds,
    )


def _generic(trait_id: str, low: float, high: float) -> Recipe:
    rng = np.random.default_rng(zlib.crc32(trait_id.encode()))
    span = high - low
    middle = 0.5 * (low + high) + span * rng.uniform(-0.05, 0.05)
    angle = rng.uniform(0, 2 * np.pi)
    return Recipe(
        form_means=tuple(float(middle + span * x) for x in rng.uniform(-0.08, 0.08, 3)),  # type: ignore[arg-type]
        species_sd=span / 16,
        environment=dict(zip(_DRIVERS, rng.normal(size=len(_DRIVERS)), strict=True)),
        environment_sd=span / 26,
        hidden=(span / 32 * float(np.cos(angle)), span / 32 * float(np.sin(angle))),
        individual_sd=span / 45,
    )


def _standardised(planet: Planet, name: str) -> FloatArray:
    field = np.log(planet.layers[name]) if name in _LOGGED else planet.layers[name]
    living = field[planet.land]
    return np.asarray((field - living.mean()) / living.std())
