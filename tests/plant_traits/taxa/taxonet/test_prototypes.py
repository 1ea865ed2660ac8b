"""Prototypes by hand, and leave-one-out against a loop that makes them afresh."""

import numpy as np
import pytest

from plant_traits.errors import ModelError
from plant_traits.taxa.taxonet.prototypes import class_prototypes, cosines, leave_one_out_cosines


def test_prototypes_by_hand() -> None:
    features = np.array([[2.0, 0.0], [0.0, 5.0], [0.0, -3.0]])
    found = class_prototypes(features, [0, 0, 1], 2)
    np.testing.assert_allclose(found, [[np.sqrt(0.5), np.sqrt(0.5)], [0.0, -1.0]], atol=1e-15)
    near = cosines(np.array([[7.0, 0.0], [0.0, 0.0]]), found)
    np.testing.assert_allclose(near, [[np.sqrt(0.5), 0.0], [0.0, 0.0]], atol=1e-15)


def test_leave_one_out_agrees_with_prototypes_made_afresh() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat(np.arange(4), 6)
    features = rng.normal(size=(24, 7)) + 3
    groups = np.where(np.arange(24) % 6 < 2, 100 + labels, np.arange(24))  # two photos of each class go together
    found = leave_one_out_cosines(features, labels, groups, 4)
    for row in range(24):
        others = groups != groups[row]
        centre = features[others].mean(axis=0)
        prototypes = class_prototypes(features[others] - centre, labels[others], 4)
        expected = cosines(features[row : row + 1] - centre, prototypes)[0]
        np.testing.assert_allclose(found[row], expected, atol=1e-12)


def test_a_class_whose_only_group_is_left_out_cannot_be_named() -> None:
    features = np.array([[1.0, 0.0], [0.9, 0.2], [0.0, 1.0]])
    found = leave_one_out_cosines(features, [0, 0, 1], ["a", "b", "c"], 2)
    assert np.isneginf(found[2, 1]) and np.isfinite(found[:2]).all() and np.isfinite(found[2, 0])


def test_bad_input_is_refused() -> None:
    good = np.eye(3)
    with pytest.raises(ModelError, match="finite features"):
        class_prototypes(np.array([[np.nan, 1.0]]), [0], 1)
    with pytest.raises(ModelError, match="a label for each"):
        class_prototypes(good, [0, 1], 2)
    with pytest.raises(ModelError, match="classes without"):
        class_prototypes(good, [0, 0, 1], 3)
    with pytest.raises(ModelError, match="two groups"):
        leave_one_out_cosines(good, [0, 1, 1], [5, 5, 5], 2)
