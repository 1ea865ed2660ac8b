from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import rasterio
import torch
from rasterio.transform import from_origin
from safetensors.torch import save_file

from data_catalog import RasterLayer, Source
from plant_traits.covariates.cube import LayerFolder
from plant_traits.errors import ModelError
from plant_traits.model.location_encoders import load_place_features
from plant_traits.schemas import SHARD_ROW, write_table
from plant_traits.stages.covariates import describe_layers, read_points
from plant_traits.stages.places import sample_places

LATITUDE, LONGITUDE = [45.0, -15.0, 5.0], [15.0, -175.0, 115.0]


@pytest.fixture
def rasters(tmp_path: Path) -> tuple[LayerFolder, ...]:
    values = np.arange(18 * 36, dtype=np.float32).reshape(18, 36)
    profile = {"driver": "GTiff", "width": 36, "height": 18, "count": 1, "dtype": "float32", "nodata": -1}
    path = tmp_path / "rain.tif"
    with rasterio.open(path, "w", crs="EPSG:4326", transform=from_origin(-180, 90, 10, 10), **profile) as raster:
        raster.write(values, 1)
    layer = RasterLayer(id="rain", name="rain", unit="1", file="rain.tif", valid_range=(0, 1000), nodata=-1)
    source = Source(id="climate", title="c", kind="raster", licence="CC0 1.0", citation="none", layers=(layer,))
    return (LayerFolder(source, tmp_path, ("rain",)),)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    rows = pd.DataFrame({field.name: [1.0 if pa.types.is_floating(field.type) else None] * 3 for field in SHARD_ROW})
    rows = rows.assign(latitude=LATITUDE, longitude=LONGITUDE, observation_id=["a", "b", "c"])
    (tmp_path / "shard").mkdir()
    write_table(rows, tmp_path / "shard" / "observations.parquet", SHARD_ROW)
    return tmp_path / "shard"


@pytest.fixture
def climplicit(tmp_path: Path) -> str:
    torch.manual_seed(0)
    state = {"layers.0.weight": (6, 4), "layers.0.bias": (6,), "last_layer.weight": (2, 6), "last_layer.bias": (2,)}
    (tmp_path / "climplicit").mkdir()
    tensors = {f"location_encoder.{name}": torch.rand(shape) for name, shape in state.items()}
    save_file(tensors, tmp_path / "climplicit" / "model.safetensors")
    return str(tmp_path / "climplicit")


def sample(
    shard: Path, rasters: tuple[LayerFolder, ...], name: str, location: str | None, identity: str
) -> tuple[dict[str, object], np.ndarray, tuple[str, ...]]:
    destination = shard.parent / f"points-{name}"
    destination.mkdir()
    summary = sample_places(
        destination,
        shard=shard,
        rasters=describe_layers(rasters),
        inputs="digest",
        folders=[str(x.folder) for x in rasters],
        location_encoder=name,
        location=location,
        identity=identity,
    )
    return summary, *read_points(destination)


def test_features_of_the_place_follow_the_covariates(
    shard: Path, rasters: tuple[LayerFolder, ...], climplicit: str
) -> None:
    places = load_place_features("covariates+climplicit", climplicit)
    summary, matrix, names = sample(shard, rasters, "covariates+climplicit", climplicit, places.identity)
    assert matrix[:, 0].tolist() == [4 * 36 + 19, 10 * 36, 8 * 36 + 29]  # row by row, from the north-west
    np.testing.assert_array_equal(matrix[:, 1:], places.encoders[0].encode(LATITUDE, LONGITUDE))
    assert names[0] == "rain"
    assert (len(names), summary["out"]) == (9, {"records with covariates": 3})


def test_the_default_is_the_covariates_alone(shard: Path, rasters: tuple[LayerFolder, ...]) -> None:
    summary, matrix, names = sample(shard, rasters, "covariates", None, "covariates")
    assert (matrix.shape, names) == ((3, 1), ("rain",))
    assert summary["out"] == {"records with covariates": 3}


def test_other_weights_than_planned_are_refused(shard: Path, rasters: tuple[LayerFolder, ...], climplicit: str) -> None:
    with pytest.raises(ModelError, match="where the run was planned"):
        sample(shard, rasters, "climplicit", climplicit, "climplicit:0123")
