"""Cells estimated from files: by the biome of their climate, with the components written beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data_catalog import RasterLayer, Source
from maps.estimators.estimate import ESTIMATORS, estimate
from maps.estimators.pooled_components import read_components
from maps.moments.addition import merge
from maps.stages.cells import MOMENTS_FILE, estimate_cells, read_estimates
from plant_traits.covariates.cube import LayerFolder, write_covariates
from plant_traits.errors import MissingInputError, PlantTraitsError
from plant_traits.schemas import ESTIMATE, MOMENTS, write_table

CLIMATE = {  # of a hot wet and a cold place
    "bio1": (26, -8),
    "bio10": (27, 4),
    "bio11": (25, -20),
    "bio12": (2500, 300),
    "bio18": (700, 90),
    "bio19": (500, 60),
}


def moments() -> pd.DataFrame:
    """Cells 0 to 29 and 40 to 69 of a 12-by-6 grid, the latter with species that differ far more."""
    rng = np.random.default_rng(2)
    cell = np.repeat([*range(30), *range(40, 70)], 20)
    species, observer = rng.integers(0, 8, len(cell)), rng.integers(0, 4, len(cell))
    y = np.where(cell < 30, 0.2, 1.0) * rng.normal(size=(80, 8))[cell, species] + rng.normal(0, 0.3, len(cell))
    y += 0.1 * rng.normal(size=(80, 4))[cell, observer]
    v = np.full(len(cell), 0.09)
    columns = {"cell": cell, "species": species.astype(str), "observer": observer.astype(str), "trait": "height"}
    columns |= {"evidence": "photo", "n": 1, "sum_w": 1 / v, "sum_wy": y / v, "sum_wy2": y * y / v, "sum_y": y}
    columns |= {"sum_y2": y * y, "sum_v": v, "sum_w2": 1 / v**2, "sum_aleatoric": v / 2}
    return merge([pd.DataFrame(columns)[MOMENTS.names]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("moments", "covariates", "cells"):
        (tmp_path / name).mkdir()
    write_table(moments(), tmp_path / "moments" / MOMENTS_FILE, MOMENTS)
    north = np.arange(72).reshape(6, 12) < 36
    fields = {name: (("lat", "lon"), np.where(north, *values).astype(float)) for name, values in CLIMATE.items()}
    write_covariates(xr.Dataset(fields), tmp_path / "covariates" / "covariates.zarr")
    return tmp_path


@pytest.fixture
def rasters(tmp_path: Path) -> list[LayerFolder]:
    layers = tuple(
        RasterLayer(
            id=name,
            name=name,
            unit="1",
            file=f"{name}.tif",
            valid_range=(-99, 9999),
            log=int(name[3:]) > 11,
            nodata=-999,
        )
        for name in CLIMATE
    )
    source = Source(id="climate", title="climate", kind="raster", licence="CC0 1.0", citation="none", layers=layers)
    return [LayerFolder(source, tmp_path, tuple(CLIMATE))]


def test_variances_are_pooled_by_the_biome_of_the_cells(folder: Path, rasters: list[LayerFolder]) -> None:
    summary = estimate_cells(
        folder / "cells",
        moments=folder / "moments",
        estimators=list(ESTIMATORS),
        biomes=folder / "covariates",
        rasters=rasters,
    )
    assert summary["out"] == {"cells with a photo": 60, "cells with a record": 0}
    components = read_components(folder / "cells")
    assert components["biome"].tolist() == ["polar", "tropical"]
    assert components["cells"].tolist() == [30, 30]
    np.testing.assert_allclose(components["species_variance"], [1.0, 0.04], rtol=0.4)
    biome = {c: "tropical" if c < 36 else "polar" for c in range(72)}
    for name, found in read_estimates(folder / "cells", "photo", list(ESTIMATORS)).items():
        expected = estimate(moments(), name, biome=biome)
        pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-12, atol=1e-12)
    everywhere = estimate(moments(), "mixed")
    assert not np.allclose(everywhere["standard_error"], estimate(moments(), "mixed", biome=biome)["standard_error"])


def test_without_moments_every_table_is_empty(folder: Path) -> None:
    write_table(moments().head(0), folder / "moments" / MOMENTS_FILE, MOMENTS)
    estimate_cells(folder / "cells", moments=folder / "moments", estimators=["mean", "mixed"])
    assert len(read_components(folder / "cells")) == 0
    for found in read_estimates(folder / "cells", "record", ["mean", "mixed"]).values():
        assert len(found) == 0
        assert list(found) == ESTIMATE.names


def test_unknown_estimators_and_missing_covariates_are_refused(folder: Path, rasters: list[LayerFolder]) -> None:
    with pytest.raises(PlantTraitsError, match=r"unknown estimators \['median'\]"):
        estimate_cells(folder / "cells", moments=folder / "moments", estimators=["mean", "median"])
    with pytest.raises(MissingInputError, match="store of covariates"):
        estimate_cells(
            folder / "cells", moments=folder / "moments", estimators=["mixed"], biomes=folder / "cells", rasters=rasters
        )
