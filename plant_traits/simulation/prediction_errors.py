"""What a trained model makes of photos of plants whose true traits are known, drawn without a photo or a model.

The errors have the sizes that the demo's network shows for photos of regions it was not trained on, taken apart by
regression on what makes up a plant's trait in the virtual world (``benchmarks/prediction_errors.py``). A network
trained on species' labels follows differences among species, among places and among plants only in part, least of all
those that no covariate shows: that error is shared by all plants of a place. To these slopes come an error of each
species, one of each place that changes smoothly over the globe, and one of each photo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plant_traits.simulation.flora import FORMS, Flora
from plant_traits.simulation.noise import sphere_field
from plant_traits.simulation.planet import bilinear
from plant_traits.simulation.traits import TraitModel

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_FIELD_DEGREES = 1.0
_LEAST_OWN = 0.1  # share of a photo's stated variance that its own error has at least


@dataclass(frozen=True)
class PredictionErrors:
    """How a model errs in a trait, in its working space.

    Attributes:
        form: slope of the predictions on the mean of the plant's growth form.
        species: slope on its species' departure from that.
        environment: slope on the response of its place to climate and soil.
        hidden: slope on the response of its place to what no covariate shows.
        individual: slope on its own departure.
        species_sd: of the error that all photos of a species share.
        place_sd: of the error that all photos of a place share, beyond the slopes.
        place_degrees: distance at which the correlation of that error falls to exp(-1/2).
        photo_sd: of the error of a single photo.
        spread: standard deviation of the logarithm of the stated variances.
        aleatoric: share of the stated variance that is variation among plants.
    """

    form: float
    species: float
    environment: float
    hidden: float
    individual: float
    species_sd: float
    place_sd: float
    place_degrees: float
    photo_sd: float
    spread: float
    aleatoric: float


DEMO_ERRORS: Mapping[str, PredictionErrors] = {
    "height": PredictionErrors(1.08, 0.61, 0.93, 0.34, 0.43, 0.27, 0.12, 20.0, 0.43, 0.49, 0.9),
    "leaf_area": PredictionErrors(1.02, 0.58, 0.84, 0.36, 0.51, 0.22, 0.045, 10.0, 0.45, 0.35, 0.9),
    "sla": PredictionErrors(1.09, 0.35, 0.63, 0.29, 0.26, 0.067, 0.041, 8.0, 0.148, 0.48, 0.9),
    "leaf_n": PredictionErrors(1.23, 0.43, 0.59, 0.23, 0.29, 0.072, 0.046, 6.0, 0.13, 0.39, 0.9),
}


@dataclass(frozen=True)
class PlantPredictions:
    """Predictions of n photos, (n,) each, working space.

    Attributes:
        mean: predicted trait.
        aleatoric: stated variance among plants.
        epistemic: stated variance of the model's own uncertainty.
    """

    mean: FloatArray
    aleatoric: FloatArray
    epistemic: FloatArray


def predict_plants(
    rng: np.random.Generator,
    errors: PredictionErrors,
    model: TraitModel,
    flora: Flora,
    species: IntArray,
    latitude: FloatArray,
    longitude: FloatArray,
    truth: FloatArray,
) -> PlantPredictions:
    """Draw what one model predicts for photos of plants.

    The predictions are right on average over the photos. Stated variances are log-normal; a photo's own error is as
    much larger as its stated variance says; all are scaled so that a squared error is its stated variance on average.

    Args:
        rng: of the model and its photos.
        errors: of the model.
        model: the trait on the virtual planet.
        flora: the species.
        species: (n,) true species of the plants.
        latitude: (n,) degrees, where they stand.
        longitude: (n,) degrees.
        truth: (n,) their traits, working space.
    """
    form = flora.species["form"].to_numpy()
    of_form = np.array([model.species_mean[form == k].mean() if (form == k).any() else 0.0 for k in range(len(FORMS))])
    environment = bilinear(model.environment, latitude, longitude) * model.plasticity[species]
    hidden = bilinear(model.hidden, latitude, longitude)
    grown = of_form[form[species]]
    departs = model.species_mean[species] - grown
    parts = (
        (errors.form, grown),
        (errors.species, departs),
        (errors.environment, environment),
        (errors.hidden, hidden),
        (errors.individual, truth - grown - departs - environment - hidden),
    )
    followed = sum(((slope - 1.0) * (part - part.mean()) for slope, part in parts), np.zeros(len(truth)))
    shared = followed + rng.normal(0.0, errors.species_sd, len(flora.species))[species]
    shared += errors.place_sd * _field(rng, errors.place_degrees, latitude, longitude)
    shared -= shared.mean()

    total = float((shared**2).mean()) + errors.photo_sd**2
    stated = total * np.exp(errors.spread * rng.normal(size=len(truth)) - 0.5 * errors.spread**2)
    own = np.maximum(stated - (shared**2).mean(), _LEAST_OWN * stated)
    own *= errors.photo_sd**2 / own.mean()
    error = shared + rng.normal(size=len(truth)) * np.sqrt(own)
    stated *= (error**2 / stated).mean()
    return PlantPredictions(truth + error, errors.aleatoric * stated, (1.0 - errors.aleatoric) * stated)


def _field(rng: np.random.Generator, degrees: float, latitude: FloatArray, longitude: FloatArray) -> FloatArray:
    """Draw a smooth field of variance 1 over the globe, at points."""
    half = 0.5 * _FIELD_DEGREES
    lat, lon = np.arange(90 - half, -90, -_FIELD_DEGREES), np.arange(-180 + half, 180, _FIELD_DEGREES)
    return bilinear(sphere_field(rng, lat, lon, degrees), latitude, longitude)
