"""Variants of a model: what an evaluation leaves out or changes, one thing at a time, to see what it is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_catalog import ModelSettings
from plant_traits.errors import ModelError
from plant_traits.model.training_set import TrainingSet


def whole(training: TrainingSet) -> TrainingSet:
    """Withhold nothing."""
    return training


@dataclass(frozen=True)
class Variant:
    """One thing changed in a model.

    Attributes:
        name: its id.
        title: what it is, in a table.
        settings: entries of the model's settings that differ.
        inputs: changes what the model is given.
        single_task: train a model of its own for every trait.
        cleaned: leave out what the cleaning rounds dropped, where there were any.
        true_values: train on the plants' true values in place of labels; virtual worlds alone know them.
    """

    name: str
    title: str
    settings: Mapping[str, Any]
    inputs: Callable[[TrainingSet], TrainingSet] = whole
    single_task: bool = False
    cleaned: bool = True
    true_values: bool = False

    def applied(self, settings: ModelSettings) -> ModelSettings:
        """Return settings with this variant's changes; nothing is fitted again after the scores."""
        return settings.model_copy(update={"refit": False, **self.settings})


def without_photos(training: TrainingSet) -> TrainingSet:
    """Withhold every photo; records without covariates are left with nothing and must be left out."""
    return replace(training, image_features=None)


def without_places(training: TrainingSet) -> TrainingSet:
    """Withhold every covariate."""
    return replace(training, covariates=np.empty((len(training.latitude), 0), np.float32), covariate_names=())


_ALL = (
    Variant("full", "photo and place", {}),
    Variant("photo", "photo alone", {}, without_places),
    Variant("place", "place alone", {}, without_photos),
    Variant("single-task", "one model per trait", {}, single_task=True),
    Variant("one-head", "one head instead of an ensemble", {"ensemble": 1}),
    Variant("uncleaned", "without cleaning rounds", {}, cleaned=False),
    Variant("same-everywhere", "labels that do not know their place", {"local_labels": False}),
    Variant("records", "labels drawn from the species' own records", {"labels": "species_records"}),
    Variant("one-view", "photo and place together only, not averaged with the photo alone", {"photo_weight": 0.0}),
    Variant("no-dropout", "without modality dropout", {"modality_dropout": 0.0}),
    Variant("place-truth", "place alone, trained on true values", {}, without_photos, true_values=True),
)

VARIANTS: Mapping[str, Variant] = {variant.name: variant for variant in _ALL}
"""By name, in the order of a table."""


def variant(name: str) -> Variant:
    """Return a variant by its name.

    Raises:
        ModelError: there is none of that name.
    """
    if name not in VARIANTS:
        raise ModelError(f"variant {name!r}: expected one of {', '.join(VARIANTS)}")
    return VARIANTS[name]


def variants_of(settings: ModelSettings, *, with_truth: bool) -> list[str]:
    """Return the variants that differ from a profile's own settings, ``full`` first.

    Args:
        settings: of the profile.
        with_truth: the plants' true values are known.
    """

    def differs(one: Variant) -> bool:
        if one.true_values:
            return with_truth
        if not one.cleaned:
            return settings.cleaning != "none"
        changed = one.applied(settings) != VARIANTS["full"].applied(settings)
        return changed or one.single_task or one.inputs is not VARIANTS["full"].inputs

    return ["full", *(name for name, one in VARIANTS.items() if name != "full" and differs(one))]
