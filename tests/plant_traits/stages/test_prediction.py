"""Predictions of records and of land cells: by which group's factor their variances are calibrated."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
import torch
import xarray as xr

from data_catalog import Catalog, ModelSettings, Trait
from plant_traits.covariates.biomes import NEEDED
from plant_traits.covariates.cube import LayerFolder, model_matrix, write_covariates
from plant_traits.errors import ModelError
from plant_traits.model.calibration import Calibration, uncalibrated
from plant_traits.model.checkpoint import save_model
from plant_traits.model.features import PhotoFeatures, write_features
from plant_traits.model.network import NetworkConfig, TraitNetwork
from plant_traits.model.photo_hashes import hashes_of_bytes
from plant_traits.model.standardisation import Standardisation
from plant_traits.model.trained_model import MODALITIES, TrainedModel
from plant_traits.schemas import SHARD_ROW, write_table
from plant_traits.stages.covariates import LAND, write_points
from plant_traits.stages.photos import FEATURES
from plant_traits.stages.prediction import predict_land, predict_shard

TRAITS = (Trait(id="height", name="height", definition="d", unit="m", valid_range=(0.01, 100.0)),)
FACTORS = {"all": 1.0, "tree": 2.0, "all/arid": 3.0, "all/polar": 4.0, "tree/arid": 5.0, "tree/tropical": 6.0}
# bio1, bio10, bio11 in °C, bio12, bio18, bio19 in mm: Manaus, the Sahara, London, the ice of Greenland, no rain known.
CLIMATE = {
    "tropical": (27.4, 28.0, 26.9, 2165, 280, 811),
    "arid": (21.1, 28.0, 12.9, 43, 17, 5),
    "temperate": (10.7, 17.2, 4.8, 641, 152, 162),
    "polar": (-20.7, -7.7, -30.9, 1225, 269, 301),
    "unknown": (10.7, 17.2, 4.8, np.nan, 152, 162),
}
NOWHERE = (np.nan,) * 6


@pytest.fixture
def rasters(catalog: Catalog, tmp_path: Path) -> tuple[LayerFolder, ...]:
    return (LayerFolder(catalog.source("chelsa-2.1"), tmp_path, NEEDED),)


def model_in(folder: Path, calibration: Calibration) -> Path:
    """Write a model of photos of two features and the six layers, the same for every calibration."""
    config = NetworkConfig(image_dimension=2, covariates=6, traits=1, hidden=8, blocks=1, dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = tuple(TraitNetwork(config).eval().requires_grad_(False) for _ in range(2))

    def scaling(columns: int, scale: float) -> Standardisation:
        return Standardisation(
            np.zeros(columns), np.full(columns, scale), np.full(columns, -9.0), np.full(columns, 9.0)
        )

    model = TrainedModel(
        traits=TRAITS,
        covariate_names=NEEDED,
        encoder_identity="e",
        config=config,
        networks=networks,
        image_standardisation=scaling(2, 1.0),
        covariate_standardisation=scaling(6, 20.0),
        target_centre=np.zeros(1),
        target_scale=np.ones(1),
        calibration=calibration,
        metrics={},
        settings=ModelSettings(ensemble=2),
    )
    folder.mkdir()
    save_model(model, folder)
    return folder


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """Two models that differ in their calibration alone: none, and the factors above."""
    shape = (len(MODALITIES), len(FACTORS), 1)
    factor = np.broadcast_to(np.array(list(FACTORS.values()))[None, :, None], shape).copy()
    calibration = Calibration(
        ("height",), tuple(FACTORS), (0.9,), np.full(shape, 20), factor, np.full((*shape, 1), 1.7)
    )
    return model_in(tmp_path / "plain", uncalibrated(["height"], 3)), model_in(tmp_path / "calibrated", calibration)


def as_read(climate: npt.ArrayLike, rasters: Sequence[LayerFolder]) -> npt.NDArray[np.float32]:
    """Return the matrix that a model reads of rows of the six values."""
    return model_matrix(pd.DataFrame(np.asarray(climate, dtype=np.float64), columns=list(NEEDED)), rasters)[0]


def shard_in(
    folder: Path, rows: Sequence[tuple[str | None, Sequence[float]]], rasters: Sequence[LayerFolder]
) -> dict[str, Path]:
    """Write a shard of records with a growth form and a climate, all but the last with a usable photo."""
    ids = [f"record{i}" for i in range(len(rows))]
    table = pd.DataFrame(
        {field.name: [1.0 if pa.types.is_floating(field.type) else None] * len(rows) for field in SHARD_ROW}
    )
    table = table.assign(observation_id=ids, photo_id=ids, growth_form=[form for form, _ in rows])
    write_table(table, folder / "observations.parquet", SHARD_ROW)
    write_points(folder, as_read([climate for _, climate in rows], rasters), NEEDED)
    photos = np.random.default_rng(0).normal(size=(len(rows), 2)).astype(np.float16).astype(np.float32)
    photos[-1] = np.nan
    hashes = hashes_of_bytes([bytes([index + 1]) * 32 for index in range(len(rows))])
    write_features(PhotoFeatures(tuple(ids), hashes, photos, ("ok",) * len(rows), "e"), folder / FEATURES)
    return {"shard": folder, "features": folder, "points": folder}


def variance_ratio(first: Path, second: Path) -> npt.NDArray[np.float64]:
    """Return how many times larger the second table's variances are, checked to differ in nothing else."""
    before, after = pd.read_parquet(first), pd.read_parquet(second)
    np.testing.assert_array_equal(before["mean"], after["mean"])
    total = [x["variance_aleatoric"].to_numpy(float) + x["variance_epistemic"].to_numpy(float) for x in (before, after)]
    return np.asarray(total[1] / total[0])


def test_records_are_calibrated_by_growth_form_within_biome(
    models: tuple[Path, Path], rasters: tuple[LayerFolder, ...], tmp_path: Path
) -> None:
    rows: list[tuple[str | None, Sequence[float], float]] = [
        ("tree", CLIMATE["tropical"], 6.0),
        ("tree", CLIMATE["arid"], 5.0),
        ("tree", CLIMATE["temperate"], 2.0),  # a biome that trees were not calibrated in
        ("tree", CLIMATE["unknown"], 2.0),
        ("tree", NOWHERE, 2.0),
        ("herb", CLIMATE["arid"], 1.0),  # a growth form that was not calibrated
        (None, CLIMATE["arid"], 3.0),
        (None, CLIMATE["tropical"], 1.0),
        (None, NOWHERE, 1.0),
        (None, CLIMATE["polar"], 4.0),  # without a photo
    ]
    folders = shard_in(tmp_path, [row[:2] for row in rows], rasters)
    found = []
    for model in models:
        destination = tmp_path / f"predictions-{model.name}"
        destination.mkdir()
        summary = predict_shard(destination, **folders, model=model, batch_size=4, device="cpu")
        assert summary["out"] == {
            "records from geospatial": 1, "records from image": 2, "records from image+geospatial": 7
        }  # fmt: skip
        assert summary["lost"] == {}
        found.append(destination / "predictions.parquet")
    np.testing.assert_allclose(variance_ratio(*found), [expected for _, _, expected in rows], rtol=1e-6)


def test_records_without_photo_and_place_are_counted(
    models: tuple[Path, Path], rasters: tuple[LayerFolder, ...], tmp_path: Path
) -> None:
    folders = shard_in(tmp_path, [("tree", CLIMATE["arid"]), ("tree", NOWHERE)], rasters)
    summary = predict_shard(tmp_path, **folders, model=models[1], batch_size=4, device="cpu")
    assert summary["in"] == {"records": 2}
    assert summary["lost"] == {"record without photo and covariates": 1}
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert table["status"].tolist() == ["ok", "no usable input"]
    assert table["mean"].isna().tolist() == [False, True]


def test_covariates_of_another_run_are_refused(
    models: tuple[Path, Path], rasters: tuple[LayerFolder, ...], tmp_path: Path
) -> None:
    folders = shard_in(tmp_path, [("tree", CLIMATE["arid"])] * 2, rasters)
    write_points(tmp_path, as_read([CLIMATE["arid"]] * 2, rasters), NEEDED[::-1])
    with pytest.raises(ModelError, match="train again"):
        predict_shard(tmp_path, **folders, model=models[1], batch_size=4, device="cpu")


def test_land_cells_are_calibrated_by_biome(
    models: tuple[Path, Path], rasters: tuple[LayerFolder, ...], tmp_path: Path
) -> None:
    cells = [CLIMATE["arid"], CLIMATE["polar"], NOWHERE, CLIMATE["temperate"], CLIMATE["unknown"], CLIMATE["arid"]]
    values = np.array(cells, dtype=np.float32).reshape(2, 3, 6)
    land = np.array([[1, 1, 1], [1, 0.5, 0]], dtype=np.float32)  # the last cell is sea, the third has no covariate
    layers = {name: (("lat", "lon"), values[:, :, column]) for column, name in enumerate(NEEDED)}
    coordinates = {"lat": [45.0, -45.0], "lon": [-120.0, 0.0, 120.0]}
    write_covariates(xr.Dataset(layers | {LAND: (("lat", "lon"), land)}, coordinates), tmp_path / "covariates.zarr")
    found = []
    for model in models:
        destination = tmp_path / f"land-{model.name}"
        destination.mkdir()
        summary = predict_land(
            destination, covariates=tmp_path, rasters=rasters, model=model, batch_size=4, device="cpu"
        )
        assert summary == {
            "in": {"land cells": 5}, "out": {"land cells predicted": 4},
            "lost": {"land cell without any covariate": 1},
        }  # fmt: skip
        found.append(destination / "land.parquet")
    assert pd.read_parquet(found[0])["cell"].tolist() == [0, 1, 3, 4]
    np.testing.assert_allclose(variance_ratio(*found), [3.0, 4.0, 1.0, 1.0], rtol=1e-6)


def test_features_of_another_encoder_are_refused(
    tmp_path: Path, models: tuple[Path, Path], rasters: tuple[LayerFolder, ...]
) -> None:
    folder = tmp_path / "shard"
    folder.mkdir()
    parts = shard_in(folder, [("tree", CLIMATE["arid"]), ("herb", CLIMATE["polar"])], rasters)
    hashes = hashes_of_bytes([b"1" * 32, b"2" * 32])
    others = PhotoFeatures(("record0", "record1"), hashes, np.ones((2, 2), dtype=np.float32), ("ok",) * 2, "f")
    write_features(others, folder / FEATURES)
    with pytest.raises(ModelError, match="expected the encoder e, found f"):
        predict_shard(tmp_path, **parts, model=models[0], batch_size=8, device="cpu")
