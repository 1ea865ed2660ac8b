from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data_catalog import Trait
from maps.layers import LAYERS
from maps.product import build_product, estimate_dataset
from plant_traits.errors import GridError, TableError
from plant_traits.grid import Grid
from plant_traits.month import Month
from plant_traits.regions import Region


def at(product: xr.Dataset, layer: str, trait: str, cell: int) -> float:
    row, column = divmod(cell, product.sizes["lon"])
    return float(product[layer].sel(trait=trait)[row, column])


def test_shape_types_and_coordinates(make_product: Callable[..., xr.Dataset]) -> None:
    product = make_product()
    assert dict(product.sizes) == {"trait": 4, "lat": 12, "lon": 24, "bnds": 2}
    assert list(product.data_vars) == list(LAYERS)
    for name, layer in LAYERS.items():
        assert product[name].dims == ("trait", "lat", "lon")
        assert product[name].dtype == np.dtype(layer.dtype)
    assert product["lat"].values[[0, -1]].tolist() == [82.5, -82.5]
    assert product["lat_bnds"].values[0].tolist() == [90.0, 75.0]
    assert product["lon_bnds"].values[-1].tolist() == [165.0, 180.0]
    assert product["unit"].values.tolist() == ["m", "m2 kg-1", "g cm-3", "degC"]


@pytest.mark.parametrize("trait", ["height", "sla", "wood_density"])
def test_a_cell_of_enough_photos_shows_them(make_product: Callable[..., xr.Dataset], trait: str) -> None:
    product = make_product()
    assert at(product, "value", trait, 0) == pytest.approx(np.exp(1.0 + 0.25), rel=1e-6)
    assert at(product, "median", trait, 0) == pytest.approx(np.e, rel=1e-6)
    assert at(product, "location", trait, 0) == 1.0
    assert at(product, "standard_error", trait, 0) == pytest.approx(0.1)
    assert at(product, "interval_lower", trait, 0) == pytest.approx(np.exp(0.8), rel=1e-6)
    assert at(product, "interval_upper", trait, 0) == pytest.approx(np.exp(1.2), rel=1e-6)
    assert at(product, "n_photos", trait, 0) == 5
    assert at(product, "n_effective", trait, 0) == 4.5
    assert at(product, "heterogeneity", trait, 0) == 0.25
    assert (at(product, "source", trait, 0), at(product, "quality", trait, 0)) == (1, 1)
    assert (at(product, "source", trait, 1), at(product, "quality", trait, 1)) == (1, 2)


def test_a_cell_of_few_photos_shows_the_geospatial_prediction_and_counts_its_photos(
    make_product: Callable[..., xr.Dataset],
) -> None:
    product = make_product()
    assert at(product, "location", "height", 2) == 0.5
    assert at(product, "standard_error", "height", 2) == pytest.approx(0.6)
    assert at(product, "value", "height", 2) == pytest.approx(np.exp(0.5 + 0.15), rel=1e-6)
    assert at(product, "interval_upper", "height", 2) == pytest.approx(np.exp(0.5 + 1.959963985 * 0.6), rel=1e-6)
    assert at(product, "n_photos", "height", 2) == 1
    assert (at(product, "source", "height", 2), at(product, "quality", "height", 2)) == (2, 3)


def test_few_photos_where_there_is_no_prediction_are_shown_and_flagged(make_product: Callable[..., xr.Dataset]) -> None:
    product = make_product()
    assert at(product, "location", "height", 3) == -1.0
    assert (at(product, "source", "height", 3), at(product, "quality", "height", 3)) == (1, 3)


def test_a_cell_without_photos_and_a_cell_without_anything(make_product: Callable[..., xr.Dataset]) -> None:
    product = make_product()
    assert at(product, "location", "height", 9) == 0.25
    assert (at(product, "n_photos", "height", 9), at(product, "n_species", "height", 9)) == (0, 0)
    assert (at(product, "source", "height", 9), at(product, "quality", "height", 9)) == (2, 4)
    nowhere = product.isel(lat=5)
    for name, layer in LAYERS.items():
        assert (nowhere[name] == 0).all() if layer.flags else nowhere[name].isnull().all()


def test_a_trait_outside_logarithms_is_not_exponentiated(make_product: Callable[..., xr.Dataset]) -> None:
    product = make_product()
    trait = "frost-limit"
    assert [at(product, name, trait, 0) for name in ("value", "median", "location")] == [1.0, 1.0, 1.0]
    assert at(product, "interval_lower", trait, 3) == pytest.approx(-1.8)


def test_the_threshold_is_inclusive_and_a_parameter(make_product: Callable[..., xr.Dataset]) -> None:
    assert at(make_product(minimum_photos=5), "source", "height", 0) == 1
    assert at(make_product(minimum_photos=6), "source", "height", 0) == 2
    assert at(make_product(minimum_photos=1), "source", "height", 2) == 1


def test_cells_whose_centre_lies_outside_the_region_are_empty(make_product: Callable[..., xr.Dataset]) -> None:
    product = make_product(region=Region("west", -180.0, 60.0, -155.0, 90.0))
    assert (product["source"].sum(["lat", "lon"]) == 2).all()  # cells 0 and 1 only, each from photos
    assert product["value"].count("trait").values[0, :4].tolist() == [4, 4, 0, 0]


def test_attributes_follow_the_conventions_and_carry_provenance(make_product: Callable[..., xr.Dataset]) -> None:
    attributes = make_product().attrs
    assert attributes["Conventions"] == "CF-1.13, ACDD-1.3"
    assert attributes["time_coverage_start"] == "2026-10-01"
    assert attributes["time_coverage_end"] == "2026-10-31"
    assert attributes["license"] == "CC-BY-4.0"
    assert attributes["provenance_configuration"] == '{"grid": "15deg"}'
    assert attributes["provenance_model_id"] == "m1"
    assert attributes["geospatial_lon_max"] == 180
    assert attributes["grid"] == "15deg"
    assert "date_created" not in attributes


def test_units_follow_the_working_space(product_traits: list[Trait]) -> None:
    height, _, _, frost = product_traits
    assert [LAYERS[x].units(height) for x in ("value", "location", "heterogeneity", "n_photos")] == ["m", "1", "1", "1"]
    assert [LAYERS[x].units(frost) for x in ("location", "heterogeneity")] == ["degC", "(degC)2"]


def test_an_estimator_laid_on_the_grid(estimates: pd.DataFrame, product_traits: list[Trait]) -> None:
    laid = estimate_dataset(estimates, product_traits[:1], Grid(Fraction(15)))
    assert float(laid["location"].sel(trait="height")[0, 2]) == 3.0
    assert int(laid["location"].count()) == 4
    assert float(laid["standard_error"].sel(trait="height", lat=82.5, lon=-172.5)) == 0.1


def test_no_photos_at_all_still_give_a_map(
    estimates: pd.DataFrame, geospatial: pd.DataFrame, product_traits: list[Trait]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        product = _build(estimates.head(0), geospatial, product_traits)
    assert int(product["value"].count()) == 16


def _build(
    estimates: pd.DataFrame, geospatial: pd.DataFrame, traits: list[Trait], published: str = "mean"
) -> xr.Dataset:
    return build_product(
        {"mean": estimates},
        published,
        geospatial,
        traits,
        Grid(Fraction(15)),
        minimum_photos=1,
        region=Region("world", -180, -90, 180, 90),
        month=Month(2026, 2),
        provenance={},
    )


def test_bad_inputs_are_named(estimates: pd.DataFrame, geospatial: pd.DataFrame, product_traits: list[Trait]) -> None:
    with pytest.raises(TableError, match="'mixed' is not among"):
        _build(estimates, geospatial, product_traits, "mixed")
    with pytest.raises(TableError, match="i2"):
        _build(estimates.drop(columns="i2"), geospatial, product_traits)
    with pytest.raises(TableError, match="variance_aleatoric"):
        _build(estimates, geospatial.drop(columns="variance_aleatoric"), product_traits)
    with pytest.raises(TableError, match="4 rows repeat"):
        _build(estimates, pd.concat([geospatial, geospatial[geospatial["cell"] == 9]]), product_traits)
    with pytest.raises(GridError, match="another grid"):
        _build(estimates.assign(cell=288), geospatial, product_traits)
