"""The layers of a map product: what each holds, in which unit, and what its flags mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from data_catalog import Trait

SOURCE: Mapping[str, int] = {"none": 0, "photos": 1, "geospatial": 2}
QUALITY: Mapping[str, int] = {
    "none": 0,
    "photos": 1,
    "single_species": 2,
    "few_photos": 3,
    "geospatial_only": 4,
    "outside_applicability": 5,
}
APPLICABILITY: Mapping[str, int] = {"inside": 0, "outside": 1, "none": 255}


@dataclass(frozen=True)
class Layer:
    """One layer of a product.

    Attributes:
        name: name within the product; on disk ``<trait>_<name>``, the value being plain ``<trait>``.
        long_name: description, ``{trait}`` standing for the trait's name.
        scale: the trait's own unit, its working space, the square of that, or a plain number.
        dtype: NumPy type.
        flags: meanings and values of a flag layer.
        attributes: further CF attributes.
    """

    name: str
    long_name: str
    scale: Literal["natural", "working", "working_squared", "number"]
    dtype: str = "float32"
    flags: Mapping[str, int] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)

    def describe(self, trait_name: str) -> str:
        """Return the long name for a trait."""
        return self.long_name.format(trait=trait_name)

    def units(self, trait: Trait) -> str:
        """Return the CF unit for a trait; a logarithm's is 1."""
        if self.scale == "number" or (self.scale != "natural" and trait.working_space == "ln"):
            return "1"
        return f"({trait.unit})2" if self.scale == "working_squared" else trait.unit


_OF_PHOTOS = "describes the cell's photos, however much they weigh in the value"
_CALIBRATED = (
    "calibrated on vegetation plots by biome where there are some; as the model has it in the layers named raw"
)

LAYERS: Mapping[str, Layer] = {
    layer.name: layer
    for layer in (
        Layer(
            "value",
            "community mean of {trait}",
            "natural",
            attributes={
                "cell_methods": "area: mean",
                "comment": "mean over the plants of the cell on the natural scale: in a logarithmic working space "
                "exp(location + half the variance among plants)",
            },
        ),
        Layer("median", "community median of {trait}", "natural", attributes={"cell_methods": "area: median"}),
        Layer(
            "location",
            "working-space location of {trait}",
            "working",
            attributes={"comment": "what compares with community-weighted means of logarithms"},
        ),
        Layer(
            "standard_error",
            "standard error of the working-space location of {trait}",
            "working",
            attributes={"comment": f"of the cell's mean, not the spread of its plants; {_CALIBRATED}"},
        ),
        Layer(
            "interval_lower",
            "lower end of the 95 % interval of the median of {trait}",
            "natural",
            attributes={"comment": _CALIBRATED},
        ),
        Layer(
            "interval_upper",
            "upper end of the 95 % interval of the median of {trait}",
            "natural",
            attributes={"comment": _CALIBRATED},
        ),
        Layer(
            "value_lower",
            "lower end of the 95 % interval of the community mean of {trait}",
            "natural",
            attributes={"comment": "takes the variance among plants as known"},
        ),
        Layer(
            "value_upper",
            "upper end of the 95 % interval of the community mean of {trait}",
            "natural",
            attributes={"comment": "takes the variance among plants as known"},
        ),
        Layer("standard_error_raw", "standard error of the location of {trait}, not calibrated", "working"),
        Layer("interval_raw_lower", "lower end of the interval of the median of {trait}, not calibrated", "natural"),
        Layer("interval_raw_upper", "upper end of the interval of the median of {trait}, not calibrated", "natural"),
        Layer(
            "photo_share",
            "share of the cell's photos in the value of {trait}",
            "number",
            attributes={"comment": "weight of the photos' estimate; the rest is predicted from climate and soil"},
        ),
        Layer(
            "n_photos",
            "number of photos of {trait}",
            "number",
            attributes={"standard_name": "number_of_observations", "comment": _OF_PHOTOS},
        ),
        Layer("n_species", "number of species photographed for {trait}", "number", attributes={"comment": _OF_PHOTOS}),
        Layer("n_observers", "number of observers for {trait}", "number", attributes={"comment": _OF_PHOTOS}),
        Layer(
            "n_effective", "effective number of photos (Kish) for {trait}", "number", attributes={"comment": _OF_PHOTOS}
        ),
        Layer(
            "heterogeneity",
            "variance of {trait} among species (Paule-Mandel tau squared)",
            "working_squared",
            attributes={"comment": _OF_PHOTOS},
        ),
        Layer("i_squared", "share of scatter among species of {trait}", "number", attributes={"comment": _OF_PHOTOS}),
        Layer(
            "expected_bias",
            "expected error of the mean of the photos of {trait} beyond its standard error",
            "working",
            attributes={
                "comment": "root mean square, from the bias ratio of cells with vegetation plots (Meng 2018); it holds "
                "the model's own bias too, and is a ceiling of the sample's"
            },
        ),
        Layer(
            "dissimilarity",
            "dissimilarity of the cell's climate and soil to what the model of {trait} was trained on",
            "number",
            attributes={"comment": "dissimilarity index of Meyer and Pebesma (2021)"},
        ),
        Layer(
            "applicability",
            "area of applicability of the geospatial prediction of {trait}",
            "number",
            "uint8",
            APPLICABILITY,
            {"standard_name": "status_flag", "comment": "outside: climate and soil unlike all training data"},
        ),
        Layer(
            "source",
            "what weighs most in the value of {trait}",
            "number",
            "uint8",
            SOURCE,
            {"standard_name": "status_flag"},
        ),
        Layer(
            "quality", "quality of the value of {trait}", "number", "uint8", QUALITY, {"standard_name": "quality_flag"}
        ),
    )
}

COMMON_LAYERS: Mapping[str, Layer] = {
    layer.name: layer
    for layer in (
        Layer(
            "effort_records",
            "records of vascular plants",
            "number",
            attributes={"comment": "target-group effort: all cleaned records of the cell, photographed or not"},
        ),
        Layer("effort_observers", "observers of vascular plants", "number"),
    )
}
"""Layers that all traits share, (lat, lon)."""
