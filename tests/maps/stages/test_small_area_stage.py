from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from rasterio.transform import Affine

from data_catalog import Catalog
from data_catalog.profile import ProductInput
from maps.small_area.fill import fill_cells
from maps.stages.small_area import _grid_of_plots, fill_map, plots_of_run, read_cells, read_coverage
from plant_traits.covariates.cube import write_covariates
from plant_traits.errors import InputError, MissingInputError, ModelError
from plant_traits.grid import Grid
from plant_traits.model.checkpoint import load_model
from plant_traits.model.held_out_places import write_held_out_places
from plant_traits.run_spec import RunSpec
from plant_traits.schemas import ESTIMATE, LAND_PREDICTION, write_table
from plant_traits.sources.splotopen import CWM_COLUMNS, CWM_FILE, HEADER_FILE

GRID = Grid.parse("5deg")


def spec_with(catalog: Catalog, **inputs: object) -> RunSpec:
    """The run of the tiny world on a coarse grid, with other plots."""
    spec = RunSpec.resolve("tiny", grid="5deg", catalog=catalog)
    changed = spec.profile.inputs.model_copy(update=inputs)
    return replace(spec, profile=spec.profile.model_copy(update={"inputs": changed}))


def write_plots(folder: Path, cell: np.ndarray[tuple[int], np.dtype[np.int64]], value: float) -> None:
    """Two plots in each cell, and one that nobody located, as sPlotOpen's tables."""
    folder.mkdir(parents=True)
    latitude, longitude = GRID.centre_of(np.repeat(cell, 2))
    ids = np.arange(1, len(latitude) + 2)
    header = {
        "PlotObservationID": ids,
        "Latitude": [*latitude, np.nan],
        "Longitude": [*longitude, np.nan],
        "Location_uncertainty": 10.0,
    }
    wobble = np.where(ids % 2, 0.2, -0.2)
    means = {"PlotObservationID": ids, "TraitCoverage_cover": 0.9}
    means |= {column: value + wobble for column in CWM_COLUMNS.values()}
    pd.DataFrame(header).to_csv(folder / HEADER_FILE, sep="\t", index=False)
    pd.DataFrame(means).to_csv(folder / CWM_FILE, sep="\t", index=False)


def write_inputs(folder: Path, spec: RunSpec) -> dict[str, Path]:
    """Estimates, land and covariates of 400 cells, 200 of them with photos."""
    rng = np.random.default_rng(1)
    cell = np.arange(600, 1000)
    direct, land = [], []
    for trait in spec.traits:
        frame = pd.DataFrame({name: 1.0 for name in ESTIMATE.names}, index=range(200))
        direct.append(
            frame.assign(
                cell=cell[::2], trait=trait.id, location=rng.normal(1, 0.5, 200), n_photos=5, n_species=2, n_observers=2
            )
        )
        columns = {"cell": cell, "trait": trait.id, "mean": rng.normal(1, 0.4, 400)}
        land.append(pd.DataFrame(columns).assign(variance_aleatoric=0.5, variance_epistemic=0.1))
    paths = {name: folder / name for name in ("estimates", "land", "covariates")}
    for path in paths.values():
        path.mkdir()
    write_table(pd.concat(direct), paths["estimates"] / f"photo-{spec.profile.published_estimator}.parquet", ESTIMATE)
    write_table(pd.concat(land), paths["land"] / "land.parquet", LAND_PREDICTION)
    cube = xr.Dataset(coords={"lat": GRID.lat, "lon": GRID.lon})
    write_covariates(cube, paths["covariates"] / "covariates.zarr")
    return paths


def test_cells_are_filled_and_written(tmp_path: Path, catalog: Catalog) -> None:
    spec = spec_with(catalog)
    write_plots(tmp_path / "data" / spec.inputs.plots[0].path, np.arange(600, 1000, 5), 1.0)
    paths = write_inputs(tmp_path, spec)
    out = tmp_path / "out"
    out.mkdir()
    summary = fill_map(out, spec=spec, root=tmp_path / "data", rasters=(), **paths)
    assert summary["in"] == {"cells with a photo": 200, "land cells predicted": 400, "plots times traits": 160 * 4}
    assert summary["out"]["cells filled"] == 400
    assert summary["out"]["traits calibrated on plots"] == 4
    assert summary["lost"] == {"plot no_coordinates": 1}
    cells = read_cells(out)
    plots, _ = plots_of_run(spec, tmp_path / "data")
    direct = pd.read_parquet(paths["estimates"] / f"photo-{spec.profile.published_estimator}.parquet")
    land = pd.read_parquet(paths["land"] / "land.parquet")
    expected = fill_cells(direct, land, {}, plots, spec.grid)
    pd.testing.assert_frame_equal(cells.drop(columns="biome"), expected.cells.drop(columns="biome"), check_dtype=False)
    assert cells["biome"].isna().all()
    coverage = read_coverage(out)
    assert coverage is not None
    assert set(coverage["trait"]) == {trait.id for trait in spec.traits}
    assert {path.name for path in out.iterdir()} == {
        "cells.parquet",
        "errors.parquet",
        "unseen.parquet",
        "calibration.parquet",
        "coverage.parquet",
    }


def test_run_without_plots_is_filled_without(tmp_path: Path, catalog: Catalog) -> None:
    spec = spec_with(catalog, plots=())
    paths = write_inputs(tmp_path, spec)
    out = tmp_path / "out"
    out.mkdir()
    summary = fill_map(out, spec=spec, root=tmp_path, rasters=(), **paths)
    assert summary["in"]["plots times traits"] == 0
    assert summary["out"]["traits calibrated on plots"] == 0
    assert read_coverage(out) is None
    assert set(pd.read_parquet(out / "errors.parquet")["method"]) == {"stated"}


def test_traits_without_plots_err_as_their_model_did_on_held_out_regions(
    tmp_path: Path, catalog: Catalog, make_model: Callable[[dict[str, Any]], Path]
) -> None:
    spec = spec_with(catalog, plots=())
    paths, model = write_inputs(tmp_path, spec), make_model({})
    told: dict[str, dict[str, Any]] = {}
    for name in ("stated", "held out"):
        (tmp_path / name).mkdir()
        told[name] = fill_map(tmp_path / name, spec=spec, root=tmp_path, rasters=(), model=model, **paths)["out"]
        # Height misses its label by 3 in either direction at every place, from now on.
        lat, lon = GRID.centre_of(np.arange(600, 700))
        columns = {"latitude": lat, "longitude": lon, "species": "Poa annua", "trait": "height", "n": 1}
        missed = pd.DataFrame(columns).assign(label=np.where(np.arange(100) % 2, 3.0, -3.0), prediction=0.0)
        write_held_out_places(missed.assign(variance=0.1), model, load_model(model).model_id)
    assert told["stated"]["traits of errors as the model states them"] == len(spec.traits)
    assert told["held out"]["traits of errors as the model states them"] == len(spec.traits) - 1
    assert told["held out"]["traits of errors told by held-out regions"] == 1
    method = pd.read_parquet(tmp_path / "held out" / "errors.parquet").groupby("trait")["method"].first()
    assert method.to_dict() == {x.id: "held-out regions" if x.id == "height" else "stated" for x in spec.traits}
    before, after = (read_cells(tmp_path / name).set_index(["trait", "cell"]) for name in ("stated", "held out"))
    alone = after.index[(after["photo_share"] == 0) & (after.index.get_level_values("trait") == "height")]
    np.testing.assert_allclose(after.loc[alone, "standard_error"], 3.0, rtol=0.01)
    assert (before.loc[alone, "standard_error"] < 1.0).all()
    others = after.index.get_level_values("trait") != "height"
    pd.testing.assert_frame_equal(after[others], before[others])
    write_held_out_places(missed.assign(variance=0.1), model, "another")
    with pytest.raises(ModelError, match="another"):
        fill_map(tmp_path / "held out", spec=spec, root=tmp_path, rasters=(), model=model, **paths)


def test_gridded_plots_are_read_on_their_own_grid_where_it_is_finer(tmp_path: Path, catalog: Catalog) -> None:
    spec = spec_with(catalog, plots=(), gridded_plots=ProductInput(product="splotopen-cwm", path="cwm"))
    product = catalog.product("splotopen-cwm")
    (tmp_path / "cwm").mkdir()
    values = np.full((360, 720), np.nan, dtype=np.float32)
    values[100, 200:203] = [0.5, 0.7, 0.9]
    for layer in product.layers.values():
        with rasterio.open(
            tmp_path / "cwm" / layer.file,
            "w",
            driver="GTiff",
            width=720,
            height=360,
            count=1,
            dtype="float32",
            crs="EPSG:4326",
            transform=Affine(0.5, 0, -180, 0, -0.5, 90),
            nodata=np.nan,
        ) as raster:
            raster.write(values, 1)
    plots, lost = plots_of_run(spec, tmp_path)
    assert plots is not None
    assert lost == {}
    own = plots[plots["trait"] == spec.traits[0].id]
    assert own["latitude"].tolist() == [39.75] * 3
    assert own["longitude"].tolist() == [-79.75, -79.25, -78.75]
    np.testing.assert_allclose(own["value"], [0.5, 0.7, 0.9], rtol=1e-6)


def test_profiles_that_cannot_be_read_are_named(tmp_path: Path, catalog: Catalog) -> None:
    spec = spec_with(catalog)
    item = spec.profile.inputs.plots[0]
    with pytest.raises(InputError, match="several sets of plots"):
        plots_of_run(spec_with(catalog, plots=(item, item)), tmp_path)
    with pytest.raises(InputError, match="no plot reader is called 'other'"):
        plots_of_run(spec_with(catalog, plots=(item.model_copy(update={"reader": "other"}),)), tmp_path)
    with pytest.raises(MissingInputError, match="fill the cells again"):
        read_coverage(tmp_path)


@pytest.mark.parametrize(
    ("run", "expected"), [("1deg", "0.5deg"), ("0.1deg", "0.5deg"), ("0.5deg", "0.5deg"), ("0.3deg", "0.3deg")]
)
def test_a_cell_of_gridded_plots_is_one_plot_however_fine_the_map(run: str, expected: str) -> None:
    assert _grid_of_plots("0.5deg", Grid.parse(run)) == Grid.parse(expected)
