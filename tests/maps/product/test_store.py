from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from pyproj import CRS

from data_catalog import Trait
from maps.product.store import open_product, write_zarr
from plant_traits.errors import MissingInputError, TableError, WorkspaceError


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_plain_open_zarr_gives_variables_with_units_and_no_warning(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_zarr(make_product(), product_traits, tmp_path / "p.zarr")
        stored = xr.open_zarr(tmp_path / "p.zarr")
    assert stored["height"].attrs["units"] == "m"
    assert stored["height"].attrs["long_name"] == "community mean of vegetative plant height"
    assert stored["sla_median"].attrs["units"] == "m2 kg-1"
    assert stored["wood_density_standard_error"].attrs["units"] == "1"
    assert stored["frost_limit_standard_error"].attrs["units"] == "degC"
    assert float(stored["height"][0, 0]) == pytest.approx(np.exp(1.25), rel=1e-6)
    ancillary = stored["height"].attrs["ancillary_variables"].split()
    assert "height_standard_error" in ancillary
    assert all(name in stored for name in ancillary)
    assert stored["lat"].attrs["bounds"] == "lat_bnds"
    assert stored["lat_bnds"].values[0].tolist() == [90.0, 75.0]


def test_flags_stay_integers_and_say_what_they_mean(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    write_zarr(make_product(), product_traits, tmp_path / "p.zarr")
    source = xr.open_zarr(tmp_path / "p.zarr")["height_source"]
    assert source.dtype == np.uint8
    assert list(source.attrs["flag_values"]) == [0, 1, 2]
    assert source.attrs["flag_meanings"] == "none photos geospatial"
    assert source.values[0, :4].tolist() == [1, 1, 2, 1]


def test_the_reference_system_is_read_by_other_tools(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    write_zarr(make_product(), product_traits, tmp_path / "p.zarr")
    stored = xr.open_zarr(tmp_path / "p.zarr", decode_coords="all")
    assert stored["height"].rio.crs.to_epsg() == 4326
    assert CRS.from_cf(stored["crs"].attrs).to_epsg() == 4326
    assert stored["height"].rio.bounds() == (-180.0, -90.0, 180.0, 90.0)


def test_format_is_zarr_three_with_consolidated_metadata(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    write_zarr(make_product(), product_traits, tmp_path / "p.zarr")
    root = json.loads((tmp_path / "p.zarr" / "zarr.json").read_text())
    assert root["zarr_format"] == 3
    assert "height_median" in root["consolidated_metadata"]["metadata"]


def test_round_trip(make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path) -> None:
    product = make_product()
    write_zarr(product, product_traits, tmp_path / "p.zarr")
    xr.testing.assert_identical(open_product(tmp_path / "p.zarr").load(), product)
    some = open_product(tmp_path / "p.zarr", ["frost-limit", "height"]).load()
    xr.testing.assert_identical(some, product.sel(trait=["frost-limit", "height"]))


def test_two_writes_give_the_same_bytes(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    write_zarr(make_product(), product_traits, tmp_path / "a.zarr")
    write_zarr(make_product(), product_traits, tmp_path / "b.zarr")
    assert contents(tmp_path / "a.zarr") == contents(tmp_path / "b.zarr")


def test_a_product_is_written_once(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    write_zarr(make_product(), product_traits, tmp_path / "p.zarr")
    with pytest.raises(WorkspaceError, match="already exists"):
        write_zarr(make_product(), product_traits, tmp_path / "p.zarr")


def test_wrong_traits_and_clashing_names_are_refused(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    product = make_product()
    with pytest.raises(TableError, match="pass its own traits"):
        write_zarr(product, product_traits[::-1], tmp_path / "p.zarr")
    clash = Trait(
        id="height_median", name="Clash", definition="-", unit="m", working_space="ln", valid_range=(1.0, 2.0)
    )
    two = product.isel(trait=[0, 1]).assign_coords(trait=["height", "height_median"])
    with pytest.raises(TableError, match="two layers would be stored as 'height_median'"):
        write_zarr(two, [product_traits[0], clash], tmp_path / "p.zarr")
    assert not (tmp_path / "p.zarr").exists()


def test_what_is_not_a_product_is_refused(
    make_product: Callable[..., xr.Dataset], product_traits: list[Trait], tmp_path: Path
) -> None:
    with pytest.raises(MissingInputError, match="build it first"):
        open_product(tmp_path / "none.zarr")
    write_zarr(make_product(), product_traits, tmp_path / "p.zarr")
    with pytest.raises(TableError, match="leaf_n"):
        open_product(tmp_path / "p.zarr", ["leaf_n"])
