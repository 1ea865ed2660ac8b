"""The within-species response to place: found where it is there, absent where it is not, and what it does to labels."""

from dataclasses import replace

import numpy as np
import pytest

from plant_traits.model.place_response import fit_place_response, localise
from plant_traits.model.training_set import TrainingSet

SPECIES = [f"Rosa {k}" for k in range(30)]


def plants(seed: int = 0, slope: float = 0.8, n: int = 900) -> TrainingSet:
    """Two traits: the first falls with the first covariate within species and rises with it among species."""
    generator = np.random.default_rng(seed)
    species = generator.integers(0, len(SPECIES), n)
    home = generator.normal(size=len(SPECIES))
    covariates = generator.normal(size=(n, 3))
    covariates[:, 0] = home[species] + 0.5 * covariates[:, 0]
    median = np.column_stack([3.0 * home[species], home[species]])
    away = covariates[:, 0] - home[species]
    value = median + np.column_stack([-slope * away, np.zeros(n)]) + generator.normal(size=(n, 2)) * 0.2
    measured = np.where((np.arange(n) % 2 == 0)[:, None], value, np.nan)
    return TrainingSet(
        image_features=None,
        covariates=covariates,
        covariate_names=("a", "b", "c"),
        latitude=generator.uniform(-60, 60, n),
        longitude=generator.uniform(-180, 180, n),
        measured=measured,
        label_median=median,
        label_sd=np.full((n, 2), 0.3),
        label_low=median - 1,
        label_high=median + 1,
        growth_form=[None] * n,
        species=[SPECIES[k] for k in species],
        occasion=np.arange(n),
        biome=[None] * n,
    )


EVERYTHING = np.ones(900, dtype=bool)


def test_labels_follow_the_response_within_species_and_not_that_among_them() -> None:
    training = plants()
    response = fit_place_response(training, EVERYTHING, 10.0)
    slope = response.coefficients[:, 0] / response.scaling.scale
    assert -0.83 < slope[0] < -0.5  # shrunk, as far as one standard error allows
    assert np.abs(slope[1:]).max() < 0.06
    assert response.skill[0] > 0.6
    assert np.abs(response.coefficients[:, 1]).max() < 0.02
    local = localise(training, response)
    weak = np.isnan(training.measured[:, 0])
    home = training.covariates[:, 0] - training.label_median[:, 1]
    shift = (local.centres() - training.centres())[:, 0]
    assert np.corrcoef(shift[weak], home[weak])[0, 1] < -0.9  # far places count as less far
    assert (shift[~weak] == 0).all()  # a measurement is what it is


def test_without_a_penalty_it_is_least_squares_with_a_mean_for_every_species(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plant_traits.model.place_response.PENALTIES", (1e-9,))
    training = plants()
    response = fit_place_response(training, EVERYTHING, 10.0)
    rows = ~np.isnan(training.measured[:, 0])
    scaled = np.clip(response.scaling.apply(training.covariates[rows]).astype(float), -3, 3)
    dummies = np.array([[name == other for other in SPECIES] for name in np.array(training.species)[rows]], dtype=float)
    oracle, *_ = np.linalg.lstsq(np.hstack([scaled, dummies]), training.measured[rows, 0], rcond=None)
    np.testing.assert_allclose(response.coefficients[:, 0], oracle[:3], atol=1e-6)


def test_noise_alone_gives_no_response() -> None:
    response = fit_place_response(plants(slope=0.0), EVERYTHING, 10.0)
    shift = response.shift(plants(slope=0.0))
    assert np.abs(shift).max() < 0.1


def test_few_measurements_or_one_place_a_species_tell_nothing() -> None:
    training = plants()
    few = replace(training, measured=np.where((np.arange(900) < 60)[:, None], training.measured, np.nan))
    response = fit_place_response(few, EVERYTHING, 10.0)
    assert (response.coefficients == 0).all()
    assert np.isnan(response.skill).all()
    alone = replace(training, species=[f"Rosa {k}" for k in range(900)])
    assert (fit_place_response(alone, EVERYTHING, 10.0).n == 0).all()
    assert localise(alone, fit_place_response(alone, EVERYTHING, 10.0)).label_shift is not None


def test_only_fitted_records_teach() -> None:
    training = plants()
    half = training.latitude < 0
    spoilt = np.where(half[:, None], training.measured, training.measured * -50)
    one, other = (
        fit_place_response(replace(training, measured=measured), half, 10.0) for measured in (training.measured, spoilt)
    )
    assert np.array_equal(one.coefficients, other.coefficients)


def test_an_unknown_species_or_place_keeps_its_label() -> None:
    training = plants()
    response = fit_place_response(training, EVERYTHING, 10.0)
    strange = replace(training, species=["Tilia cordata", None, *training.species[2:]])
    nowhere = replace(training, covariates=np.full_like(training.covariates, np.nan))
    assert (response.shift(strange)[:2] == 0).all()
    assert (response.shift(nowhere) == 0).all()


def test_draws_move_with_the_centre_and_columns_and_rows_keep_their_shift() -> None:
    training = localise(plants(), fit_place_response(plants(), EVERYTHING, 10.0))
    assert training.label_shift is not None
    plain = replace(training, label_shift=None)
    weak = np.isnan(training.measured)
    moved = training.labels(1, 2) - plain.labels(1, 2)
    np.testing.assert_allclose(moved[weak], training.label_shift[weak])
    part = training.rows(np.arange(900) > 800).columns([1])
    assert part.label_shift is not None
    assert np.array_equal(part.label_shift, training.label_shift[801:, [1]])


def test_a_label_is_meant_where_its_species_was_measured() -> None:
    training = plants()
    covariates = training.covariates.copy()
    covariates[np.isnan(training.measured[:, 0])] += 2.0  # the rest grows elsewhere
    nowhere = np.array(training.species) == "Rosa 3"  # measured nowhere: meant where its records lie
    measured = np.where(nowhere[:, None], np.nan, training.measured)
    training = replace(training, covariates=covariates, measured=measured)
    response = fit_place_response(training, EVERYTHING, 10.0)
    scaled = np.clip(response.scaling.apply(covariates).astype(float), -3, 3)
    shift = response.shift(training)[:, 0]
    for name in ("Rosa 3", "Rosa 5"):
        own = np.array(training.species) == name
        at_home = own & (np.isfinite(measured[:, 0]) | (name == "Rosa 3"))
        expected = (scaled[own] - scaled[at_home].mean(axis=0)) @ response.coefficients[:, 0]
        np.testing.assert_allclose(shift[own], expected, rtol=1e-9)
    assert abs(shift[nowhere].mean()) < 1e-6  # shifts of places around their own mean cancel
    assert abs(shift[~nowhere & np.isnan(measured[:, 0])].mean()) > 0.5
