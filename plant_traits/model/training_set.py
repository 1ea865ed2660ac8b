"""What a model is trained on: photos, places, measurements and weak labels, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import numpy.typing as npt

from data_catalog import Trait
from plant_traits.errors import ModelError
from plant_traits.model.labels import LabelRecords, check_labels, draw_labels

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
        species: (n,) the name each record's labels were looked up by, or None.
        occasion: (n,) from ``splits.occasions``: records of one occasion are never divided.
        biome: (n,) from ``covariates.biomes``, or None where unknown.
        label_shift: (n, t) what a record's place adds to its label, see ``plant_traits.model.place_response``, or None.
        label_records: the values that labels are drawn from instead of the bounds, where the settings ask for it.
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
    species: Sequence[str | None]
    occasion: npt.NDArray[np.int64]
    biome: Sequence[str | None]
    label_shift: FloatArray | None = None
    label_records: LabelRecords | None = None

    def labels(self, seed: int, epoch: int) -> FloatArray:
        """Return the labels of an epoch, (n, t)."""
        bounds = (self.label_median, self.label_sd, self.label_low, self.label_high)
        drawn = draw_labels(*bounds, self.measured, seed=seed, epoch=epoch, records=self.label_records)
        return self._shifted(drawn)

    def centres(self) -> FloatArray:
        """Return the measurement, else the species median, moved by what the place adds, (n, t)."""
        return self._shifted(np.where(np.isnan(self.measured), self.label_median, self.measured))

    def _shifted(self, labels: FloatArray) -> FloatArray:
        if self.label_shift is None:
            return labels
        return np.where(np.isnan(self.measured), labels + self.label_shift, labels)

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
            "occasion",
        )
        return replace(
            self,
            image_features=None if self.image_features is None else self.image_features[chosen],
            label_shift=None if self.label_shift is None else self.label_shift[chosen],
            label_records=None if self.label_records is None else self.label_records.rows(chosen),
            growth_form=list(compress(self.growth_form, chosen)),
            species=list(compress(self.species, chosen)),
            biome=list(compress(self.biome, chosen)),
            **{name: getattr(self, name)[chosen] for name in arrays},
        )

    def columns(self, traits: Sequence[int]) -> TrainingSet:
        """Return the same records with the labels of some traits, by position."""
        arrays = ("measured", "label_median", "label_sd", "label_low", "label_high")
        return replace(
            self,
            label_shift=None if self.label_shift is None else self.label_shift[:, list(traits)],
            label_records=None if self.label_records is None else self.label_records.columns(traits),
            **{name: getattr(self, name)[:, list(traits)] for name in arrays},
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
            "occasion": (n,),
            "covariates": (n, len(self.covariate_names)),
            **dict.fromkeys(("measured", "label_median", "label_sd", "label_low", "label_high"), (n, t)),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ModelError(
                    f"training set: expected {name} of shape {shape}, found {found}; align the arrays by row"
                )
        lengths = {name: len(getattr(self, name)) for name in ("growth_form", "species", "biome")}
        lengths["image_features"] = len(self.features())
        if set(lengths.values()) != {n}:
            raise ModelError(f"training set: expected {n} rows, found {lengths}; align the arrays by row")
        check_labels(
            [trait.id for trait in traits],
            measured=self.measured,
            median=self.label_median,
            sd=self.label_sd,
            low=self.label_low,
            high=self.label_high,
            records=self.label_records,
        )
        for name, values in (("covariates", self.covariates), ("image_features", self.features())):
            endless = int(np.isinf(values).sum())
            if endless:
                raise ModelError(
                    f"training set: expected finite {name}, or NaN where missing, found {endless} infinite values; "
                    "check the rasters and the encoder"
                )
