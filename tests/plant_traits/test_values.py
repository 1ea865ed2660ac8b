"""Region, Month and Trait conversions."""

from __future__ import annotations

import numpy as np
import pytest

from data_catalog import Catalog, CatalogError
from plant_traits.errors import GridError, PlantTraitsError
from plant_traits.month import Month, parse_months
from plant_traits.regions import Region
from plant_traits.traits import from_working, in_valid_range, mean_from_working, to_working


def test_region_by_name_and_by_box(catalog: Catalog) -> None:
    assert Region.parse("iberia", catalog).bbox == (-10, 35, 4, 44)
    assert Region.parse("0, 40, 10,50", catalog).bbox == (0, 40, 10, 50)


def test_region_across_the_antimeridian(catalog: Catalog) -> None:
    region = Region.parse("oceania", catalog)
    np.testing.assert_array_equal(region.contains([-20, -20, -20], [175, -170, 0]), [True, True, False])
    assert not region.contains(np.nan, 175)


@pytest.mark.parametrize("text", ["0,0,0,10", "0,10,5,5", "-200,0,5,5", "a,b,c,d", "1,2,3"])
def test_bad_regions(catalog: Catalog, text: str) -> None:
    with pytest.raises(GridError):
        Region.parse(text, catalog)


def test_unknown_region_names_the_known(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match="iberia"):
        Region.parse("atlantis", catalog)


def test_month() -> None:
    assert str(Month.parse("2026-01").previous) == "2025-12"
    assert str(Month.parse("2025-12").next) == "2026-01"
    assert Month.parse("2025-12") < Month.parse("2026-01")
    for text in ("2026-13", "2026-00", "26-01", "2026-1"):
        with pytest.raises(PlantTraitsError):
            Month.parse(text)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["2026-10"], "2026-10"),
        (["2026-11..2027-02"], "2026-11 2026-12 2027-01 2027-02"),
        (["2026-10", "2025-12, 2026-09..2026-10"], "2025-12 2026-09 2026-10"),
        (["2026-10 .. 2026-10"], "2026-10"),
    ],
)
def test_months_in_lists_and_ranges(texts: list[str], expected: str) -> None:
    assert " ".join(map(str, parse_months(texts))) == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "found none"),
        (["2026-10..2026-09"], "end before they begin"),
        (["2026"], "expected YYYY-MM"),
        (["2026-10.."], "expected YYYY-MM"),
        (["2026-01..2026-02..2026-03"], "expected YYYY-MM"),
        (["1900-01..9999-12"], "found more"),
        ([f"{year}-01..{year}-12" for year in range(1990, 2026)], "found more"),
    ],
)
def test_months_that_are_none(texts: list[str], message: str) -> None:
    with pytest.raises(PlantTraitsError, match=message):
        parse_months(texts)


def test_working_space(catalog: Catalog) -> None:
    height = catalog.trait("height")
    np.testing.assert_allclose(to_working(height, [1.0, np.e, 0.0, -1.0]), [0.0, 1.0, np.nan, np.nan])
    np.testing.assert_allclose(from_working(height, [0.0, 1.0]), [1.0, np.e])
    # mean of a log-normal with mu = 0, sigma^2 = 2 is e
    assert mean_from_working(height, 0.0, 2.0) == pytest.approx(np.e)
    np.testing.assert_array_equal(in_valid_range(height, [0.001, 1.0, 500.0]), [False, True, False])
