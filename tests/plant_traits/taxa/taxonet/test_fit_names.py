"""Fitting a model of names: the split keeps groups together, thresholds keep what they say, files; bad input."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.epochs import NameFitting
from plant_traits.taxa.taxonet.fit_names import FitSettings, FittedNames, fit_names
from plant_traits.taxa.taxonet.name_head import head_of_space
from plant_traits.taxa.taxonet.names_model import load_names_model, save_names_model
from plant_traits.taxa.taxonet.training import Copies

COUNTS = np.array([80, 60, 40, 24, 12, 6, 2, 1])
NAMES = np.array([f"Genus{k // 2} species{k}" for k in range(8)])
TAXA = pd.DataFrame(
    {
        "species": NAMES,
        "genus": [name.split()[0] for name in NAMES],
        "family": ["Aaceae"] * 4 + [None] * 4,
        "growth_form": ["tree", "shrub"] * 4,
    }
)
SETTINGS = FitSettings(NameFitting(hidden=0, embedding=16, epochs=6, dropout=0.0, learning_rate=5e-3), seed=3)


def photos(counts: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    centres = 3 + np.random.default_rng(99).normal(size=(8, 20))
    labels = np.repeat(np.arange(8), counts)
    features = centres[labels] + 0.4 * np.random.default_rng(seed).normal(size=(len(labels), 20))
    return features.astype(np.float32), NAMES[labels]


def pairs(species: np.ndarray) -> np.ndarray:
    """Return observations of two photos of a species each."""
    number = pd.Series(species).groupby(species).cumcount().to_numpy() // 2
    return np.array([f"{name}-{k}" for name, k in zip(species, number, strict=True)])


def fitted(settings: FitSettings = SETTINGS, **change: object) -> FittedNames:
    features, species = photos(COUNTS, 0)
    given = {"groups": pairs(species), "taxa": TAXA, **change}
    return fit_names(features, species, settings=settings, encoder_identity="e", **given)  # type: ignore[arg-type]


def test_it_names_photos_and_knows_what_it_left_out() -> None:
    found = fitted(replace(SETTINGS, how=replace(SETTINGS.how, epochs=20, patience=20)))
    assert found.left_out == {NAMES[7]: 1}
    assert found.model.species == tuple(NAMES[:7])
    features, species = photos(np.array([9, 9, 9, 9, 9, 9, 9, 0]), 1)
    named = np.array(found.model.species)[found.model.assess(features).probabilities.argmax(axis=1)]
    assert (named == species).mean() > 0.8
    assert found.model.taxa["species"].tolist() == NAMES[:7].tolist()
    assert found.model.taxa["family"].tolist() == ["Aaceae"] * 4 + [None] * 3
    assert found.model.taxa["growth_form"].tolist()[:2] == ["tree", "shrub"]


def test_the_head_may_start_at_the_feature_space_of_the_photos_trained_on() -> None:
    still = replace(SETTINGS, how=replace(SETTINGS.how, epochs=1, learning_rate=1e-9), from_space=True)
    model = fitted(still).model
    assert model.space is not None
    features, _ = photos(COUNTS, 1)
    with torch.inference_mode():
        expected = head_of_space(model.space).eval()(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(model.cosines(features), expected, atol=1e-5)


def test_photos_of_a_group_stay_together_and_every_species_is_trained_on() -> None:
    features, species = photos(COUNTS, 0)
    groups, found = pairs(species), fitted()
    held = np.zeros(len(species), dtype=bool)
    held[found.calibration] = True
    assert not set(groups[held]) & set(groups[~held])
    assert np.array_equal(NAMES[found.calibration_labels], species[found.calibration])
    assert (found.model.counts >= 1).all()
    figures = found.figures
    parts = [figures[f"photos {x}"] for x in ("trained on", "stopped on", "calibrated on", "left out")]
    assert sum(parts) == len(features) and figures["photos trained on"] == found.model.counts.sum()
    share = pd.Series(held).groupby(species).mean()
    assert share[NAMES[0]] == pytest.approx(0.15, abs=0.02) and share[NAMES[6]] == 0


def test_thresholds_keep_the_calibration_photos() -> None:
    features, _ = photos(COUNTS, 0)
    found = fitted(replace(SETTINGS, kept_known=0.8, kept_plants=0.9))
    seen = found.model.assess(features[found.calibration])
    assert 0.8 <= seen.known.mean() < 0.85 and 0.9 <= seen.is_plant.mean() < 0.95
    np.testing.assert_allclose(seen.probabilities.sum(axis=1), 1, rtol=1e-12)
    far = found.model.assess(features + 30.0)
    assert not far.is_plant.any()


def test_a_species_whose_groups_are_shared_with_rarer_ones_is_still_trained_on() -> None:
    _, species = photos(COUNTS, 0)
    groups = pairs(species)
    groups[species == NAMES[5]] = np.resize(np.unique(groups[species == NAMES[6]]), 6)
    for seed in range(5):
        found = fitted(replace(SETTINGS, seed=seed, how=replace(SETTINGS.how, epochs=1)), groups=groups)
        assert found.model.species == tuple(NAMES[:7])


def test_the_same_arguments_give_the_same_model() -> None:
    features, _ = photos(COUNTS, 1)
    one, other = fitted(), fitted()
    assert np.array_equal(one.model.assess(features).probabilities, other.model.assess(features).probabilities)
    assert one.model.threshold == other.model.threshold and np.array_equal(one.calibration, other.calibration)
    assert not np.array_equal(one.calibration, fitted(replace(SETTINGS, seed=4)).calibration)


def test_copies_of_photos_held_out_are_not_used() -> None:
    features, _ = photos(COUNTS, 0)
    held = fitted().calibration
    far = Copies(np.full((len(held), 20), 1e3, dtype=np.float32), held)
    unused = fitted(copies=far)
    assert unused.course.equals(fitted(copies=Copies(features[:0], np.empty(0, dtype=np.int64))).course)
    own = Copies(features + 0.1, np.arange(len(features)))
    assert not fitted(copies=own).course.equals(unused.course)


def test_a_model_survives_a_file(tmp_path: Path) -> None:
    model = fitted().model
    save_names_model(model, tmp_path / "names.safetensors")
    read = load_names_model(tmp_path / "names.safetensors")
    features, _ = photos(COUNTS, 1)
    one, other = model.assess(features), read.assess(features)
    assert np.array_equal(one.probabilities, other.probabilities)
    np.testing.assert_allclose(one.open_set, other.open_set, rtol=1e-12)
    np.testing.assert_allclose(one.plant, other.plant, rtol=1e-9)
    assert (read.threshold, read.plant_threshold) == (model.threshold, model.plant_threshold)
    pd.testing.assert_frame_equal(read.taxa, model.taxa)


def test_bad_input_is_refused() -> None:
    features, species = photos(COUNTS, 0)
    groups = pairs(species)
    with pytest.raises(ModelError, match="a species and a group for each"):
        fit_names(features, species, groups[:-1], TAXA, SETTINGS, encoder_identity="e")
    with pytest.raises(ModelError, match="such as Genus0 species0"):
        fit_names(features, species, groups, TAXA.iloc[1:], SETTINGS, encoder_identity="e")
    with pytest.raises(ModelError, match="none of \\['family'\\]"):
        fit_names(features, species, groups, TAXA.drop(columns="family"), SETTINGS, encoder_identity="e")
    with pytest.raises(ModelError, match="two species or more"):
        fit_names(features[:80], species[:80], groups[:80], TAXA, SETTINGS, encoder_identity="e")
    with pytest.raises(ModelError, match="hold some out"):
        fit_names(features, species, species, TAXA, SETTINGS, encoder_identity="e")
    with pytest.raises(ModelError, match="positions beyond"):
        fitted(copies=Copies(features[:1], np.array([len(features)])))
    for change in ({"stop_share": 0.0}, {"stop_share": 0.5, "calibration_share": 0.5}, {"kept_known": 1.0}):
        with pytest.raises(ModelError, match="shares between 0 and 1"):
            replace(SETTINGS, **change)
