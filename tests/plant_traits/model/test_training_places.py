"""The places kept with a model: which ones they are, and that they are read only with their model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plant_traits.errors import ModelError
from plant_traits.model.training_places import PLACES, places_of, read_training_places, write_training_places
from plant_traits.model.training_set import TrainingSet

NAN = np.nan


def records() -> TrainingSet:
    """Two photos at one place, labelled for different traits, and four more records."""
    covariates = np.array([[1, 2], [1, 2], [1, NAN], [5, 6], [NAN, NAN], [7, 8], [0, 0], [-0.0, 0]], dtype=np.float32)
    n = len(covariates)
    measured = np.full((n, 2), NAN)
    median = np.full((n, 2), NAN)
    measured[0, 0], median[1, 1], median[2:, 0] = 1.0, 2.0, 3.0
    return TrainingSet(
        image_features=np.zeros((n, 1), dtype=np.float32),
        covariates=covariates,
        covariate_names=("a", "b"),
        latitude=np.array([45.0, 45.1, 45.0, -45.0, 45.0, NAN, 45.0, 45.0]),
        longitude=np.array([9.0, 9.9, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0]),
        measured=measured,
        label_median=median,
        label_sd=median * 0,
        label_low=median,
        label_high=median,
        growth_form=[None] * n,
        species=[None] * n,
        occasion=np.arange(n),
        biome=[None] * n,
        label_records=None,
    )


def test_fitted_places_once_with_the_traits_labelled_there() -> None:
    fitted = np.array([True, True, True, False, True, True, True, True])
    places = places_of(records(), fitted, 10.0)
    found = {
        tuple(row): (int(block), labels.tolist())
        for row, block, labels in zip(
            np.nan_to_num(places.covariates, nan=-1).tolist(), places.block, places.labelled, strict=True
        )
    }
    block = 4 * 2**20  # the fifth row of blocks from the equator, the first east of Greenwich
    assert found == {
        (1.0, 2.0): (block, [True, True]),  # one photo was measured, the other has a label of the second trait
        (1.0, -1.0): (block, [True, False]),
        (0.0, 0.0): (block, [True, False]),
    }
    assert len(places.block) == 3


def test_the_same_covariates_in_two_blocks_are_two_places() -> None:
    places = places_of(records(), np.arange(8) < 2, 0.5)
    assert len(places.block) == 2
    assert sorted(places.labelled.sum(axis=1)) == [1, 1]


def test_written_and_read_again(tmp_path: Path) -> None:
    places = places_of(records(), np.ones(8, dtype=bool), 10.0)
    write_training_places(places, tmp_path, "m1")
    first = (tmp_path / PLACES).read_bytes()
    again = read_training_places(tmp_path, "m1")
    np.testing.assert_array_equal(again.covariates, places.covariates)
    np.testing.assert_array_equal(again.block, places.block)
    np.testing.assert_array_equal(again.labelled, places.labelled)
    assert again.covariates.dtype == np.float32
    write_training_places(again, tmp_path, "m1")
    assert (tmp_path / PLACES).read_bytes() == first


def test_a_file_that_is_missing_damaged_or_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train it again"):
        read_training_places(tmp_path, "m1")
    write_training_places(places_of(records(), np.ones(8, dtype=bool), 10.0), tmp_path, "m1")
    with pytest.raises(ModelError, match="of model m2"):
        read_training_places(tmp_path, "m2")
    (tmp_path / PLACES).write_bytes((tmp_path / PLACES).read_bytes()[:-5])
    with pytest.raises(ModelError, match="cannot be read"):
        read_training_places(tmp_path, "m1")
