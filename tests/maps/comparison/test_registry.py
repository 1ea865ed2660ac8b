from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import rasterio
from rasterio.transform import from_origin

from data_catalog import Catalog, MapProduct, Trait
from maps.comparison.registry import open_product_map, plot_means, stored_to_working
from plant_traits.errors import GridError, MissingInputError, RasterError, TableError
from plant_traits.grid import Grid

GRID = Grid.parse("30deg")


def write(path: Path, bands: npt.ArrayLike, *, crs: str = "EPSG:4326", size: float = 30.0, west: float = -180) -> None:
    array = np.asarray(bands, dtype=np.float32)
    driver = "RRASTER" if path.suffix == ".grd" else "GTiff"
    _, height, width = array.shape
    with rasterio.open(
        path,
        "w",
        driver=driver,
        height=height,
        width=width,
        count=len(array),
        dtype="float32",
        crs=crs,
        transform=from_origin(west, -west / 2, size, size),
        nodata=-3.4e38,
    ) as dataset:
        dataset.write(array)


def product(**layer: object) -> MapProduct:
    fields = {"file": "map.tif"} | layer
    entry = {"id": "p", "title": "P", "native_grid": "30deg", "format": "GeoTIFF", "citation": "none"}
    return MapProduct.model_validate(entry | {"layers": {"leaf_area": fields}})


@pytest.fixture
def leaf_area(catalog: Catalog) -> Trait:
    return catalog.trait("leaf_area")


@pytest.fixture
def sla(catalog: Catalog) -> Trait:
    return catalog.trait("sla")


def test_the_mean_is_taken_in_working_space(tmp_path: Path, leaf_area: Trait, sla: Trait) -> None:
    values = np.full((1, 12, 24), -3.4e38, np.float32)
    values[0, 4:6, 10:12] = [[100, 10_000], [np.nan, -3.4e38]]
    write(tmp_path / "map.tif", values, size=15)
    found = open_product_map(product(), tmp_path, [sla, leaf_area], GRID)
    assert found["location"].dims == ("trait", "lat", "lon")
    assert found["trait"].to_numpy().tolist() == ["sla", "leaf_area"]
    assert np.isnan(found["location"].sel(trait="sla")).all()
    layer = found["location"].sel(trait="leaf_area").to_numpy()
    assert np.argwhere(np.isfinite(layer)).tolist() == [[2, 5]]
    assert np.exp(layer[2, 5]) == pytest.approx(1000, rel=1e-6)  # the geometric mean
    assert found.attrs["product"] == "p"


def test_band_factor_and_mask(tmp_path: Path, leaf_area: Trait) -> None:
    bands = np.zeros((3, 6, 12), np.float32)
    bands[2] = 25.0
    bands[2, 0, :2] = [0.0, -5.0]
    write(tmp_path / "map.grd", bands)
    entry = product(file="map.grd", band=3, factor=100.0, mask_at_or_below=0.0)
    layer = open_product_map(entry, tmp_path, [leaf_area], GRID)["location"].to_numpy()[0]
    assert np.isnan(layer[0, :2]).all()
    np.testing.assert_allclose(layer[0, 2:], np.log(2500.0))


@pytest.mark.parametrize(
    ("space", "stored"), [("natural", 12.0), ("ln", np.log(12.0)), ("log10", np.log10(12.0)), ("ln", np.log(12))]
)
def test_every_space_leads_to_the_same_working_value(leaf_area: Trait, space: str, stored: float) -> None:
    layer = product(space=space, factor=100.0).layers["leaf_area"]
    np.testing.assert_allclose(
        stored_to_working(leaf_area, layer, np.array([stored, np.nan])), [np.log(1200.0), np.nan], rtol=1e-12
    )
    identity = leaf_area.model_copy(update={"working_space": "identity"})
    np.testing.assert_allclose(stored_to_working(identity, layer, np.array([stored])), [1200.0], rtol=1e-12)


def test_a_finer_grid_repeats_the_products_cell(tmp_path: Path, leaf_area: Trait) -> None:
    values = np.arange(1, 73, dtype=np.float32).reshape(1, 6, 12)
    write(tmp_path / "map.tif", values)
    layer = open_product_map(product(), tmp_path, [leaf_area], Grid.parse("10deg"))["location"].to_numpy()[0]
    np.testing.assert_allclose(np.exp(layer), np.repeat(np.repeat(values[0], 3, axis=0), 3, axis=1), rtol=1e-12)


def test_the_wrong_unit_is_recognised(tmp_path: Path, leaf_area: Trait) -> None:
    write(tmp_path / "map.tif", np.full((1, 6, 12), 25.0))
    with pytest.raises(RasterError, match=r"72 of 72 values lie outside .* mm2"):
        open_product_map(product(space="ln"), tmp_path, [leaf_area], GRID)


def test_a_missing_file_and_another_crs_are_refused(tmp_path: Path, leaf_area: Trait) -> None:
    with pytest.raises(MissingInputError, match=r"product 'p', trait 'leaf_area' \(map\.tif\)"):
        open_product_map(product(), tmp_path, [leaf_area], GRID)
    write(tmp_path / "map.tif", np.full((1, 6, 12), 25.0), crs="EPSG:6933", size=1e5, west=-6e5)
    with pytest.raises(RasterError, match="expected the CRS EPSG:4326"):
        open_product_map(product(), tmp_path, [leaf_area], GRID)
    stated = product().model_copy(update={"native_grid": "100km, EPSG:6933"})
    assert np.isfinite(open_product_map(stated, tmp_path, [leaf_area], GRID)["location"]).sum() > 0


def plots(rows: list[tuple[float, float, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["latitude", "longitude", "trait", "value"])


def test_plots_of_a_cell_are_averaged(leaf_area: Trait, sla: Trait) -> None:
    frame = plots(
        [
            (10.0, 10.0, "sla", 1.0),
            (20.0, 20.0, "sla", 4.0),
            (-10.0, 10.0, "sla", np.nan),
            (10.0, 10.0, "leaf_area", 7.0),
            (10.0, 10.0, "height", 9.0),
        ]
    )
    found = plot_means(frame, [leaf_area, sla], GRID)
    assert float(found["location"].sel(trait="sla")[2, 6]) == 2.5
    assert float(found["location"].sel(trait="leaf_area")[2, 6]) == 7.0
    assert int(found["n_plots"].sum()) == 3
    assert found["n_plots"].sel(trait="sla")[2, 6] == 2
    assert int(np.isfinite(found["location"]).sum()) == 2
    assert found.attrs["missing_values"] == 1


def test_plots_without_columns_or_off_the_globe_are_refused(sla: Trait) -> None:
    with pytest.raises(TableError, match=r"\['value'\]"):
        plot_means(plots([]).drop(columns="value"), [sla], GRID)
    with pytest.raises(GridError, match="out-of-range"):
        plot_means(plots([(91.0, 0.0, "sla", 1.0)]), [sla], GRID)
    assert int(plot_means(plots([]), [sla], GRID)["n_plots"].sum()) == 0
