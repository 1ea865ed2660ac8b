"""The stage of the expected bias: cells with plots tell of those without, and no plots tell nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data_catalog import Catalog
from maps.stages.sampling_bias import expect_bias, read_expected_bias
from plant_traits.covariates.cube import write_covariates
from plant_traits.run_spec import RunSpec
from plant_traits.schemas import ESTIMATE, write_table
from plant_traits.sources.splotopen import CWM_COLUMNS, CWM_FILE, HEADER_FILE

CELLS = np.arange(700, 760)


@pytest.fixture
def spec(catalog: Catalog) -> RunSpec:
    return RunSpec.resolve("tiny", grid="5deg", catalog=catalog)


@pytest.fixture
def folders(tmp_path: Path, spec: RunSpec) -> dict[str, Path]:
    """60 cells with photos whose mean is 2 and whose plants vary by 2, of known error 0.6, and no covariates."""
    estimates, covariates = tmp_path / "estimates", tmp_path / "covariates"
    estimates.mkdir()
    frame = pd.DataFrame({name: 1.0 for name in ESTIMATE.names}, index=range(len(CELLS)))
    frame = frame.assign(cell=CELLS, location=2.0, standard_error=0.6, variance_among_plants=4.0)
    counted = {name: 5 for name in ("n_photos", "n_species", "n_observers")}
    frames = [frame.assign(trait=trait.id, **counted) for trait in spec.traits]
    write_table(pd.concat(frames), estimates / f"photo-{spec.profile.published_estimator}.parquet", ESTIMATE)
    covariates.mkdir()
    cube = xr.Dataset(coords={"lat": spec.grid.lat, "lon": spec.grid.lon})
    write_covariates(cube, covariates / "covariates.zarr")
    return {"estimates": estimates, "covariates": covariates}


def test_plots_of_some_cells_tell_of_all(tmp_path: Path, spec: RunSpec, folders: dict[str, Path]) -> None:
    # 30 cells with one plot of 1 each: (1 - 0.36) / 4 = 0.16 of a variance, 0.4 standard deviations.
    folder = tmp_path / spec.inputs.plots[0].path
    folder.mkdir(parents=True)
    latitude, longitude = spec.grid.centre_of(CELLS[:30])
    plot = {"PlotObservationID": np.arange(30)}
    header = plot | {"Latitude": latitude, "Longitude": longitude, "Location_uncertainty": 10.0}
    pd.DataFrame(header).to_csv(folder / HEADER_FILE, sep="\t", index=False)
    means = plot | {"TraitCoverage_cover": 0.9} | {column: 1.0 for column in CWM_COLUMNS.values()}
    pd.DataFrame(means).to_csv(folder / CWM_FILE, sep="\t", index=False)
    out = tmp_path / "out"
    out.mkdir()
    summary = expect_bias(out, spec=spec, root=tmp_path, rasters=(), **folders)
    found = read_expected_bias(out)
    assert len(found) == 60 * len(spec.traits)
    np.testing.assert_allclose(found["bias_ratio"], 0.4)
    np.testing.assert_allclose(found["expected_bias"], 0.8)
    assert summary["out"] == {f"cells of known bias, {trait.id}": 60 for trait in spec.traits}
    assert summary["in"] == {"cells with a photo": 60, "plots times traits": 30 * len(spec.traits)}


def test_without_plots_nothing_is_known(tmp_path: Path, spec: RunSpec, folders: dict[str, Path]) -> None:
    inputs = spec.profile.inputs.model_copy(update={"plots": ()})
    bare = replace(spec, profile=spec.profile.model_copy(update={"inputs": inputs}))
    summary = expect_bias(tmp_path, spec=bare, root=tmp_path, rasters=(), **folders)
    found = read_expected_bias(tmp_path)
    assert found[["bias_ratio", "expected_bias"]].isna().all(axis=None)
    assert found["cell"].nunique() == 60
    assert (summary["out"], summary["lost"]) == ({}, {})
