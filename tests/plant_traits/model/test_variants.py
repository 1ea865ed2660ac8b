"""Variants: one change each, what they withhold, and which of them a profile has."""

import numpy as np
import pytest

from data_catalog import ModelSettings
from plant_traits.errors import ModelError
from plant_traits.model.training_set import TrainingSet
from plant_traits.model.variants import VARIANTS, variant, variants_of, whole, without_photos, without_places

TRAINING = TrainingSet(
    image_features=np.ones((4, 6), np.float32),
    covariates=np.ones((4, 3)),
    covariate_names=("a", "b", "c"),
    latitude=np.arange(4.0),
    longitude=np.arange(4.0),
    measured=np.ones((4, 2)),
    label_median=np.ones((4, 2)),
    label_sd=np.ones((4, 2)),
    label_low=np.ones((4, 2)),
    label_high=np.ones((4, 2)),
    growth_form=["tree"] * 4,
    species=["Rosa canina"] * 4,
    occasion=np.arange(4),
    biome=["arid"] * 4,
    label_shift=np.full((4, 2), 0.5),
)


def test_photos_are_withheld_and_nothing_else() -> None:
    found = without_photos(TRAINING)
    assert found.image_features is None
    assert found.features().shape == (4, 0)
    assert found.present()[0].tolist() == [False] * 4
    assert found.present()[1].tolist() == [True] * 4
    assert found.covariates is TRAINING.covariates
    assert found.centres().tolist() == TRAINING.centres().tolist()


def test_places_are_withheld_and_nothing_else() -> None:
    found = without_places(TRAINING)
    assert found.covariates.shape == (4, 0)
    assert found.covariate_names == ()
    assert found.present()[0].tolist() == [True] * 4
    assert found.present()[1].tolist() == [False] * 4
    assert found.label_shift is TRAINING.label_shift  # labels know their place all the same
    assert (found.latitude.tolist(), found.biome) == (TRAINING.latitude.tolist(), TRAINING.biome)


def test_a_variant_changes_its_own_setting_and_is_never_fitted_again() -> None:
    settings = ModelSettings(ensemble=5, hidden=7, refit=True, seed=9)
    expected = {
        "full": {}, "photo": {}, "place": {}, "single-task": {}, "uncleaned": {}, "place-truth": {},
        "one-head": {"ensemble": 1}, "same-everywhere": {"local_labels": False},
        "records": {"labels": "species_records"}, "no-dropout": {"modality_dropout": 0.0},
    }  # fmt: skip
    assert set(expected) <= set(VARIANTS)
    for name, changed in expected.items():
        assert variant(name).applied(settings) == settings.model_copy(update={"refit": False} | changed), name
    assert variant("full").inputs is whole
    assert variant("photo").inputs is without_places
    assert variant("place").inputs is variant("place-truth").inputs is without_photos
    assert [name for name, one in VARIANTS.items() if one.single_task] == ["single-task"]
    assert [name for name, one in VARIANTS.items() if not one.cleaned] == ["uncleaned"]
    assert [name for name, one in VARIANTS.items() if one.true_values] == ["place-truth"]
    assert whole(TRAINING) is TRAINING


def test_every_entry_of_a_variant_is_a_setting() -> None:
    for one in VARIANTS.values():
        assert set(one.settings) <= set(ModelSettings.model_fields), one.name
        ModelSettings.model_validate(one.applied(ModelSettings()).model_dump())
        assert one.title


def test_a_profile_has_the_variants_that_differ_from_it() -> None:
    usual = variants_of(ModelSettings(cleaning="published"), with_truth=True)
    assert usual[0] == "full"
    assert set(usual) == set(VARIANTS)
    lean = ModelSettings(
        ensemble=1,
        cleaning="none",
        local_labels=False,
        labels="species_records",
        modality_dropout=0.0,
        photo_weight=0.0,
    )
    assert variants_of(lean, with_truth=False) == ["full", "photo", "place", "single-task"]
    assert "place-truth" in variants_of(lean, with_truth=True)
    assert "uncleaned" in variants_of(lean.model_copy(update={"cleaning": "cross_fitted"}), with_truth=False)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ModelError, match=r"'phto': expected one of full, photo, place, single-task"):
        variant("phto")
