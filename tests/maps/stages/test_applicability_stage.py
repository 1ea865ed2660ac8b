"""The stage of the area of applicability: a small globe, some of whose climates no training place has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data_catalog import Catalog
from maps.applicability.area import area_of_applicability
from maps.stages import applicability
from maps.stages.applicability import (
    APPLICABILITY_FILE,
    IMPORTANCES_FILE,
    THRESHOLDS_FILE,
    assess_applicability,
    read_applicability,
)
from plant_traits.covariates.biomes import NEEDED
from plant_traits.covariates.cube import LayerFolder, model_matrix, write_covariates
from plant_traits.errors import MissingInputError, ModelError
from plant_traits.model.checkpoint import load_model
from plant_traits.model.training_places import TrainingPlaces, write_training_places
from plant_traits.schemas import APPLICABILITY, APPLICABILITY_THRESHOLD, COVARIATE_IMPORTANCE, read_table
from plant_traits.spatial_folds import spatial_folds
from plant_traits.stages.covariates import LAND

# bio1, bio10, bio11 in °C, bio12, bio18, bio19 in mm.
MILD, HOT = np.array([10.0, 17.0, 4.0, 700.0, 150.0, 160.0]), np.array([60.0, 80.0, 40.0, 9000.0, 3000.0, 3000.0])
CELLS = [MILD, MILD * 1.02, HOT, np.full(6, np.nan), MILD, MILD]  # the fourth has no covariate, the last is sea


@pytest.fixture
def rasters(catalog: Catalog, tmp_path: Path) -> tuple[LayerFolder, ...]:
    return (LayerFolder(catalog.source("chelsa-2.1"), tmp_path, NEEDED),)


@pytest.fixture
def covariates(tmp_path: Path) -> Path:
    values = np.array(CELLS, dtype=np.float32).reshape(2, 3, 6)
    values[1, 1, 3:] = np.nan  # the fifth lacks its precipitation
    land = np.array([[1, 0.2, 1], [1, 1, 0]], dtype=np.float32)
    layers = {name: (("lat", "lon"), values[:, :, column]) for column, name in enumerate(NEEDED)}
    coordinates = {"lat": [45.0, -45.0], "lon": [-120.0, 0.0, 120.0]}
    folder = tmp_path / "covariates"
    folder.mkdir()
    write_covariates(xr.Dataset(layers | {LAND: (("lat", "lon"), land)}, coordinates), folder / "covariates.zarr")
    return folder


@pytest.fixture
def model(make_model: Callable[[dict[str, Any]], Path], rasters: tuple[LayerFolder, ...]) -> Path:
    """A model with 200 places of mild climate in 40 blocks; those of the first have a label of height alone."""
    folder = make_model({})
    generator = np.random.default_rng(0)
    climate = MILD * generator.uniform(0.9, 1.1, (200, 6))
    matrix, _ = model_matrix(pd.DataFrame(climate, columns=list(NEEDED)), rasters)
    labelled = np.ones((200, 2), dtype=bool)
    labelled[:5, 1] = False
    places = TrainingPlaces(matrix, np.repeat(np.arange(40), 5), labelled)
    write_training_places(places, folder, load_model(folder).model_id)
    return folder


def test_cells_are_compared_with_the_places_of_their_trait(
    tmp_path: Path, covariates: Path, rasters: tuple[LayerFolder, ...], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(applicability, "CELLS_AT_ONCE", 2)  # the answer hangs on neither
    monkeypatch.setattr(applicability, "_CELLS_READ", 3)
    summary = assess_applicability(out, covariates=covariates, rasters=rasters, model=model)
    assert summary["in"] == {"land cells": 5, "training places": 200}
    assert summary["lost"] == {"land cell without any covariate": 1}
    assert summary["out"]["land cells compared"] == 4

    thresholds = read_table(out / THRESHOLDS_FILE, APPLICABILITY_THRESHOLD).set_index("trait")
    importances = read_table(out / IMPORTANCES_FILE, COVARIATE_IMPORTANCE)
    assert importances["covariate"].tolist() == [*NEEDED, *NEEDED]
    np.testing.assert_allclose(importances.groupby("trait")["importance"].sum(), 1.0)
    assert thresholds["training_places"].to_dict() == {"height": 200, "sla": 195}

    found = read_applicability(out).set_index(["cell", "trait"])
    assert found.index.get_level_values("cell").unique().tolist() == [0, 1, 2, 4]
    outside = found["outside"].unstack("trait")
    assert outside.loc[[0, 1, 2]].to_numpy().tolist() == [[0, 0], [0, 0], [1, 1]]
    assert summary["out"]["outside, height"] == outside["height"].sum()
    trained = load_model(model)
    for row, trait in enumerate(("height", "sla")):
        weight = importances.loc[importances["trait"] == trait, "importance"].to_numpy()
        known = weight[:3] @ weight[:3] / (weight @ weight)
        dissimilarity = found["dissimilarity"].unstack("trait")[trait]
        assert np.isnan(dissimilarity.loc[4]) == (known < 0.5)
        read = read_table(out / APPLICABILITY_FILE, APPLICABILITY)
        assert read["outside"].sum() == sum(summary["out"][f"outside, {name}"] for name in ("height", "sla"))
        # By hand for the first cell: the standardisation is the identity and the nearest place is sought in a loop.
        own = slice(0, None) if row == 0 else slice(5, None)
        generator = np.random.default_rng(0)
        matrix, _ = model_matrix(
            pd.DataFrame(MILD * generator.uniform(0.9, 1.1, (200, 6)), columns=list(NEEDED)), rasters
        )
        cell, _ = model_matrix(pd.DataFrame(MILD[None], columns=list(NEEDED)), rasters)
        nearest = min(float(np.sqrt((((cell[0] - place) * weight) ** 2).sum())) for place in matrix[own])
        assert dissimilarity.loc[0] == pytest.approx(nearest / thresholds.loc[trait, "mean_distance"], rel=1e-4)
        folds = max(round(1 / trained.settings.validation_share), 2)
        block = np.repeat(np.arange(40), 5)[own]
        area = area_of_applicability(matrix[own].astype(float), spatial_folds(block, folds), weight)
        assert thresholds.loc[trait, "threshold"] == pytest.approx(area.threshold, rel=1e-6)


def test_a_cell_beyond_the_training_range_is_not_drawn_back_into_it(
    tmp_path: Path, covariates: Path, rasters: tuple[LayerFolder, ...], model: Path
) -> None:
    """The model holds covariates within 9 standard deviations of its training; the index does not."""
    out = tmp_path / "out"
    out.mkdir()
    assess_applicability(out, covariates=covariates, rasters=rasters, model=model)
    found = read_applicability(out).set_index(["cell", "trait"])["dissimilarity"]
    assert (found.loc[2] > 20 * found.loc[1]).all()


def test_models_that_do_not_fit_are_refused(
    tmp_path: Path, covariates: Path, rasters: tuple[LayerFolder, ...], model: Path, catalog: Catalog
) -> None:
    fewer = (LayerFolder(catalog.source("chelsa-2.1"), tmp_path, NEEDED[:5]),)
    with pytest.raises(ModelError, match="train again"):
        assess_applicability(tmp_path, covariates=covariates, rasters=fewer, model=model)
    with pytest.raises(MissingInputError, match="build it first"):
        assess_applicability(tmp_path, covariates=tmp_path, rasters=rasters, model=model)
    (model / "training_places.safetensors").unlink()
    with pytest.raises(ModelError, match="where it was trained"):
        assess_applicability(tmp_path, covariates=covariates, rasters=rasters, model=model)
