"""Names models by folds of observers: nobody is judged by a model that has seen his photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plant_traits.errors import ModelError
from plant_traits.taxa.gate.cross_fitted import CARD, EVIDENCE, load_cross_fitted, save_cross_fitted
from plant_traits.taxa.gate.fitting import CrossFit, CrossFitting, fit_cross_fitted
from plant_traits.taxa.gate.folds import folds_of, observers_of

RANKS = ["species", "genus", "family", "growth_form"]
SPECIES = ["Acer rubrum", "Acer saccharum", "Quercus robur", "Rosa alba", "Rosa canina", "Poa annua"]
FORMS = {"Acer": "tree", "Quercus": "tree", "Rosa": "shrub", "Poa": "herb"}


def how(folds: int = 3, epochs: int = 6) -> CrossFitting:
    plain = CrossFitting()
    small = replace(plain.fit.how, epochs=epochs, hidden=0, embedding=8, learning_rate=0.02, dropout=0.0)
    return replace(plain, folds=folds, fit=replace(plain.fit, how=small))


def photos(n: int = 480, seed: int = 3) -> tuple[pd.DataFrame, np.ndarray]:
    """Return photos of six species that lie apart in twelve features, by forty observers, and the features."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, len(SPECIES), n)
    centres = rng.normal(size=(len(SPECIES), 12)) * 2.0
    features = (centres[which] + rng.normal(size=(n, 12))).astype(np.float32)
    species = pd.Series(np.array(SPECIES)[which])
    genus = species.str.split(" ").str[0]
    rows = pd.DataFrame(
        {
            "observation_id": [f"o{k}" for k in range(n)],
            "species": species,
            "genus": genus,
            "family": None,
            "growth_form": genus.map(FORMS),
            "observer": [f"observer {k}" for k in rng.integers(0, 40, n)],
            "latitude": rng.uniform(-50, 60, n),
            "longitude": rng.uniform(-170, 170, n),
        }
    )
    return rows, features


@pytest.fixture(scope="module")
def fitted() -> CrossFit:
    return fit_cross_fitted(*photos(), how(), encoder_identity="an encoder")


def test_every_fold_knows_the_species_and_its_own_observers_held_out(fitted: CrossFit) -> None:
    rows, _ = photos()
    fold = folds_of(observers_of(rows), 3)
    for number, calibration in enumerate(fitted.names.calibrations):
        assert len(calibration.conformities["species"]) == (fold == number).sum()
        assert (np.diff(calibration.conformities["species"]) >= 0).all()
    assert [judge.model.species for judge in fitted.names.judges] == [tuple(sorted(SPECIES))] * 3
    assert fitted.figures["held-out observations named as labelled, species"] > 0.8


def test_wrong_names_are_found_and_right_ones_kept(fitted: CrossFit) -> None:
    rows, features = photos()
    wrong = rows["species"].map(dict(zip(SPECIES, [*SPECIES[1:], SPECIES[0]], strict=True)))
    stated = rows[RANKS].assign(species=wrong, genus=wrong.str.split(" ").str[0])
    stated["growth_form"] = stated["genus"].map(FORMS)
    at = np.arange(len(rows))
    right_names = fitted.names.evidence(rows, rows[RANKS], features, at)
    wrong_names = fitted.names.evidence(rows, stated, features, at)
    assert list(right_names.columns) == list(EVIDENCE)
    assert (right_names["p_species"] < 0.05).mean() <= 0.05  # each of a fold is among those it is compared with
    assert (wrong_names["p_species"] < 0.05).mean() > 0.8
    assert (right_names["best"] == rows["species"]).mean() > 0.8


def test_an_observation_is_judged_by_its_own_photos_alone(fitted: CrossFit) -> None:
    rows, features = photos()
    some = rows.iloc[:60].reset_index(drop=True)
    alone = fitted.names.evidence(some, some[RANKS], features[:60], np.arange(60))
    order = np.random.default_rng(2).permutation(60)
    mixed = fitted.names.evidence(some, some[RANKS], features[:60][order], order)
    pd.testing.assert_frame_equal(mixed, alone, atol=1e-5)
    # The same photo twice says what it says once; a photo without features says nothing.
    twice = np.concatenate([features[:60], features[:60], np.full((60, 12), np.nan, dtype=np.float32)])
    pd.testing.assert_frame_equal(
        fitted.names.evidence(some, some[RANKS], twice, np.tile(np.arange(60), 3)), alone, atol=1e-5
    )
    none = fitted.names.evidence(some, some[RANKS], np.full((60, 12), np.nan, dtype=np.float32), np.arange(60))
    assert none.isna().all().all()


def test_of_an_unknown_species_the_photo_says_nothing_at_species(fitted: CrossFit) -> None:
    rows, features = photos()
    some = rows.iloc[:30].reset_index(drop=True)
    stated = some[RANKS].assign(species="Rosa nova", genus="Rosa", growth_form="shrub")
    found = fitted.names.evidence(some, stated, features[:30], np.arange(30))
    assert found["p_species"].isna().all()
    # No held-out observation was of an unknown species: there is nothing to refuse its genus by.
    assert (found["p_genus"] == 1).all()


def test_models_are_read_as_they_were_written(fitted: CrossFit, tmp_path: Path) -> None:
    save_cross_fitted(fitted.names, tmp_path)
    read = load_cross_fitted(tmp_path)
    rows, features = photos()
    at = np.arange(len(rows))
    pd.testing.assert_frame_equal(
        read.evidence(rows, rows[RANKS], features, at),
        fitted.names.evidence(rows, rows[RANKS], features, at),
        check_dtype=False,
        atol=0.02,  # a score that is rounded may change places with its neighbour
    )
    assert (read.model_id, read.encoder_identity) == (fitted.names.model_id, "an encoder")
    assert len(read.model_id) == 16


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "other", "folds": 3}', '{"format": 1}'])
def test_a_damaged_folder_says_what_to_do(fitted: CrossFit, tmp_path: Path, content: str) -> None:
    save_cross_fitted(fitted.names, tmp_path)
    (tmp_path / CARD).write_text(content)
    with pytest.raises(ModelError, match="train-names"):
        load_cross_fitted(tmp_path)


def test_the_same_rows_give_the_same_models(fitted: CrossFit) -> None:
    again = fit_cross_fitted(*photos(), how(), encoder_identity="an encoder")
    assert again.names.model_id == fitted.names.model_id


def test_too_few_observers_are_told() -> None:
    rows, features = photos(60)
    with pytest.raises(ModelError, match="expected observers in each of 3 folds"):
        fit_cross_fitted(rows.assign(observer="ada"), features, how(), encoder_identity="e")
    with pytest.raises(ModelError, match="2 folds or more"):
        CrossFitting(folds=1)
