from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data_catalog import Trait
from maps.product.dataset import build_product, estimate_dataset
from maps.product.layers import COMMON_LAYERS, LAYERS
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
    assert list(product.data_vars) == [*LAYERS, *COMMON_LAYERS]
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
    assert at(product, "standard_error_raw", trait, 0) == pytest.approx(0.05)
    assert at(product, "interval_lower", trait, 0) == pytest.approx(np.exp(0.8), rel=1e-6)
    assert at(product, "interval_upper", trait, 0) == pytest.approx(np.exp(1.2), rel=1e-6)
    assert at(product, "value_lower", trait, 0) == pytest.approx(np.exp(0.8 + 0.25), rel=1e-6)
    assert at(product, "value_upper", trait, 0) == pytest.approx(np.exp(1.2 + 0.25), rel=1e-6)
    assert at(product, "interval_raw_lower", trait, 0) == pytest.approx(np.exp(0.9), rel=1e-6)
    assert at(product, "interval_raw_upper", trait, 0) == pytest.approx(np.exp(1.1), rel=1e-6)
    assert at(product, "photo_share", trait, 0) == pytest.approx(0.9)
    assert at(product, "n_photos", trait, 0) == 5
    assert at(product, "n_effective", trait, 0) == 4.5
    assert at(product, "heterogeneity", trait, 0) == 0.25
    assert (at(product, "source", trait, 0), at(product, "quality", trait, 0)) == (1, 1)
    assert (at(product, "source", trait, 1), at(product, "quality", trait, 1)) == (1, 2)


def test_a_cell_of_few_photos_keeps_their_counts_and_says_what_weighs_most(
    make_product: Callable[..., xr.Dataset],
) -> None:
    product = make_product()
    assert at(product, "location", "wood_density", 2) == 0.75
    assert at(product, "n_photos", "wood_density", 2) == 1
    assert (at(product, "source", "wood_density", 2), at(product, "quality", "wood_density", 2)) == (2, 3)
    assert (at(product, "source", "height", 3), at(product, "quality", "height", 3)) == (1, 3)


def test_a_cell_without_photos_and_a_cell_without_anything(make_product: Callable[..., xr.Dataset]) -> None:
    product = make_product()
    assert at(product, "location", "wood_density", 9) == 0.25
    assert at(product, "value", "wood_density", 9) == pytest.approx(np.exp(0.25 + 0.15), rel=1e-6)
    assert (at(product, "n_photos", "wood_density", 9), at(product, "n_species", "wood_density", 9)) == (0, 0)
    assert (at(product, "source", "wood_density", 9), at(product, "quality", "wood_density", 9)) == (2, 4)
    nowhere = product.isel(lat=5)
    for name, layer in LAYERS.items():
        assert (nowhere[name] == layer.flags["none"]).all() if layer.flags else nowhere[name].isnull().all()


def test_a_cell_of_a_strange_climate_is_flagged_and_shown(make_product: Callable[..., xr.Dataset]) -> None:
    product = make_product()
    assert at(product, "location", "height", 9) == 0.25
    assert (at(product, "quality", "height", 9), at(product, "quality", "height", 2)) == (5, 5)
    found = [at(product, "applicability", "height", cell) for cell in (0, 1, 2, 3, 9, 20)]
    assert found == [0, 255, 1, 1, 1, 255]
    assert np.isnan(at(product, "dissimilarity", "height", 3))
    assert at(product, "dissimilarity", "height", 9) == 1.5
    assert np.isnan(at(product, "dissimilarity", "height", 1))
    # What photos say of a cell does not depend on its climate.
    assert (at(product, "source", "height", 0), at(product, "quality", "height", 0)) == (1, 1)


def test_effort_is_that_of_mapped_cells(make_product: Callable[..., xr.Dataset]) -> None:
    product = make_product()
    for name, layer in COMMON_LAYERS.items():
        assert product[name].dims == ("lat", "lon")
        assert product[name].dtype == np.dtype(layer.dtype)
    assert product["effort_records"].to_numpy().ravel()[[0, 1, 9]].tolist() == [40, 0, 2]
    assert product["effort_observers"].to_numpy().ravel()[[0, 1, 9]].tolist() == [8, 0, 1]
    assert np.isnan(product["effort_records"].to_numpy().ravel()[200])


def test_the_expected_bias_is_that_of_cells_that_have_one(make_product: Callable[..., xr.Dataset]) -> None:
    product = make_product()
    assert at(product, "expected_bias", "height", 0) == 0.25
    assert int(product["expected_bias"].count()) == 1


def test_a_trait_outside_logarithms_is_not_exponentiated(make_product: Callable[..., xr.Dataset]) -> None:
    product = make_product()
    trait = "frost-limit"
    assert [at(product, name, trait, 0) for name in ("value", "median", "location")] == [1.0, 1.0, 1.0]
    assert at(product, "interval_lower", trait, 3) == pytest.approx(-1.8)


def test_the_number_of_photos_that_makes_a_cell_known_is_inclusive(make_product: Callable[..., xr.Dataset]) -> None:
    assert at(make_product(minimum_photos=5), "quality", "height", 0) == 1
    assert at(make_product(minimum_photos=6), "quality", "height", 0) == 3
    assert at(make_product(minimum_photos=6), "source", "height", 0) == 1


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
    estimates: pd.DataFrame, cells: pd.DataFrame, product_traits: list[Trait]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        product = _build(cells[cells["cell"] == 9], estimates.head(0), product_traits)
    assert int(product["value"].count()) == 4
    assert product["dissimilarity"].isnull().all() and product["effort_records"].isnull().all()


def _build(
    cells: pd.DataFrame, estimates: pd.DataFrame, traits: list[Trait], effort: pd.DataFrame | None = None
) -> xr.Dataset:
    return build_product(
        cells,
        estimates,
        traits,
        Grid(Fraction(15)),
        published="mean",
        minimum_photos=1,
        region=Region("world", -180, -90, 180, 90),
        month=Month(2026, 2),
        provenance={},
        effort=effort,
    )


def test_bad_inputs_are_named(estimates: pd.DataFrame, cells: pd.DataFrame, product_traits: list[Trait]) -> None:
    with pytest.raises(TableError, match="i2"):
        _build(cells, estimates.drop(columns="i2"), product_traits)
    with pytest.raises(TableError, match="photo_share"):
        _build(cells.drop(columns="photo_share"), estimates, product_traits)
    with pytest.raises(TableError, match="4 rows repeat"):
        _build(pd.concat([cells, cells[cells["cell"] == 9]]), estimates, product_traits)
    with pytest.raises(GridError, match="another grid"):
        _build(cells, estimates.assign(cell=288), product_traits)
    with pytest.raises(TableError, match="n_observers"):
        _build(cells, estimates, product_traits, pd.DataFrame({"cell": [0], "n_records": [1]}))
    with pytest.raises(GridError, match="effort: cell ids run from 0 to 300"):
        effort = pd.DataFrame({"cell": [0, 300], "n_records": [1, 1], "n_observers": [1, 1]})
        _build(cells, estimates, product_traits, effort)
