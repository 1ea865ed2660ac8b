"""Conformal p-values: by hand, and what they promise of rightly named observations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plant_traits.errors import ModelError
from plant_traits.taxa.gate.calibration import GateCalibration, fit_calibration


def test_p_values_by_hand() -> None:
    calibration = fit_calibration({"species": np.array([3.0, 1.0, np.nan, 2.0, 2.0])})
    # Of four held-out ones at most 0.5: none; 1: one; 2: three; 9: all. Each with itself added, of five.
    p = calibration.p_values("species", np.array([0.5, 1.0, 2.0, 9.0, np.nan]))
    np.testing.assert_array_equal(p, [0.2, 0.4, 0.8, 1.0, np.nan])


def test_with_nothing_held_out_nothing_is_refused() -> None:
    p = GateCalibration({}).p_values("genus", np.array([-100.0, np.nan]))
    np.testing.assert_array_equal(p, [1.0, np.nan])


@pytest.mark.parametrize("wrong", [{"kingdom": np.zeros(2)}, {"genus": np.array([1.0, np.inf])}])
def test_what_is_no_conformity_is_refused(wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(ModelError, match="finite conformities"):
        fit_calibration(wrong)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_better_fit_never_has_a_smaller_p_value(held: list[float], one: float, other: float) -> None:
    calibration = fit_calibration({"plant": np.array(held)})
    low, high = calibration.p_values("plant", np.sort([one, other]))
    assert 1 / (1 + len(held)) <= low <= high <= 1


@pytest.mark.parametrize("wrong_share", [0.0, 0.1])
def test_at_most_alpha_of_rightly_named_observations_are_refused(wrong_share: float) -> None:
    """Over 400 draws of 199 held-out observations, of which some are wrongly named and fit worse, and one right one."""
    rng = np.random.default_rng(5)
    alpha, draws, held = 0.05, 400, 199
    refused = 0
    for _ in range(draws):
        conformities = rng.normal(size=held)
        conformities[: round(wrong_share * held)] -= 3.0
        calibration = fit_calibration({"species": conformities})
        refused += int((calibration.p_values("species", rng.normal(size=25)) < alpha).sum())
    share = refused / (25 * draws)
    # The 25 of one draw depend on each other through it: the share's standard deviation is about 0.0025.
    assert share < alpha + 0.008
    assert share > 0.03 if wrong_share == 0 else share < 0.01
