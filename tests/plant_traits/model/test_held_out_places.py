"""What is kept of held-out regions: which predictions, put together how, and read only with their model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plant_traits.errors import ModelError
from plant_traits.model.held_out import HeldOut
from plant_traits.model.held_out_places import (
    HELD_OUT_PLACE,
    HELD_OUT_PLACES,
    held_out_places,
    read_held_out_places,
    write_held_out_places,
)
from plant_traits.model.training_set import TrainingSet

NAN = np.nan
TRAITS = ("height", "sla")


def records() -> TrainingSet:
    """Seven records, of which the last six are held out."""
    n = 7
    nothing = np.full((n, 2), NAN)
    return TrainingSet(
        image_features=None,
        covariates=np.ones((n, 1), dtype=np.float32),
        covariate_names=("a",),
        latitude=np.array([0.0, 45.01, 45.09, 45.01, 90.0, NAN, 45.0]),
        longitude=np.array([0.0, 9.01, 9.02, 9.01, 180.0, 9.0, -9.0]),
        measured=nothing,
        label_median=nothing,
        label_sd=nothing,
        label_low=nothing,
        label_high=nothing,
        growth_form=[None] * n,
        species=["Z z", "A a", "A a", "B b", None, "A a", "A a"],
        occasion=np.arange(n),
        biome=[None] * n,
    )


def held() -> HeldOut:
    """Predictions from the place in the third row; those with a photo must not be read."""
    mean, variance = np.full((3, 6, 2), 99.0), np.full((3, 6, 2), 99.0)
    mean[2, :, 0] = [1.0, 3.0, 5.0, 6.0, 7.0, 8.0]
    variance[2, :, 0] = [0.1, 0.3, 0.5, 0.6, 0.7, 0.8]
    centre = np.full((6, 2), NAN)
    centre[:, 0] = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    centre[2, 1] = 2.5
    present = np.ones((3, 6), dtype=bool)
    present[2, 5] = False
    mean[2, 5], variance[2, 5] = NAN, NAN
    return HeldOut(
        rows=np.arange(1, 7),
        block=np.zeros(6, dtype=np.int64),
        groups=("all",) * 6,
        present=present,
        mean=mean,
        variance=variance,
        centre=centre,
        drawn=centre + 1,
        measured=np.full((6, 2), NAN),
    )


def test_records_of_a_species_in_a_square_are_averaged() -> None:
    found = held_out_places(held(), records(), TRAITS)
    assert list(found.columns) == HELD_OUT_PLACE.names
    rows = found.where(found.notna(), None)[["species", "trait", "n", "label", "prediction", "variance"]]
    # The record without coordinates and the one without covariates are left out.
    assert [tuple(row) for row in rows.itertuples(index=False)] == [
        ("A a", "height", 2, pytest.approx(15.0), pytest.approx(2.0), pytest.approx(0.2)),
        ("B b", "height", 1, 30.0, 5.0, 0.5),
        ("B b", "sla", 1, 2.5, 99.0, 99.0),
        (None, "height", 1, 40.0, 6.0, 0.6),
    ]
    np.testing.assert_allclose(found["latitude"], [45.05, 45.05, 45.05, 89.95])
    np.testing.assert_allclose(found["longitude"], [9.05, 9.05, 9.05, 179.95])


def test_order_of_records_does_not_matter() -> None:
    first, order = held(), np.array([4, 2, 0, 5, 1, 3])
    other = replace(
        first,
        rows=first.rows[order],
        present=first.present[:, order],
        mean=first.mean[:, order],
        variance=first.variance[:, order],
        centre=first.centre[order],
    )
    pd.testing.assert_frame_equal(
        held_out_places(first, records(), TRAITS), held_out_places(other, records(), TRAITS), check_exact=True
    )


def test_nothing_held_out_gives_no_rows() -> None:
    unlabelled = replace(held(), centre=np.full((6, 2), NAN))
    for nothing in (None, unlabelled):
        found = held_out_places(nothing, records(), TRAITS)
        assert len(found) == 0
        assert list(found.columns) == HELD_OUT_PLACE.names


def test_written_and_read_again(tmp_path: Path) -> None:
    assert read_held_out_places(tmp_path, "m1") is None
    places = held_out_places(held(), records(), TRAITS)
    write_held_out_places(places, tmp_path, "m1")
    first = (tmp_path / HELD_OUT_PLACES).read_bytes()
    again = read_held_out_places(tmp_path, "m1")
    assert again is not None
    pd.testing.assert_frame_equal(again, places, check_exact=True, check_dtype=False)
    write_held_out_places(again, tmp_path, "m1")
    assert (tmp_path / HELD_OUT_PLACES).read_bytes() == first


def test_a_file_that_is_damaged_or_of_another_model_is_refused(tmp_path: Path) -> None:
    write_held_out_places(held_out_places(held(), records(), TRAITS), tmp_path, "m1")
    with pytest.raises(ModelError, match="by model m2, found those of model 'm1'"):
        read_held_out_places(tmp_path, "m2")
    pd.DataFrame({"latitude": [1.0]}).to_parquet(tmp_path / HELD_OUT_PLACES)
    with pytest.raises(ModelError, match="cannot be read"):
        read_held_out_places(tmp_path, "m1")
    (tmp_path / HELD_OUT_PLACES).write_bytes(b"PAR1 no")
    with pytest.raises(ModelError, match="cannot be read"):
        read_held_out_places(tmp_path, "m1")
