from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_catalog import RasterLayer, Source
from plant_traits.covariates.biomes import NEEDED, biomes, biomes_of_matrix
from plant_traits.covariates.cell_biomes import cell_biomes
from plant_traits.covariates.cube import LayerFolder, build_grid_covariates, model_matrix, write_covariates
from plant_traits.covariates.store import build_covariate_store
from plant_traits.errors import InputError, MissingInputError
from plant_traits.grid import Grid

WriteRaster = Callable[..., Path]

GRID = Grid.parse("10deg")


@pytest.fixture
def rasters(write_raster: WriteRaster, tmp_path: Path) -> list[LayerFolder]:
    """A climate that is warm at the equator and dry in the east, unknown in the first row of cells."""
    latitude, longitude = np.abs(GRID.lat)[:, None], GRID.lon[None, :]
    warmth = np.broadcast_to(28 - 0.5 * latitude, GRID.shape)
    rain = np.broadcast_to(1000 - 5 * longitude, GRID.shape).clip(100)
    values = {"bio1": warmth, "bio10": warmth + 0.1 * latitude, "bio11": warmth - 0.3 * latitude, "bio12": rain}
    values |= {"bio18": 0.3 * rain, "bio19": 0.2 * rain}
    layers = []
    for name in NEEDED:
        known = values[name].astype(np.float32)
        known[0] = -999
        write_raster(known, west=-180, north=90, size=10, name=f"{name}.tif")
        layers.append(
            RasterLayer(
                id=name,
                name=name,
                unit="1",
                file=f"{name}.tif",
                valid_range=(-100, 9000),
                log=name in ("bio12", "bio18", "bio19"),
                nodata=-999,
            )
        )
    source = Source(
        id="climate", title="climate", kind="raster", licence="CC0 1.0", citation="none", layers=tuple(layers)
    )
    return [LayerFolder(source, tmp_path, NEEDED)]


@pytest.mark.parametrize("cells_at_once", [1, 100, 10_000])
def test_biomes_of_cells_are_those_of_their_mean_climate(
    rasters: list[LayerFolder], tmp_path: Path, cells_at_once: int
) -> None:
    build_covariate_store(tmp_path / "covariates.zarr", rasters, GRID)
    found = cell_biomes(tmp_path, rasters, cells_at_once=cells_at_once)
    cube = build_grid_covariates(rasters, GRID)
    expected = biomes_of_matrix(*model_matrix(cube, rasters))
    assert found.name == "biome"
    assert found.index.tolist() == list(range(36, GRID.size))  # the first row has no climate
    assert found.tolist() == expected[36:].tolist()
    assert set(found) >= {"tropical", "arid", "polar"}
    # By the rules on the climate as it is, not as a model reads it.
    direct = biomes({name: cube[name].to_numpy().ravel() for name in NEEDED})
    assert (direct[36:] == found.to_numpy()).all()
    assert found[GRID.cell_of(np.array([5.0]), np.array([-175.0]))[0]] == "tropical"


def test_rasters_without_climate_give_no_biome(rasters: list[LayerFolder], tmp_path: Path) -> None:
    some = [LayerFolder(rasters[0].source, rasters[0].folder, ("bio1", "bio12"))]
    write_covariates(build_grid_covariates(some, GRID), tmp_path / "covariates.zarr")
    assert len(cell_biomes(tmp_path, some)) == 0
    assert len(cell_biomes(tmp_path, [])) == 0


def test_a_missing_store_and_missing_covariates_are_refused(rasters: list[LayerFolder], tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="expected a store of covariates"):
        cell_biomes(tmp_path, rasters)
    some = [LayerFolder(rasters[0].source, rasters[0].folder, ("bio1", "bio12"))]
    write_covariates(build_grid_covariates(some, GRID), tmp_path / "covariates.zarr")
    with pytest.raises(InputError, match=r"lacks the covariates \['bio10', 'bio11', 'bio18', 'bio19'\]"):
        cell_biomes(tmp_path, rasters)
