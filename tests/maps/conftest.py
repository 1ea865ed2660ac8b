"""A small product shared by the tests of the map rooms."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pandas as pd
import pytest
import xarray as xr

from data_catalog import Catalog, Trait
from maps.product.dataset import build_product
from plant_traits.grid import Grid
from plant_traits.month import Month
from plant_traits.regions import Region

WORLD = Region("world", -180, -90, 180, 90)

ProductMaker = Callable[..., xr.Dataset]


@pytest.fixture
def product_traits(catalog: Catalog) -> list[Trait]:
    """Two traits of the catalogue, one that it does not have, and one that is not in logarithms."""
    return [
        catalog.trait("height"),
        catalog.trait("sla"),
        Trait(
            id="wood_density",
            name="Wood density",
            definition="Dry mass over fresh volume.",
            unit="g cm-3",
            valid_range=(0.05, 2.0),
        ),
        Trait(
            id="frost-limit",
            name="Frost limit",
            definition="Lowest temperature survived.",
            unit="degC",
            working_space="identity",
            valid_range=(-90.0, 20.0),
        ),
    ]


@pytest.fixture
def estimates(product_traits: list[Trait]) -> pd.DataFrame:
    """Cells 0 (5 photos, 2 species), 1 (5 photos, 1 species), 2 (1 photo), 3 (1 photo, no geospatial prediction)."""
    rows = pd.DataFrame(
        {
            "cell": [0, 1, 2, 3],
            "location": [1.0, 2.0, 3.0, -1.0],
            "standard_error": [0.1, 0.2, 0.3, 0.4],
            "interval_lower": [0.8, 1.6, 2.4, -1.8],
            "interval_upper": [1.2, 2.4, 3.6, -0.2],
            "n_photos": [5, 5, 1, 1],
            "n_species": [2, 1, 1, 1],
            "n_observers": [3, 2, 1, 1],
            "n_effective": [4.5, 5.0, 1.0, 1.0],
            "tau2": [0.25, None, None, None],
            "i2": [0.5, None, None, None],
            "variance_among_plants": [0.5, 0.4, 0.4, 0.4],
        }
    )
    return pd.concat([rows.assign(trait=trait.id) for trait in product_traits], ignore_index=True)


@pytest.fixture
def cells(product_traits: list[Trait]) -> pd.DataFrame:
    """Those cells, more and less from photos, and cell 9, which has none."""
    rows = pd.DataFrame(
        {
            "cell": [0, 1, 2, 3, 9],
            "location": [1.0, 2.0, 0.75, -1.0, 0.25],
            "standard_error": [0.1, 0.2, 0.25, 0.4, 0.5],
            "interval_lower": [0.8, 1.6, 0.25, -1.8, -0.75],
            "interval_upper": [1.2, 2.4, 1.25, -0.2, 1.25],
            "standard_error_raw": [0.05, 0.1, 0.125, 0.2, 0.25],
            "interval_raw_lower": [0.9, 1.8, 0.5, -1.4, -0.25],
            "interval_raw_upper": [1.1, 2.2, 1.0, -0.6, 0.75],
            "photo_share": [0.9, 0.5, 0.25, 1.0, 0.0],
            "variance_among_plants": [0.5, 0.4, 0.3, 0.4, 0.3],
            "biome": ["temperate", "temperate", "arid", None, "arid"],
        }
    )
    return pd.concat([rows.assign(trait=trait.id) for trait in product_traits], ignore_index=True)


@pytest.fixture
def applicability(product_traits: list[Trait]) -> pd.DataFrame:
    """Cells 0, 2, 3 and 9 are assessed, 2 and 9 lie outside, and 3 too, of which too little is known."""
    rows = pd.DataFrame({"cell": [0, 2, 3, 9], "dissimilarity": [0.125, 0.75, None, 1.5], "outside": [0, 1, 1, 1]})
    return pd.concat([rows.assign(trait=trait.id) for trait in product_traits[:2]], ignore_index=True)


@pytest.fixture
def make_product(
    product_traits: list[Trait], cells: pd.DataFrame, estimates: pd.DataFrame, applicability: pd.DataFrame
) -> ProductMaker:
    def make(resolution: int = 15, region: Region = WORLD, minimum_photos: int = 3) -> xr.Dataset:
        return build_product(
            cells,
            estimates,
            product_traits,
            Grid(Fraction(resolution)),
            published="mixed",
            minimum_photos=minimum_photos,
            region=region,
            month=Month(2026, 10),
            provenance={"configuration": '{"grid": "15deg"}', "model_id": "m1", "license": "CC-BY-4.0"},
            applicability=applicability,
            bias=pd.DataFrame({"cell": [0], "trait": "height", "expected_bias": 0.25}),
            effort=pd.DataFrame({"cell": [0, 9, 200], "n_records": [40, 2, 7], "n_observers": [8, 1, 3]}),
        )

    return make
