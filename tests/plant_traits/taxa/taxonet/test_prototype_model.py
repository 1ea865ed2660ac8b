"""The model without training: prototypes, a fitted scale, posteriors under the training frequencies."""

import numpy as np
import pytest

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.names_model import NamesModel
from plant_traits.taxa.taxonet.prototype_model import prototype_model
from plant_traits.taxa.taxonet.prototypes import class_prototypes, cosines

SPECIES = ("Acer campestre", "Bellis perennis", "Carex nigra")
COUNTS = np.array([40, 8, 2])


def photos(counts: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    centres = 5 + 2 * np.random.default_rng(1).normal(size=(3, 12))
    labels = np.repeat(np.arange(3), counts)
    return centres[labels] + np.random.default_rng(seed).normal(size=(len(labels), 12)), labels


def made() -> NamesModel:
    return prototype_model(*photos(COUNTS, 2), SPECIES, photos(np.full(3, 40), 3), encoder_identity="e")


def test_cosines_are_those_with_prototypes() -> None:
    features, labels = photos(COUNTS, 2)
    new, _ = photos(np.full(3, 5), 4)
    centre = features.mean(axis=0)
    expected = cosines(new - centre, class_prototypes(features - centre, labels, 3))
    np.testing.assert_allclose(made().cosines(new), expected, atol=2e-6)


def test_the_scale_is_the_likeliest_and_posteriors_know_the_frequencies() -> None:
    model = made()
    features, labels = photos(np.full(3, 40), 3)
    likeness = model.cosines(features).astype(np.float64)

    def loss(scale: float) -> float:
        logits = scale * likeness
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]))

    assert 1.0 < model.scale < 200.0
    assert loss(model.scale) <= min(loss(model.scale * 1.05), loss(model.scale / 1.05))
    shares = np.exp(model.scale * likeness) * COUNTS
    np.testing.assert_allclose(model.posteriors(likeness), shares / shares.sum(axis=1, keepdims=True), rtol=1e-9)
    assert (likeness.max(axis=1) >= model.threshold - 1e-6).mean() >= 0.95


def test_bad_input_is_refused() -> None:
    features, labels = photos(COUNTS, 2)
    with pytest.raises(ModelError, match="classes without"):
        prototype_model(features, labels, (*SPECIES, "Novum sine"), photos(COUNTS, 3))
    with pytest.raises(ModelError, match="same length"):
        prototype_model(features, labels, SPECIES, (features[:, :3], labels))
    with pytest.raises(ModelError, match="same length"):
        prototype_model(features, labels, SPECIES, (features[:0], labels[:0]))
    with pytest.raises(ModelError, match="0 to 2"):
        prototype_model(features, labels, SPECIES, (features, labels + 1))
    with pytest.raises(ModelError, match="finite"):
        prototype_model(np.where(features > 9, np.nan, features), labels, SPECIES, (features, labels))
