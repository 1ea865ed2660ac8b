"""Meng's identity on small populations, his example, and ratios of bias worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from maps.sampling.bias import (
    ALL,
    bias_ratios,
    data_defect_correlation,
    effective_sample_size,
    error_of_mean,
    expected_bias,
    expected_bias_of_cells,
)
from plant_traits.errors import InputError, TableError
from plant_traits.grid import Grid
from plant_traits.schemas import ESTIMATE

NAN = np.nan


def test_half_of_four_plants_by_hand() -> None:
    # Values 1, 2, 3, 4, the two tall ones photographed: mean 3.5 instead of 2.5. sd of all is 5/4 ** 1/2, f = 1/2, and
    # the correlation of (0, 0, 1, 1) with (1, 2, 3, 4) is 2 / 5 ** 1/2.
    sd = np.sqrt(1.25)
    assert data_defect_correlation(1.0, 2, 4, sd) == pytest.approx(2 / np.sqrt(5))
    assert error_of_mean(2 / np.sqrt(5), 2, 4, sd) == pytest.approx(1.0)
    assert effective_sample_size(2 / np.sqrt(5), 2, 4) == pytest.approx(1.25)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 60))
def test_it_is_an_identity_for_any_choice_of_any_population(seed: int, population: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.normal(size=population) ** 3
    n = int(generator.integers(1, population))
    recorded = np.zeros(population)
    recorded[generator.permutation(population)[:n]] = 1
    assume(values.std() > 0)
    correlation = np.corrcoef(recorded, values)[0, 1]
    error = values[recorded > 0].mean() - values.mean()
    assert error_of_mean(correlation, n, population, values.std()) == pytest.approx(error, abs=1e-9)
    assert data_defect_correlation(error, n, population, values.std()) == pytest.approx(correlation, abs=1e-9)


def test_two_million_voters_are_worth_four_hundred() -> None:
    # Meng (2018), section 4: 2.3 million respondents, about 1 % of the eligible, correlation 0.005.
    assert effective_sample_size(0.005, 2_300_000, 231_557_000) == pytest.approx(401, abs=1)
    assert effective_sample_size(-0.005, 2_300_000, 230_000_000) == pytest.approx(404, abs=0.1)


def test_a_random_sample_is_worth_its_own_size() -> None:
    # Mean square of the correlation under random sampling: 1 / (N - 1).
    n, population = 100, 1_000_000
    assert effective_sample_size(np.sqrt(1 / (population - 1)), n, population) == pytest.approx(n, rel=1e-3)
    assert effective_sample_size(0.0, n, population) == np.inf


def test_all_recorded_leaves_no_error() -> None:
    assert error_of_mean(0.3, 5, 5, 2.0) == 0
    assert np.isnan(data_defect_correlation(0.0, 5, 5, 2.0))
    assert np.isnan(data_defect_correlation(0.1, 5, 50, 0.0))


@pytest.mark.parametrize(("n", "population"), [(0, 10), (11, 10), (NAN, 10)])
def test_impossible_counts_are_refused(n: float, population: int) -> None:
    for function in (effective_sample_size, lambda *x: error_of_mean(*x, 1.0)):
        with pytest.raises(InputError, match="between 1 and N"):
            function(0.1, n, population)


def test_ratios_by_hand() -> None:
    # Squares less variance over sd squared: (9 - 1) / 4 = 2, (5 - 1) / 1 = 4, (0 - 3) / 1 = -3, mean 1.
    error, variance = np.array([3.0, -np.sqrt(5), 0.0]), np.array([1.0, 1.0, 3.0])
    sd, group = np.array([2.0, 1.0, 1.0]), np.array(["arid", "arid", None], dtype=object)
    assert bias_ratios(error, variance, sd, group, enough=3) == pytest.approx(
        {ALL: 1.0, "arid": np.sqrt((2 + 4 + 3 * 1) / 5)}
    )
    assert bias_ratios(error, variance, sd, group, enough=4) == {}
    assert bias_ratios(error, variance + 9, sd, group, enough=1) == {ALL: 0.0, "arid": 0.0}


def test_cells_that_lack_a_number_do_not_count() -> None:
    error, variance = np.array([2.0, NAN, 9.0, 9.0]), np.array([0.0, 0.0, NAN, 0.0])
    sd, group = np.array([1.0, 1.0, 1.0, 0.0]), np.array(["arid"] * 4, dtype=object)
    assert bias_ratios(error, variance, sd, group, enough=1) == {ALL: 2.0, "arid": 2.0}
    assert bias_ratios(error, variance, sd, group, enough=2) == {}
    with pytest.raises(InputError, match="one length"):
        bias_ratios(error[:2], variance, sd, group)


def test_expected_bias_takes_the_ratio_of_the_group_or_of_all() -> None:
    sd, group = np.array([1.0, 2.0, 3.0, NAN]), np.array(["arid", None, "polar", "arid"], dtype=object)
    np.testing.assert_allclose(expected_bias(sd, group, {ALL: 0.5, "arid": 0.2}), [0.2, 1.0, 1.5, NAN])
    np.testing.assert_allclose(expected_bias(sd, group, {"arid": 0.2}), [0.2, NAN, NAN, NAN])
    assert np.isnan(expected_bias(sd, group, {})).all()


def test_a_selection_known_to_the_simulation_is_found_from_plots() -> None:
    """In 400 cells photos are of plants 0.6 standard deviations larger than the cell's, whatever their number."""
    generator = np.random.default_rng(3)
    grid, cells, sd = Grid.parse("5deg"), np.arange(400) + 600, 0.8
    truth = generator.normal(size=400)
    n_photos = generator.integers(4, 400, 400)
    scatter = 0.3
    own = pd.DataFrame(
        {
            "cell": cells,
            "trait": "height",
            "location": truth
            + 0.6 * sd * generator.choice([-1, 1], 400)
            + generator.normal(size=400) * sd / n_photos**0.5,
            "standard_error": sd / n_photos**0.5,
            "n_photos": n_photos,
            "variance_among_plants": sd**2,
        }
    )
    estimates = own.reindex(columns=[field.name for field in ESTIMATE])
    latitude, longitude = grid.centre_of(np.repeat(cells[:300], 4))
    plots = pd.DataFrame(
        {
            "latitude": latitude,
            "longitude": longitude,
            "trait": "height",
            "value": np.repeat(truth[:300], 4) + generator.normal(size=1200) * scatter,
        }
    )
    biome = {int(cell): "arid" if k % 2 else "polar" for k, cell in enumerate(cells[:390])}
    found = expected_bias_of_cells(estimates, plots, biome, grid)
    assert found[["cell", "trait"]].equals(own[["cell", "trait"]])
    np.testing.assert_allclose(found["bias_ratio"], 0.6, atol=0.06)
    np.testing.assert_allclose(found["expected_bias"], found["bias_ratio"] * sd)
    few = expected_bias_of_cells(estimates, plots.iloc[:40], biome, grid)
    assert few[["bias_ratio", "expected_bias"]].isna().all(axis=None)
    with pytest.raises(TableError, match="longitude"):
        expected_bias_of_cells(estimates, plots.drop(columns="longitude"), biome, grid)


def test_estimates_without_a_cell_give_none() -> None:
    empty = ESTIMATE.empty_table().to_pandas()
    plots = pd.DataFrame({"latitude": [1.0], "longitude": [1.0], "trait": ["sla"], "value": [0.1]})
    found = expected_bias_of_cells(empty, plots, {}, Grid.parse("5deg"))
    assert found.empty
    assert pa.Schema.from_pandas(found, preserve_index=False).names == ["cell", "trait", "bias_ratio", "expected_bias"]
