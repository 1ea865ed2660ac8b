"""What a model is trained on: photos, places, measurements and weak labels, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data_catalog import Trait
from plant_traits.errors import ModelError
from plant_traits.model.labels import draw_labels

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TrainingSet:
    """What a model is trained on: n records of a photo, a place or both, with t traits in working space.

    Attributes:
        image_features: (n, d) float32, a row with NaN where there is no usable photo; None in a run without photos.
        covariates: (n, c), NaN where missing.
        covariate_names: the c names, in order.
        latitude: (n,) degrees north, NaN where unknown.
        longitude: (n,) degrees east, NaN where unknown.
        measured: (n, t) values measured on the plant itself, NaN where not.
        label_median: (n, t) median of the trait within the species, NaN where unknown.
        label_sd: (n, t) its standard deviation within the species.
        label_low: (n, t) lower bound of the species' values.
        label_high: (n, t) upper bound.
        growth_form: (n,) ``tree``, ``shrub``, ``herb`` or None.
    """

    image_features: npt.NDArray[np.float32] | None
    covariates: npt.NDArray[np.floating]
    covariate_names: tuple[str, ...]
    latitude: FloatArray
    longitude: FloatArray
    measured: FloatArray
    label_median: FloatArray
    label_sd: FloatArray
    label_low: FloatArray
    label_high: FloatArray
    growth_form: Sequence[str | None]

    def labels(self, seed: int, epoch: int) -> FloatArray:
        """Return the labels of an epoch, (n, t)."""
        bounds = (self.label_median, self.label_sd, self.label_low, self.label_high)
        return draw_labels(*bounds, self.measured, seed=seed, epoch=epoch)

    def centres(self) -> FloatArray:
        """Return the measurement, else the species median, (n, t)."""
        return np.where(np.isnan(self.measured), self.label_median, self.measured)

    def rows(self, chosen: BoolArray) -> TrainingSet:
        """Return the chosen records."""
        arrays = (
            "covariates",
            "latitude",
            "longitude",
            "measured",
            "label_median",
            "label_sd",
            "label_low",
            "label_high",
        )
        return replace(
            self,
            image_features=None if self.image_features is None else self.image_features[chosen],
            growth_form=[form for form, keep in zip(self.growth_form, chosen, strict=True) if keep],
            **{name: getattr(self, name)[chosen] for name in arrays},
        )

    def features(self) -> npt.NDArray[np.float32]:
        """Return the image features, (n, d); (n, 0) in a run without photos."""
        if self.image_features is None:
            return np.empty((len(self.latitude), 0), dtype=np.float32)
        return self.image_features

    def present(self) -> tuple[BoolArray, BoolArray]:
        """Tell which records have a usable photo, and which a place with any covariate, each (n,)."""
        features, places = self.features(), self.covariates
        has_image: BoolArray = np.zeros(len(places), dtype=bool)
        has_place: BoolArray = np.zeros(len(places), dtype=bool)
        if features.shape[1]:
            has_image = np.asarray(~np.isnan(features).any(axis=1))
        if places.shape[1]:
            has_place = ~np.isnan(places).all(axis=1)
        return has_image, has_place

    def check(self, traits: Sequence[Trait]) -> None:
        """Check that the arrays fit each other and the traits.

        Raises:
            ModelError: they do not.
        """
        n, t = len(self.latitude), len(traits)
        expected: dict[str, tuple[int, ...]] = {
            "longitude": (n,),
            "covariates": (n, len(self.covariate_names)),
            **dict.fromkeys(("measured", "label_median", "label_sd", "label_low", "label_high"), (n, t)),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ModelError(
                    f"training set: expected {name} of shape {shape}, found {found}; align the arrays by row"
                )
        if len(self.features()) != n or len(self.growth_form) != n:
            raise ModelError(
                f"training set: expected {n} rows of image_features and growth_form, found "
                f"{len(self.features())} and {len(self.growth_form)}; align the arrays by row"
            )
